"""Only a checkpoint that was written whole is gone on from."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.train.checkpoints import latest, seal
from tests.traps import pickle_trap


def written(root: Path, step: int, *, sealed: bool = True) -> Path:
    directory = root / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    (directory / "adapter_model.safetensors").write_bytes(b"weights of step %d" % step)
    (directory / "optimizer.pt").write_bytes(b"state" * 100)
    if sealed:
        seal(directory, step=step, seconds=step * 1.5, tokens=step * 100)
    return directory


def test_the_newest_sealed_checkpoint_counts_and_carries_what_was_spent(tmp_path: Path) -> None:
    written(tmp_path, 25)
    written(tmp_path, 100)
    found = latest(tmp_path)
    assert found is not None
    assert (found.step, found.seconds, found.tokens) == (100, 150.0, 10_000)


def test_nothing_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert latest(tmp_path / "never") is None
    assert latest(tmp_path) is None


@pytest.mark.parametrize("damage", ["unsealed", "shortened", "flipped", "lost", "manifest torn", "renamed", "pickled"])
def test_a_torn_checkpoint_is_removed_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    written(tmp_path, 25)
    torn = written(tmp_path, 50, sealed=damage != "unsealed")
    if damage == "shortened":
        (torn / "optimizer.pt").write_bytes(b"sta")
    elif damage == "flipped":
        (torn / "optimizer.pt").write_bytes(b"stAte" + b"state" * 99)
    elif damage == "lost":
        (torn / "adapter_model.safetensors").unlink()
    elif damage == "manifest torn":
        (torn / "verified.json").write_bytes((torn / "verified.json").read_bytes()[:40])
    elif damage == "pickled":
        (torn / "optimizer.pt").write_bytes(pickle_trap(tmp_path / "sprung"))
    elif damage == "renamed":
        torn.rename(tmp_path / "checkpoint-75")
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 25
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-25"]
