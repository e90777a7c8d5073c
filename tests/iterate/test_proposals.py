"""Scenario proposals through the engine: staged from failures, decided by a person, in the suite afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.config import EndpointProfile
from engine.engine import Engine, stage_tables
from engine.errors import ApprovalNeeded, DomainInvalid, NotFound, PathRefused, StateConflict
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.proposals import records
from engine.evaluate.proposals.expansion import EXPANSION_FILE
from engine.evaluate.records import item_results
from engine.iterate import records as loop
from engine.iterate.propose import LOOP_DRAFTS
from engine.store.events import events_of
from engine.store.rebuild import rebuild
from tests.curate.test_draft_worker import Rewording
from tests.curate.test_teach_worker import anthropic_endpoint
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose base has been measured, to be copied by each test."""
    root = tmp_path_factory.mktemp("measured")
    engine = Engine.open(make_workspace(root))
    run = finish(engine, engine.evaluate("tickets").id)
    assert run.state == "succeeded", run.error
    engine.close()
    return root


@pytest.fixture
def engine(measured: Path, tmp_path: Path) -> Iterator[Engine]:
    shutil.copytree(measured, tmp_path / "w", ignore=shutil.ignore_patterns("runs"))
    (tmp_path / "w" / ".modelsmith" / "runs").mkdir()
    engine = Engine.open(make_workspace(tmp_path / "w"))
    yield engine
    with contextlib.suppress(OSError):  # a test closed it
        engine.close()


def suite(engine: Engine) -> Any:
    return compile_domain(engine.workspace, "tickets", domain_digest(engine.workspace, "tickets"))


def staged(engine: Engine, count: int = 4) -> list[str]:
    return [line.proposal for line in engine.propose_scenario("tickets", count=count).proposals]


def test_drafts_are_staged_and_nothing_else_changes(engine: Engine) -> None:
    before = domain_digest(engine.workspace, "tickets")
    page = engine.propose_scenario("tickets", count=4)
    assert len(page.proposals) == 4
    assert {line.state for line in page.proposals} == {"staged"}
    assert page.waiting == 4
    assert "Drafts come from transformations alone" in page.summary
    assert domain_digest(engine.workspace, "tickets") == before
    assert engine.list_proposals("tickets").proposals == page.proposals
    assert len({line.parent for line in page.proposals}) == 4


def test_asking_again_drafts_others_and_the_same_key_answers_the_same(engine: Engine) -> None:
    first = engine.propose_scenario("tickets", count=3, key="k")
    again = engine.propose_scenario("tickets", count=3, key="k")
    more = engine.propose_scenario("tickets", count=3)
    assert again.proposals == first.proposals
    assert again.dropped == first.dropped
    assert not {line.proposal for line in more.proposals} & {line.proposal for line in first.proposals}


def test_an_accepted_scenario_joins_core_and_the_change_of_the_suite_is_shown(engine: Engine) -> None:
    before = suite(engine)
    governed = (engine.workspace.domain("tickets") / "data" / "eval.jsonl").read_bytes()
    chosen, declined = staged(engine)[:3], staged(engine)[:1]
    page = engine.decide_scenario("tickets", chosen, "accept", by="Ada", reason="real wording")
    engine.decide_scenario("tickets", declined, "decline", by="Ada", reason="nobody writes so")
    after = suite(engine)
    joined = [scenario for scenario in after.scenarios if scenario.layer == "expansion"]
    assert sorted(scenario.id for scenario in joined) == sorted(chosen) == list(page.suite.added)
    assert {scenario.split for scenario in joined} == {"core"}
    assert {scenario.source for scenario in joined} <= {scenario.source or scenario.id for scenario in before.of_split("core")}
    assert (page.suite.before, page.suite.after) == (before.suite_digest, after.suite_digest)
    assert before.suite_digest != after.suite_digest
    assert not page.suite.governed_changed
    assert [scenario for scenario in after.scenarios if scenario.layer == "governed"] == before.scenarios
    assert (engine.workspace.domain("tickets") / "data" / "eval.jsonl").read_bytes() == governed
    assert f"{len(chosen)} joined" in engine.list_proposals("tickets").summary
    assert [event.actor for event in events_of(engine.store, chosen[0])] == ["tickets", "Ada"]
    rates = engine.list_proposals("tickets").origins
    assert sum(rate.accepted for rate in rates) == 3
    assert sum(rate.declined for rate in rates) == 1
    for rate in rates:
        assert rate.rate == (None if rate.accepted + rate.declined == 0 else rate.accepted / (rate.accepted + rate.declined))


