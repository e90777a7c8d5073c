"""The loop over the scripted double: what it records, what it accepts, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, KeyReused, NotFound, PathRefused, ResourceExhausted, RunActive
from engine.fleet.probe import probe_local
from engine.iterate.types import IterateOutput
from engine.jobs.types import Run
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(make_workspace(tmp_path))
    yield engine
    for run in engine.supervisor.list(states=("queued", "running", "interrupted"), top_level=True):
        engine.cancel(run.id)
        finish(engine, run.id)
    engine.close()


def test_a_better_challenger_becomes_the_incumbent_and_the_ledger_says_why(engine: Engine) -> None:
    run = finish(engine, engine.iterate("tickets").id)
    assert run.state == "succeeded", run.error
    output = IterateOutput.model_validate(run.output)
    assert output.outcome == "budget_spent"
    assert output.accepted == (output.final.subject,)
    assert output.final.score.mean > 0.6 > output.base.score.mean
    assert output.against_floor is not None
    assert output.against_floor.difference.low > 0
    assert [step.step for step in engine.run_status(run.id).steps] == [
        "0.compile",
        "0.floor",
        "0.measure_base",
        "1.curate",
        "1.train",
        "1.measure_challenger",
    ]
    line = engine.fleet_status().clusters[0]
    assert line.incumbent == output.final.subject
    assert line.held_out is not None
    assert line.held_out.score.mean == output.final.score.mean
    assert any("Decoding under the schema" in note for note in output.notes)


def test_a_challenger_that_is_no_better_is_rolled_back(tmp_path: Path) -> None:
    engine = Engine.open(make_workspace(tmp_path, profile={"base_skill": 0.5, "trained_skill": 0.5}))
    try:
        run = finish(engine, engine.iterate("tickets").id)
        output = IterateOutput.model_validate(run.output)
        assert output.accepted == ()
        assert output.final.subject == "base"
        assert output.best_challenger is not None
        assert not output.iterations[0].decision.clauses[1].passed
        assert engine.fleet_status().clusters[0].incumbent == "base"
    finally:
        engine.close()


def test_a_run_that_the_disk_cannot_hold_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace(tmp_path)
    file = json.loads(workspace.clusters_file.read_text())
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").touch()
    profile = {"kind": "managed", "title": "Large", "license": "MIT", "parameters_billion": 7, "weights": {"kind": "directory", "path": "weights"}}
    file["models"]["double"] = {**profile, "inference": {"max_model_len": 1024}}
    workspace.clusters_file.write_text(json.dumps(file))
    engine = Engine.open(workspace)
    monkeypatch.setattr("engine.fleet.machine.probe_local", lambda _: probe_local(tmp_path).model_copy(update={"disk_free_bytes": 2**30}))
    try:
        with pytest.raises(ResourceExhausted, match="has 1024 MiB free, and this run is estimated to need") as caught:
            engine.iterate("tickets")
        assert caught.value.details["needs"]["prepared base"] == 14_000_000_000
    finally:
        engine.close()


def test_an_iterate_run_on_a_full_disk_says_so_wherever_it_is_shown_and_goes_on(engine: Engine) -> None:
    free = [1000 << 20]
    engine.supervisor._free_bytes = lambda: free[0]
    run = engine.iterate("tickets")
    finish(engine, run.id, until=lambda run: run.state == "running")
    free[0] = 5 << 20
    finish(engine, run.id, until=lambda run: bool(engine.supervisor.waits_for(run.id)))
    told = "waits for disk: 5 MiB are free, it goes on by itself from 64 MiB"
    assert engine.run_status(run.id).summary.endswith(f" It {told}.")
    assert engine.fleet_status().active_runs[0].progress == told
    assert {check.check: check.state for check in engine.watchdog().checks}["disk"] == "mending"
    free[0] = 1000 << 20
    finish(engine, run.id, until=lambda run: not engine.supervisor.waits_for(run.id))
    assert engine.run_status(run.id).state == "running"


def test_rows_that_were_set_aside_are_listed_as_relabel_requests(tmp_path: Path) -> None:
    unlikely = tuple(row["id"] for row in rows(0, 160))[:12]
    engine = Engine.open(make_workspace(tmp_path, profile={"unlikely_rows": unlikely}))
    try:
        run = finish(engine, engine.iterate("tickets", 2).id)
        curated = {step.step: engine.supervisor.get(step.run_id).output for step in engine.run_status(run.id).steps if step.step.endswith(".curate")}
        assert [output["set_aside"] for output in curated.values()] == [0, 12]
        newest = IterateOutput.model_validate(run.output).final.evaluation_id
        listed = engine.diagnose("tickets", newest, view="requests", limit=50).lines
        assert {each["item"] for each in listed if "set aside" in each["why"]} == set(unlikely)
    finally:
        engine.close()


def test_a_second_run_starts_from_the_incumbent_and_stops_when_its_targets_are_met(tmp_path: Path) -> None:
    engine = Engine.open(make_workspace(tmp_path, targets={"score": 0.6}))
    try:
        first = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output)
        assert first.targets_met
        second = IterateOutput.model_validate(finish(engine, engine.iterate("tickets").id).output)
        assert second.outcome == "targets_met"
        assert second.iterations == ()
        assert second.final.subject == first.final.subject
    finally:
        engine.close()


def test_one_active_run_a_cluster_and_one_run_a_key(engine: Engine) -> None:
    run = engine.iterate("tickets", key="monday")
    assert engine.iterate("tickets", key="monday").id == run.id
    with pytest.raises(RunActive):
        engine.iterate("tickets")
    with pytest.raises(KeyReused):
        engine.iterate("tickets", 2, key="monday")


def test_cancel_ends_the_run_and_its_steps(engine: Engine) -> None:
    run = engine.iterate("tickets")
    finish(engine, run.id, until=lambda _: any(step.state == "running" for step in engine.supervisor.list(parent=run.id)))
    engine.cancel(run.id)
    assert finish(engine, run.id, seconds=15).state == "cancelled"
    assert all(step.state in ("cancelled", "succeeded") for step in engine.supervisor.list(parent=run.id))


def has_reached(engine: Engine, step: str, run: Run) -> bool:
    """Whether a step of the run is there, or the run has ended."""
    return run.finished_at is not None or any(child.step == step for child in engine.supervisor.list(parent=run.id))


def test_a_daemon_that_stops_anywhere_goes_on_where_it_was(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    engine = Engine.open(workspace)
    run_id = engine.iterate("tickets").id
    for step in ("0.compile", "0.measure_base", "1.train", "1.measure_challenger"):
        finish(engine, run_id, until=partial(has_reached, engine, step))
        engine.close()
        engine = Engine.open(workspace)
    try:
        output = IterateOutput.model_validate(finish(engine, run_id).output)
        steps = [step.step for step in engine.supervisor.list(parent=run_id)]
        assert len(steps) == len(set(steps)) == 6
        assert len(output.accepted) == 1
    finally:
        engine.close()


def test_diagnosis_and_comparison_read_what_the_run_measured_and_tried(engine: Engine) -> None:
    trying = {"try_cheap": True, "trial_items": 24, "examples": 2}
    write_domain(engine.workspace, "tickets", domain_file(diagnose=trying), train=rows(0, 160), evaluation=rows(1000, 240))
    run = finish(engine, engine.iterate("tickets").id)
    output = IterateOutput.model_validate(run.output)
    steps = [step.step for step in engine.run_status(run.id).steps]
    assert steps.index("1.try_cheap") < steps.index("1.curate")
    (iteration,) = output.iterations
    assert [trial.remedy for trial in iteration.tried] == ["few_shot", "constrain_decoding"]
    assert "try_cheap" in iteration.seconds
    assert sum(iteration.aimed.values()) > 0
    assert any(note.startswith("Tried before training, on 24 core items") for note in output.notes)

    page = engine.diagnose("tickets", evaluation_id=output.base.evaluation_id)
    assert page.failed > 0
    line = page.patterns[0]
    assert line.failure_class == "label_confusion"
    assert line.trend[0] == line.items
    assert len(line.trend) == 2
    assert line.gain
    opened = engine.diagnose("tickets", evaluation_id=output.base.evaluation_id, pattern=line.pattern, limit=2)
    assert len(opened.examples) == min(2, line.items)
    assert opened.plan is not None
    assert opened.plan["passed_over"][0]["why"].startswith("measured on 24 core items and not shown to help")
    trends = engine.diagnose("tickets", view="trends", limit=2)
    assert len(trends.lines) == 2
    assert engine.diagnose("tickets", view="trends", limit=2, cursor=trends.next_cursor).lines[0] != trends.lines[0]
    assert engine.diagnose("tickets", view="requests").summary.startswith("0 core labels and 0 training labels")

    core = engine.compare(output.base.evaluation_id, output.final.evaluation_id, "core")
    assert core.flips
    held_out = engine.compare(output.base.evaluation_id, output.final.evaluation_id, "held_out")
    assert held_out.flips == ()
    assert held_out.difference.low > 0


def test_what_does_not_exist_is_named_with_what_does(engine: Engine) -> None:
    with pytest.raises(NotFound, match="'nope'") as failure:
        engine.iterate("nope")
    assert "tickets" in failure.value.next_step
    with pytest.raises(NotFound):
        engine.evaluate("tickets", "v-000000000000")
    with pytest.raises(NotFound, match="not been measured"):
        engine.diagnose("tickets")
    with pytest.raises(ArgumentInvalid, match="cursor"):
        engine.diagnose("tickets", finish(engine, engine.evaluate("tickets", "base").id).id, cursor="x")


def test_a_version_is_measured_on_the_base_that_it_was_trained_on_or_not_at_all(engine: Engine) -> None:
    run = finish(engine, engine.iterate("tickets").id)
    (version,) = IterateOutput.model_validate(run.output).accepted
    file = json.loads(engine.workspace.clusters_file.read_text())
    file["models"]["other"] = file["models"][file["clusters"]["tickets"]["model"]] | {"title": "another double"}
    file["clusters"]["tickets"]["model"] = "other"
    engine.workspace.clusters_file.write_text(json.dumps(file))
    with pytest.raises(ArgumentInvalid, match=f"{version} was trained on the base"):
        engine.iterate("tickets")


def test_what_was_measured_in_another_way_is_not_taken_for_the_latest(engine: Engine) -> None:
    standard = finish(engine, engine.evaluate("tickets", subject="base").id)
    other = finish(engine, engine.evaluate("tickets", subject="base", splits=("held_out",)).id)
    assert engine.diagnose("tickets").evaluation_id == standard.id
    assert engine.report(other.id)


def test_rows_of_another_domains_evaluation_make_no_domain(engine: Engine) -> None:
    with pytest.raises(PathRefused, match="evaluation items"):
        engine.onboard_domain("copy", "domains/tickets/data/eval.jsonl")
    assert not (engine.workspace.domains / "copy").exists()


def test_a_cluster_that_cannot_be_trained_or_has_met_its_targets_is_not_offered_for_training(engine: Engine) -> None:
    file = json.loads(engine.workspace.clusters_file.read_text())
    file["models"]["remote"] = {"kind": "endpoint", "title": "Remote", "base_url": "https://example.org/v1", "model": "m"}
    file["clusters"]["tickets"]["model"] = "remote"
    engine.workspace.clusters_file.write_text(json.dumps(file))
    assert [call.tool for call in engine.fleet_status().next] == []


def test_a_training_row_that_is_an_evaluation_item_ends_the_run_before_anything_is_measured(engine: Engine) -> None:
    data = engine.workspace.domains / "tickets" / "data"
    leaked = (data / "eval.jsonl").read_text().splitlines()[0]
    (data / "train.jsonl").write_text((data / "train.jsonl").read_text() + json.dumps(json.loads(leaked) | {"id": "leaked"}) + "\n")
    run = finish(engine, engine.iterate("tickets").id)
    assert run.error is not None
    assert run.error.code == "leakage_found"
    assert "'leaked'" in run.error.message
    assert [step.step for step in engine.run_status(run.id).steps if step.state == "succeeded"] == []


def guarded(root: Path) -> Engine:
    """A workspace whose domain names a no-harm suite."""
    workspace = make_workspace(root)
    acceptance = {"no_harm": {"suite": "manners", "tolerance": 0.1}}
    evaluation = domain_file()["eval"] | {"accept": acceptance}
    write_domain(workspace, "tickets", domain_file(eval=evaluation), train=rows(0, 160), evaluation=rows(1000, 240))
    data = {"evaluation": {"path": "data/eval.jsonl"}, "splits": {"core": 0, "held_out": 1, "reserve": 0}}
    write_domain(workspace, "manners", domain_file(title="Manners", data=data), train=[], evaluation=rows(5000, 40))
    return Engine.open(workspace)


def test_a_challenger_is_measured_on_the_no_harm_suite_before_it_is_accepted(tmp_path: Path) -> None:
    engine = guarded(tmp_path)
    try:
        run = finish(engine, engine.iterate("tickets").id)
        output = IterateOutput.model_validate(run.output)
        steps = [step.step for step in engine.run_status(run.id).steps]
        assert steps[-2:] == ["1.no_harm", "0.no_harm_base"]
        clause = output.iterations[0].decision.clauses[-1]
        assert (clause.name, clause.passed) == ("no_harm", True)
        assert "On 40 general and safety items" in clause.sentence
        assert engine.fleet_status().clusters[0].held_out is not None  # of the domain's own suite: the other is not taken for it
        assert engine.diagnose("tickets").graded > 40
    finally:
        engine.close()


def test_a_domain_without_training_rows_is_measured_and_never_trained(tmp_path: Path) -> None:
    engine = guarded(tmp_path)
    try:
        file = json.loads(engine.workspace.clusters_file.read_text())
        file["clusters"]["manners"] = {"domain": "manners", "model": "double"}
        engine.workspace.clusters_file.write_text(json.dumps(file))
        with pytest.raises(ArgumentInvalid, match="no training rows"):
            engine.iterate("manners")
        assert finish(engine, engine.evaluate("manners", subject="base", splits=("held_out",)).id).state == "succeeded"
    finally:
        engine.close()
