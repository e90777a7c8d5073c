"""Where the approver list lies: reading it, replacing it, and saying who could have written it.

The environment variable MODELSMITH_APPROVERS names the file, or else `approvers` in clusters.json. The recommended place is
`/etc/modelsmith/approvers.json`, owned by root: then a program under the user's account cannot touch it. A list that the daemon's own user can
write works too and is only tamper-evident; `exposed_at` finds that out and every surface that shows the list says it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from engine.base.files import parse_strict, write_atomic
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.errors import ApproversInvalid, NotFound, PathRefused, StateConflict
from engine.loading import load_clusters
from engine.promote.approvals.approvers import Approvers, Document, verify_document
from engine.promote.approvals.roster import problem_in

ENVIRONMENT = "MODELSMITH_APPROVERS"
RECOMMENDED = "/etc/modelsmith/approvers.json"
MAX_BYTES = 1 << 20
ROOT_UID = 0


def approvers_path(root: Path, configured: str | None, environment: Mapping[str, str]) -> Path | None:
    """The list's file for the workspace at `root`, if one is named. The environment wins: it may be guarded where clusters.json is not."""
    named = environment.get(ENVIRONMENT) or configured
    return root / named if named else None


def named_list(workspace: Workspace) -> Path | None:
    """The list's file for a workspace as it is configured now."""
    return approvers_path(workspace.root, load_clusters(workspace).approvers, os.environ)


def read_approvers(path: Path) -> Approvers:
    """The list in a file, verified from its first entry to its last."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no approver list at {path}", next_step="Make one with `modelsmith approvers init NAME --key PATH`.") from None
    except OSError as error:
        raise NotFound(f"the approver list at {path} cannot be read: {error.strerror}", next_step="Let its readers include this user.") from None
    return parse_approvers(data, str(path))


def parse_approvers(data: bytes, label: str) -> Approvers:
    """The list in some bytes; `label` says where they come from."""
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        parse_strict(data)
        document = Document.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _not_a_list(label, problem_in(error)) from None
    except ValueError as error:
        raise _not_a_list(label, str(error)) from None
    return verify_document(document)


def _not_a_list(label: str, why: str) -> ApproversInvalid:
    return ApproversInvalid(f"{label} is not an approver list: {why[:300]}", next_step="Put back the last copy that verifies.")


def write_approvers(path: Path, approvers: Approvers) -> None:
    """Puts the list into its file, if the file still holds what it extends."""
    now = read_approvers(path).heads if path.exists() else ()
    if now != approvers.heads[: len(now)] or len(now) == len(approvers.heads):
        raise StateConflict(f"the approver list at {path} is not the one that this change extends", next_step="Make the change again.")
    save(path, approvers.document)


def save(path: Path, record: Record) -> None:
    """Writes a list, or a change that waits for more signatures, as JSON."""
    try:
        write_atomic(path, (record.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise PathRefused(
            f"{path} cannot be written: {error.strerror}",
            next_step=f"Write it elsewhere with --out FILE, and put the list in its place as root: `sudo install -D -m 644 FILE {RECOMMENDED}`.",
            path=str(path),
        ) from None


def exposed_at(path: Path, uid: int) -> Path | None:
    """The file, or the folder above it, through which the user `uid` could replace the list; null where root guards the whole way to it.

    Counts what may be, not what is: an owner can give themselves the right to write, and whoever is in a group that may write is not asked.
    """
    for place in (resolved := path.resolve(), *resolved.parents):
        about = place.stat()
        sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX  # names in it are changed by their owners alone
        if uid == ROOT_UID or about.st_uid == uid or (about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky):
            return place
    return None


def protection(path: Path, uid: int) -> str:
    """How well the list is kept, in a sentence for people."""
    place = exposed_at(path, uid)
    if place is None:
        return "This user cannot write the list."
    return (
        f"Tamper-evident only: this user can write {place}, and so can every program that it runs. A replaced list shows by its head; "
        f"to keep it from being replaced, let root own it ({RECOMMENDED}) and run the daemon as somebody else."
    )


def own_uid() -> int:
    """The user that this process acts as."""
    return os.geteuid()
