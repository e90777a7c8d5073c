"""Intervals and comparisons: they hold what they promise, and refuse what cannot be compared."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArgumentInvalid, IdentityMismatch
from engine.evaluate.statistics import (
    check_comparable,
    compare,
    detectable_difference,
    flips,
    interval,
    mcnemar,
    shown_above_zero,
    sign_flip,
    student_quantile,
    summarise_split,
)
from engine.evaluate.types import ScoreIdentity
from tests.evaluate.samples import result

scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40)


def sources(values, size):
    return [f"d{number // size}" for number in range(len(values))]


@settings(max_examples=60)
@given(scores, st.integers(1, 4))
def test_an_interval_holds_its_mean_and_stays_in_range(values, size):
    found = interval(values, sources(values, size))
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert (found.n, found.clusters) == (len(values), math.ceil(len(values) / size))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30))
def test_swapping_the_subjects_mirrors_the_comparison(pairs):
    before = [result(number, old) for number, (old, _) in enumerate(pairs)]
    after = [result(number, new) for number, (_, new) in enumerate(pairs)]
    there, back = compare(before, after, split="held_out"), compare(after, before, split="held_out")
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    step = 0.5 / len(pairs)  # resampled means of few items lie that far apart, and an end may fall on either side of a quantile
    assert (there.difference.low, there.difference.high) == pytest.approx((-back.difference.high, -back.difference.low), abs=0.02 + step)
    assert (there.better, there.worse, there.mcnemar_p) == (back.worse, back.better, back.mcnemar_p)
    assert there.detectable_difference == pytest.approx(back.detectable_difference)


@settings(max_examples=30)
@given(scores)
def test_a_subject_compared_with_itself_differs_by_nothing(values):
    rows = [result(number, value) for number, value in enumerate(values)]
    same = compare(rows, rows, split="held_out")
    assert same.difference.mean == 0.0
    assert same.difference.low <= 0.0 <= same.difference.high
    assert (same.mcnemar_p, same.better, same.worse) == (1.0, 0, 0)


@pytest.mark.parametrize(("count", "size", "spread"), [(40, 4, 0.3), (12, 1, 0.2)])
def test_the_interval_covers_the_truth_as_often_as_it_says(count, size, spread):
    """Items of one source share a shift; an interval over items alone would cover far less often."""
    generator = random.Random(5)
    covered = 0
    for trial in range(200):
        values: list[float] = []
        for _ in range(count):
            shift = generator.gauss(0.0, spread)
            values.extend(0.5 + shift + generator.gauss(0.0, 0.1) for _ in range(size))
        found = interval(values, sources(values, size), seed=trial, limits=(-2.0, 3.0))
        covered += found.low <= 0.5 <= found.high
    assert covered >= 180  # 95 % nominal; 180 of 200 is three standard errors below


def test_items_of_one_source_make_the_interval_wider():
    values = [1.0] * 20 + [0.0] * 20
    together = interval(values, sources(values, 10))
    apart = interval(values, [""] * 40)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_unanimous_items_do_not_make_a_certainty():
    assert interval([1.0] * 10, [""] * 10).low == pytest.approx(0.025 ** (1 / 10))
    assert interval([0.0] * 10, [""] * 10).high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_a_constant_gain_on_three_items_is_no_proof():
    before, after = [result(n, 0.0) for n in range(3)], [result(n, 1.0) for n in range(3)]
    assert compare(before, after, split="held_out").difference.low < 0.5


def test_nothing_measured_says_nothing():
    empty = interval([], [])
    assert (empty.low, empty.high, empty.n) == (0.0, 1.0, 0)
    nothing = compare([], [], split="held_out")
    assert nothing.difference.low < 0
    assert nothing.detectable_difference == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(bad):
    with pytest.raises(ArgumentInvalid):
        interval([0.5, bad], ["", ""])


def test_the_same_seed_gives_the_same_interval():
    values = [number % 3 / 2 for number in range(30)]
    assert interval(values, [""] * 30, seed=3) == interval(values, [""] * 30, seed=3)


@pytest.mark.parametrize(("only_before", "only_after", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (15, 25, 0.153860), (3, 3, 1.0), (2, 12, 0.012939)])
def test_mcnemar_is_exact(only_before, only_after, p):
    assert mcnemar(only_before, only_after) == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize(("better", "worse"), [(4, 0), (9, 2), (0, 3), (30, 12)])
def test_flipping_signs_of_passes_and_failures_is_mcnemars_test(better, worse):
    differences = [1.0] * better + [-1.0] * worse + [0.0] * 100
    assert sign_flip(differences, [""] * len(differences)) == pytest.approx(mcnemar(better, worse))


@settings(max_examples=30)
@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), max_size=40))
def test_the_sign_flip_test_is_two_sided_and_never_certain(differences):
    names = [str(number) for number in range(len(differences))]
    p = sign_flip(differences, names)
    assert 0.0 < p <= 1.0
    assert sign_flip([-value for value in differences], names) == pytest.approx(p, abs=0.02)


def test_a_few_better_items_among_many_equal_ones_are_no_improvement_though_the_interval_excludes_zero():
    before = [result(number, 0.0) for number in range(288)]
    after = [result(number, 1.0 if number < 4 else 0.0) for number in range(288)]
    paired = compare(before, after, split="held_out", metric="pass_rate")
    assert paired.difference.low > 0
    assert paired.p_value == pytest.approx(0.125)
    assert not shown_above_zero(paired)


def test_mcnemar_takes_large_counts():
    assert mcnemar(0, 3000) == pytest.approx(0.0)
    assert mcnemar(2000, 2000) == 1.0


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (100, 1.9840)])
def test_students_quantile_matches_the_tables(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=0.01)


def test_a_true_difference_of_the_detectable_size_is_found_four_times_out_of_five():
    generator = random.Random(11)
    noise = [generator.gauss(0.0, 0.3) for _ in range(100)]
    size = detectable_difference(noise, [""] * 100)
    found = 0
    for trial in range(150):
        sample = [size + generator.gauss(0.0, 0.3) for _ in range(100)]
        found += interval(sample, [""] * 100, seed=trial, limits=(-3.0, 3.0)).low > 0
    assert 0.68 <= found / 150 <= 0.92


def test_errors_are_counted_and_in_no_mean():
    rows = [result(0, 1.0), result(1, 0.0), result(2, 0.0, outcome="error", observations=("infrastructure:server_failed",))]
    split = summarise_split(rows, "held_out")
    assert (split.score.mean, split.score.n, split.errors) == (0.5, 2, 1)
    paired = compare(rows, [result(n, 1.0) for n in range(3)], split="held_out")
    assert (paired.missing, paired.difference.n) == (1, 2)


def test_a_split_is_summed_up_with_its_slices_nets_form_and_latency():
    rows = [
        result(0, 1.0, tags={"kind": "bus"}, latency_seconds=1.0),
        result(1, 0.0, tags={"kind": "bus"}, latency_seconds=3.0, observations=("invalid_json",), breached=("readable",)),
        result(2, 0.0, tags={"kind": "train"}, latency_seconds=9.0, cached=True),
        result(3, 1.0, split="core"),
    ]
    split = summarise_split(rows, "held_out", slices=("kind", "absent"))
    assert {part.slice: part.score.mean for part in split.slices} == {"kind=bus": 0.5, "kind=train": 0.0}
    assert split.safety_breaches == {"readable": 1}
    assert split.schema_valid == pytest.approx(2 / 3)
    assert split.latency_p50_seconds == 2.0
    assert summarise_split(rows, "held_out", json_output=False).schema_valid is None


def test_of_held_out_no_slice_is_shown_that_is_but_a_few_items():
    rows = [result(number, 1.0, tags={"kind": "bus" if number else "train"}, split=split) for split in ("held_out", "core") for number in range(9)]
    shown = {split: [part.slice for part in summarise_split(rows, split, slices=("kind",), slice_minimum=5).slices] for split in ("held_out", "core")}
    assert shown == {"held_out": ["kind=bus"], "core": ["kind=bus", "kind=train"]}


def test_a_tag_with_a_value_for_every_row_is_no_flood_of_slices():
    rows = [result(number, 1.0, tags={"id": str(number)}) for number in range(300)]
    assert len(summarise_split(rows, "held_out", slices=("id",)).slices) == 60


def test_flips_are_the_items_that_moved_worst_first():
    before = [result(0, 1.0), result(1, 0.0), result(2, 0.5)]
    after = [result(0, 0.0), result(1, 1.0), result(2, 0.5)]
    assert [(flip.scenario_id, flip.before, flip.after) for flip in flips(before, after, split="held_out")] == [
        ("s0000", 1.0, 0.0),
        ("s0001", 0.0, 1.0),
    ]


IDENTITY = ScoreIdentity(suite="a", grading="b", prompt="c", settings="d", generator="e")


@pytest.mark.parametrize(("field", "words"), [("suite", "the scenarios or their splits"), ("grading", "the checks, safety nets or pass mark")])
def test_scores_of_another_suite_or_rubric_are_not_compared(field, words):
    with pytest.raises(IdentityMismatch, match=words):
        check_comparable(IDENTITY, IDENTITY.model_copy(update={field: "other"}))


def test_scores_of_other_models_prompts_and_settings_are_compared():
    check_comparable(IDENTITY, IDENTITY.model_copy(update={"prompt": "x", "settings": "y", "generator": "z"}))


def test_items_measured_for_one_subject_alone_are_refused():
    with pytest.raises(IdentityMismatch, match="1 items"):
        compare([result(0, 1.0), result(1, 1.0)], [result(0, 1.0)], split="held_out")