@pytest.mark.processes
def test_the_next_measurement_is_of_the_suite_with_them(engine: Engine) -> None:
    chosen = staged(engine, 2)
    engine.decide_scenario("tickets", chosen, "accept", by="Ada")
    run = finish(engine, engine.evaluate("tickets").id)
    assert run.state == "succeeded", run.error
    assert {result.scenario_id for result in item_results(engine.store, engine.artifacts, run.id, "core")} >= set(chosen)
    assert not {result.scenario_id for result in item_results(engine.store, engine.artifacts, run.id, "held_out")} & set(chosen)


def test_an_acceptance_may_be_turned_round_and_deciding_twice_changes_nothing(engine: Engine) -> None:
    before = suite(engine).suite_digest
    chosen = staged(engine, 2)
    engine.decide_scenario("tickets", chosen, "accept", by="Ada")
    assert engine.decide_scenario("tickets", chosen, "accept", by="Bob").suite.added == ()
    assert [event.actor for event in events_of(engine.store, chosen[0])] == ["tickets", "Ada"]
    assert engine.decide_scenario("tickets", chosen, "decline", by="Ada").suite.removed == tuple(sorted(chosen))
    assert suite(engine).suite_digest == before


def test_an_agent_may_decide_only_where_the_domain_delegates(engine: Engine) -> None:
    chosen = staged(engine, 2)
    for decision in ("accept", "decline"):
        with pytest.raises(ApprovalNeeded):
            engine.decide_scenario("tickets", chosen, decision, by="agent:mcp")  # type: ignore[arg-type]
    assert engine.list_proposals("tickets").waiting == 2
    domain = domain_file()
    domain["eval"]["expansion"] = {"accept": "delegated"}
    write_domain(engine.workspace, "tickets", domain, train=rows(0, 160), evaluation=rows(1000, 240))
    page = engine.decide_scenario("tickets", chosen, "accept", by="agent:mcp")
    assert {line.state for line in page.proposals} == {"accepted"}


def test_a_cut_between_the_journal_and_the_file_is_mended_at_the_next_start(engine: Engine) -> None:
    chosen = staged(engine, 2)
    engine.decide_scenario("tickets", chosen, "accept", by="Ada")
    file = engine.workspace.domain("tickets") / EXPANSION_FILE
    whole, digest = file.read_bytes(), suite(engine).suite_digest
    file.unlink()
    engine.close()
    rebuild(engine.workspace, stage_tables(engine.workspace))
    again = Engine.open(engine.workspace)
    try:
        assert file.read_bytes() == whole
        assert suite(again).suite_digest == digest
        assert {proposal.state for proposal in records.proposals(again.store, "tickets")} == {"accepted"}
    finally:
        again.close()


def test_an_expansion_file_that_leads_out_of_the_domain_is_refused_and_the_daemon_still_starts(engine: Engine, tmp_path: Path) -> None:
    engine.decide_scenario("tickets", staged(engine, 1), "accept", by="Ada")
    file, outside = engine.workspace.domain("tickets") / EXPANSION_FILE, tmp_path / "outside.jsonl"
    file.unlink()
    file.symlink_to(outside)
    engine.close()
    again = Engine.open(engine.workspace)
    try:
        assert not outside.exists()
        with pytest.raises(PathRefused):
            again.list_proposals("tickets")
    finally:
        again.close()


def test_rows_of_the_domain_may_not_be_the_expansion_file(engine: Engine) -> None:
    domain = domain_file()
    domain["data"] = domain["data"] | {"train": {"path": f"./{EXPANSION_FILE}"}}
    (engine.workspace.domain("tickets") / EXPANSION_FILE).write_text('{"id": "t", "input": {"message": "m"}, "expected": {"intent": "login"}}\n')
    write_domain(engine.workspace, "tickets", domain, train=rows(0, 160), evaluation=rows(1000, 240))
    with pytest.raises(DomainInvalid, match="which Modelsmith writes"):
        engine.evaluate("tickets")


