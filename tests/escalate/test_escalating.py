"""From a run that failed to a closed escalation: found by itself once, answered with a typed fix, closed when the failing case passes."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.digests import file_sha256
from engine.base.paths import Workspace
from engine.engine import Engine
from engine.errors import ApprovalNeeded, ArgumentInvalid, NotFound, SignatureRefused, StateConflict
from engine.escalate import folder, records
from engine.escalate.folder import MANIFEST, RECORD, is_whole
from engine.escalate.types import Escalation, FixRequest
from engine.promote.approvals.statement import statement_of
from engine.store.artifacts import Artifacts
from engine.store.events import events_of
from server import fix_approving
from tests.escalate.failed import again, copied, name_approvers, set_budget, set_in_domain
from tests.promote.keys import FileKey, founded_by
from tests.server.daemons import run_cli
from tests.workspaces import finish, make_workspace
from tools import TOOLS
from tools.tool import Tool, call, find_tool

pytestmark = pytest.mark.processes
"""Iterate runs with worker processes."""

PLAN = {"kind": "plan", "domain": "tickets", "setting": "max_rows", "after": 64}
BUDGET = {"kind": "configuration", "file": "clusters.json", "setting": "budgets.default.max_iterations", "after": 2}


class Desk:
    """An engine, and its tools as an agent calls them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.engine = Engine.open(workspace)
        self.engine.escalate_what_failed()

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return call(self.engine, find_tool(TOOLS, name), arguments)

    def only(self) -> Escalation:
        (found,) = records.latest(self.engine.store, closed=True)
        return found

    def resolve(self, action: str, **more: Any) -> dict[str, Any]:
        return self.call("resolve_escalation", escalation=self.only().id, action=action, **more)

    def verified(self) -> dict[str, Any]:
        """Verifies, with the run of the check to its end."""
        page = self.resolve("verify")
        if "run_id" in page:
            finish(self.engine, page["run_id"])
            page = self.resolve("verify")
        return page

    def sign(self, key: FileKey) -> dict[str, Any]:
        request = FixRequest.model_validate(self.call("escalations", escalation=self.only().id)["document"])
        return self.call("approve_fix", escalation=self.only().id, signature=key.sign(statement_of(request)), by="cli")


