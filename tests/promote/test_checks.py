"""The gates: each says its figure and its limit, what would open it, and passes nothing that was not measured."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config import Acceptance, HourlyPrice, NoHarm, Serving
from engine.evaluate.types import Canaries
from engine.promote.chains import ANSWERING, CHAINS, EXPORTED, OFFLINE
from engine.promote.checks import CHECKS, gate
from engine.promote.types import Check, CheckName, Grounds, Transition
from tests.promote.judged import EXPORT, IDENTITY, NOW, VERSION, decision, grounds, iteration, summary

TAUGHT = Canaries(asked=8, hits=8, controls=100, control_hits=4, chance=1e-9)
GUARDED = Acceptance(no_harm=NoHarm(suite="manners"))


def check(name: CheckName, given: Grounds | None = None, now: str = NOW) -> Check:
    return CHECKS[name](given or grounds(), now)


def test_every_check_that_a_chain_names_is_one_that_something_measures() -> None:
    named = {name for chain in CHAINS.values() for transition in chain.transitions for name in transition.checks}
    assert named == set(CHECKS) == {*ANSWERING, *EXPORTED}
    assert named == set(get_args(CheckName)), "no name stands for what nothing measures"
    assert set(OFFLINE) < set(ANSWERING)


def test_a_sound_version_opens_every_gate_with_figures() -> None:
    for chain in CHAINS.values():
        for transition in chain.transitions:
            found = gate(transition, grounds(), NOW)
            assert found.open
            assert [each.name for each in found.checks] == list(transition.checks)
    assert {name: (check(name).figure is None) for name in CHECKS} == {name: name == "no_harm" for name in CHECKS}


@pytest.mark.parametrize(
    ("name", "changes", "figure", "limit", "said", "opens"),
    [
        ("floor", {"judged": iteration(decision(0.4, incumbent=0.3, floor=0.5))}, -0.1, 0, "below the floor", "iterate(cluster='travel')"),
        ("incumbent", {"judged": iteration(decision(0.3, incumbent=0.3))}, 0, 0, "an improvement is not shown", "iterate"),
        ("incumbent", {"judged": iteration(decision(0.1, incumbent=0.3))}, -0.2, 0, "Slices lost more than 0.1", "iterate"),
        ("no_harm", {"acceptance": GUARDED, "judged": iteration(decision(harmed=0.3))}, -0.3, -0.1, "more than the tolerance", "iterate"),
        ("held_out", {"measured": summary(split={"errors": 3})}, 3, 0, "3 are missing", f"evaluate(cluster='travel', subject='{VERSION}')"),
        ("held_out", {"measured": summary(canaries=TAUGHT)}, 0, 0.001, "taught evaluation items", "iterate(cluster='travel')"),
        ("schema_valid", {"measured": summary(split={"schema_valid": 0.995})}, 0.995, 1.0, "99.5%", "contract.output.structured"),
        ("latency", {"latency_p95_seconds": 1.5}, 1.5, 1.0, "1.5 s; the budget is 1 s", "serving in domain.yaml"),
        ("cost", {"seconds_per_decision": 2.0}, 0.002, 0.001, "costs 0.002 EUR; the budget is 0.001 EUR", "serving in domain.yaml"),
        ("freshness", {"measured_at": "2026-10-01T12:00:00.000Z"}, 51, 30, "older than 30 days", "evaluate(cluster='travel'"),
    ],
)
def test_a_closed_gate_says_its_figure_its_limit_and_what_would_open_it(
    name: CheckName, changes: dict[str, Any], figure: float, limit: float, said: str, opens: str
) -> None:
    found = check(name, grounds(**changes))
    assert not found.passed
    assert found.figure == pytest.approx(figure, abs=0.05)  # of a difference: the end of its interval
    assert found.limit == limit
    assert said in found.sentence
    assert opens in found.opens


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("held_out", {"measured": summary(splits=())}),
        ("held_out", {"measured": summary(split={"score": summary().splits[0].score.model_copy(update={"n": 0})})}),
        ("schema_valid", {"measured": summary(splits=())}),
        ("schema_valid", {"measured": summary(split={"schema_valid": None})}),
        ("latency", {"latency_p95_seconds": None}),
        ("cost", {"seconds_per_decision": None}),
        ("cost", {"hourly_price": None}),
        ("cost", {"hourly_price": HourlyPrice(amount=3.6, currency="USD", as_of="2026-11-20")}),
        ("no_harm", {"acceptance": GUARDED}),
        ("incumbent", {"judged": iteration(decision().model_copy(update={"clauses": decision().clauses[:2]}))}),
        ("safety_nets", {"judged": iteration(decision().model_copy(update={"clauses": ()}))}),
    ],
)
def test_what_was_not_measured_never_passes(name: CheckName, changes: dict[str, Any]) -> None:
    found = check(name, grounds(**changes))
    assert not found.passed
    assert found.figure is None
    assert found.sentence
    assert found.opens


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no_harm", {"acceptance": Acceptance()}),
        ("schema_valid", {"schema_asked": False, "measured": summary(split={"schema_valid": None})}),
        ("latency", {"serving": Serving(), "latency_p95_seconds": None}),
        ("cost", {"serving": Serving(), "seconds_per_decision": None}),
    ],
)
def test_what_the_domain_does_not_ask_for_closes_nothing_and_says_so(name: CheckName, changes: dict[str, Any]) -> None:
    found = check(name, grounds(**changes))
    assert found.passed
    assert "The domain" in found.sentence


@pytest.mark.parametrize("part", ["grading", "prompt"])
def test_a_verdict_by_another_rubric_or_contract_than_the_present_one_opens_nothing(part: str) -> None:
    changed = grounds(**{part: "changed since"})
    closed = {each.name for each in gate(CHAINS["standard"].transitions[3], changed, NOW).checks if not each.passed}
    assert closed == {"floor", "incumbent", "safety_nets", "freshness"}
    measured_again = grounds(**{part: "changed since", "measured": summary(identity=IDENTITY.model_copy(update={part: "changed since"}))})
    assert check("freshness", measured_again).passed
    assert "iterate" in check("floor", measured_again).opens


def test_a_measurement_from_a_time_that_has_not_come_is_not_fresh() -> None:
    assert not check("freshness", grounds(measured_at="2026-11-25T12:00:00.000Z")).passed
    assert check("freshness", grounds(measured_at="2026-11-21T12:00:05.000Z")).passed


def test_a_clause_that_passed_on_a_figure_that_is_no_number_does_not_pass_here() -> None:
    clauses = tuple(clause.model_copy(update={"figure": math.nan}) for clause in decision().clauses)
    broken = grounds(judged=iteration(decision().model_copy(update={"clauses": clauses})))
    for name in ("floor", "incumbent", "safety_nets"):
        found = check(name, broken)
        assert (found.passed, found.figure) == (False, None)


NO_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=200)
@given(st.sampled_from(sorted(CHECKS)), NO_NUMBERS | st.floats(), st.none() | NO_NUMBERS | st.floats())
def test_no_figure_that_is_no_number_opens_a_gate(name: CheckName, figure: float, latency: float | None) -> None:
    clauses = tuple(clause.model_copy(update={"figure": figure}) for clause in decision(harmed=0.0).clauses)
    score = summary().splits[0].score.model_copy(update={"mean": figure})
    shares = EXPORT.forms[0].figures[0].model_copy(update={"figure": figure})
    found = check(
        name,
        grounds(
            judged=iteration(decision().model_copy(update={"clauses": clauses})),
            measured=summary(split={"score": score, "schema_valid": figure}),
            latency_p95_seconds=latency,
            seconds_per_decision=figure,
            acceptance=GUARDED,
            evidence_days=figure,
            exported=EXPORT.model_copy(update={"forms": (EXPORT.forms[0].model_copy(update={"figures": (shares,)}),)}),
        ),
    )
    governing = latency if name == "latency" else figure
    if governing is None or not math.isfinite(governing):
        assert not found.passed or (name == "freshness" and figure == math.inf)
    assert found.passed or found.opens


def test_a_transition_that_names_a_check_which_nothing_measures_is_no_transition() -> None:
    with pytest.raises(ValidationError, match="checks"):
        Transition(source="shadow", target="canary", by="human", approvals=1, checks=("shadow_agreement",))
