"""Facts across items and measurements: what makes an item no matter of training."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.curate.select import target_patterns
from engine.diagnose.facts import Evidence, Neighbours, conflicting_rows, persistent_items, suspected_wrong_gold, unlearnable_items, unstable_items
from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import pattern_id, telling_observation
from engine.evaluate.types import ItemResult
from tests.diagnose.items import core, item, passing, round_of, row, scenario

LOST = "wrong_label:refund->card_lost"
POOL = [row(f"t{n}", f"my bank card was lost on the way {n}", {"intent": "card_lost"}) for n in range(6)] + [
    row(f"u{n}", f"give my money back for order number {n}", {"intent": "refund"}) for n in range(6)
]


def test_an_item_that_fails_here_and_passes_with_the_same_weights_is_unstable() -> None:
    now = [item("a", "wrong_field:x"), item("b", "wrong_field:x"), passing("c")]
    facts = unstable_items(now, [[passing("a"), item("b", "wrong_field:x"), item("c", "wrong_field:x")]])
    assert {name: fact.failure_class for name, fact in facts.items()} == {"a": "instability"}
    assert set(unstable_items(now, [], flipped=["b", "c"])) == {"b"}
    assert unstable_items(now, []) == {}


def test_a_label_is_suspected_when_versions_and_neighbours_agree_against_it() -> None:
    now = [item("a", LOST)]
    scenarios = {"a": scenario("a", "my bank card was lost on the way home", {"intent": "refund"})}
    facts = suspected_wrong_gold(now, [now, now, now], scenarios, Neighbours(POOL))
    assert facts["a"].suggested == "card_lost"
    assert facts["a"].strength == 1.0


def test_a_label_is_not_suspected_without_enough_versions_without_agreement_or_against_the_neighbours() -> None:
    now = [item("a", LOST)]
    lost = {"a": scenario("a", "my bank card was lost on the way home", {"intent": "refund"})}
    refund = {"a": scenario("a", "give my money back for order number nine", {"intent": "refund"})}
    other = [item("a", "wrong_label:refund->login")]
    neighbours = Neighbours(POOL)
    assert suspected_wrong_gold(now, [now, now], lost, neighbours) == {}
    assert suspected_wrong_gold(now, [now, other, now], lost, neighbours) == {}
    assert suspected_wrong_gold(now, [now, [passing("a")], now], lost, neighbours) == {}
    assert suspected_wrong_gold(now, [now, now, now], refund, neighbours) == {}


def test_one_input_with_two_answers_is_unlearnable_and_named_with_its_other_half() -> None:
    twins = [scenario("a", "where is my card please", {"intent": "x"}), scenario("b", "Where is my card, please?", {"intent": "y"})]
    agreeing = [scenario("c", "how do I close the account", {"intent": "x"}), scenario("d", "how do I close the account!", {"intent": "x"})]
    facts = unlearnable_items([*twins, *agreeing], [row("t", "How do I close the account?", {"intent": "z"})], 0.8)
    assert set(facts) == {"a", "b", "c", "d"}
    assert "core item b" in facts["a"].why
    assert "training row t" in facts["c"].why
    assert set(unlearnable_items([*twins, *agreeing], [], 0.8)) == {"a", "b"}


def test_training_rows_that_contradict_each_other_are_found() -> None:
    pool = [row("a", "where is my card please", "x"), row("b", "Where is my card, please?", "y"), row("c", "where is my card please", "x")]
    assert {(each.left.id, each.right.id) for each in conflicting_rows(pool, 0.8)} == {("a", "b"), ("b", "c")}


def test_doubtful_items_leave_their_pattern_and_training_is_not_aimed_at_them() -> None:
    now = [item(f"s{n}", LOST) for n in range(4)]
    facts = suspected_wrong_gold(now[:2], [now] * 3, {f"s{n}": scenario(f"s{n}", "my bank card was lost", "refund") for n in range(2)}, Neighbours(POOL))
    found = diagnose(now, Evidence(facts=facts))
    assert {(p.pattern, p.items) for p in found.patterns} == {("suspected_wrong_gold", 2), (LOST, 2)}
    assert [target.pattern for target in target_patterns(found.patterns)] == [LOST]


def test_a_pattern_that_survived_rounds_aimed_at_it_is_persistent_and_keeps_its_name() -> None:
    failing = core(8, {0: LOST, 1: LOST})
    rounds = [round_of(failing, failing, LOST)] * 2
    stuck = persistent_items(failing, rounds, 2)
    assert stuck == {"s0", "s1"}
    (pattern,) = diagnose(failing, Evidence(rounds=tuple(rounds), persistent=stuck)).patterns
    assert (pattern.pattern, pattern.failure_class, pattern.underlying) == (LOST, "persistent", "label_confusion")
    assert pattern.trend == (2, 2, 2)


def test_what_was_not_aimed_at_or_moved_in_between_is_not_persistent() -> None:
    failing = core(8, {0: LOST})
    other = core(8, {0: "wrong_field:x"})
    assert not persistent_items(failing, [round_of(failing, failing, LOST)], 2)
    assert not persistent_items(failing, [round_of(failing, failing), round_of(failing, failing, LOST)], 2)
    assert not persistent_items(failing, [round_of(failing, other, LOST), round_of(other, failing, LOST)], 2)


kinds = st.sampled_from(["wrong_label:a->b", "wrong_field:x", "invalid_json"])


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.one_of(st.none(), kinds)] * 4), min_size=1, max_size=8), st.sets(kinds), st.integers(1, 3))
def test_a_persistent_item_failed_for_one_reason_throughout(histories: list[tuple[str | None, ...]], aimed: set[str], last: int) -> None:
    def results(step: int) -> list[ItemResult]:
        return [item(f"s{n}", seen) if (seen := history[step]) else passing(f"s{n}") for n, history in enumerate(histories)]

    rounds = [round_of(results(step), results(step + 1), *aimed) for step in range(3)]
    for name in persistent_items(results(3), rounds, last):
        reasons = {telling_observation(result) for each in rounds[-last:] for result in (*each.before, *each.after) if result.scenario_id == name}
        assert len(reasons) == 1
        assert pattern_id(*reasons.pop()) in aimed
