"""Versions in the store: named by content, recorded once with their lineage, moved by decisions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.config import ScriptedProfile, TrainOverrides
from engine.curate.records import ingest_curation
from engine.errors import NotFound
from engine.generate.scripted import scripted_base
from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import FINAL_STATES, Run
from engine.store import lineage
from engine.store.artifacts import Artifacts
from engine.store.events import events_of
from engine.store.store import StageTables, Store
from engine.train import records as versions
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training
from tests.train.workers import dataset

PROFILE = ScriptedProfile(training_steps=3)
DECIDE = StageTables(migrations=(), reducers={"decide": lambda cursor, arguments, at, seq: _decide(cursor, **arguments)})


def _decide(cursor: Any, version: str, state: Any) -> dict[str, Any]:
    versions.set_state(cursor, version, state)
    return {}


class Trainer:
    """A store and a supervisor that train the scripted double."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        hooks = {"train": versions.ingest_training, "curate": ingest_curation}
        self.store = Store.open(self.workspace, (runs.tables(hooks), versions.TABLES, DECIDE))  # type: ignore[arg-type]
        self.artifacts = Artifacts(self.workspace.artifacts)
        self.supervisor = Supervisor(self.store, self.artifacts, self.workspace)
        self.rows = self.artifacts.put_file(dataset(root / "rows.jsonl", 20))

    def train(self, seed: int = 17) -> Run:
        base = scripted_base(self.workspace, "double", PROFILE)
        plan = plan_training(PROFILE, TrainOverrides(), rows=20, device="cpu", seed=seed, merge=False)
        job = TrainJob(model="double", profile=PROFILE, base=base, dataset=str(self.artifacts.path(self.rows)), dataset_digest=self.rows, plan=plan)
        run = self.supervisor.submit("train", cluster="c", job=job.model_dump(mode="json"), arguments={}, seed=seed)
        deadline = time.monotonic() + 30
        while self.supervisor.get(run.id).state not in FINAL_STATES:
            assert time.monotonic() < deadline
            self.supervisor.tick()
            time.sleep(0.01)
        return self.supervisor.get(run.id)


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Trainer]:
    made = Trainer(tmp_path)
    yield made
    made.store.close()


def test_a_training_run_makes_a_candidate_whose_files_and_origin_can_be_found(trainer: Trainer) -> None:
    run = trainer.train()
    assert run.state == "succeeded", run.error
    made = versions.version_of_run(trainer.store, run.id)
    assert made.id == f"v-{made.adapter[:12]}"
    assert (made.state, made.cluster, made.run_id, made.dataset) == ("candidate", "c", run.id, trainer.rows)
    assert (trainer.artifacts.path(made.adapter) / "adapter_model.safetensors").is_file()
    assert trainer.artifacts.path(made.fingerprint).is_file()
    above = {(edge.relation, edge.parent) for edge in lineage.ancestors(trainer.store, made.id)}
    assert {("is", made.adapter), ("trained_on", trainer.rows), ("trained_from", made.base), ("made_by", run.id)} <= above
    assert versions.versions(trainer.store, "c") == [made]


def test_the_same_weights_trained_twice_are_one_version_and_another_seed_is_another(trainer: Trainer) -> None:
    first, again, other = trainer.train(), trainer.train(), trainer.train(seed=18)
    names = [versions.version_of_run(trainer.store, run.id).id for run in (first, again, other)]
    assert names[0] == names[1] != names[2]
    assert versions.version(trainer.store, names[0]).run_id == first.id
    assert len(versions.versions(trainer.store, "c")) == 2


def test_a_decision_moves_a_version_and_an_accepted_one_stays_accepted(trainer: Trainer) -> None:
    name = versions.version_of_run(trainer.store, trainer.train().id).id
    for decided, standing in (("rejected", "rejected"), ("accepted", "accepted"), ("rejected", "accepted")):
        trainer.store.submit("decide", {"version": name, "state": decided})
        assert versions.version(trainer.store, name).state == standing
    assert [event.kind for event in events_of(trainer.store, name)] == ["version_candidate"]


def test_an_unknown_version_is_an_error_that_names_the_newest(trainer: Trainer) -> None:
    with pytest.raises(NotFound, match="no version"):
        versions.version(trainer.store, "v-000000000000")
    name = versions.version_of_run(trainer.store, trainer.train().id).id
    with pytest.raises(NotFound) as caught:
        versions.version(trainer.store, "v-000000000000")
    assert name in caught.value.next_step
    with pytest.raises(NotFound, match="made no version"):
        versions.version_of_run(trainer.store, "train-none")
