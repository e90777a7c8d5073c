"""Promotion through the engine: an accepted version as far as an agent may bring it, then as far as people sign, and back at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.base.paths import Workspace
from engine.engine import Engine, stage_tables
from engine.errors import ApprovalNeeded, BadInput, NotFound, RequestSpent, StateConflict
from engine.iterate.types import IterateOutput
from engine.promote import records
from engine.promote.types import PromotionRequest
from engine.store.events import events_of
from engine.store.rebuild import verify
from engine.views import PromotionPage
from tests.promote.accepted import at_once, configure, copied
from tests.promote.ledger import transitions_of
from tests.promote.notary import Clerk, Notary
from tests.workspaces import finish

pytestmark = pytest.mark.processes
"""An iterate run with worker processes, copied for each test."""

AGENT = "agent:mcp"


class Desk:
    """An engine with people who can sign."""

    def __init__(self, workspace: Workspace) -> None:
        self.notary, self.clerk = Notary(), Clerk()
        self.engine = Engine.open(workspace, signing=self.notary, evidence=self.clerk)
        self.version = self.engine.fleet_status().clusters[0].incumbent

    def promote(self, to: str | None = None, **how: Any) -> PromotionPage:
        return self.engine.promote("tickets", to=to, by=AGENT, **how)

    def request(self, page: PromotionPage) -> PromotionRequest:
        assert page.request is not None
        return records.stored_request(self.engine.store, page.request.request).stored.request

    def sign(self, page: PromotionPage, by: str = "Ada", secret: str | None = None) -> PromotionPage:
        request = self.request(page)
        return self.engine.approve_promotion(request.id, self.notary.sign(request, by, secret), by="cli")

    def state(self) -> str:
        return records.state_of(self.engine.store, "tickets", self.version).state

    def log(self, subject: str) -> list[str]:
        return [event.kind for event in events_of(self.engine.store, subject)]


@pytest.fixture
def desk(accepted: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(copied(accepted, tmp_path / "w"))
    yield desk
    with contextlib.suppress(OSError):  # a test closed it
        desk.engine.close()


def change_domain(workspace: Workspace, **blocks: Any) -> None:
    file = workspace.domain("tickets") / "domain.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | blocks, sort_keys=False))


# ---- the way to production -------------------------------------------------------------------------------------------------------------


def test_an_agent_brings_an_accepted_version_into_shadow_and_asks_people_for_the_rest(desk: Desk) -> None:
    first = desk.promote()
    assert (first.version, first.state, first.moved, first.open) == (desk.version, "shadow", True, True)
    assert [call.tool for call in first.next] == ["promote"]

    page = desk.promote()
    assert (page.state, page.target, page.moved, page.open) == ("shadow", "canary", False, True)
    assert {line.check: line.figure is not None for line in page.checks}["incumbent"]
    assert page.statement is not None
    request = desk.request(page)
    assert json.loads(page.statement) == request.model_dump(mode="json")
    assert page.how_to_sign == f"sign {request.id}"
    assert (request.source, request.target, request.proposed_by, request.approvals) == ("shadow", "canary", AGENT, 1)
    assert desk.clerk.made == [desk.version]
    assert request.evidence == desk.clerk.digest_of(1)
    status = desk.engine.fleet_status()
    assert [line.request for line in status.pending_approvals] == [request.id]
    assert "1 promotion requests wait" in status.summary
    assert status.next[-1].tool == "approvals"
    assert desk.engine.approvals(request=request.id).document == request.model_dump(mode="json")


def test_people_bring_it_into_production_and_the_next_version_takes_its_place(desk: Desk) -> None:
    desk.promote()
    canary = desk.sign(desk.promote())
    assert (canary.state, canary.moved) == ("canary", True)
    served = desk.sign(desk.promote())
    assert (served.state, served.moved) == ("production-accepted", True)
    assert served.next == ()
    line = desk.engine.fleet_status().clusters[0]
    assert line.serving == desk.version
    assert desk.engine.fleet_status().pending_approvals == ()
    with pytest.raises(StateConflict, match="nothing leads on") as refusal:
        desk.promote()
    assert "rolled-back" in refusal.value.next_step
    taken = [(each.target, each.actor) for each in transitions_of(desk.engine.store, desk.version, "tickets")][1:]
    assert taken == [("shadow", AGENT), ("canary", "Ada"), ("production-accepted", "Ada")]
    assert desk.promote("rolled-back", reason="drifted").state == "rolled-back"
    assert desk.engine.fleet_status().clusters[0].serving == ""
    assert events_of(desk.engine.store, desk.version)[-1].reason == "drifted"


def test_after_it_is_rolled_back_the_loop_begins_with_what_is_left_and_does_not_bring_the_same_weights_back(desk: Desk) -> None:
    desk.promote()
    for _ in range(2):
        desk.sign(desk.promote())
    desk.promote("rolled-back", reason="drifted")
    since = transitions_of(desk.engine.store, desk.version, "tickets")[-1].moved_at
    because = f"The loop goes on from base, for no accepted version is left: {desk.version} is rolled-back since {since}."
    with pytest.raises(StateConflict, match="for no accepted version is left"):
        desk.promote()
    run = finish(desk.engine, desk.engine.iterate("tickets").id)
    output = IterateOutput.model_validate(run.output)
    (row,) = output.iterations
    assert (row.incumbent, row.challenger) == ("base", desk.version), "the same rows and settings make the same weights"
    assert (row.plan.reasons[0], output.notes[0]) == (because, because)
    assert row.decision.verdict == "roll_back"
    assert [clause.name for clause in row.decision.clauses if not clause.passed] == ["rolled_back"]
    assert desk.engine.fleet_status().clusters[0].incumbent == "base"
    assert desk.state() == "rolled-back"


def test_a_cluster_on_the_customer_s_chain_goes_its_way(desk: Desk) -> None:
    configure(desk.engine.workspace, chain="customer")
    finish(desk.engine, desk.engine.export("tickets").id)
    assert desk.promote().state == "artifact-exported"
    assert desk.sign(desk.promote()).state == "customer-deployed"
    assert desk.sign(desk.promote()).state == "production-validated"
    assert desk.engine.fleet_status().clusters[0].serving == desk.version


def test_a_promotion_is_the_same_in_a_database_that_is_made_again(desk: Desk) -> None:
    desk.promote()
    desk.sign(desk.promote())
    with pytest.raises(BadInput):
        desk.sign(desk.promote(), secret="guessed")
    desk.engine.close()
    differing = set(verify(desk.engine.workspace, stage_tables(desk.engine.workspace)).differing)
    assert differing <= {"progress", "spool"}  # the run's folders were not copied


# ---- closed gates ----------------------------------------------------------------------------------------------------------------------


def test_a_closed_gate_says_which_check_its_figure_its_limit_and_what_opens_it(desk: Desk) -> None:
    configure(desk.engine.workspace, policy={"evidence_days": 1e-9})
    page = desk.promote()
    assert (page.moved, page.open, page.state) == (False, False, "eval-accepted")
    line = page.checks[0]
    assert (line.check, line.passed, line.limit) == ("freshness", False, 1e-9)
    assert line.figure is not None
    assert line.opens == f"evaluate(cluster='tickets', subject='{desk.version}')"
    assert page.next[0].arguments == {"cluster": "tickets", "subject": desk.version}
    assert desk.state() == "eval-accepted"
    assert desk.clerk.made == []


def test_a_rubric_that_changed_since_the_verdict_closes_the_gate(desk: Desk) -> None:
    change_domain(desk.engine.workspace, eval={"checks": [{"kind": "exact"}], "floor": ["majority"]})
    closed = {line.check for line in desk.promote().checks if not line.passed}
    assert closed == {"floor", "incumbent", "safety_nets", "freshness"}


def test_a_gate_that_closed_after_the_request_stops_the_signature(desk: Desk) -> None:
    desk.promote()
    page = desk.promote()
    change_domain(desk.engine.workspace, eval={"checks": [{"kind": "exact"}], "floor": ["majority"]})
    with pytest.raises(StateConflict, match="closed: floor, incumbent, safety_nets, freshness"):
        desk.sign(page)
    assert desk.state() == "shadow"
    assert desk.log(desk.request(page).id)[-1] == "approval_refused"


# ---- what is refused -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "said", "allowed"),
    [
        ("production-accepted", "nothing leads from eval-accepted to production-accepted", "shadow"),
        ("canary", "nothing leads from eval-accepted to canary", "shadow"),
        ("eval-accepted", "it is eval-accepted already", "shadow"),
        ("live", "has no state 'live'", "shadow"),
        ("artifact-exported", "has no state 'artifact-exported'", "shadow"),
    ],
)
def test_a_way_that_is_not_in_the_table_is_refused_with_what_is(desk: Desk, to: str, said: str, allowed: str) -> None:
    with pytest.raises(StateConflict, match=said) as refusal:
        desk.promote(to)
    assert allowed in refusal.value.next_step


def test_what_nobody_accepted_or_another_cluster_made_is_not_promoted(desk: Desk) -> None:
    with pytest.raises(StateConflict, match="no version of other has been accepted yet"):
        desk.engine.promote("other", by=AGENT)
    with pytest.raises(NotFound, match="other has not judged it"):
        desk.engine.promote("other", desk.version, by=AGENT)
    with pytest.raises(NotFound, match="there is no version"):
        desk.engine.promote("tickets", "v-000000000000", by=AGENT)
    with pytest.raises(NotFound, match="there is no cluster"):
        desk.engine.promote("nope", by=AGENT)


def test_where_no_approver_list_is_named_nothing_that_people_sign_is_asked_for(desk: Desk) -> None:
    desk.promote()
    desk.engine.close()
    engine = Engine.open(desk.engine.workspace)
    try:
        for _ in range(2):
            with pytest.raises(ApprovalNeeded, match="no approver list is named"):
                engine.promote("tickets", by="Ada")
        assert engine.approvals(waiting=False).requests == ()
        assert engine.promote("tickets", to="rejected", by=AGENT).moved
    finally:
        engine.close()


def test_asking_again_answers_the_same_request_and_makes_no_other_evidence(desk: Desk) -> None:
    desk.promote()
    first, again = desk.promote(), desk.promote()
    assert again.request == first.request
    assert again.statement == first.statement
    assert len(desk.clerk.made) == 1


def test_a_signature_that_does_not_verify_moves_nothing_and_is_in_the_log(desk: Desk) -> None:
    desk.promote()
    page = desk.promote()
    request = desk.request(page)
    for attempt in (desk.notary.sign(request, "Ada", "guessed"), desk.notary.sign(request, "Eve", "e"), "nonsense", "\x1b[2K" * 40):
        with pytest.raises(BadInput, match="does not verify"):
            desk.engine.approve_promotion(request.id, attempt, by=AGENT)
    with pytest.raises(NotFound, match="no promotion request"):
        desk.engine.approve_promotion("promote-1121-00000000", "nonsense", by=AGENT)
    assert desk.state() == "shadow"
    assert desk.log(request.id) == ["promotion_requested", *["approval_refused"] * 4]
    refused = events_of(desk.engine.store, request.id)[1]
    assert (refused.actor, refused.data["code"]) == (AGENT, "bad_input")
    assert desk.log("promote-1121-00000000") == ["approval_refused"]


def test_a_signature_is_worth_nothing_for_another_request_or_a_second_time(desk: Desk) -> None:
    desk.promote()
    canary = desk.promote()
    signature = desk.notary.sign(desk.request(canary), "Ada")
    desk.sign(canary)
    production = desk.promote()
    with pytest.raises(BadInput, match="does not verify"):
        desk.engine.approve_promotion(desk.request(production).id, signature, by=AGENT)
    with pytest.raises(RequestSpent, match="was used"):
        desk.sign(canary)
    assert desk.state() == "canary"


@pytest.mark.parametrize("change", ["policy", "chain", "list"])
def test_a_request_made_under_other_rules_than_the_present_ones_is_not_signed(desk: Desk, change: str) -> None:
    desk.promote()
    page = desk.promote()
    if change == "policy":
        configure(desk.engine.workspace, policy={"signatures": {"canary": {"approvals": 2}}})
    elif change == "chain":
        configure(desk.engine.workspace, chain="customer")
    else:
        desk.notary.list_of.append("Eve")
    with pytest.raises(StateConflict, match=r"has changed since|has chosen customer since"):
        desk.sign(page)
    assert desk.state() == "shadow"
    assert desk.log(desk.request(page).id)[-1] == "approval_refused"
    if change != "chain":
        assert desk.request(desk.promote()).id != desk.request(page).id


def test_a_version_on_a_chain_that_was_left_goes_back_and_not_on(desk: Desk) -> None:
    desk.promote()
    configure(desk.engine.workspace, chain="customer")
    with pytest.raises(StateConflict, match="came to shadow on the chain standard"):
        desk.promote()
    assert desk.promote("rejected").state == "rejected"


def test_two_people_sign_where_the_policy_asks_for_two(desk: Desk) -> None:
    configure(desk.engine.workspace, policy={"signatures": {"canary": {"approvals": 2, "role": "owner"}}})
    desk.promote()
    page = desk.promote()
    assert page.request is not None
    assert page.request.needs == "2 people with the role owner, ssh or stronger"
    first = desk.sign(page)
    assert (first.moved, first.state) == (False, "shadow")
    assert first.request is not None
    assert first.request.signed_by == ("Ada",)
    with pytest.raises(ApprovalNeeded, match="Ada has approved already"):
        desk.sign(page)
    assert desk.sign(page, "Bob").state == "canary"


def test_whoever_asks_does_not_approve(desk: Desk) -> None:
    desk.promote()
    page = desk.engine.promote("tickets", by="ada")
    with pytest.raises(ApprovalNeeded, match="whoever asks does not approve"):
        desk.sign(page)
    assert desk.sign(page, "Bob").state == "canary"


def test_a_version_is_taken_back_even_when_its_domain_does_not_load(desk: Desk) -> None:
    desk.promote()
    desk.sign(desk.promote())
    (desk.engine.workspace.domain("tickets") / "domain.yaml").write_text("title: [")
    with pytest.raises(BadInput):
        desk.promote("production-accepted")
    assert desk.promote("rolled-back").state == "rolled-back"


def test_of_two_agents_that_promote_at_once_one_moves_the_version(desk: Desk) -> None:
    assert at_once(lambda: desk.promote("shadow").moved) == ["moved", "state_conflict"]
    assert records.state_of(desk.engine.store, "tickets", desk.version).revision == 2
