"""Escalations in the store: one for each failure, each run looked into once, a bound on how many, and nothing past the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.errors import ApprovalNeeded, NotFound, StateConflict
from engine.escalate import records
from engine.escalate.records import LATEST, MOST_OPEN
from engine.escalate.types import ConfigurationChange, Escalation, Fix, FixRequest
from engine.promote.types import Approval
from engine.store.events import events_of
from engine.store.rebuild import verify
from engine.store.store import Store
from tests.escalate.samples import open_escalations, opened, opening

LETTERS = [f"{one}{other}" for one in "abcdef" for other in "ghijkl"]
"""Names without digits, which would be the same failure."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_escalations(Workspace(tmp_path))
    yield store
    store.close()


def fix(*, governed: bool = False, after: Any = 0.5) -> Fix:
    change = ConfigurationChange(file="clusters.json", setting="clusters.travel.targets.score", after=after)
    return Fix(change=change, governed=governed, digest=digest_of(change.model_dump(mode="json")), proposed_by="agent:mcp", reason="it was too high")


def request(seen: Escalation, of: Fix, **changes: Any) -> FixRequest:
    fields = {
        "id": "fix-1121-a1b2c3d4", "policy": "p", "nonce": "n", "expires_at": "2026-12-01T00:00:00.000Z", "proposed_by": of.proposed_by,
        "created_at": "2026-11-21T00:00:00.000Z", "approvals": 1, "level": "ssh", "role": "approver", "escalation": seen.id,
        "revision": seen.revision + 1, "fix": of.digest, "change": of.change.model_dump(mode="json"),
    }  # fmt: skip
    return FixRequest(**(fields | changes))


def approval(of: FixRequest, by: str = "Ada") -> Approval:
    return Approval(request=of.id, approver=by, role="approver", level="ssh", key=f"SHA256:{by}", signature="s", received_at=of.created_at)


def kinds(store: Store, name: str) -> list[str]:
    return [event.kind for event in events_of(store, name)]


def test_a_failure_that_comes_again_adds_to_its_escalation(store: Store) -> None:
    first = opened(store, "iterate-1121-000001", words="step 3 broke")
    again = opened(store, "iterate-1121-000002", words="step 9 broke")
    assert (again.id, again.occurrences, again.state, again.revision) == (first.id, 2, "open", first.revision)
    assert [each.source for each in again.latest] == ["iterate-1121-000001", "iterate-1121-000002"]
    assert kinds(store, first.id) == ["escalation_opened", "escalation_recurred"]


def test_a_run_is_looked_into_once_however_often_it_is_told(store: Store) -> None:
    names = [records.look_into(store, "iterate-1121-000001", [opening()]) for _ in range(3)]
    assert names[0] == names[1] == names[2]
    assert records.get(store, names[0][0]).occurrences == 1
    assert records.not_looked_into(store, ["iterate-1121-000001", "other"]) == ["other"]


def test_of_many_occurrences_all_are_counted_and_the_last_are_kept(store: Store) -> None:
    for number in range(LATEST + 5):
        seen = opened(store, f"iterate-1121-{number:06d}")
    assert seen.occurrences == LATEST + 5
    assert [each.source for each in seen.latest][-1] == f"iterate-1121-{LATEST + 4:06d}"
    assert len(seen.latest) == LATEST


def test_beyond_the_bound_new_failures_are_counted_in_one_escalation_and_known_ones_in_their_own(store: Store) -> None:
    known = opened(store, "r-known", words=LETTERS[0])
    for number, word in enumerate(LETTERS[1:]):
        records.look_into(store, f"r-{number}", [opening(words=word)])
    found = records.latest(store)
    assert len(found) == records.open_count(store) == MOST_OPEN + 1
    (beyond,) = [each for each in found if each.failure.kind == "overflow"]
    assert beyond.occurrences == len(LETTERS) - MOST_OPEN
    assert beyond.latest[-1].words == "iterate of travel failed in 1.train"
    assert opened(store, "r-again", words=LETTERS[0]).occurrences == known.occurrences + 1


def test_what_was_closed_is_reopened_when_it_comes_again(store: Store) -> None:
    seen = opened(store, "r-1")
    seen = records.take(store, seen, "verify", actor="check", reason="")
    seen = records.take(store, seen, "close", actor="Ada", reason="it is gone")
    assert (seen.state, seen.closed_because, records.open_count(store)) == ("closed", "it is gone", 0)
    again = opened(store, "r-2")
    assert (again.id, again.state, again.closed_because, records.open_count(store)) == (seen.id, "reopened", "", 1)


def test_of_two_proposals_that_race_one_stands_and_the_other_is_told(store: Store) -> None:
    seen = opened(store)
    assert records.propose(store, seen, fix(), None).state == "proposed"
    with pytest.raises(StateConflict, match="is proposed by now"):
        records.propose(store, seen, fix(after=0.4), None)


def test_a_fix_that_did_not_help_stands_among_what_was_tried(store: Store) -> None:
    seen = records.propose(store, opened(store), fix(), None)
    seen = records.take(store, seen, "apply", actor="agent:mcp", reason="")
    seen = records.take(store, seen, "fail", actor="agent:mcp", reason="state is 'failed'")
    assert (seen.state, seen.fix) == ("reopened", None)
    assert "it was too high" in seen.tried[-1].what
    assert seen.tried[-1].result == "state is 'failed'"


def test_nothing_but_an_approval_of_its_own_request_takes_a_governed_fix_to_approved(store: Store) -> None:
    seen, wanted = opened(store), fix(governed=True)
    asked = request(seen, wanted)
    for wrong in (None, request(seen, wanted, revision=seen.revision), request(seen, wanted, fix="another"), request(seen, wanted, escalation="esc-0")):
        with pytest.raises(StateConflict):
            records.propose(store, seen, wanted, wrong)
    seen = records.propose(store, seen, wanted, asked)
    for action in ("apply", "approve", "propose"):
        with pytest.raises((ApprovalNeeded, StateConflict)):
            records.take(store, seen, action, actor="agent:mcp", reason="")
    with pytest.raises(ApprovalNeeded):
        records.approve(store, seen, approval(request(seen, wanted, id="fix-1121-00000000")), "agent:mcp")
    with pytest.raises(ApprovalNeeded, match="whoever asks does not approve"):
        records.approve(store, seen, approval(asked, by="agent:mcp"), "agent:mcp")
    assert records.get(store, seen.id).state == "proposed"
    approved = records.approve(store, seen, approval(asked), "cli")
    assert (approved.state, approved.approved_by) == ("approved", ("Ada",))
    assert records.take(store, approved, "apply", actor="agent:mcp", reason="").state == "applied"


def test_a_recurrence_does_not_overtake_a_request_that_people_are_signing(store: Store) -> None:
    seen, wanted = opened(store, "r-1"), fix(governed=True)
    asked = request(seen, wanted)
    seen = records.propose(store, seen, wanted, asked)
    opened(store, "r-2")
    assert records.approve(store, seen, approval(asked), "cli").state == "approved"


def test_the_store_says_the_same_when_it_is_made_again_from_its_journal(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = open_escalations(workspace)
    seen = records.propose(store, opened(store, "r-1"), fix(), None)
    records.take(store, seen, "apply", actor="agent:mcp", reason="")
    opened(store, "r-2", words="another")
    store.close()
    assert verify(workspace, (records.TABLES,)).differing == ()


def test_an_escalation_that_is_not_there_is_said_not_to_be(store: Store) -> None:
    with pytest.raises(NotFound, match="there is no escalation 'esc-0'"):
        records.get(store, "esc-0")
