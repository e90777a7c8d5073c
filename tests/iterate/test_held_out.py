"""The loop and its held-out set: counted, kept back, rotated, stopped; and no surface that returns an item of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from engine.engine import Engine, stage_tables
from engine.errors import ModelsmithError
from engine.evaluate import records
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.types import Scenario
from engine.iterate.types import IterateOutput
from engine.store.rebuild import verify
from server.render import evaluate_summary, iterate_summary, render
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain
from tools import TOOLS
from tools.tool import call, find_tool

pytestmark = pytest.mark.processes
"""Three iterate runs with worker processes."""

MARK = "qz"


def secret_rows(start: int, count: int) -> list[dict[str, Any]]:
    """Rows in which id, text and expected answer are found nowhere else."""
    dice = random.Random(start)
    made = rows(start, count)
    for row in made:
        names, texts, answers = (MARK + "".join(dice.choices("bcdfghjklmnp", k=12)) for _ in range(3))
        row["id"], row["input"]["message"] = names, f"{row['input']['message']} {texts}"
        row["expected"]["reference"] = answers
    return made


def words_of(scenarios: Iterable[Scenario]) -> set[str]:
    """What would give an item away: its id, the rare word of its text, its expected answer."""
    return {word for one in scenarios for word in (one.id, one.input["message"].split()[-1], one.expected["reference"])}


@dataclass
class Played:
    engine: Engine
    outputs: list[IterateOutput]
    runs: list[str]
    generations: list[CompiledDomain]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A cluster whose held-out set bears one look, through three runs of challengers that are no better."""
    workspace = make_workspace(tmp_path_factory.mktemp("holdout"), profile={"base_skill": 0.5, "trained_skill": 0.45})
    domain = domain_file()
    domain["data"]["splits"] = {"core": 0.3, "held_out": 0.4, "reserve": 0.3, "stratify": "expected.intent", "held_out_looks": 1}
    schema = domain["contract"]["output"]["json_schema"]
    schema["properties"]["reference"] = {"type": "string"}
    write_domain(workspace, "tickets", domain, train=secret_rows(0, 120), evaluation=secret_rows(1000, 240))
    engine = Engine.open(workspace)
    finished = [finish(engine, engine.iterate("tickets").id) for _ in range(3)]
    assert [run.state for run in finished] == ["succeeded"] * 3, [run.error for run in finished]
    outputs = [IterateOutput.model_validate(run.output) for run in finished]
    digests = [records.domain_digest_of(engine.store, output.base.evaluation_id) for output in outputs if output.base is not None]
    made = Played(engine, outputs, [run.id for run in finished], [load_compiled(workspace, digest) for digest in digests])
    yield made
    made.engine.close()


def test_a_spent_set_rotates_in_the_next_run_and_a_spent_reserve_stops_the_choosing(played: Played) -> None:
    first, second, third = played.outputs
    assert [compiled.manifest.generation for compiled in played.generations] == [0, 1, 1]
    assert [len(output.iterations) for output in played.outputs] == [1, 1, 0]
    assert (first.outcome, second.outcome, third.outcome) == ("budget_spent", "budget_spent", "held_out_spent")
    assert first.held_out_use is not None
    assert (first.held_out_use.looks, first.held_out_use.budget, first.held_out_use.spent) == (1, 1, True)
    assert any("next iterate run rotates" in note for note in first.notes)
    assert any("has been rotated" in note for note in second.notes)
    assert any("no reserve is left" in note for note in third.notes)
    assert [step.step for step in played.engine.run_status(played.runs[1]).steps][:3] == ["0.compile", "0.rotate", "0.floor"]
    assert played.engine.fleet_status().clusters[0].held_out_looks == "1 of 1 used, generation 1: spent"


def test_the_anchor_connects_the_scores_before_and_after(played: Played) -> None:
    (anchor,) = played.outputs[1].anchor
    assert (anchor.subject, anchor.before.n) == ("base", len(played.generations[1].manifest.anchor))
    assert anchor.before == anchor.after, "nothing but the set has changed"
    assert played.outputs[0].anchor == ()


def test_a_rotation_is_a_fact_of_the_domain_that_stays_and_measurements_across_it_are_not_compared(played: Played) -> None:
    engine, before, after = played.engine, played.outputs[0].base, played.outputs[1].base
    assert before is not None
    assert after is not None
    for split in ("core", "held_out"):
        with pytest.raises(ModelsmithError, match="differ in the scenarios"):
            engine.compare(before.evaluation_id, after.evaluation_id, split)
    measured = finish(engine, engine.evaluate("tickets", "base").id)
    assert records.domain_digest_of(engine.store, measured.id) == played.generations[1].digest


