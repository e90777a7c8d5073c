"""The tables of states: nothing reaches production without people, everything is reached, and what is not in a table is refused with its reason."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SIGNED_STATES, PromotionPolicy, Signatures, SignedState
from engine.errors import ConfigInvalid, StateConflict
from engine.promote.chains import (
    ACCEPTED,
    CANDIDATE,
    CHAINS,
    DEPRECATED,
    JUDGED,
    REJECTED,
    ROLLED_BACK,
    after_verdict,
    chain_for,
    flaws,
    leaving,
    onward,
    restoring,
    step_of,
    transition_between,
    way,
)
from engine.promote.types import Chain, Transition, VersionState

PRESETS = sorted(CHAINS)
POLICIES = st.builds(
    PromotionPolicy,
    signatures=st.dictionaries(
        st.sampled_from(get_args(SignedState)),
        st.builds(Signatures, approvals=st.integers(1, 5), level=st.sampled_from(["ssh", "ssh-sk", "webauthn"])),
    ),
)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Any table over the states that every chain has and some of its own, sound or not; movers and approvals as they come."""
    own = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4, unique=True))
    states = (CANDIDATE, ACCEPTED, *own, DEPRECATED, REJECTED)
    edges = st.builds(
        Transition,
        source=st.sampled_from(states),
        target=st.sampled_from(states),
        by=st.sampled_from(["loop", "agent", "human", "rollback"]),
        approvals=st.integers(0, 2),
    )
    transitions = tuple(draw(st.lists(edges, max_size=14)))
    kept = JUDGED if draw(st.booleans()) else ()
    return Chain(name="any", states=states, first=CANDIDATE, serving=own[-1], transitions=(*kept, *transitions))


def walks(chain: Chain, start: str, dice: st.DataObject, steps: int = 12) -> list[Transition]:
    """A way through the table as it may happen, from `start`."""
    taken: list[Transition] = []
    state = start
    for _ in range(steps):
        choices = [transition for transition in chain.transitions if transition.source == state]
        if not choices:
            break
        taken.append(dice.draw(st.sampled_from(choices)))
        state = taken[-1].target
    return taken


# ---- the presets -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=60)
@given(policy=POLICIES)
def test_a_preset_is_sound_under_every_policy(name: str, policy: PromotionPolicy) -> None:
    chain = chain_for(name, policy)
    assert flaws(chain) == ()
    for transition in chain.transitions:
        if transition.by == "human":
            asked = policy.signatures.get(transition.target, Signatures())  # type: ignore[call-overload]
            assert (transition.approvals, transition.level, transition.role) == (asked.approvals, asked.level, asked.role)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_walk_from_any_state_comes_to_serve_without_a_signature_before(name: str, data: st.DataObject) -> None:
    """A rollback is taken by what has served already; only where a version has been taken back from service do people sign again."""
    chain = CHAINS[name]
    start = data.draw(st.sampled_from([state for state in chain.states if state not in (chain.serving, DEPRECATED)]))
    taken = walks(chain, start, data, steps=24)
    signed = False
    for transition in taken:
        signed = signed or transition.by == "human"
        if transition.target == chain.serving:
            assert signed
        elif transition.source == chain.serving and transition.target != DEPRECATED:
            signed = False


@pytest.mark.parametrize("name", PRESETS)
def test_a_rollback_leads_from_what_another_took_the_place_of_and_from_nowhere_else(name: str) -> None:
    chain = CHAINS[name]
    found = {state: edge.target for state in chain.states if (edge := restoring(chain, state)) is not None}
    assert found == {DEPRECATED: chain.serving}
    standing = VersionState(cluster="travel", version="v-1", chain=name, state=DEPRECATED, revision=5)
    with pytest.raises(StateConflict, match="by a rollback alone") as refusal:
        step_of(standing, chain, chain.serving)
    assert refusal.value.next_step == "rollback(cluster='travel', to='v-1')"


@pytest.mark.parametrize("name", PRESETS)
def test_every_pair_that_is_not_in_the_table_is_refused_with_what_may_follow(name: str) -> None:
    chain = CHAINS[name]
    allowed = {(transition.source, transition.target) for transition in chain.transitions}
    for source in chain.states:
        for target in (*chain.states, "production", ""):
            if (source, target) in allowed:
                assert transition_between(chain, source, target).target == target
                continue
            with pytest.raises(StateConflict) as refusal:
                transition_between(chain, source, target)
            assert source in refusal.value.message or target in refusal.value.message
            following = [transition.target for transition in leaving(chain, source)]
            assert refusal.value.details["allowed"] == following
            assert all(state in refusal.value.next_step for state in following)


