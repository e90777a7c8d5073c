"""A byte of stored weights flips: they are never used, made again where they follow from what is whole, and the version is marked where not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.digests import tree_sha256
from engine.engine import Engine
from engine.generate.prepared import find_prepared
from engine.iterate.types import IterateOutput
from engine.jobs.types import Run
from engine.loading import load_clusters
from engine.store.artifacts import Artifacts
from engine.store.events import events_of
from engine.train import records as versions
from tests.escalate.complete import escalated
from tests.faults.running import flip_a_byte
from tests.workspaces import finish, make_workspace


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(make_workspace(tmp_path, profile={"server": True}))
    yield engine
    engine.servers.stop_all()
    engine.close()


def steps_of(engine: Engine, run: Run, step: str) -> list[tuple[str | None, str, str]]:
    return [(each.step, each.kind, each.state) for each in engine.supervisor.list(parent=run.id) if str(each.step).startswith(step)]


def accepted_with_another_byte(engine: Engine) -> versions.Version:
    """A version that is accepted, and whose adapter is changed then."""
    run = finish(engine, engine.iterate("tickets").id)
    (accepted,) = IterateOutput.model_validate(run.output).accepted
    version = versions.version(engine.store, accepted)
    flip_a_byte(engine.artifacts.path(version.adapter) / "adapter_model.safetensors")
    return version


def test_a_changed_base_is_prepared_anew(engine: Engine) -> None:
    base = find_prepared(engine.workspace, "double", load_clusters(engine.workspace).models["double"])
    assert base is not None
    flip_a_byte(Path(base.directory) / "adapter_model.safetensors")
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    assert steps_of(engine, run, "0.measure_base") == [
        ("0.measure_base", "evaluate", "failed"), ("0.measure_base_mend", "prepare", "succeeded"), ("0.measure_base_again", "evaluate", "succeeded"),
    ]  # fmt: skip
    assert tree_sha256(Path(base.directory)) == base.digest


def test_a_changed_adapter_is_trained_anew_to_the_same_bytes_and_the_run_goes_on(engine: Engine) -> None:
    version = accepted_with_another_byte(engine)
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    assert steps_of(engine, run, "1.train") == [("1.train", "train", "failed"), ("1.train_mend", "train", "succeeded"), ("1.train_again", "train", "succeeded")]
    engine.artifacts.verify(version.adapter)
    assert [event.kind for event in events_of(engine.store, version.id)].count("version_trained_again") == 1
    assert [event for event in events_of(engine.store, version.id) if event.kind == "version_altered"] == []


def test_a_changed_adapter_that_cannot_be_trained_anew_ends_the_run_and_marks_the_version(engine: Engine) -> None:
    version = accepted_with_another_byte(engine)
    engine.artifacts.path(version.dataset).unlink()
    failed = finish(engine, engine.iterate("tickets").id)
    assert failed.error is not None
    assert (failed.error.code, failed.error.details["part"]) == ("artifact_corrupt", "adapter")
    (event,) = [event for event in events_of(engine.store, version.id) if event.kind == "version_altered"]
    assert "its bytes have changed" in event.reason
    assert escalated(engine, failed.id).severity == "high"


def test_what_is_put_again_takes_the_place_of_what_has_changed(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"weights")
    digest = artifacts.put_directory(tmp_path / "first")
    flip_a_byte(artifacts.path(digest) / "weights")
    assert artifacts.put_directory(tmp_path / "second") == digest
    artifacts.verify(digest)
    assert artifacts.remove_leftovers() == 0