def test_lines_of_another_clone_stay_and_bad_lines_are_named(engine: Engine) -> None:
    chosen = staged(engine, 2)
    engine.decide_scenario("tickets", chosen, "accept", by="Ada")
    file = engine.workspace.domain("tickets") / EXPANSION_FILE
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    foreign = lines[0] | {"id": "x-" + "0" * 16, "input": {"message": "an entirely other sentence of another clone"}}
    file.write_text("".join(json.dumps(line) + "\n" for line in [foreign, *lines]))
    engine.decide_scenario("tickets", chosen[:1], "decline", by="Ada")
    assert sorted(json.loads(line)["id"] for line in file.read_bytes().splitlines()) == sorted([foreign["id"], chosen[1]])
    file.write_bytes(file.read_bytes() + b'{"id": "x-1"}\n')
    with pytest.raises(DomainInvalid, match=r"expansion\.jsonl:3"):
        suite(engine)


def test_what_no_longer_fits_is_refused_and_no_other_item_is_named(engine: Engine) -> None:
    line = engine.propose_scenario("tickets", count=1).proposals[0]
    evaluation = rows(1000, 240)
    evaluation += [{"id": f"copy{number}", "input": line.input, "expected": line.expected, "tags": {"channel": "mail"}} for number in range(1)]
    write_domain(engine.workspace, "tickets", domain_file(), train=rows(0, 160), evaluation=evaluation)
    with pytest.raises(StateConflict) as caught:
        engine.decide_scenario("tickets", [line.proposal], "accept", by="Ada")
    assert "copy0" not in json.dumps(caught.value.as_record())


def test_an_accepted_scenario_near_a_later_held_out_item_is_set_aside(engine: Engine) -> None:
    line = engine.propose_scenario("tickets", count=1).proposals[0]
    engine.decide_scenario("tickets", [line.proposal], "accept", by="Ada")
    domain = domain_file()
    for seed in range(20, 60):
        domain["data"]["splits"]["seed"] = seed
        write_domain(engine.workspace, "tickets", domain, train=rows(0, 160), evaluation=rows(1000, 240))
        compiled = suite(engine)
        parent = next(scenario for scenario in compiled.scenarios if scenario.id == line.parent)
        assert compiled.manifest.expansion == (parent.split == "core") == 1 - compiled.manifest.expansion_set_aside
        if parent.split != "core":
            return
    raise AssertionError("no seed moves the parent")


def test_no_answer_holds_an_item_that_is_kept_back(engine: Engine) -> None:
    kept_back = suite(engine).of_split("held_out", "reserve")
    said = ""
    for _ in range(3):
        page = engine.propose_scenario("tickets", count=20)
        said += page.model_dump_json()
    decided = engine.decide_scenario("tickets", [line.proposal for line in page.proposals][:20], "accept", by="Ada") if page.proposals else None
    said += engine.list_proposals("tickets").model_dump_json() + (decided.model_dump_json() if decided else "")
    assert not [scenario.id for scenario in kept_back if f'"{scenario.id}"' in said or scenario.input["message"] in said]


def test_unknown_patterns_proposals_and_unmeasured_clusters_are_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such failure pattern"):
        engine.propose_scenario("tickets", "wrong_label:a->b")
    with pytest.raises(NotFound, match="no proposal"):
        engine.decide_scenario("tickets", ["x-ffffffffffffffff"], "accept", by="Ada")
    fresh = Engine.open(make_workspace(tmp_path / "fresh"))
    try:
        with pytest.raises(NotFound, match="has not been measured"):
            fresh.propose_scenario("tickets")
    finally:
        fresh.close()


