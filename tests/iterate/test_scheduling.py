"""The loop follows its schedule: over several runs of a cluster, with a search, a warm start, and after a divergence."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.engine import Engine
from engine.iterate.scheduling import history
from engine.iterate.types import IterateOutput
from engine.jobs.workers import WORKER_MODULES
from engine.store import lineage
from engine.train import records as versions
from tests.workspaces import finish, make_workspace

pytestmark = pytest.mark.processes


def test_a_round_that_rules_have_nothing_to_say_about_is_searched_and_says_so(tmp_path: Path) -> None:
    """160 rows, two rounds that are no better than the base: the second one's settings come from the search worker."""
    engine = Engine.open(make_workspace(tmp_path, profile={"base_skill": 0.5, "trained_skill": 0.5}, max_iterations=2))
    try:
        submitted = engine.iterate("tickets")
        finish(engine, submitted.id, until=lambda _: any(step.step == "2.train" for step in engine.supervisor.list(parent=submitted.id)))
        status = engine.run_status(submitted.id)
        assert "Settings of round 2: learning_rate is " in status.summary
        assert "a search over the ledger (1 round)" in status.summary
        assert "\n" not in status.summary
        run = finish(engine, submitted.id)
        first, second = IterateOutput.model_validate(run.output).iterations
        assert "2.search" in [step.step for step in engine.supervisor.list(parent=run.id)]
        assert second.schedule is not None
        assert (second.plan.learning_rate, second.plan.epochs) == (second.schedule.learning_rate, second.schedule.epochs)
        assert (second.plan.learning_rate, second.plan.epochs) != (first.plan.learning_rate, first.plan.epochs)
        assert any("Settings of round 2: " in note for note in IterateOutput.model_validate(run.output).notes)
        assert "Settings of" not in engine.run_status(run.id).summary
    finally:
        engine.close()


def test_a_second_run_reads_the_ledger_of_the_first_and_goes_on_from_its_version(tmp_path: Path) -> None:
    engine = Engine.open(make_workspace(tmp_path, profile={"base_skill": 0.2, "trained_skill": 0.9}))
    try:
        one = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output)
        past = history(engine.store, "tickets", domain="tickets", model="double")
        assert [(each.outcome, each.challenger) for each in past] == [("accepted", one.accepted[0])]
        assert len(past[0].suite) == 64
        assert past[0].first_loss is not None
        assert past[0].core_gain is not None
        assert history(engine.store, "tickets", domain="tickets", model="another") == []
        two = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output)
        (iteration,) = two.iterations
        assert iteration.incumbent == one.accepted[0]
        assert iteration.plan.warm_start
        assert any(reason.startswith(f"warm_start is yes: {iteration.incumbent} fails") for reason in iteration.plan.reasons)
        before, after = (versions.version(engine.store, name) for name in (iteration.incumbent, iteration.challenger))
        assert ("went_on_from", before.adapter) in {(edge.relation, edge.parent) for edge in lineage.ancestors(engine.store, after.id)}
        assert after.plan.learning_rate == before.plan.learning_rate / 2
        assert len(history(engine.store, "tickets", domain="tickets", model="double")) == 2
    finally:
        engine.close()


def diverging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: float) -> Engine:
    monkeypatch.setenv("DIVERGES_ABOVE", str(above))
    engine = Engine.open(make_workspace(tmp_path))
    engine.supervisor.workers.modules = {**WORKER_MODULES, "train": "tests.iterate.diverging_worker"}
    return engine


def test_a_training_that_diverges_is_tried_again_at_half_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = diverging(tmp_path, monkeypatch, above=0.0005)
    try:
        run = finish(engine, engine.iterate("tickets").id)
        assert run.state == "succeeded", run.error
        (iteration,) = IterateOutput.model_validate(run.output).iterations
        assert iteration.plan.learning_rate == 0.0004
        assert any("the last training diverged, so the rate is halved" in reason for reason in iteration.plan.reasons)
        past = history(engine.store, "tickets", domain="tickets", model="double")
        assert [(each.outcome, each.schedule.learning_rate) for each in past] == [("diverged", 0.0008), ("accepted", 0.0004)]
    finally:
        engine.close()


def test_a_run_that_diverges_twice_fails_and_the_next_one_begins_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = diverging(tmp_path, monkeypatch, above=0.0003)
    try:
        run = finish(engine, engine.iterate("tickets").id)
        assert run.error is not None
        assert (run.error.code, run.error.details["step"]) == ("training_diverged", "1.train_again")
        (iteration,) = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output).iterations
        assert iteration.plan.learning_rate == 0.0002
    finally:
        engine.close()
