"""The class decides the remedy; the cheapest that is left is taken, and the past says what it may win."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnose.facts import Evidence, ItemFact
from engine.diagnose.gains import ENOUGH, expected_gain, fix_rates, wilson
from engine.diagnose.patterns import diagnose
from engine.diagnose.remedies import scenario_proposals
from engine.diagnose.trends import trends, verdict
from engine.diagnose.types import ChangeSetting, FailurePattern, RelabelRequest, ScenarioProposal, TrainOn
from engine.evaluate.types import ItemResult
from tests.diagnose.items import core, item, passing, round_of, situation, trial

PAIR = "wrong_label:a->b"


def planned(results: list[ItemResult], evidence: Evidence) -> FailurePattern:
    pattern = diagnose(results, evidence).patterns[0]
    assert pattern.plan is not None
    return pattern


def test_broken_format_is_mended_by_the_schema_where_that_is_off_and_by_training_where_it_is_on() -> None:
    broken = [item(f"s{n}", "invalid_json") for n in range(4)]
    off = planned(broken, Evidence(situation=situation(structured=False))).plan
    assert off is not None
    assert off.change == ChangeSetting(setting="contract.output.structured", before=False, after=True)
    on = planned(broken, Evidence(situation=situation(structured=True, is_base=False))).plan
    assert on is not None
    assert isinstance(on.change, TrainOn)
    assert [each.remedy for each in on.passed_over] == ["constrain_decoding", "few_shot"]
    assert "already" in on.passed_over[0].why


def test_a_limit_is_raised_only_where_the_references_need_the_room() -> None:
    cut = [item(f"s{n}", "truncated", finish_reason="length") for n in range(4)]
    roomy = planned(cut, Evidence(situation=situation(needs_room=frozenset({"s0", "s1"})))).plan
    assert roomy is not None
    assert roomy.change == ChangeSetting(setting="contract.output.max_tokens", before=64, after=128)
    runs_on = planned(cut, Evidence(situation=situation(is_base=False))).plan
    assert runs_on is not None
    assert runs_on.remedy == "targeted_sft"
    assert any("runs on" in each.why for each in runs_on.passed_over)


def test_examples_in_the_prompt_come_before_training_until_they_are_measured_not_to_help() -> None:
    failing = core(40, dict.fromkeys(range(30), PAIR))
    untried = planned(failing, Evidence(situation=situation()))
    assert untried.remedy == "few_shot"
    helped = trial("few_shot", failing, core(40))
    assert planned(failing, Evidence(situation=situation(), trials=(helped,))).remedy == "few_shot"
    useless = planned(failing, Evidence(situation=situation(), trials=(trial("few_shot", failing, failing),)))
    assert useless.remedy == "targeted_sft"
    assert useless.plan is not None
    assert "not shown to help: +0.000" in useless.plan.passed_over[0].why


def test_doubtful_labels_become_a_relabel_request_with_the_evidence() -> None:
    fact = ItemFact("suspected_wrong_gold", "three versions say b", 0.8, "b")
    pattern = planned([item("s0", PAIR), item("s1", PAIR)], Evidence(facts={"s0": fact, "s1": fact._replace(strength=1.0)}, situation=situation()))
    assert pattern.plan is not None
    assert isinstance(pattern.plan.change, RelabelRequest)
    assert [(each.item, each.suggested) for each in pattern.plan.change.items] == [("s1", "b"), ("s0", "b")]
    assert pattern.confidence == pytest.approx(0.9)


def test_what_survives_asks_for_another_method_then_for_scenarios_then_for_a_person() -> None:
    failing = core(10, {0: PAIR, 1: PAIR})
    evidence = Evidence(persistent=frozenset({"s0", "s1"}), situation=situation())
    pattern = planned(failing, evidence)
    assert pattern.plan is not None
    assert (pattern.remedy, pattern.plan.afterwards) == ("dpo", ("grpo", "scenario_proposal", "escalate"))
    without_rows = planned(failing, Evidence(persistent=evidence.persistent, situation=situation(pool_rows=0)))
    assert without_rows.plan is not None
    assert isinstance(without_rows.plan.change, ScenarioProposal)
    (wanted,) = scenario_proposals(diagnose(failing, evidence).patterns)
    assert wanted.like == ("s0", "s1")


def test_every_class_ends_with_a_plan_whatever_does_not_apply() -> None:
    for seen in ("invalid_json", "truncated", "refusal", PAIR, "wrong_field:x", "ungrounded:x", "breach:n", "nothing known"):
        now = situation(pool_rows=0, has_schema=False, is_base=False)
        assert planned([item("a", seen), item("b", seen)], Evidence(situation=now)).plan is not None


def test_without_a_past_a_gain_has_no_number() -> None:
    pattern = planned(core(20, {0: PAIR, 1: PAIR}), Evidence(situation=situation(is_base=False)))
    assert pattern.gain is not None
    assert (pattern.gain.at_most, pattern.gain.expected) == (0.1, None)
    assert "no past" in pattern.gain.words


def test_a_gain_is_the_share_times_the_rate_at_which_past_rounds_fixed_the_class() -> None:
    before = core(40, dict.fromkeys(range(20), PAIR))
    after = core(40, dict.fromkeys(range(5), PAIR))
    rates = fix_rates([round_of(before, after, PAIR), round_of(before, core(40), "another pattern")])
    gain = expected_gain(0.25, "label_confusion", "targeted_sft", rates)
    assert (gain.fixed, gain.tried) == (15, 20)
    assert gain.expected == pytest.approx(0.25 * 0.75)
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.expected < gain.high <= 0.25


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_of_a_share_holds_the_share(fixed: int, more: int) -> None:
    low, high = wilson(fixed, fixed + more)
    assert 0.0 <= low <= high <= 1.0
    if fixed + more >= ENOUGH:
        assert low - 1e-9 <= fixed / (fixed + more) <= high + 1e-9


@pytest.mark.parametrize(
    ("items", "word"),
    [((5, 2, 0), "fixed"), ((0, 0, 4), "new"), ((6, 1, 5), "came_back"), ((6, 6, 6), "never_moved"), ((10, 9, 11), "never_moved"), ((6, 5, 3), "less"), ((2, 2, 5), "more")],
)
def test_a_series_is_told_in_a_word(items: tuple[int, ...], word: str) -> None:
    assert verdict(items) == word


def test_trends_put_what_came_back_first_and_count_the_rounds_aimed_at_it() -> None:
    states = [core(20, dict.fromkeys(range(6), PAIR) | dict.fromkeys(range(6, 10), "wrong_field:x")), core(20, {6: "wrong_field:x"}), core(20, dict.fromkeys(range(5), PAIR))]
    found = trends([round_of(states[0], states[1], PAIR), round_of(states[1], states[2])])
    assert [(trend.pattern, trend.items, trend.verdict, trend.aimed_rounds) for trend in found] == [
        (PAIR, (6, 0, 5), "came_back", 1),
        ("wrong_field:x", (4, 1, 0), "fixed", 0),
    ]


def test_what_no_observation_tells_apart_is_grouped_by_similar_inputs() -> None:
    texts = {f"s{n}": f"please book a table for {n} people at the harbour" for n in range(3)} | {f"s{n}": f"what is the weather in town number {n}" for n in range(3, 5)}
    found = diagnose([item(f"s{n}", "mismatch") for n in range(5)] + [passing("s9")], Evidence(texts=texts))
    assert {(p.pattern, p.items) for p in found.patterns} == {("mismatch:like s0", 3), ("mismatch:like s3", 2)}
    assert sum(p.items for p in found.patterns) == found.failed