def test_no_surface_returns_a_held_out_item(played: Played) -> None:
    engine = played.engine
    now = played.generations[-1]
    secrets = words_of(now.of_split("held_out", "reserve"))
    assert len(secrets) == 3 * now.manifest.scenarios["held_out"] > 200
    said: list[str] = []

    def ask(name: str, /, **arguments: Any) -> Any:
        try:
            answer = call(engine, find_tool(TOOLS, name), arguments)
        except ModelsmithError as error:
            answer = error.as_record()
        said.append(json.dumps(answer))
        said.append(render(answer))
        return answer

    ask("fleet_status")
    evaluations = [row[0] for row in engine.store.read("SELECT id FROM evaluation ORDER BY seq")]
    leaked = json.loads((engine.workspace.domain("tickets") / "data" / "eval.jsonl").read_text().splitlines()[0])
    for run_id in (*played.runs, *(child.id for run in played.runs for child in engine.supervisor.list(parent=run))):
        status = ask("run_status", run_id=run_id)
        said.extend((iterate_summary(status), evaluate_summary(status)))
    for evaluation in evaluations:
        page = ask("diagnose", cluster="tickets", evaluation_id=evaluation, limit=20)
        assert "patterns" in page, page
        for pattern in page["patterns"]:
            following = None
            while (opened := ask("diagnose", cluster="tickets", evaluation_id=evaluation, pattern=pattern["pattern"], limit=20, cursor=following)).get("next_cursor"):
                following = opened["next_cursor"]
        for other in evaluations:
            for split in ("core", "held_out"):
                ask("compare", before_evaluation=evaluation, after_evaluation=other, split=split, limit=20)
        said.append(engine.report(evaluation))
    for subject in ("base", "incumbent", "v-000000000000"):
        started = ask("evaluate", cluster="tickets", subject=subject)
        if "run_id" in started:
            finish(engine, started["run_id"])
            ask("run_status", run_id=started["run_id"])
        ask("evidence", cluster="tickets", version=subject)
    ask("evidence", cluster="tickets")
    ask("cancel", run_id=played.runs[0])
    ask("onboard_domain", name="stolen", rows_path="domains/tickets/data/eval.jsonl")
    ask("onboard_model", name="m", profile={"kind": "endpoint"})
    train = engine.workspace.domain("tickets") / "data" / "train.jsonl"
    whole = train.read_text()
    train.write_text(whole + json.dumps(leaked | {"id": "planted"}) + "\n")
    refused = finish(engine, engine.iterate("tickets").id)
    assert refused.error is not None
    assert refused.error.code == "leakage_found"
    ask("run_status", run_id=refused.id)
    train.write_text(whole)
    said.extend(str(row) for row in engine.store.read("SELECT * FROM event"))
    said.extend(path.read_text() for path in engine.workspace.runs.rglob("progress.jsonl"))
    said.extend(path.read_text(errors="replace") for path in engine.workspace.state.rglob("*.log"))
    everything = "\n".join(said).lower()
    # The double, unlike a model, knows all expected answers, and gives some of them to other questions: to core ones, which are shown.
    its_answers = "".join(each.answer for one in evaluations for each in records.item_results(engine.store, engine.artifacts, one, "core"))
    assert {secret for secret in secrets if secret in everything and secret not in its_answers} == set()
    assert len([secret for secret in secrets if secret not in its_answers]) > 200
    assert words_of(now.of_split("core")) & {word for word in words_of(now.of_split("core")) if word in everything}, "what is shown is found"


def test_a_challenger_below_the_ladders_step_is_told_in_words_alone(played: Played) -> None:
    engine, output = played.engine, played.outputs[0]
    challenger = output.best_challenger
    assert challenger is not None
    assert output.base is not None
    exact = f"{challenger.score.mean:.4g}"
    status = call(engine, find_tool(TOOLS, "run_status"), {"run_id": played.runs[0]})
    assert "score" not in status["output"]["best_challenger"]
    page = call(engine, find_tool(TOOLS, "compare"), {"before_evaluation": output.base.evaluation_id, "after_evaluation": challenger.evaluation_id})
    assert "difference" not in page
    assert "not more than" in page["summary"]
    measured = call(engine, find_tool(TOOLS, "run_status"), {"run_id": challenger.evaluation_id})
    texts = [json.dumps(each) for each in (status, page, measured)] + [engine.report(challenger.evaluation_id)]
    core = call(engine, find_tool(TOOLS, "compare"), {"before_evaluation": output.base.evaluation_id, "after_evaluation": challenger.evaluation_id, "split": "core"})
    assert core["difference"]["n"] == 72
    assert exact not in json.dumps(core)
    assert [text for text in texts if exact in text] == []


def test_looks_and_generations_are_the_same_after_a_rebuild(played: Played) -> None:
    played.engine.close()
    found = verify(played.engine.workspace, stage_tables(played.engine.workspace))
    played.engine = Engine.open(played.engine.workspace)
    assert found.differing == ()
    assert found.tables["rotation"] == 1
    assert found.tables["look"] >= 8
