"""Artefacts: named by content, whole or absent, and never what they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.base.digests import file_sha256, sha256_hex, tree_sha256
from engine.errors import ArtifactCorrupt, NotFound, PathRefused
from engine.store.artifacts import Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    for name, text in {"a.txt": "1", "a/b.txt": "2", "a-b.txt": "3", "deep/er/c": "4"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_file_is_stored_under_its_hash_once(artifacts: Artifacts, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("content")
    digest = artifacts.put_file(path)
    assert digest == sha256_hex(b"content") == artifacts.put_file(path)
    path.unlink()
    assert artifacts.path(digest).read_text() == "content"
    artifacts.verify(digest)


def test_a_directory_is_stored_under_its_tree_hash_once(artifacts: Artifacts, folder: Path) -> None:
    digest = tree_sha256(folder)
    assert artifacts.put_directory(folder) == digest == artifacts.put_directory(folder)
    assert tree_sha256(artifacts.path(digest)) == digest
    artifacts.verify(digest)
    assert not list(artifacts.root.glob(".incoming-*"))


def test_stored_files_cannot_be_written_through_the_name_they_came_from(artifacts: Artifacts, folder: Path) -> None:
    digest = artifacts.put_directory(folder)
    assert os.stat(artifacts.path(digest) / "a.txt").st_mode & 0o222 == 0
    (folder / "a.txt").unlink()
    (folder / "a.txt").write_text("new")
    artifacts.verify(digest)


def test_a_changed_a_missing_and_an_extra_file_are_named(artifacts: Artifacts, folder: Path) -> None:
    place = artifacts.path(artifacts.put_directory(folder))
    digest = place.name
    changed = place / "a/b.txt"
    changed.chmod(0o644)
    changed.write_text("9")
    with pytest.raises(ArtifactCorrupt, match=r"a/b\.txt has changed"):
        artifacts.verify(digest)
    changed.unlink()
    with pytest.raises(ArtifactCorrupt, match=r"a/b\.txt is missing"):
        artifacts.verify(digest)
    changed.write_text("2")
    (place / "extra").write_text("")
    with pytest.raises(ArtifactCorrupt, match="extra does not belong"):
        artifacts.verify(digest)


def test_a_flipped_bit_in_a_file_is_found(artifacts: Artifacts, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1000))
    place = artifacts.path(artifacts.put_file(path))
    place.chmod(0o644)
    place.write_bytes(bytes(999) + b"\1")
    with pytest.raises(ArtifactCorrupt, match=place.name[:12]):
        artifacts.verify(place.name)


def test_links_devices_and_pipes_are_refused(artifacts: Artifacts, folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(PathRefused, match="link"):
        artifacts.put_directory(folder)
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder / "deep")
    with pytest.raises(PathRefused, match="link"):
        artifacts.put_directory(folder)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PathRefused, match="pipe"):
        artifacts.put_file(tmp_path / "pipe")
    assert not list(artifacts.root.glob("*/*"))


def test_what_a_crash_left_half_put_is_not_seen_and_can_be_removed(artifacts: Artifacts, folder: Path) -> None:
    half = artifacts.root / ".incoming-0123"
    half.mkdir(parents=True)
    (half / "content").write_text("half")
    with pytest.raises(NotFound):
        artifacts.path(file_sha256(half / "content"))
    assert artifacts.remove_leftovers() == 1
    assert not half.exists()


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "ab", "A" * 64, "0" * 64])
def test_a_name_that_is_no_artefact_is_not_found(artifacts: Artifacts, digest: str) -> None:
    with pytest.raises(NotFound):
        artifacts.path(digest)