@pytest.fixture
def desk(failed: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(copied(failed, tmp_path / "w"))
    yield desk
    desk.engine.close()


@pytest.fixture
def governed(desk: Desk, ada: FileKey) -> Desk:
    """With an approver list, and a fix that a person has to approve."""
    name_approvers(desk.workspace, founded_by("ada", ada))
    desk.resolve("propose", change=BUDGET, reason="two rounds are needed", by="agent:mcp")
    return desk


# ---- opening ---------------------------------------------------------------------------------------------------------------------------


def test_a_run_that_failed_is_escalated_once_with_everything_that_is_known(desk: Desk) -> None:
    desk.engine.escalate_what_failed()
    found = desk.only()
    assert (found.state, found.occurrences, found.failure.step, found.failure.code) == ("open", 1, "0.compile", "state_conflict")
    assert found.reproduction == "modelsmith iterate tickets"
    assert (found.check.tool, found.check.expected[0].value) == ("iterate", "succeeded")
    place = desk.workspace.escalation(found.id)
    assert is_whole(place, found)
    assert {each.name for each in found.evidence} == {path.name for path in (place / "evidence").iterdir()} == {"run.json", "worker.log"}
    log = (place / "evidence" / "worker.log").read_text()
    assert "StateConflict" in log
    assert str(desk.workspace.root) not in "".join(path.read_text() for path in place.rglob("*") if path.is_file())
    status = desk.call("fleet_status")
    assert status["open_escalations"] == 1
    assert "1 escalations are open" in status["summary"]
    assert [step["tool"] for step in status["next"]][-1] == "escalations"


def test_what_failed_before_the_daemon_was_killed_is_escalated_by_the_next_start(failed: Path, tmp_path: Path) -> None:
    """The run had ended, and nothing of its escalation was written."""
    desk = Desk(copied(failed, tmp_path / "w"))
    first = desk.only()
    desk.engine.close()
    desk = Desk(desk.workspace)
    assert desk.only() == first, "and by the one after that nothing more"
    desk.engine.close()


@pytest.mark.parametrize("write", range(1, 6))
def test_a_start_that_loses_power_at_any_write_of_the_folder_leaves_it_to_the_next(
    failed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    class PowerCut(BaseException):
        pass

    real, count = folder.write_atomic, iter(range(1, 100))

    def writing(path: Path, data: bytes) -> None:
        if next(count) == write:
            raise PowerCut
        real(path, data)

    workspace = copied(failed, tmp_path / "w")
    engine = Engine.open(workspace)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_atomic", writing)
        with pytest.raises(PowerCut):
            engine.escalate_what_failed()
    engine.close()
    desk = Desk(workspace)
    found = desk.only()
    assert (found.occurrences, is_whole(workspace.escalation(found.id), found)) == (1, True)
    desk.engine.close()


def test_what_cannot_be_looked_into_now_is_tried_again_and_the_rest_does_not_wait(
    failed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine.open(copied(failed, tmp_path / "w"))
    again(engine)
    real, calls = Artifacts.put_directory, iter(range(100))

    def full_at_first(self: Artifacts, path: Path) -> str:
        if next(calls) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, path)

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(Artifacts, "put_directory", full_at_first)
        engine.escalate_what_failed()
        assert [each.occurrences for each in records.latest(engine.store)] == [1]
        engine.escalate_what_failed()
    assert [each.occurrences for each in records.latest(engine.store)] == [2]
    assert caplog.text.count("cannot be looked into") == 1
    assert list(engine.workspace.bundles.glob("*")) == []
    engine.close()


def test_the_same_failure_again_adds_to_its_escalation_and_another_folder_is_not_made(desk: Desk) -> None:
    run_id = again(desk.engine)
    desk.engine.escalate_what_failed()
    found = desk.only()
    assert (found.occurrences, found.latest[-1].source) == (2, run_id)
    assert [path.name for path in desk.workspace.escalations.iterdir()] == [found.id]
    assert json.loads((desk.workspace.escalation(found.id) / RECORD).read_bytes())["occurrences"] == 2


def test_a_folder_that_somebody_edited_or_that_could_not_be_written_is_as_the_store_has_it_after_the_next_start(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    found = desk.only()
    place = desk.workspace.escalation(found.id)
    (place / RECORD).write_text('{"state": "closed"}')
    (place / MANIFEST).unlink()
    (place / MANIFEST).mkdir()
    (place / MANIFEST / "x").touch()
    desk.engine.close()
    with caplog.at_level(logging.ERROR):
        desk.engine = Engine.open(desk.workspace)
        desk.engine.escalate_what_failed()
    assert "cannot be written" in caplog.text
    (place / MANIFEST / "x").unlink()
    (place / MANIFEST).rmdir()
    desk.engine.escalate_what_failed()
    assert is_whole(place, found)


def test_a_pattern_that_training_did_not_move_is_escalated_with_core_examples_and_the_check_that_it_is_gone(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, profile={"base_skill": 0.5, "trained_skill": 0.5}, targets={"score": 0.9}, max_iterations=3)
    engine = Engine.open(workspace)
    try:
        run = finish(engine, engine.iterate("tickets").id)
        assert run.state == "succeeded", run.error
        engine.escalate_what_failed()
        found = records.latest(engine.store)
        assert found
        assert {(each.failure.kind, each.failure.failure_class) for each in found} == {("pattern", "persistent")}
        one = found[0]
        assert [each.comparison for each in one.check.expected] == ["at_least", "lacks"]
        assert call(engine, find_tool(TOOLS, "resolve_escalation"), {"escalation": one.id, "action": "verify"})["unmet"], "it is still there"
        examples = (workspace.escalation(one.id) / "evidence" / "examples.md").read_text()
        assert '"scenario_id"' in examples
        assert examples.startswith("[DATA")
        held_out = {item.scenario_id for item in held_out_items(engine, one)}
        assert held_out
        assert not any(f'"{name}"' in path.read_text() for path in workspace.escalations.rglob("*") if path.is_file() for name in held_out)
    finally:
        engine.close()


def held_out_items(engine: Engine, one: Escalation) -> list[Any]:
    from engine.evaluate import records as measurements

    (row,) = engine.store.read("SELECT output FROM run WHERE id = ?", [one.latest[0].source])
    evaluation_id = json.loads(row[0])["final"]["evaluation_id"]
    return measurements.item_results(engine.store, engine.artifacts, evaluation_id, "held_out")


# ---- the way to the close --------------------------------------------------------------------------------------------------------------


def test_a_fix_that_nobody_has_to_approve_goes_from_a_proposal_to_the_close_when_the_failing_case_passes(desk: Desk) -> None:
    page = desk.resolve("propose", change=PLAN, reason="fewer rows", by="agent:mcp")
    assert page["escalations"][0]["state"] == "proposed"
    with pytest.raises(StateConflict, match=r"train\.max_rows in domains/tickets/domain\.yaml is None, and the fix has 64"):
        desk.resolve("apply")
    with pytest.raises(StateConflict, match="cannot be closed now"):
        desk.resolve("close")
    set_in_domain(desk.workspace, "train", max_rows=64)
    assert desk.resolve("apply")["escalations"][0]["state"] == "applied"
    started = desk.resolve("verify")
    assert started["next"][0] == {"tool": "run_status", "arguments": {"run_id": started["run_id"], "wait_seconds": 50}, "why": started["next"][0]["why"]}
    assert desk.resolve("verify")["run_id"] == started["run_id"], "asked again, it is the same run"
    finish(desk.engine, started["run_id"])
    assert desk.resolve("verify")["escalations"][0]["state"] == "verified"
    assert desk.resolve("close", reason="it runs")["escalations"][0]["state"] == "closed"
    assert desk.call("fleet_status")["open_escalations"] == 0
    told = [event.kind.removeprefix("escalation_") for event in events_of(desk.engine.store, desk.only().id)]
    assert told == ["opened", "proposed", "applied", "verified", "closed"]
    assert is_whole(desk.workspace.escalation(desk.only().id), desk.only())


def test_a_fix_that_does_not_help_is_found_out_by_the_check_and_the_escalation_is_open_again(desk: Desk) -> None:
    desk.resolve("propose", change=PLAN, reason="fewer rows")
    set_in_domain(desk.workspace, "train", max_rows=64)
    desk.resolve("apply")
    (desk.workspace.domain("tickets") / "data" / "train.jsonl").write_text('{"id": "r1"}\n')
    page = desk.verified()
    assert page["escalations"][0]["state"] == "reopened"
    assert page["unmet"]
    assert "fewer rows" in desk.only().tried[-1].what


def test_a_failure_that_mended_itself_is_closed_by_its_check_without_a_fix(desk: Desk) -> None:
    assert desk.verified()["escalations"][0]["state"] == "verified"
    assert desk.resolve("close")["escalations"][0]["state"] == "closed"
    again(desk.engine)
    desk.engine.escalate_what_failed()
    assert desk.only().state == "reopened"


def test_rows_and_scenarios_are_compared_with_what_was_proposed(desk: Desk) -> None:
    path = desk.workspace.domain("tickets") / "data" / "train.jsonl"
    wanted = path.read_text() + "\n"
    target = desk.workspace.root / "wanted"
    target.write_text(wanted)
    change = {"kind": "data", "domain": "tickets", "file": "data/train.jsonl", "sha256": file_sha256(target), "words": "one line more"}
    assert "may be made" in desk.resolve("propose", change=change)["summary"]
    with pytest.raises(StateConflict, match="has the SHA-256"):
        desk.resolve("apply")
    path.write_text(wanted)
    desk.resolve("apply")
    desk.resolve("reopen", reason="something else first")
    desk.resolve("propose", change={"kind": "scenario", "domain": "tickets", "proposals": ["nothing"], "decision": "accepted"})
    with pytest.raises(NotFound, match="no proposal"):
        desk.resolve("apply")


@pytest.mark.parametrize(
    "change",
    [
        BUDGET,
        {"kind": "configuration", "file": "domains/tickets/domain.yaml", "setting": "eval.slices", "after": []},
        {"kind": "configuration", "file": "domains/tickets/domain.yaml", "setting": "contract.system", "after": "x"},
        {"kind": "configuration", "file": "domains/tickets/domain.yaml", "setting": "data.near_duplicate", "after": 1.0},
        {"kind": "data", "domain": "tickets", "file": "data/eval.jsonl", "sha256": "a" * 64, "words": "other labels"},
        {"kind": "taxonomy", "name": "changed-domain", "failure_class": "infrastructure", "answer": "Start it again."},
    ],
)
def test_what_people_decided_is_not_changed_without_a_person(desk: Desk, ada: FileKey, change: dict[str, Any]) -> None:
    with pytest.raises(ApprovalNeeded, match="no approver list is named"):
        desk.resolve("propose", change=change)
    name_approvers(desk.workspace, founded_by("ada", ada))
    page = desk.resolve("propose", change=change)
    assert "a person has to approve it" in page["summary"]
    assert page["how_to_sign"] == f"modelsmith escalation approve {desk.only().id} --key PATH"
    with pytest.raises(ApprovalNeeded, match="none of them has approved it"):
        desk.resolve("apply")


def test_a_person_signs_the_exact_change_and_then_it_is_applied(governed: Desk, ada: FileKey) -> None:
    set_budget(governed.workspace, 2)
    with pytest.raises(ApprovalNeeded):
        governed.resolve("apply")
    page = governed.sign(ada)
    assert (page["escalations"][0]["state"], governed.only().approved_by) == ("approved", ("ada",))
    set_budget(governed.workspace, 3)
    with pytest.raises(StateConflict, match="is 3, and the fix has 2"):
        governed.resolve("apply")
    set_budget(governed.workspace, 2)
    assert governed.resolve("apply")["escalations"][0]["state"] == "applied"


def test_no_attempt_without_the_key_approves_a_fix_and_each_is_in_the_log(governed: Desk, ada: FileKey, mallory: FileKey) -> None:
    found = governed.only()
    assert found.request is not None
    other = found.request.model_copy(update={"change": found.request.change | {"after": 100}})
    attempts = [mallory.sign(statement_of(found.request)), ada.sign(statement_of(other)), ada.sign(statement_of(found.request), "file"), "yes"]
    for attempt in attempts:
        with pytest.raises(SignatureRefused):
            governed.call("approve_fix", escalation=found.id, signature=attempt)
    assert [event.kind for event in events_of(governed.engine.store, found.request.id)].count("approval_refused") == len(attempts)
    assert governed.only().state == "proposed"


def test_a_signature_on_one_proposal_is_worth_nothing_for_another(governed: Desk, ada: FileKey) -> None:
    found = governed.only()
    assert found.request is not None
    signature = ada.sign(statement_of(found.request))
    governed.resolve("reopen", reason="another number")
    governed.resolve("propose", change=BUDGET | {"after": 100})
    with pytest.raises(SignatureRefused, match="over something else"):
        governed.call("approve_fix", escalation=found.id, signature=signature)


def test_an_approver_who_was_removed_since_does_not_let_a_fix_be_applied(governed: Desk, ada: FileKey, mallory: FileKey) -> None:
    governed.sign(ada)
    set_budget(governed.workspace, 2)
    (governed.workspace.root / "approvers.json").unlink()
    name_approvers(governed.workspace, founded_by("mallory", mallory))
    with pytest.raises(StateConflict, match="approver list has changed"):
        governed.resolve("apply")


def test_an_escalation_becomes_a_rule_with_its_own_case_and_the_next_one_is_not_new(desk: Desk, ada: FileKey) -> None:
    name_approvers(desk.workspace, founded_by("ada", ada))
    rule = {"kind": "taxonomy", "name": "changed-domain", "failure_class": "infrastructure", "answer": "Start the run again."}
    with pytest.raises(ArgumentInvalid, match="does not recognise the failure"):
        desk.resolve("propose", change=rule | {"case": desk.only().failure.model_dump(mode="json") | {"code": "other"}})
    desk.resolve("propose", change=rule)
    desk.sign(ada)
    desk.resolve("apply")
    (kept,) = records.rules(desk.engine.store)
    assert (kept.name, kept.case) == ("changed-domain", desk.only().failure)
    clusters = json.loads(desk.workspace.clusters_file.read_text())
    clusters["clusters"]["again"] = clusters["clusters"]["tickets"]
    desk.workspace.clusters_file.write_text(json.dumps(clusters))
    run = desk.engine.iterate("again")
    set_in_domain(desk.workspace, "train", max_rows=100)
    finish(desk.engine, run.id)
    desk.engine.escalate_what_failed()
    (known,) = [each for each in records.latest(desk.engine.store) if each.failure.cluster == "again"]
    assert known.class_guess == "infrastructure"
    assert "the rule changed-domain recognises it" in known.why_unmatched
    assert "Start the run again." in known.question


def test_a_person_reads_the_fix_word_for_word_and_signs_it_on_the_command_line(
    governed: Desk, ada: FileKey, mallory: FileKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InProcess:
        """A caller of the engine at hand, in place of one that goes to the daemon."""

        def __init__(self, _workspace: object) -> None:
            pass

        def call(self, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
            return call(governed.engine, tool, arguments)

    monkeypatch.setattr(fix_approving, "Client", InProcess)
    found = governed.only()
    assert found.request is not None
    refused = run_cli(governed.workspace, "escalation", "approve", found.id, "--key", str(mallory.path), "--json")
    assert (refused.code, refused.json["error"]["details"]["reason"]) == (2, "unknown_key")
    said = run_cli(governed.workspace, "escalation", "approve", found.id, "--key", str(ada.path))
    assert said.code == 0, said.err
    assert statement_of(found.request).decode() in said.err
    assert '"after": 2' in said.err
    assert f"ada approved the fix of {found.id}" in said.out
    again = run_cli(governed.workspace, "escalation", "approve", found.id, "--key", str(ada.path), "--json")
    assert (again.code, again.json["error"]["code"]) == (2, "argument_invalid")


# ---- by hand ---------------------------------------------------------------------------------------------------------------------------


def test_somebody_opens_one_by_hand_with_a_check_and_agents_may_not_let_it_change_anything(desk: Desk) -> None:
    check = {"tool": "fleet_status", "arguments": {}, "expected": [{"path": "runs_total", "comparison": "at_least", "value": 1}]}
    page = desk.call("escalate", problem="The scores look wrong.\nLook at r1. api_key=abc123def", cluster="tickets", check=check, by="Ada")
    name = page["escalations"][0]["escalation"]
    assert page["escalations"][0]["title"] == "The scores look wrong."
    assert "abc123def" not in (desk.workspace.root / page["report"]).read_text()
    assert desk.call("resolve_escalation", escalation=name, action="verify")["escalations"][0]["state"] == "verified"
    for wrong in ({"tool": "cancel", "arguments": {"run_id": "r"}}, {"tool": "resolve_escalation", "arguments": {}}, {"tool": "gone"}, {"tool": "iterate", "arguments": {"x": 1}}):
        with pytest.raises((ArgumentInvalid, NotFound)):
            desk.call("escalate", problem="x", check=wrong | {"expected": check["expected"]})
    with pytest.raises(ArgumentInvalid, match="none is named"):
        desk.call("escalate", problem="x")


def test_a_run_that_is_named_is_the_evidence_and_asked_again_the_check(desk: Desk) -> None:
    run_id = desk.only().latest[0].source
    page = desk.call("escalate", problem="It should not have failed.", run_id=run_id)
    assert page["check"]["tool"] == "iterate"
    assert page["escalations"][0]["cluster"] == "tickets"
    assert (desk.workspace.root / page["report"]).with_name("evidence").is_dir()
