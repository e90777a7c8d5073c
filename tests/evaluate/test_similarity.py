"""Near-duplicates: the quick join finds what comparing every pair finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.evaluate.similarity import grams, input_text, near_duplicates, near_duplicates_within, normalise

texts = st.lists(st.text(alphabet="abc d", max_size=24), max_size=12)


def jaccard(a: str, b: str) -> float:
    left, right = grams(normalise(a)), grams(normalise(b))
    return len(left & right) / len(left | right)


@given(texts, texts, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_join_finds_exactly_the_pairs_that_comparing_all_finds(left, right, threshold):
    found = {(pair.left, pair.right) for pair in near_duplicates(left, right, threshold)}
    assert found == {(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if jaccard(a, b) >= threshold - 1e-9}


@given(texts, st.sampled_from([0.3, 0.8, 1.0]))
def test_within_one_list_each_pair_is_found_once(items, threshold):
    found = [(pair.left, pair.right) for pair in near_duplicates_within(items, threshold)]
    assert sorted(found) == [(i, j) for i in range(len(items)) for j in range(i + 1, len(items)) if jaccard(items[i], items[j]) >= threshold - 1e-9]


def test_case_width_punctuation_and_spacing_do_not_hide_a_duplicate():
    assert near_duplicates(["I lost my card!"], ["  i LOST my ｃard "], 1.0)


def test_items_that_differ_in_their_numbers_alone_are_different():
    assert not near_duplicates(["heart rate 91, systolic 120"], ["heart rate 44, systolic 203"], 0.8)


def test_texts_without_letters_are_told_apart():
    assert not near_duplicates(["🙂🙂"], ["🙁🙁"], 0.8)


def test_the_order_of_fields_does_not_change_the_text_that_is_compared():
    assert input_text({"b": "two", "a": ["one", {"x": 1}]}) == input_text({"a": ["one", {"x": 1}], "b": "two"}) == "one 1 two"
