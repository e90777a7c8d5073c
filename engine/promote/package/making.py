"""Writes the forms of a version into a package's folder. Imported by the worker of exports alone; what needs torch is loaded where it is needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.promote.package.jobs import ExportJob
from engine.promote.types import FormName


def make_form(form: FormName, job: ExportJob, folder: Path) -> None:
    """Writes one form into `folder / form`."""
    MAKERS[form](job, folder)


def _make_adapter(job: ExportJob, folder: Path) -> None:
    _take(Path(str(job.weights.adapter_dir)), folder / "adapter")


def _make_merged(job: ExportJob, folder: Path) -> None:
    """The weights that were served; merged now where this machine serves adapters."""
    if job.weights.merged_dir is not None:
        _take(Path(job.weights.merged_dir), folder / "merged")
        return
    from engine.train.weights import merge

    merge(Path(job.base.directory), folder / "adapter", folder / "merged")


def _make_int8(_job: ExportJob, folder: Path) -> None:
    from engine.promote.package.quantise import quantise

    quantise(folder / "merged", folder / "int8")


MAKERS: dict[FormName, Callable[[ExportJob, Path], None]] = {"adapter": _make_adapter, "merged": _make_merged, "int8": _make_int8}


def _take(source: Path, target: Path) -> None:
    """The files of an artefact, linked where the file system can (they are read-only in the store), else copied."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        try:
            os.link(path, target / path.name)
        except OSError:
            shutil.copyfile(path, target / path.name)
