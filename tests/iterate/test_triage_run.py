"""Whether to train, asked of a cluster: before anything was measured, after measuring alone, and after a round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.errors import NotFound
from engine.iterate.types import IterateOutput
from engine.views.atlas import TriageOption, TriagePage
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain

pytestmark = pytest.mark.processes


def made(root: Path, *, target: float = 0.9, price: float | None = None, **profile: Any) -> Workspace:
    workspace = make_workspace(root, profile={"base_skill": 0.3, "trained_skill": 0.7} | profile, targets={"score": target})
    changed = domain_file(diagnose={"try_cheap": True, "trial_items": 40, "examples": 2})
    write_domain(workspace, "tickets", changed, train=rows(0, 240), evaluation=rows(1000, 240))
    if price is not None:
        file = json.loads(workspace.clusters_file.read_text())
        file["hosts"] = {"local": {"hourly_price": {"amount": price, "currency": "EUR", "as_of": "2026-11-01"}}}
        workspace.clusters_file.write_text(json.dumps(file))
    return workspace


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(made(tmp_path, price=2.0))
    yield engine
    engine.close()


def option(page: TriagePage, approach: str) -> TriageOption:
    return next(each for each in page.options if each.approach == approach)


def test_before_anything_was_measured_it_says_so_and_how_to_measure_without_training(engine: Engine) -> None:
    page = engine.triage_tuning("tickets")
    assert page.verdict == "measure_first"
    assert all(each.quality is None and each.effort.startswith("Not measured.") for each in page.options)
    assert (page.next[0].tool, page.next[0].arguments) == ("iterate", {"cluster": "tickets", "max_iterations": 0})


def test_a_run_without_rounds_measures_what_needs_no_training_trains_nothing_and_the_answer_rests_on_it(engine: Engine) -> None:
    run = finish(engine, engine.iterate("tickets", 0).id)
    assert run.state == "succeeded", run.error
    output = IterateOutput.model_validate(run.output)
    assert (output.iterations, output.final.subject) == ((), "base")
    assert any("Nothing was trained, as asked" in note for note in output.notes)
    assert any("Tried before training" in note for note in output.notes)
    assert "1.train" not in {step.step for step in engine.run_status(run.id).steps}

    page = engine.triage_tuning("tickets")
    assert page.verdict == "train"
    assert (page.metric, page.target, page.currency) == ("score", 0.9, "EUR")
    for approach in ("floor", "prompt", "constrain_decoding", "few_shot"):
        found = option(page, approach)
        assert found.quality is not None
        assert found.quality.low <= found.quality.mean <= found.quality.high
    assert option(page, "floor").quality == output.floor.score if output.floor else False
    assert option(page, "prompt").cost_per_decision is not None
    assert option(page, "few_shot").on == "core_sample"
    assert option(page, "lora").quality is None
    assert [each.rows for each in page.curve] == [30, 60, 120, 240]
    assert page.data_needed is not None
    assert page.data_needed.rows == 240
    assert page.next[0].arguments == {"cluster": "tickets"}


def test_what_a_domain_gives_no_way_to_measure_is_not_waited_for(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    write_domain(workspace, "tickets", domain_file(diagnose={"try_cheap": False}), train=rows(0, 240), evaluation=rows(1000, 240))
    engine = Engine.open(workspace)
    try:
        finish(engine, engine.iterate("tickets", 0).id)
        page = engine.triage_tuning("tickets")
    finally:
        engine.close()
    assert page.verdict == "train"
    assert option(page, "few_shot").when == "not_here"
    assert option(page, "few_shot").effort.startswith("Not measured: a run over this domain found no way to.")
    assert (page.next[0].tool, page.next[0].arguments) == ("iterate", {"cluster": "tickets"})


def test_after_a_round_the_trained_version_stands_beside_the_others_with_what_it_took(engine: Engine) -> None:
    run = finish(engine, engine.iterate("tickets").id)
    output = IterateOutput.model_validate(run.output)
    trained = option(page := engine.triage_tuning("tickets"), "lora")
    assert trained.quality == output.final.score
    assert output.against_base is not None
    assert trained.gain is not None
    assert trained.gain.mean == pytest.approx(output.against_base.difference.mean)
    assert output.final.subject in trained.effort
    assert f"{page.curve[-1].rows} training rows" in trained.effort
    assert page.curve[-1].rows <= 240
    assert [each.subject for each in page.curve][-1] == output.final.subject
    assert page.verdict in ("train", "label_first"), "it is better than all else, and below its target"


def test_a_base_that_reaches_the_target_is_not_trained(tmp_path: Path) -> None:
    engine = Engine.open(made(tmp_path, target=0.5, base_skill=0.9))
    try:
        finish(engine, engine.iterate("tickets", 0).id)
        page = engine.triage_tuning("tickets")
        assert page.verdict == "do_not_train"
        assert "surely, without training" in page.summary
        assert page.next == ()
    finally:
        engine.close()


def test_another_model_that_was_measured_on_the_same_suite_is_among_the_ways_and_may_make_training_needless(tmp_path: Path) -> None:
    workspace = made(tmp_path, target=0.6, base_skill=0.2)
    file = json.loads(workspace.clusters_file.read_text())
    file["models"]["sage"] = {"kind": "scripted", "base_skill": 0.95}
    file["clusters"]["tickets-sage"] = {"domain": "tickets", "model": "sage"}
    workspace.clusters_file.write_text(json.dumps(file))
    domain = domain_file(diagnose={"try_cheap": True, "trial_items": 40, "examples": 2}, teachers=[{"name": "sage", "max_answers": 10}])
    write_domain(workspace, "tickets", domain, train=rows(0, 240), evaluation=rows(1000, 240))
    engine = Engine.open(workspace)
    try:
        finish(engine, engine.iterate("tickets", 0).id)
        assert option(engine.triage_tuning("tickets"), "larger_model").quality is None
        finish(engine, engine.evaluate("tickets-sage", "base").id)
        page = engine.triage_tuning("tickets")
        rival = option(page, "larger_model")
        assert rival.quality is not None
        assert rival.gain is not None
        assert rival.gain.low > 0
        assert page.verdict == "do_not_train"
        assert page.reasons[0].startswith("A larger model")
    finally:
        engine.close()


def test_an_edited_domain_is_measured_anew_before_its_old_trials_count(engine: Engine) -> None:
    finish(engine, engine.iterate("tickets", 0).id)
    write_domain(
        engine.workspace,
        "tickets",
        domain_file(diagnose={"try_cheap": True, "trial_items": 40, "examples": 2}),
        train=rows(0, 200),
        evaluation=rows(3000, 240),
    )
    finish(engine, engine.evaluate("tickets", "base").id)
    page = engine.triage_tuning("tickets")
    assert option(page, "few_shot").quality is None
    assert option(page, "floor").quality is None
    assert page.curve == ()


def test_a_cluster_that_is_not_there_is_refused_with_those_that_are(engine: Engine) -> None:
    with pytest.raises(NotFound, match="no cluster 'nowhere'") as caught:
        engine.triage_tuning("nowhere")
    assert caught.value.details["known"] == ["tickets"]
