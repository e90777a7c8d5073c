"""Prepared base models on disk: finding them, without torch.

    models/<name>-<digest>/
      weights/            safetensors, tokenizer, configuration: what the server and the trainer read, and nothing else
      fingerprint.json    log-probabilities of fixed texts under these weights; absent where this machine could not run the model
      prepared.json       PreparedManifest, written last: a directory without it is not there
    models/.making-<name>/   half-made; the next preparation removes it

A base is named by the digest of its weights directory, and belongs to a source: preparing the same source again finds it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import DirectoryWeights, ModelProfile, PackageWeights, Profile, ScriptedProfile
from engine.errors import ConfigInvalid, DependencyMissing, NotFound
from engine.generate.scripted import scripted_base
from engine.generate.types import PreparedBase

CONVERSION = 1
"""Version of how weights are made from a source; another one means that they are made again."""

KEPT_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Files of a checkpoint that are taken over. No pickle and no code is among them."""


class PreparedManifest(Record):
    """prepared.json."""

    schema_version: Literal[1] = 1
    source: dict[str, Any]
    """What the weights were made from (`weights_source`)."""
    digest: str
    """Of the weights directory."""
    chat_template: str
    """Digest of the chat template; empty where there is none."""
    fingerprint: bool
    """Whether there is a fingerprint.json."""
    files: dict[str, int]
    """Sizes of the weights directory's files, in bytes."""
    made_with: dict[str, str]
    """Versions of the libraries that made them."""


def find_prepared(workspace: Workspace, name: str, profile: Profile) -> PreparedBase | None:
    """The prepared base of this profile; None while there is none. The scripted double's is always there, an endpoint has none."""
    if isinstance(profile, ScriptedProfile):
        return scripted_base(workspace, name, profile)
    if not isinstance(profile, ModelProfile):
        return None
    source = weights_source(workspace, name, profile)
    for path in sorted(workspace.models.glob(f"{name}-*/prepared.json")):
        base = read_prepared(path.parent, source)
        if base is not None:
            return base
    return None


def read_prepared(directory: Path, source: dict[str, Any]) -> PreparedBase | None:
    """The base in `directory`, when it is complete and was made from `source`."""
    manifest = read_manifest(directory)
    if manifest is None or manifest.source != source:
        return None
    return PreparedBase(
        directory=str((directory / "weights").resolve()),
        digest=manifest.digest,
        chat_template=manifest.chat_template,
        fingerprint=str((directory / "fingerprint.json").resolve()) if manifest.fingerprint else None,
        weights_bytes=sum(size for file, size in manifest.files.items() if file.endswith(".safetensors")),
    )


def read_manifest(directory: Path) -> PreparedManifest | None:
    """The manifest of a prepared base whose files are all there in their sizes; None otherwise."""
    try:
        manifest = PreparedManifest.model_validate_json((directory / "prepared.json").read_bytes())
        sizes = {path.name: path.stat().st_size for path in (directory / "weights").iterdir()}
    except (OSError, ValueError):
        return None
    return manifest if sizes == manifest.files else None


def weights_source(workspace: Workspace, name: str, profile: ModelProfile) -> dict[str, Any]:
    """What names a profile's weights before they are prepared: cheap to compute, and different when the weights are."""
    weights = profile.weights
    described: dict[str, Any] = {"conversion": CONVERSION, "stop_token": profile.stop_token, **weights.model_dump()}
    if isinstance(weights, PackageWeights):
        described["bytes"] = package_file(name, weights).stat().st_size
    elif isinstance(weights, DirectoryWeights):
        directory = source_directory(workspace, name, weights)
        described["path"] = str(directory)
        described["files"] = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in kept_files(directory)]
    return described


def package_file(name: str, weights: PackageWeights) -> Path:
    """The GGUF file inside the installed package, found without importing it."""
    if not weights.package.isidentifier() or Path(weights.file).name != weights.file:
        raise ConfigInvalid(
            f"models.{name}.weights: {weights.package[:80]!r} and {weights.file[:80]!r} do not name a package and a file inside it",
            next_step="Give the import name of an installed package, and a plain file name.",
        )
    spec = importlib.util.find_spec(weights.package)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / weights.file
    if path is None or not path.is_file():
        raise DependencyMissing(
            f"the weights of model {name} come with the Python package {weights.package}, which does not bring {weights.file} here",
            next_step="Run `make setup`; it installs the package.",
        )
    return path


def source_directory(workspace: Workspace, name: str, weights: DirectoryWeights) -> Path:
    """The directory of a profile whose weights are on this machine."""
    directory = (workspace.root / weights.path).resolve()
    if not directory.is_dir():
        raise NotFound(f"models.{name}.weights.path: there is no directory {directory}", next_step="Correct the path in clusters.json.")
    return directory


def kept_files(directory: Path) -> list[Path]:
    """The files of a checkpoint that are taken over, sorted. ConfigInvalid when it has no safetensors."""
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name.endswith(KEPT_SUFFIXES))
    if not any(path.name.endswith(".safetensors") for path in files):
        raise ConfigInvalid(
            f"{directory} holds no safetensors weights; pickled ones (.bin, .pt) can run code when they are loaded, and are not taken",
            next_step="Convert the checkpoint to safetensors.",
        )
    return files
