"""The lifecycle is a table: what is not in it is refused, people alone approve, and nothing is closed that was not verified."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.errors import ApprovalNeeded, StateConflict
from engine.escalate.lifecycle import LIFECYCLE, PAST, Step, actions_from, after_recurrence, flaws, leaving, step_of
from engine.escalate.types import Action, State

STATES: tuple[State, ...] = get_args(State)


def test_the_table_names_every_state_and_action_and_has_no_flaw() -> None:
    assert flaws(LIFECYCLE) == ()
    assert {end for step in LIFECYCLE for end in (step.source, step.target)} == set(STATES)
    assert {step.action for step in LIFECYCLE} == set(get_args(Action)) == set(PAST)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step(action="close", source="applied", target="closed"), "closed without its check"),
        (Step(action="reopen", source="open", target="verified"), "verified by anybody"),
        (Step(action="apply", source="open", target="applied"), "a governed fix is applied from open"),
        (Step(action="reopen", source="open", target="approved"), "taken by anybody"),
        (Step(action="verify", source="open", target="verified", by="check"), "stands twice"),
    ],
)
def test_a_table_that_lets_something_past_its_gate_has_a_flaw(step: Step, said: str) -> None:
    assert any(said in flaw for flaw in flaws((*LIFECYCLE, step)))


def test_a_table_from_which_a_state_never_closes_has_a_flaw() -> None:
    assert "nothing leads from reopened to closed" in flaws([step for step in LIFECYCLE if step.source != "reopened"])


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("governed", [True, False])
def test_every_step_is_in_the_table_or_refused_with_what_may_follow(state: State, governed: bool) -> None:
    for action in get_args(Action):
        wanted = [step for step in leaving(state) if step.action == action and step.fix in ("", "governed" if governed else "free")]
        if wanted:
            assert step_of(state, action, governed=governed, name="e") == wanted[0]
            continue
        with pytest.raises((StateConflict, ApprovalNeeded)):
            step_of(state, action, governed=governed, name="e")


def test_a_governed_fix_that_nobody_approved_cannot_be_applied() -> None:
    with pytest.raises(ApprovalNeeded, match="none of them has approved it"):
        step_of("proposed", "apply", governed=True, name="e")
    assert step_of("proposed", "apply", governed=False, name="e").target == "applied"
    assert "approve" not in actions_from("proposed", governed=False)


def test_what_was_verified_or_closed_is_reopened_when_it_is_seen_again() -> None:
    reopened = {state for state in STATES if after_recurrence(state) != state}
    assert reopened == {"verified", "closed"}
