"""Where versions stand in the store: moved once, by whom the table lets, with everything of a transition or nothing of it."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base.clock import hours_after, utc_now
from engine.base.paths import Workspace
from engine.config import PromotionPolicy, Signatures
from engine.errors import ApprovalNeeded, FingerprintMismatch, ModelsmithError, NotFound, RequestSpent, StateConflict
from engine.generate.types import FingerprintReport
from engine.iterate import records as loop
from engine.promote import records
from engine.promote.chains import CHAINS, leaving, onward
from engine.promote.requests import status_of
from engine.promote.types import Drill
from engine.store.events import events_of
from engine.store.rebuild import verify
from engine.store.store import Store
from tests.promote.ledger import (
    BEFORE,
    CLUSTER,
    MATCH,
    STAGES,
    approval,
    ask,
    edge,
    judge,
    move,
    open_promotions,
    passed,
    promoted,
    record_verdict,
    roll_back,
    sign,
    transitions_of,
    wish,
)
from tests.store.owner import Owner

A, B, C, D = "v-aaaaaaaaaaaa", "v-bbbbbbbbbbbb", "v-cccccccccccc", "v-dddddddddddd"
TWO = PromotionPolicy(signatures={"canary": Signatures(approvals=2)})


class Times:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> str:
        return self.now

    def pass_hours(self, hours: float) -> None:
        self.now = hours_after(self.now, hours)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def store(workspace: Workspace, times: Times) -> Iterator[Store]:
    opened = Store.open(workspace, STAGES, times)
    yield opened
    opened.close()


def stands(store: Store, version: str) -> tuple[str, str, int]:
    standing = records.state_of(store, CLUSTER, version)
    return standing.chain, standing.state, standing.revision


def taken(store: Store, version: str) -> list[tuple[str, str]]:
    return [(each.source, each.target) for each in transitions_of(store, version)]


# ---- verdicts --------------------------------------------------------------------------------------------------------------------------


def test_a_verdict_of_the_loop_moves_the_version_within_the_round_s_command(store: Store) -> None:
    assert stands(store, A) == ("", "candidate", 0)
    judge(store, A)
    judge(store, B, accepted=False)
    assert stands(store, A) == ("", "eval-accepted", 1)
    assert stands(store, B) == ("", "rejected", 1)
    ((seq,),) = store.read("SELECT seq FROM command WHERE key = 'iterate-travel/1.record'")
    assert [(each.seq, each.actor) for each in transitions_of(store, A)] == [(seq, "iterate-travel")]


def test_what_the_loop_accepted_once_stays_and_what_it_rejected_may_be_accepted_later(store: Store) -> None:
    for accepted in (True, False):
        judge(store, A, accepted=accepted)
    for accepted in (False, False, True, True):
        judge(store, B, accepted=accepted)
    assert (stands(store, A)[1:], stands(store, B)[1:]) == (("eval-accepted", 1), ("eval-accepted", 2))
    move(store, A, "shadow")
    judge(store, A, accepted=False)
    assert stands(store, A) == ("standard", "shadow", 2)
    move(store, A, "rejected")
    judge(store, A)
    assert stands(store, A) == ("", "eval-accepted", 4)


def test_a_version_stands_in_each_cluster_for_itself(store: Store) -> None:
    judge(store, A)
    judge(store, A, accepted=False, cluster="support")
    assert records.state_of(store, "support", A).state == "rejected"
    assert stands(store, A)[1] == "eval-accepted"


def test_a_ledger_from_before_these_tables_leads_to_the_same_states(workspace: Workspace) -> None:
    store = Store.open(workspace, BEFORE)
    orders = {A: (True, False), B: (False, False, True, True, False), C: (False, False)}
    for version, verdicts in orders.items():
        for accepted in verdicts:
            record_verdict(store, version, accepted)
    store.close()

    later = open_promotions(workspace)
    assert [stands(later, version)[1:] for version in (A, B, C)] == [("eval-accepted", 1), ("eval-accepted", 2), ("rejected", 1)]
    assert taken(later, B) == [("candidate", "rejected"), ("rejected", "eval-accepted")]
    later.close()
    assert verify(workspace, STAGES).differing == ()


# ---- transitions -----------------------------------------------------------------------------------------------------------------------


def test_a_transition_is_a_state_a_row_and_an_event_of_one_command(store: Store) -> None:
    judge(store, A)
    assert move(store, A, "shadow").revision == 2
    row = transitions_of(store, A)[-1]
    event = events_of(store, A)[-1]
    assert (row.source, row.target, row.chain, row.actor, row.request) == ("eval-accepted", "shadow", "standard", "agent:mcp", None)
    assert [check["name"] for check in row.checks] == list(edge("eval-accepted", "shadow").checks)
    assert (event.kind, event.seq, event.actor, event.happened_at) == ("version_moved", row.seq, "agent:mcp", row.moved_at)
    assert event.data == {"cluster": CLUSTER, "chain": "standard", "from": "eval-accepted", "to": "shadow", "request": None}


def test_whoever_has_seen_another_state_is_told_what_stands_and_who_moved_it(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    with pytest.raises(StateConflict, match=r"is shadow in travel by now \(moved by agent:mcp at ") as refusal:
        move(store, A, "shadow", state="eval-accepted", revision=1)
    assert refusal.value.details == {"state": "shadow", "revision": 2}
    with pytest.raises(StateConflict):
        move(store, A, "rejected", revision=1)
    assert stands(store, A)[1:] == ("shadow", 2)


def test_no_command_but_an_approval_takes_a_transition_that_people_sign_or_that_serves(store: Store) -> None:
    """Whatever a caller says of itself: by whom a transition is taken, or on which chain."""
    judge(store, A)
    shadow = move(store, A, "shadow")
    canary = edge("shadow", "canary")
    serving = canary.model_copy(update={"target": "production-accepted", "by": "agent", "approvals": 0})
    for transition in (canary, canary.model_copy(update={"by": "loop"}), canary.model_copy(update={"approvals": 0}), serving):
        with pytest.raises(ApprovalNeeded):
            records.take(store, shadow, transition, chain="standard", actor="agent:mcp", checks=passed(transition))
    assert stands(store, A)[1] == "shadow"


@pytest.mark.parametrize("checks", [[], passed(edge("eval-accepted", "shadow"))[1:], [passed(edge("eval-accepted", "shadow"))[0].model_copy(update={"passed": False})]])
def test_a_gate_that_is_closed_or_was_not_judged_whole_lets_nothing_through(store: Store, checks: list[Any]) -> None:
    standing = judge(store, A)
    with pytest.raises(StateConflict, match="is closed"):
        records.take(store, standing, edge("eval-accepted", "shadow"), chain="standard", actor="agent:mcp", checks=checks)
    assert stands(store, A)[1] == "eval-accepted"


def test_taking_back_needs_nobody_s_signature_from_anywhere(store: Store) -> None:
    promoted(store, A)
    assert records.serving(store) == {CLUSTER: A}
    assert move(store, A, "rolled-back").state == "rolled-back"
    assert records.serving(store) == {}
    move(store, A, "shadow")
    assert move(store, A, "rejected").state == "rejected"


# ---- requests and approvals ------------------------------------------------------------------------------------------------------------


def test_the_last_approval_takes_the_transition_and_uses_the_request(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary")
    assert status_of(*records.stored_request(store, request.id), "", request.created_at) == "waiting"
    assert sign(store, request).state == "canary"
    row = transitions_of(store, A)[-1]
    assert (row.request, row.actor) == (request.id, "Ada")
    stored = records.stored_request(store, request.id).stored
    assert stored.outcome == "used"
    assert stored.approvals == (approval(request),)
    assert [event.kind for event in events_of(store, request.id)] == ["promotion_requested", "promotion_approved"]
    for by in ("Ada", "Bob"):
        with pytest.raises(RequestSpent, match="was used"):
            sign(store, request, by)


def test_asking_again_answers_the_request_that_people_may_be_signing(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    first = ask(store, A, "canary")
    again = ask(store, A, "canary", evidence="f" * 64, proposed_by="cli")
    assert again == first
    assert len(records.requests(store, [CLUSTER], open_only=False, limit=9)) == 1


@pytest.mark.parametrize("change", [{"policy": "q" * 64}, {"approvals": 2}, {"level": "webauthn"}, {"role": "owner"}, {"separate_duties": False}])
def test_a_request_under_other_rules_takes_the_place_of_the_earlier_one(store: Store, change: dict[str, Any]) -> None:
    judge(store, A)
    move(store, A, "shadow")
    first = ask(store, A, "canary")
    second = ask(store, A, "canary", **change)
    assert second.id != first.id
    with pytest.raises(RequestSpent, match="was replaced"):
        sign(store, first)
    assert [each.stored.request.id for each in records.requests(store, [CLUSTER], open_only=True, limit=9)] == [second.id]


def test_a_request_is_over_at_its_time_by_the_clock_of_the_command(store: Store, times: Times) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary", now=times.now)
    times.pass_hours(72)
    with pytest.raises(RequestSpent, match="expired at"):
        sign(store, request)
    assert status_of(*records.stored_request(store, request.id), "", times.now) == "expired"
    later = ask(store, A, "canary", now=times.now)
    assert later.id != request.id
    times.pass_hours(71.9)
    assert sign(store, later).state == "canary"


def test_two_people_sign_where_two_are_asked_for_and_neither_twice(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary", rules=TWO)
    assert sign(store, request).state == "shadow"
    for by, changes in (("Ada", {}), ("Ada", {"key": "SHA256:another"}), ("Bob", {"key": "SHA256:Ada"})):
        with pytest.raises(ApprovalNeeded, match="does not count"):
            sign(store, request, by, **changes)
    assert stands(store, A)[1] == "shadow"
    assert sign(store, request, "Bob").state == "canary"
    assert transitions_of(store, A)[-1].actor == "Ada, Bob"


def test_whoever_asked_does_not_approve_unless_the_policy_says_so(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    own = ask(store, A, "canary", proposed_by="Ada")
    with pytest.raises(ApprovalNeeded, match="whoever asks does not approve"):
        sign(store, own)
    alone = ask(store, A, "canary", proposed_by="Ada", separate_duties=False)
    assert sign(store, alone).state == "canary"


def test_an_approval_of_another_request_or_of_none_moves_nothing(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary")
    with pytest.raises(NotFound, match="no promotion request"):
        sign(store, request.model_copy(update={"id": "promote-1121-00000000"}))
    sign(store, request)
    later = ask(store, A, "production-accepted")
    with pytest.raises(RequestSpent):
        records.approve(store, approval(later).model_copy(update={"request": request.id}), (), by="cli")
    assert stands(store, A)[1] == "canary"


def test_a_request_is_overtaken_by_whoever_moves_the_version(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary")
    move(store, A, "rejected")
    judge(store, A)
    move(store, A, "shadow")
    with pytest.raises(StateConflict, match="is shadow in travel by now"):  # the same state again, but not as it was signed for
        sign(store, request)
    assert status_of(*records.stored_request(store, request.id), "", utc_now()) == "overtaken"


def test_a_gate_that_closed_meanwhile_stops_the_last_approval(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary")
    closed = [check.model_copy(update={"passed": check.name != "freshness"}) for check in passed(edge("shadow", "canary"))]
    with pytest.raises(StateConflict, match="closed: freshness"):
        records.approve(store, approval(request), closed, by="cli")
    assert records.stored_request(store, request.id).stored.approvals == ()


def test_a_refused_signature_is_in_the_log_without_being_kept(store: Store) -> None:
    records.record_refusal(store, "promote-1121-nobody", by="agent:mcp", code="signature_refused", reason="unknown key", signature="secret words")
    (event,) = events_of(store, "promote-1121-nobody")
    assert (event.kind, event.actor, event.reason, event.data["code"]) == ("approval_refused", "agent:mcp", "unknown key", "signature_refused")
    assert "secret words" not in store.workspace.journal.read_text()


# ---- the version that serves -----------------------------------------------------------------------------------------------------------


def test_a_version_that_takes_over_moves_the_older_one_out_of_service_in_the_same_command(store: Store) -> None:
    promoted(store, A)
    assert promoted(store, B).state == "production-accepted"
    assert records.serving(store) == {CLUSTER: B}
    assert stands(store, A)[1] == "deprecated"
    out, into = transitions_of(store, A)[-1], transitions_of(store, B)[-1]
    assert (out.seq, out.request) == (into.seq, into.request)
    assert events_of(store, A)[-1].reason == f"{B} takes its place"


def test_a_request_for_the_place_of_a_version_that_serves_no_more_is_refused_with_the_one_that_does(store: Store) -> None:
    for version in (A, B):
        judge(store, version)
        move(store, version, "shadow")
        sign(store, ask(store, version, "canary"))
    first, second = ask(store, A, "production-accepted"), ask(store, B, "production-accepted")
    sign(store, first)
    with pytest.raises(StateConflict, match=f"{A} serves travel by now; this was asked when no version did"):
        sign(store, second)
    again = ask(store, B, "production-accepted")
    assert again.replaces == A
    assert sign(store, again).state == "production-accepted"
    assert records.serving(store) == {CLUSTER: B}


# ---- rolling back ----------------------------------------------------------------------------------------------------------------------


def test_a_rollback_gives_the_place_back_to_the_version_before_in_one_command(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    assert [each.version for each in records.served_before(store, CLUSTER)] == [A]
    assert roll_back(store, A).state == "production-accepted"
    assert records.serving(store) == {CLUSTER: A}
    assert stands(store, B)[1] == "rolled-back"
    into, away = transitions_of(store, A)[-1], transitions_of(store, B)[-1]
    assert (into.seq, into.request, into.actor) == (away.seq, None, "agent:mcp")
    event = events_of(store, CLUSTER)[-1]
    assert (event.kind, event.seq, event.reason) == ("serving_rolled_back", into.seq, "it drifted")
    assert (event.data["from"], event.data["to"], event.data["proof"]["verdict"]) == (B, A, "match")
    assert records.served_before(store, CLUSTER) == []
    assert records.serving_since(store, CLUSTER, A) == into.moved_at


def test_with_the_version_that_serves_the_loop_s_incumbent_changes_and_says_why(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    assert loop.cluster_state(store, CLUSTER).incumbent == B
    roll_back(store, A, drill=True)
    roll_back(store, B, drill=True)
    assert loop.cluster_state(store, CLUSTER).because == "", "a drill takes nothing back"
    roll_back(store, A)
    state, event = loop.cluster_state(store, CLUSTER), events_of(store, CLUSTER)[-2]
    assert (state.incumbent, state.incumbent_evaluation) == (A, "evaluate-1")
    assert state.because == f"The loop goes on from {A}, which serves: {B} is rolled-back since {event.happened_at}."
    assert (event.kind, event.actor, event.reason, event.data) == ("incumbent_changed", "agent:mcp", state.because, {"from": B, "to": A})
    judge(store, C, accepted=False)
    assert loop.cluster_state(store, CLUSTER).because == state.because, "until a round accepts another"
    judge(store, C)
    assert (loop.cluster_state(store, CLUSTER).incumbent, loop.cluster_state(store, CLUSTER).because) == (C, "")


def test_a_version_that_is_let_serve_again_becomes_the_incumbent_again(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    roll_back(store, A)
    move(store, B, "shadow")
    sign(store, ask(store, B, "canary"))
    assert loop.cluster_state(store, CLUSTER).incumbent == A
    sign(store, ask(store, B, "production-accepted"))
    state = loop.cluster_state(store, CLUSTER)
    assert (state.incumbent, state.because.partition(":")[0]) == (B, f"The loop goes on from {B}, which serves")


def test_what_is_taken_back_before_it_serves_leaves_the_loop_the_newest_version_that_is_left(store: Store) -> None:
    promoted(store, A)
    for version in (B, C):
        judge(store, version)
    move(store, C, "shadow")
    sign(store, ask(store, C, "canary"))
    move(store, A, "rolled-back")
    assert loop.cluster_state(store, CLUSTER).incumbent == C, "another version than the incumbent was taken back"
    for version, target, left in ((C, "rolled-back", B), (B, "rejected", "base")):
        move(store, version, target)
        assert loop.cluster_state(store, CLUSTER).incumbent == left
    assert loop.cluster_state(store, CLUSTER).incumbent_evaluation is None
    assert f"no accepted version is left: {B} is rejected since" in loop.cluster_state(store, CLUSTER).because


def test_of_drills_the_newest_counts_in_which_both_versions_were_proved(store: Store) -> None:
    drills = [DRILL.model_copy(update={"seconds": seconds, "proved": proved}) for seconds, proved in ((1.0, True), (2.0, True), (3.0, False))]
    assert records.last_drill(store, CLUSTER) is None
    for drill in drills:
        records.record_drill(store, CLUSTER, drill, actor="ada", reason="drill")
    assert records.last_drill(store, CLUSTER) == drills[1]
    assert records.last_drill(store, "other") is None


def test_after_a_drill_the_version_may_come_back_and_after_a_rollback_it_takes_signatures(store: Store) -> None:
    for version in (A, B, C):
        promoted(store, version)
    assert [each.version for each in records.served_before(store, CLUSTER)] == [B, A]
    roll_back(store, A, drill=True)
    assert [each.version for each in records.served_before(store, CLUSTER)] == [C, B]
    assert roll_back(store, C, drill=True).state == "production-accepted"
    roll_back(store, B)
    with pytest.raises(StateConflict, match="is rolled-back in travel by now"):
        roll_back(store, C)
    assert records.serving(store) == {CLUSTER: B}


def test_what_never_served_is_not_rolled_back_to_from_any_state_it_can_stand_in(store: Store) -> None:
    promoted(store, B)
    judge(store, A)
    steps = [lambda: move(store, A, "shadow"), lambda: sign(store, ask(store, A, "canary")), lambda: move(store, A, "rolled-back")]
    for step in (lambda: None, *steps):
        step()
        with pytest.raises(StateConflict):
            roll_back(store, A)
        with pytest.raises(StateConflict):
            roll_back(store, A, state="deprecated")
    assert records.serving(store) == {CLUSTER: B}


def test_a_version_that_was_only_said_to_have_served_is_not_rolled_back_to(store: Store) -> None:
    """Whatever a caller inside the engine says of an edge into `deprecated`, nobody signed for this version."""
    standing = judge(store, A)
    made_up = edge("eval-accepted", "shadow").model_copy(update={"target": "deprecated", "checks": ()})
    records.take(store, standing, made_up, chain="standard", actor="agent:mcp")
    with pytest.raises(ApprovalNeeded, match="nobody has signed for"):
        roll_back(store, A)
    assert records.serving(store) == {}


def test_weights_that_were_not_proved_are_not_rolled_back_to(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    for verdict in ("mismatch", "unproved"):
        with pytest.raises(FingerprintMismatch):
            roll_back(store, A, proof=FingerprintReport(verdict=verdict))  # type: ignore[arg-type]
    assert records.serving(store) == {CLUSTER: B}


def test_what_was_taken_out_of_service_by_itself_leaves_the_place_to_the_version_before(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    move(store, B, "rolled-back")
    with pytest.raises(StateConflict, match="no version serves travel by now"):
        roll_back(store, A, replaces=B)
    assert roll_back(store, A).state == "production-accepted"
    assert records.serving(store) == {CLUSTER: A}


def test_of_a_rollback_and_a_last_signature_at_once_one_wins(store: Store) -> None:
    promoted(store, A)
    promoted(store, B)
    judge(store, C)
    move(store, C, "shadow")
    sign(store, ask(store, C, "canary"))
    request = ask(store, C, "production-accepted")
    target = records.state_of(store, CLUSTER, A)

    def back() -> Any:
        return records.roll_back(store, B, target, MATCH, drill=False, actor="agent:mcp", reason="")

    outcomes = race(lambda: sign(store, request), back, back)
    winners = [each for each in outcomes if not isinstance(each, ModelsmithError)]
    assert len(winners) == 1
    assert records.serving(store) == {CLUSTER: winners[0].version}
    assert all(isinstance(each, StateConflict) for each in outcomes if each is not winners[0])


# ---- races and crashes -----------------------------------------------------------------------------------------------------------------


def race(*acts: Callable[[], Any]) -> list[Any]:
    """What each of these comes to, started at one moment: its answer, or its error."""
    together, outcomes = threading.Barrier(len(acts)), [None] * len(acts)

    def run(number: int, act: Callable[[], Any]) -> None:
        together.wait()
        try:
            outcomes[number] = act()
        except ModelsmithError as error:
            outcomes[number] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_agents_that_promote_one_version_at_once_one_wins_and_the_others_are_told(store: Store) -> None:
    standing = judge(store, A)
    transition = edge("eval-accepted", "shadow")

    def act() -> Any:
        return records.take(store, standing, transition, chain="standard", actor="agent:mcp", checks=passed(transition))

    outcomes = race(*[act] * 8)
    refused = [each for each in outcomes if isinstance(each, StateConflict)]
    assert len(refused) == 7
    assert all("is shadow in travel by now" in each.message for each in refused)
    assert taken(store, A) == [("candidate", "eval-accepted"), ("eval-accepted", "shadow")]


def test_of_versions_whose_last_signature_comes_at_once_one_serves(store: Store) -> None:
    names = [f"v-{letter * 12}" for letter in "abcdef"]
    wanted = []
    for version in names:
        judge(store, version)
        move(store, version, "shadow")
        sign(store, ask(store, version, "canary"))
        wanted.append(ask(store, version, "production-accepted"))
    outcomes = race(*[lambda request=request: sign(store, request) for request in wanted])
    winners = [each for each in outcomes if not isinstance(each, ModelsmithError)]
    assert len(winners) == 1
    assert records.serving(store) == {CLUSTER: winners[0].version}
    assert all(isinstance(each, StateConflict) and f"{winners[0].version} serves" in each.message for each in outcomes if each is not winners[0])


def test_of_an_approval_and_a_step_back_at_once_one_is_taken(store: Store) -> None:
    judge(store, A)
    move(store, A, "shadow")
    request = ask(store, A, "canary")
    standing, back = records.state_of(store, CLUSTER, A), edge("shadow", "rejected")
    outcomes = race(lambda: sign(store, request), lambda: records.take(store, standing, back, chain="standard", actor="Ada"))
    assert sum(isinstance(each, StateConflict) for each in outcomes) == 1
    assert len(taken(store, A)) == 3


def _prepare(store: Store) -> dict[str, tuple[str, dict[str, Any]]]:
    """Commands of each kind, ready to be sent to a store that is killed over them."""
    promoted(store, D)
    promoted(store, A)
    judge(store, B)
    move(store, B, "shadow")
    sign(store, ask(store, B, "canary"))
    last = ask(store, B, "production-accepted")
    judge(store, C)
    standing, transition = records.state_of(store, CLUSTER, C), edge("eval-accepted", "shadow")
    checks = [check.model_dump(mode="json") for check in passed(edge("shadow", "canary"))]
    back, wanted = edge("canary", "rolled-back"), wish(store, B, "production-accepted", policy="q" * 64)
    return {
        "take": (
            "take_transition",
            {
                "cluster": CLUSTER, "version": C, "revision": standing.revision, "chain": "standard", "actor": "agent:mcp", "reason": "",
                "transition": transition.model_dump(mode="json"), "checks": checks,
            },
        ),
        "back": (
            "take_transition",
            {
                "cluster": CLUSTER, "version": B, "revision": 3, "chain": "standard", "actor": "agent:mcp", "reason": "",
                "transition": back.model_dump(mode="json"), "checks": [],
            },
        ),
        "ask": (
            "request_promotion",
            {"wanted": wanted.model_dump(mode="json"), "transition": edge("canary", "production-accepted").model_dump(mode="json"), "checks": checks},
        ),
        "roll back": (
            "roll_back",
            {
                "cluster": CLUSTER, "version": D, "revision": records.state_of(store, CLUSTER, D).revision, "replaces": A,
                "proof": MATCH.model_dump(mode="json"), "drill": False, "actor": "agent:mcp", "reason": "it drifted",
            },
        ),
        "sign": ("approve_promotion", {"approval": approval(last).model_dump(mode="json"), "checks": checks, "by": "cli"}),
    }  # fmt: skip


@pytest.mark.parametrize("fault", ["before_journal", "after_journal"])
@pytest.mark.parametrize("kind", ["take", "back", "ask", "sign", "roll back"])
def test_a_process_killed_over_a_promotion_leaves_the_state_before_or_after_it(workspace: Workspace, kind: str, fault: str) -> None:
    store = open_promotions(workspace)
    op, arguments = _prepare(store)[kind]
    before = tables(store)
    store.close()

    owner = Owner(workspace, fault, open_promotions)
    with pytest.raises(ConnectionError):
        owner.ask(op, arguments, "k")
    owner.kill()

    store = open_promotions(workspace)
    after = tables(store)
    check_whole(store)
    assert (after == before) == (fault == "before_journal")
    store.submit(op, arguments, key="k")
    check_whole(store)
    asked_again = tables(store)
    store.submit(op, arguments, key="k")
    assert tables(store) == asked_again
    assert (asked_again == after) == (fault == "after_journal")
    store.close()
    assert verify(workspace, STAGES).differing == ()


DRILL = Drill(serving=B, to=A, seconds=2.3, back_seconds=0.9, warm=True, proved=True, drilled_at="2026-11-21T12:00:00.000Z")

STEPS = st.tuples(
    st.sampled_from([A, B, C]),
    st.sampled_from(["accept", "reject", "onward", "back", "sign", "sign as Bob", "wait", "roll back", "drill"]),
)


@settings(max_examples=12)
@given(st.lists(STEPS, min_size=20, max_size=60))
def test_no_order_of_commands_serves_unsigned_or_leaves_anything_half_done(steps: list[tuple[str, str]]) -> None:
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        store = Store.open(workspace, STAGES, times)
        for version, act in steps:
            with contextlib.suppress(StateConflict, ApprovalNeeded, RequestSpent):
                act_once(store, times, version, act)
        check_whole(store)
        store.close()
        assert verify(workspace, STAGES).differing == ()


def act_once(store: Store, times: Times, version: str, act: str) -> None:
    """One thing that the loop, an agent or a person may try, wherever the version stands."""
    standing = records.state_of(store, CLUSTER, version)
    chain = CHAINS["standard"]
    if act in ("accept", "reject"):
        judge(store, version, accepted=act == "accept")
    elif act in ("roll back", "drill"):
        roll_back(store, version, drill=act == "drill")
        records.record_drill(store, CLUSTER, DRILL, actor="ada", reason="drill")
    elif act == "wait":
        times.pass_hours(30)
    elif act == "back":
        away = [each.target for each in leaving(chain, standing.state) if each.by == "agent" and not each.checks]
        move(store, version, away[0] if away else "rejected")
    elif act == "onward":
        step = onward(chain, standing.state)
        if step is not None and step.by == "human":
            ask(store, version, step.target, now=times.now, rules=TWO)
        elif step is not None:
            move(store, version, step.target)
    else:
        for stored, _ in records.requests(store, [CLUSTER], open_only=False, limit=3):
            sign(store, stored.request, "Bob" if act.endswith("Bob") else "Ada")


TABLES = ("version_state", "promotion_request", "approval", "transition", "drill", "cluster_state", "event")


def tables(store: Store) -> dict[str, list[Any]]:
    return {name: store.read(f"SELECT * FROM {name} ORDER BY ALL") for name in TABLES}


def check_whole(store: Store) -> None:
    """What holds after every command, whatever came before."""
    for cluster, version, state, revision in store.read("SELECT cluster, version, state, revision FROM version_state"):
        rows = transitions_of(store, version, cluster)
        assert len(rows) == revision
        assert rows[-1].target == state
        assert [row.source for row in rows] == ["candidate", *(row.target for row in rows[:-1])]
        moved = [event for event in events_of(store, version) if event.kind == "version_moved" and event.data["cluster"] == cluster]
        assert [event.seq for event in moved] == [row.seq for row in rows if row.chain]
        for number, row in enumerate(rows):
            if row.source == "deprecated":
                assert any(each.target == "production-accepted" and each.request for each in rows[:number])
            elif row.target in ("canary", "production-accepted"):
                assert row.request is not None
                stored = records.stored_request(store, row.request).stored
                assert stored.outcome == "used"
                assert len({each.key for each in stored.approvals}) >= stored.request.approvals
    assert store.read("SELECT cluster FROM version_state WHERE serves GROUP BY cluster HAVING count(*) > 1") == []
    assert store.read("SELECT version FROM version_state WHERE serves <> (state = 'production-accepted')") == []
    used = store.read("SELECT request FROM transition WHERE request IS NOT NULL AND target <> 'deprecated' GROUP BY request HAVING count(*) > 1")
    assert used == []
