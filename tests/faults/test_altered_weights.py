"""A byte of stored weights flips: they are never used, made again where they follow from what is whole, and the version is marked where not."""

from __future__ import annotations

from pathlib import Path

from engine.base.digests import tree_sha256
from engine.engine import Engine
from engine.generate.prepared import find_prepared
from engine.iterate.types import IterateOutput
from engine.loading import load_clusters
from engine.store.artifacts import Artifacts
from engine.store.events import events_of
from engine.train import records as versions
from tests.escalate.complete import escalated
from tests.workspaces import finish, make_workspace


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_changed_base_is_prepared_anew_and_a_changed_adapter_is_marked(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, profile={"server": True})
    engine = Engine.open(workspace)
    try:
        base = find_prepared(workspace, "double", load_clusters(workspace).models["double"])
        assert base is not None
        flip_a_byte(Path(base.directory) / "adapter_model.safetensors")
        run = finish(engine, engine.iterate("tickets").id)
        assert run.state == "succeeded", run.error
        steps = [(step.step, step.kind, step.state) for step in engine.supervisor.list(parent=run.id) if str(step.step).startswith("0.measure_base")]
        assert steps == [("0.measure_base", "evaluate", "failed"), ("0.measure_base_mend", "prepare", "succeeded"), ("0.measure_base_again", "evaluate", "succeeded")]
        assert tree_sha256(Path(base.directory)) == base.digest

        (accepted,) = IterateOutput.model_validate(run.output).accepted
        flip_a_byte(engine.artifacts.path(versions.version(engine.store, accepted).adapter) / "adapter_model.safetensors")
        failed = finish(engine, engine.iterate("tickets").id)
        assert failed.error is not None
        assert (failed.error.code, failed.error.details["part"]) == ("artifact_corrupt", "adapter")
        (event,) = [event for event in events_of(engine.store, accepted) if event.kind == "version_altered"]
        assert "its bytes have changed" in event.reason
        assert escalated(engine, failed.id).severity == "high"
    finally:
        engine.servers.stop_all()
        engine.close()


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
