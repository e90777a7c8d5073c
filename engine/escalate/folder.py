"""The folder of an escalation: files for people and agents, written from the store, and again whenever they are not what the store has.

    WORKSPACE/escalations/<id>/
      escalation.json       the escalation as it stands (docs/schema/escalation.schema.json)
      REPORT.md             the same to be read
      evidence/             bounded, redacted files: data, whatever they say
      manifest.json         written last: the digest of the record and of every other file

Each file is written whole or not at all, and the manifest after the others. So if the power goes at any write, the next start finds either a folder
as it was before, or one whose manifest does not fit its files or the store: it is written again from the store, which had the change first. The
same mends a folder that somebody has edited or removed. Who reads a folder while it is written again is told so by the manifest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.base.digests import digest_of, sha256_hex
from engine.base.files import fsync_directory, inside, write_atomic
from engine.base.paths import Workspace
from engine.escalate.report import report
from engine.escalate.types import Escalation

HEAD = ("schema_version", "id", "state", "severity", "title")
"""What stands first in escalation.json."""
RECORD, REPORT, EVIDENCE, MANIFEST = "escalation.json", "REPORT.md", "evidence", "manifest.json"


def folder_of(workspace: Workspace, name: str) -> Path:
    """Where an escalation lies. PathRefused where that would be outside the workspace."""
    return inside(workspace.root, workspace.escalation(name).relative_to(workspace.root).as_posix())


def contents(escalation: Escalation, evidence: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every file of the folder but the manifest, by its path in it."""
    fields = escalation.model_dump(mode="json")
    record = json.dumps({name: fields[name] for name in (*HEAD, *fields)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {name: data.decode(errors="replace") for name, data in evidence.items()}
    return {
        **{f"{EVIDENCE}/{name}": data for name, data in sorted(evidence.items())},
        REPORT: report(escalation, texts).encode(),
        RECORD: record.encode(),
    }


def write_folder(folder: Path, escalation: Escalation, evidence: Mapping[str, bytes]) -> None:
    """Writes the folder as the escalation stands, the manifest last."""
    files = contents(escalation, evidence)
    for name, data in files.items():
        write_atomic(folder / name, data)
    _remove_others(folder, files)
    manifest = {"schema_version": 1, "id": escalation.id, "record": record_digest(escalation), "files": _digests(files)}
    write_atomic(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    fsync_directory(folder.parent)


def is_whole(folder: Path, escalation: Escalation) -> bool:
    """Whether the folder is there as the escalation stands, every file of it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["record"] != record_digest(escalation):
            return False
        return {name: sha256_hex((folder / name).read_bytes()) for name in manifest["files"]} == manifest["files"] and RECORD in manifest["files"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def record_digest(escalation: Escalation) -> str:
    """What names an escalation as it stands."""
    return digest_of(escalation.model_dump(mode="json"))


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256_hex(data) for name, data in sorted(files.items())}


def _remove_others(folder: Path, files: Mapping[str, bytes]) -> None:
    """Takes out of `evidence/` what an earlier version of this escalation had there, and temporary files of a writer that was killed."""
    for path in (*folder.glob(f"{EVIDENCE}/*"), *folder.glob(".*.tmp")):
        if path.relative_to(folder).as_posix() not in files:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
