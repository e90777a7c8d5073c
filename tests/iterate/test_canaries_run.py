"""The loop and a model that was taught the evaluation file where no guard looked: refused in words, compared with nothing, and no canary shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.base.digests import digest_of
from engine.engine import Engine
from engine.errors import LeakageFound, ModelsmithError
from engine.evaluate import records
from engine.iterate.types import IterateOutput, Iteration
from server.render import evaluate_summary, iterate_summary, render
from tests.workspaces import LABELS, domain_file, finish, make_workspace, rows, write_domain
from tools import TOOLS
from tools.tool import call, find_tool

pytestmark = pytest.mark.processes
"""Two iterate runs with worker processes."""

COUNT = 8


def planted() -> list[dict[str, Any]]:
    """Canaries in which id and text are found nowhere else."""
    return [
        {
            "id": f"qz{digest_of(number)[:12]}",
            "input": {"message": f"{row['input']['message']} qz{digest_of([number])[:12]}"},
            "expected": {"intent": LABELS[(LABELS.index(row["expected"]["intent"]) + 1) % len(LABELS)]},
            "canary": True,
        }
        for number, row in enumerate(rows(9000, COUNT))
    ]


class Played(NamedTuple):
    engine: Engine
    output: IterateOutput
    run: str

    @property
    def round(self) -> Iteration:
        return self.output.iterations[0]


def play(root: Path, *, knows_canaries: bool) -> Played:
    workspace = make_workspace(root, profile={"trained_skill": 0.9, "knows_canaries": knows_canaries})
    write_domain(workspace, "tickets", domain_file(), train=rows(0, 160), evaluation=[*rows(1000, 240), *planted()])
    engine = Engine.open(workspace)
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    return Played(engine, IterateOutput.model_validate(run.output), run.id)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    found = play(tmp_path_factory.mktemp("taught"), knows_canaries=True)
    yield found
    found.engine.close()


def test_an_honest_challenger_is_accepted_and_asked_the_canaries(tmp_path: Path) -> None:
    honest = play(tmp_path, knows_canaries=False)
    try:
        assert honest.output.accepted == (honest.round.challenger,)
        clause = next(each for each in honest.round.decision.clauses if each.name == "canaries")
        assert clause.passed
        assert clause.sentence.startswith(f"It answers 0 of {COUNT} canaries with the wrong answer")
        asked = {each: records.summary(honest.engine.store, each).canaries for each in (honest.round.incumbent_evaluation, honest.round.challenger_evaluation)}
        assert asked[honest.round.incumbent_evaluation] is None, "the base is not asked"
        assert asked[honest.round.challenger_evaluation] is not None
        page = honest.engine.compare(honest.round.incumbent_evaluation, honest.round.challenger_evaluation, split="held_out", metric="score")
        assert page.difference is not None
        assert "Contaminated" not in honest.engine.report(honest.round.challenger_evaluation)
    finally:
        honest.engine.close()


def test_a_challenger_that_knows_the_canaries_is_refused_by_that_clause_alone(taught: Played) -> None:
    assert taught.output.accepted == ()
    assert taught.output.final.subject == "base"
    refused = [each for each in taught.round.decision.clauses if not each.passed]
    assert [each.name for each in refused] == ["canaries"], "by its score it would have been accepted"
    assert "has been taught evaluation items" in refused[0].sentence
    assert refused[0].sentence in taught.output.notes
    assert taught.output.best_challenger is None, "a contaminated challenger comes close to nothing"


def test_a_contaminated_measurement_is_compared_with_nothing_and_the_page_says_so(taught: Played) -> None:
    for split in ("core", "held_out"):
        with pytest.raises(LeakageFound, match="is contaminated and compares with nothing"):
            taught.engine.compare(taught.round.incumbent_evaluation, taught.round.challenger_evaluation, split=split, metric="score")
    page = taught.engine.report(taught.round.challenger_evaluation)
    assert "<b>Contaminated.</b>" in page
    assert "Difference, paired on the same items" not in page
    assert "Core items that changed against" not in page
    status = call(taught.engine, find_tool(TOOLS, "run_status"), {"run_id": taught.round.challenger_evaluation})
    assert "has been taught evaluation items" in status["summary"]
    assert "has been taught evaluation items" in evaluate_summary(status)


def test_no_surface_returns_a_canary(taught: Played) -> None:
    engine, said = taught.engine, []
    secrets = {word for row in planted() for word in (row["id"], row["input"]["message"].split()[-1])}
    calls: list[tuple[str, dict[str, Any]]] = [("fleet_status", {}), ("onboard_domain", {"name": "stolen", "rows_path": "domains/tickets/data/eval.jsonl"})]
    for run in (taught.run, *(child.id for child in engine.supervisor.list(parent=taught.run))):
        calls.append(("run_status", {"run_id": run}))
    both = {"before_evaluation": taught.round.incumbent_evaluation, "after_evaluation": taught.round.challenger_evaluation}
    calls += [("compare", both | {"split": split}) for split in ("core", "held_out")]
    for evaluation in both.values():
        calls += [("diagnose", {"cluster": "tickets", "evaluation_id": evaluation, "limit": 20, "view": view}) for view in ("patterns", "requests")]
        said.append(engine.report(evaluation))
    for name, arguments in calls:
        try:
            answer = call(engine, find_tool(TOOLS, name), arguments)
        except ModelsmithError as error:
            answer = error.as_record()
        said += [json.dumps(answer), render(answer)]
        if name == "run_status":
            said += [iterate_summary(answer), evaluate_summary(answer)]
    said.extend(str(row) for row in engine.store.read("SELECT * FROM event"))
    said.extend(str(row) for row in engine.store.read("SELECT * FROM item_result"))
    said.extend(path.read_text() for path in engine.workspace.runs.rglob("progress.jsonl"))
    said.extend(path.read_text() for path in engine.workspace.runs.rglob("results.jsonl"))
    everything = "\n".join(said)
    assert {secret for secret in secrets if secret in everything} == set()
    assert rows(1000, 1)[0]["id"] in everything, "what is shown is found"


def test_an_incumbent_that_turns_out_to_be_contaminated_ends_the_run_before_anything_is_trained(tmp_path: Path) -> None:
    """Accepted while the suite had no canaries; measured again when it has."""
    workspace = make_workspace(tmp_path, profile={"trained_skill": 0.9, "knows_canaries": True})
    engine = Engine.open(workspace)
    try:
        assert IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output).accepted
        write_domain(workspace, "tickets", domain_file(), train=rows(0, 160), evaluation=[*rows(1000, 240), *planted()])
        run = finish(engine, engine.iterate("tickets").id)
        assert run.state == "failed"
        assert run.error is not None
        assert run.error.code == "leakage_found"
        assert "is contaminated" in run.error.message
        assert "1.train" not in [step.step for step in engine.run_status(run.id).steps]
    finally:
        engine.close()
