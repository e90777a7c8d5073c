"""A challenger whose refusal is certain early: what the loop records of it, what the surfaces say, and what happens when it is wanted whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import read_json
from engine.engine import Engine, stage_tables
from engine.errors import IdentityMismatch
from engine.evaluate import records
from engine.evaluate.jobs import EvaluateJob
from engine.evaluate.statistics import compare
from engine.evaluate.types import StoppedEarly
from engine.iterate.types import IterateOutput
from engine.store.rebuild import verify
from server.render import evaluate_summary, iterate_summary
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain
from tools import TOOLS
from tools.tool import call, find_tool

pytestmark = pytest.mark.processes
"""An iterate run with worker processes, and a measurement after it."""

HELD_OUT = 120


@dataclass
class Refused:
    engine: Engine
    run: str
    output: IterateOutput
    stopped: StoppedEarly

    @property
    def challenger(self) -> str:
        """The challenger's measurement."""
        return self.output.iterations[0].challenger_evaluation

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = call(self.engine, find_tool(TOOLS, name), arguments)
        return answer


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refused]:
    """A round whose challenger is far below the base."""
    engine = Engine.open(make_workspace(tmp_path_factory.mktemp("early"), profile={"base_skill": 0.8, "trained_skill": 0.3}))
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    output = IterateOutput.model_validate(run.output)
    stopped = output.iterations[0].stopped_early
    assert stopped is not None
    made = Refused(engine, run.id, output, stopped)
    yield made
    made.engine.close()


def test_it_is_rolled_back_with_the_figures_that_made_it_certain_and_the_items_it_saved(refused: Refused) -> None:
    (row,) = refused.output.iterations
    assert (refused.stopped.asked, refused.stopped.of, refused.stopped.saved) == (64, HELD_OUT, HELD_OUT - 64)
    assert row.decision.verdict == "roll_back"
    (clause,) = row.decision.clauses
    assert (clause.name, clause.passed) == ("early_stop", False)
    assert clause.sentence.startswith("Its refusal was certain after 64 of 120 held-out items, so the other 56 were not asked: ")
    assert f"at most {refused.stopped.upper:+.3f}" in clause.sentence
    assert row.decision.against_incumbent.difference.n == 64
    assert row.decision.against_incumbent.difference.high >= refused.stopped.upper
    assert "Stopping when refusal was certain saved 56 held-out items in 1 of 1 rounds." in refused.output.notes
    assert refused.output.final.subject == "base"
    assert refused.output.best_challenger is None


def test_where_no_challenger_was_measured_in_full_the_best_on_core_is_named_and_no_held_out_score_is_made_up(refused: Refused) -> None:
    best, engine = refused.output.best_refused, refused.engine
    assert best is not None
    assert (best.subject, best.evaluation_id) == (refused.output.iterations[0].challenger, refused.challenger)
    assert best.core == records.summary(engine.store, refused.challenger).split("core").score
    assert best.core_before == records.summary(engine.store, refused.output.base.evaluation_id).split("core").score
    reason = "more of what the incumbent passes was lost already than the gate allows over all"
    assert (best.asked, best.of, best.because) == (64, HELD_OUT, reason)
    (note,) = [note for note in refused.output.notes if note.startswith("No challenger has a held-out score to go by.")]
    assert f"a core score of {best.core.mean:.3f}" in note
    assert f"was asked 64 of 120 held-out items: {reason}." in note
    shown = iterate_summary(refused.ask("run_status", run_id=refused.run))
    (line,) = [line for line in shown.splitlines() if line.startswith("  best on core")]
    assert best.subject in line
    assert f"{best.core.mean:.3f} [" in line
    assert f"held-out stopped after 64 of 120 items: {reason}" in shown


def test_the_worker_was_told_all_that_the_gate_judges_by(refused: Refused) -> None:
    told = EvaluateJob.model_validate(read_json(refused.engine.workspace.run(refused.challenger).config)["job"]).early_stop
    (row,) = refused.output.iterations
    assert told is not None
    assert told.floor is not None
    assert (told.incumbent.evaluation, told.floor.evaluation) == (row.incumbent_evaluation, row.floor_evaluation)
    assert told.confidence == row.decision.against_incumbent.difference.confidence
    assert told.stability == records.summary(refused.engine.store, row.incumbent_evaluation).stability
    assert told.relied_on, "the base is no worse than its floor here"


