"""Artefacts: files and directories named by the hash of their content.

    artifacts/<aa>/<sha256>                 a file, or a directory of plain files
    artifacts/<aa>/<sha256>.manifest.json   of a directory: the digest and size of each of its files
    artifacts/.incoming-<random>/           being put; left over only by a crash, and removed by `remove_leftovers`

A file's name is the SHA-256 of its bytes; a directory's is `tree_sha256`. Content is put together under a temporary name, synced, and renamed
into place, so an artefact is there completely or not at all. Where the file system allows, a file that is put is linked, not copied: its
maker must be done with it, and it becomes read-only. Symbolic links are refused.

Not checked here: that bytes still have their hash when they are used. `verify` does that, and who loads weights must call it, because a
flipped bit in a safetensors file loads without complaint.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of, file_sha256
from engine.base.files import fsync_directory, read_json, write_json
from engine.errors import ArtifactCorrupt, NotFound, PathRefused

DIGEST = re.compile(r"[0-9a-f]{64}")
INCOMING = ".incoming-"


class Artifacts:
    """The artefacts below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_file(self, path: Path) -> str:
        """Stores a file and returns its digest. Content that is there already is kept, unless it has changed."""
        incoming = self._incoming()
        try:
            _take_file(path, incoming / "content")
            digest = file_sha256(incoming / "content")
            self._move_in(incoming / "content", digest)
            return digest
        finally:
            shutil.rmtree(incoming)

    def put_directory(self, path: Path) -> str:
        """Stores a directory of plain files and returns its digest. Content that is there already is kept, unless it has changed."""
        incoming = self._incoming()
        try:
            content = incoming / "content"
            _take_directory(path, content)
            manifest = _manifest(content)
            digest = _tree_digest(manifest)
            self._folder(digest).mkdir(parents=True, exist_ok=True)
            if not self._place(digest).exists():
                write_json(self._manifest_path(digest), manifest)
            self._move_in(content, digest)
            return digest
        finally:
            shutil.rmtree(incoming)

    def path(self, digest: str) -> Path:
        """Where an artefact lies. Raises NotFound."""
        if not DIGEST.fullmatch(digest) or not self._place(digest).exists():
            raise NotFound(
                f"there is no artefact {digest[:80]!r}",
                next_step="Put .modelsmith/artifacts back from a backup, or make it again.",
                digest=digest[:80],
            )
        return self._place(digest)

    def verify(self, digest: str) -> None:
        """Reads the whole artefact. Raises ArtifactCorrupt when it does not have its hash, naming the first file that differs."""
        place = self.path(digest)
        if not place.is_dir():
            if file_sha256(place) != digest:
                raise _corrupt(digest, "its bytes have changed")
            return
        manifest = _manifest(place)
        if _tree_digest(manifest) == digest:
            return
        recorded = read_json(self._manifest_path(digest)) if self._manifest_path(digest).exists() else {}
        for name in sorted(manifest.keys() | recorded.keys()):
            if manifest.get(name) != recorded.get(name):
                what = "is missing" if name not in manifest else "does not belong to it" if name not in recorded else "has changed"
                raise _corrupt(digest, f"{name} {what}")
        raise _corrupt(digest, "its manifest has changed too")

    def remove_leftovers(self) -> int:
        """Removes what a crash left half put; returns how many. Only while nothing is being put."""
        leftovers = list(self.root.glob(f"{INCOMING}*"))
        for leftover in leftovers:
            shutil.rmtree(leftover)
        return len(leftovers)

    def _is_whole(self, place: Path, digest: str) -> bool:
        return (_tree_digest(_manifest(place)) if place.is_dir() else file_sha256(place)) == digest

    def _folder(self, digest: str) -> Path:
        return self.root / digest[:2]

    def _place(self, digest: str) -> Path:
        return self._folder(digest) / digest

    def _manifest_path(self, digest: str) -> Path:
        return self._folder(digest) / f"{digest}.manifest.json"

    def _incoming(self) -> Path:
        incoming = self.root / f"{INCOMING}{secrets.token_hex(8)}"
        incoming.mkdir(parents=True)
        return incoming

    def _move_in(self, content: Path, digest: str) -> None:
        place = self._place(digest)
        if place.exists():
            if self._is_whole(place, digest):
                return
            os.rename(place, content.with_name("altered"))  # goes with what was put: its bytes are not those of its name
        if not place.parent.exists():
            place.parent.mkdir(exist_ok=True)
            fsync_directory(self.root)
        os.rename(content, place)
        fsync_directory(place.parent)


def _take_file(source: Path, target: Path) -> None:
    """Links or copies one plain file, read-only and on disk."""
    status = source.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused(
            f"{source.name[:120]!r} is not a plain file, and only plain files can be artefacts",
            next_step="Write the content itself, not a link to it.",
            path=str(source)[-200:],
        )
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target, follow_symlinks=False)
    target.chmod(0o444)
    handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_directory(source: Path, target: Path) -> None:
    target.mkdir()
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            _take_directory(Path(entry.path), target / entry.name)
        else:
            _take_file(Path(entry.path), target / entry.name)
    fsync_directory(target)


def _manifest(directory: Path) -> dict[str, Any]:
    """Digest and size of every file below `directory`, by its relative path."""
    files = sorted(path for path in directory.rglob("*") if not path.is_dir())
    return {path.relative_to(directory).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in files}


def _tree_digest(manifest: dict[str, Any]) -> str:
    """What `tree_sha256` gives for the directory of this manifest, without reading it again."""
    return digest_of([(name, entry["sha256"]) for name, entry in sorted(manifest.items(), key=lambda item: Path(item[0]))])


def _corrupt(digest: str, why: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"artefact {digest[:12]} is not what it was: {why}",
        next_step="Do not use it. Put it back from a backup, or make it again (the run that made it is in its lineage).",
        digest=digest,
    )