@pytest.mark.parametrize("name", PRESETS)
def test_the_states_that_people_sign_are_those_that_a_policy_may_name(name: str) -> None:
    chain = CHAINS[name]
    assert tuple(transition.target for transition in chain.transitions if transition.by == "human") == SIGNED_STATES[name]
    assert SIGNED_STATES.keys() == CHAINS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_onward_leads_step_by_step_to_the_state_that_serves_and_no_further(name: str) -> None:
    chain = CHAINS[name]
    state, seen = chain.first, [chain.first]
    while (transition := onward(chain, state)) is not None:
        state = transition.target
        seen.append(state)
    assert tuple(seen) == way(chain)
    assert onward(chain, DEPRECATED) is None


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("by", ["loop", "agent"])
def test_a_preset_in_which_an_agent_or_the_loop_did_what_people_do_would_not_be_used(name: str, by: str) -> None:
    chain = CHAINS[name]
    opened = tuple(
        transition.model_copy(update={"by": by, "approvals": 0}) if transition.by == "human" else transition for transition in chain.transitions
    )
    found = flaws(chain.model_copy(update={"transitions": opened}))
    assert any("without anybody's signature" in flaw for flaw in found)


# ---- any table -------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(chain=chains(), data=st.data())
def test_of_a_table_without_a_flaw_no_walk_serves_unsigned_and_every_state_is_come_to(chain: Chain, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([state for state in chain.states if state != chain.serving and restoring(chain, state) is None] or [chain.first]))
    unsigned = chain.model_copy(update={"transitions": tuple(each for each in chain.transitions if each.by != "human")})
    arrives = any(transition.target == chain.serving for transition in walks(unsigned, start, data))
    missed = set(chain.states) - {chain.first} - {transition.target for transition in chain.transitions}
    if arrives or missed:
        assert flaws(chain)


@settings(max_examples=60)
@given(chain=chains())
def test_what_is_refused_in_a_table_is_said_with_the_states_that_it_is_about(chain: Chain) -> None:
    for flaw in flaws(chain):
        assert any(state in flaw for state in chain.states) or flaw == "it does not begin with the loop's verdict"


def edge(source: str, target: str, by: str = "agent", approvals: int = 0) -> Transition:
    return Transition(source=source, target=target, by=by, approvals=approvals)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transitions": (*CHAINS["standard"].transitions, edge("shadow", "production-accepted"))}, "come from shadow to production-accepted without"),
        ({"transitions": (*CHAINS["standard"].transitions, edge(DEPRECATED, "production-accepted"))}, "come from deprecated to production-accepted without"),
        ({"transitions": (*CHAINS["standard"].transitions, edge(DEPRECATED, "canary", "rollback"))}, "deprecated -> canary is a rollback to a state that does not serve"),
        ({"transitions": (*CHAINS["standard"].transitions, edge("canary", DEPRECATED))}, "came to deprecated from canary, where it has not served"),
        ({"transitions": (*CHAINS["standard"].transitions, edge(ROLLED_BACK, "production-accepted", "rollback"))}, "came to rolled-back from canary"),
        ({"transitions": (*CHAINS["standard"].transitions, edge(CANDIDATE, "production-accepted", "rollback"))}, "that was only just made"),
        ({"transitions": (*CHAINS["standard"].transitions, edge(REJECTED, "production-accepted", "human"))}, "by human with 0 approvals"),
        ({"transitions": (*CHAINS["standard"].transitions, edge("shadow", "canary"))}, "shadow -> canary stands twice"),
        ({"transitions": (*CHAINS["standard"].transitions, edge("shadow", "shadow"))}, "leads nowhere"),
        ({"transitions": (*CHAINS["standard"].transitions, edge("shadow", "staging"))}, "staging is not among its states"),
        ({"transitions": CHAINS["standard"].transitions[3:]}, "does not begin with the loop's verdict"),
        ({"transitions": tuple(each for each in CHAINS["standard"].transitions if each.target != "canary")}, "nothing leads to canary"),
        ({"transitions": tuple(each for each in CHAINS["standard"].transitions if each.target != "rolled-back")}, "taken back from canary"),
        ({"transitions": tuple(each for each in CHAINS["standard"].transitions if each.target != DEPRECATED)}, "does not become deprecated"),
        ({"states": (*CHAINS["standard"].states, "archive")}, "nothing leads to archive"),
        ({"serving": "live"}, "live is not among its states"),
    ],
)
def test_a_flaw_is_named(changes: dict[str, object], said: str) -> None:
    found = flaws(CHAINS["standard"].model_copy(update=changes))
    assert any(said in flaw for flaw in found), found


def test_a_table_with_a_flaw_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = CHAINS["standard"].model_copy(update={"transitions": (*CHAINS["standard"].transitions, edge("shadow", "production-accepted"))})
    monkeypatch.setitem(CHAINS, "standard", broken)
    with pytest.raises(ConfigInvalid, match="without anybody's signature"):
        chain_for("standard", PromotionPolicy())


# ---- verdicts --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_verdict_moves_only_what_the_loop_may_move(name: str) -> None:
    chain = CHAINS[name]
    for state in chain.states:
        for accepted in (True, False):
            after = after_verdict(state, accepted)
            assert after == state or transition_between(chain, state, after).by == "loop"
    assert after_verdict(CANDIDATE, True) == ACCEPTED
    assert after_verdict(CANDIDATE, False) == REJECTED
    assert after_verdict(ACCEPTED, False) == ACCEPTED
    assert after_verdict("shadow", False) == "shadow"