@pytest.mark.processes
def test_a_teacher_found_usable_rewords_training_rows_and_an_accepted_rewording_takes_its_row_out_of_the_pool(tmp_path: Path) -> None:
    teacher = Rewording()
    with anthropic_endpoint(teacher) as (profile, _):
        engine = Engine.open(workspace_of_a_teacher(tmp_path, profile))
        try:
            run = finish(engine, engine.iterate("tickets").id, seconds=300)
            assert run.state == "succeeded", run.error
            unasked = engine.list_proposals("tickets").proposals
            assert not [line for line in unasked if line.origin.startswith("teacher:")]
            assert "Drafts come from transformations alone" in engine.propose_scenario("tickets", count=1).summary

            taught = finish(engine, engine.evaluate("tickets", "teacher:sage").id, seconds=300)
            assert taught.output is not None
            assert taught.output["usable"], taught.output["reason"]
            page = engine.propose_scenario("tickets", count=4, key="k")
            assert len(page.proposals) == 2
            run_id = page.next[-1].arguments["run_id"]
            assert engine.propose_scenario("tickets", count=4, key="k").next[-1].arguments["run_id"] == run_id
            drafting = finish(engine, run_id, seconds=300)
            assert drafting.state == "succeeded", drafting.error
            assert "2 drafts wait for a decision" in engine.run_status(run_id).summary
            drafts = [proposal.draft for proposal in records.proposals(engine.store, "tickets") if proposal.draft.origin == "teacher:sage"]
            assert len(drafts) == 2

            before = suite(engine)
            engine.decide_scenario("tickets", [drafts[0].id], "accept", by="Ada")
            after = suite(engine)
            assert {row.id for row in before.pool} - {row.id for row in after.pool} == {drafts[0].parent}
            assert (after.manifest.expansion, after.manifest.pool_set_aside) == (1, 1)
            engine.decide_scenario("tickets", [drafts[1].id], "accept", by="Ada")
            engine.decide_scenario("tickets", [draft.id for draft in drafts], "decline", by="Ada")
            assert suite(engine).suite_digest == before.suite_digest
            assert len(suite(engine).pool) == len(before.pool)
            assert {rate.origin: rate.declined for rate in engine.list_proposals("tickets").origins}["teacher:sage"] == 2

            again = finish(engine, engine.iterate("tickets", max_iterations=1).id, seconds=300)
            assert again.state == "succeeded", again.error
            assert any(note.startswith("Teacher sage reworded 6 training rows") for note in again.output["notes"])
            staged = [proposal.draft.origin for proposal in records.proposals(engine.store, "tickets", ("staged",))]
            assert staged.count("teacher:sage") == LOOP_DRAFTS // 2

            # One that fails costs the run nothing, and the run says so.
            teacher.refuses = True
            without = finish(engine, engine.iterate("tickets", max_iterations=1).id, seconds=300)
            assert without.state == "succeeded", without.error
            assert any(note.startswith("The teacher that was asked for new scenarios gave none") for note in without.output["notes"])
        finally:
            engine.close()


def workspace_of_a_teacher(root: Path, profile: EndpointProfile) -> Workspace:
    """A workspace in which training moves nothing, and whose domain names a teacher."""
    workspace = make_workspace(root, profile={"base_skill": 0.5, "trained_skill": 0.5}, max_iterations=2)
    clusters = json.loads(workspace.clusters_file.read_text())
    clusters["models"]["sage"] = profile.model_dump(mode="json")
    workspace.clusters_file.write_text(json.dumps(clusters))
    domain = domain_file(teachers=[{"name": "sage", "max_answers": 40}])
    write_domain(workspace, "tickets", domain, train=rows(0, 160), evaluation=rows(1000, 240))
    return workspace


@pytest.mark.processes
def test_a_loop_that_moves_nothing_stages_drafts_once_and_accepting_them_buys_no_fresh_attempts(tmp_path: Path) -> None:
    engine = Engine.open(make_workspace(tmp_path, profile={"base_skill": 0.5, "trained_skill": 0.5}, max_iterations=2))
    try:
        run = finish(engine, engine.iterate("tickets").id, seconds=120)
        assert run.state == "succeeded", run.error
        waiting = engine.list_proposals("tickets").proposals
        assert 1 <= len(waiting) <= LOOP_DRAFTS
        assert {line.state for line in waiting} == {"staged"}
        before = suite(engine).suite_digest
        engine.decide_scenario("tickets", [line.proposal for line in waiting], "accept", by="Ada")
        assert finish(engine, engine.evaluate("tickets").id).state == "succeeded"
        after = suite(engine).suite_digest
        assert after != before
        assert loop.attempts(engine.store, "tickets", after) == loop.attempts(engine.store, "tickets", before) == 2
    finally:
        engine.close()