def test_core_was_asked_in_full_and_of_held_out_what_was_asked_is_all_that_is_stored(refused: Refused) -> None:
    engine = refused.engine
    summary = records.summary(engine.store, refused.challenger)
    assert [split.split for split in summary.splits] == ["core"]
    assert summary.split("core").score.n == 96
    assert len(records.item_results(engine.store, engine.artifacts, refused.challenger, "held_out")) == 64
    assert refused.output.iterations[0].fixed, "what changed on core is known"
    assert records.structured_effect(engine.store, refused.challenger) is None
    assert records.latest(engine.store, "tickets", summary.subject) is None


def test_surfaces_say_how_much_was_saved_and_compare_it_with_nothing(refused: Refused) -> None:
    status = refused.ask("run_status", run_id=refused.run)
    assert "Early stops saved 56 held-out items." in status["summary"]
    measured = refused.ask("run_status", run_id=refused.challenger)
    assert measured["output"]["stopped_early"]["saved"] == 56
    assert "64 of 120 items asked; 56 saved" in evaluate_summary(measured)
    page = refused.ask("compare", before_evaluation=refused.output.base.evaluation_id, after_evaluation=refused.challenger)
    assert "not measured in full" in page["summary"]
    assert "difference" not in page
    report = refused.engine.report(refused.challenger)
    assert "the other 56 were not asked" in report
    assert "Score on core" in report
    core = refused.ask("compare", before_evaluation=refused.output.base.evaluation_id, after_evaluation=refused.challenger, split="core")
    assert core["difference"]["n"] == 96
    upper = f"{refused.stopped.upper:.3f}".lstrip("-+0")
    texts = [json.dumps(each) for each in (status, measured, page)] + [report, iterate_summary(status), evaluate_summary(measured)]
    assert [text for text in texts if upper in text] == []


def test_it_is_a_look_at_every_item_of_the_set(refused: Refused) -> None:
    items = [item for (item,) in refused.engine.store.read("SELECT item FROM item_result WHERE split = 'held_out' AND evaluation_id = ?", [refused.output.base.evaluation_id])]
    assert len(items) == HELD_OUT
    for each in (items, items[:20], items[-20:]):
        assert records.wear(refused.engine.store, each)[0] == 1
    assert refused.output.held_out_use is not None
    assert (refused.output.held_out_use.looks, refused.output.held_out_use.sources) == (1, HELD_OUT)


def test_measured_again_it_is_asked_the_rest_and_is_a_measurement_like_any_other(refused: Refused) -> None:
    engine = refused.engine
    version = refused.output.iterations[0].challenger
    run = finish(engine, engine.evaluate("tickets", version).id)
    summary = records.summary(engine.store, run.id)
    assert summary.stopped_early is None
    assert summary.split("held_out").score.n == HELD_OUT
    assert (summary.generated, summary.cached) == (refused.stopped.saved, 96 + refused.stopped.asked)
    assert records.latest(engine.store, "tickets", version) == run.id
    page = refused.ask("compare", before_evaluation=refused.output.base.evaluation_id, after_evaluation=run.id)
    assert "not more than" in page["summary"], "it was measured in full, and lies below what the ladder says"
    part, whole = (records.item_results(engine.store, engine.artifacts, each, "held_out") for each in (refused.challenger, run.id))
    assert records.wear(engine.store, [each.item for each in whole])[0] == 2, "the whole is another answer than its refusal was"
    with pytest.raises(IdentityMismatch, match="measured for one subject alone"):
        compare(part, whole, split="held_out")


def test_the_store_rebuilt_from_its_journal_holds_the_same_looks(refused: Refused) -> None:
    refused.engine.close()
    found = verify(refused.engine.workspace, stage_tables(refused.engine.workspace))
    refused.engine = Engine.open(refused.engine.workspace)
    assert found.differing == ()


@pytest.mark.parametrize(("trained", "switch"), [(0.95, True), (0.3, False)], ids=["a better challenger", "a domain that says no"])
def test_every_item_is_asked_of(tmp_path: Path, trained: float, switch: bool) -> None:
    workspace = make_workspace(tmp_path, profile={"base_skill": 0.6, "trained_skill": trained})
    write_domain(workspace, "tickets", domain_file(eval=domain_file()["eval"] | {"early_stop": switch}), train=rows(0, 160), evaluation=rows(1000, 240))
    engine = Engine.open(workspace)
    try:
        output = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output)
        (row,) = output.iterations
        assert row.stopped_early is None
        assert output.best_refused is None
        assert row.decision.against_incumbent.difference.n == HELD_OUT
        assert (row.decision.verdict == "accept") == (trained > 0.6)
        assert records.summary(engine.store, row.challenger_evaluation).split("held_out").score.n == HELD_OUT
    finally:
        engine.close()
