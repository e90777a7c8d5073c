"""Canaries: rows that stand apart from every split and score, are planted the same way each time, and accuse rightly and rarely."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.paths import Workspace
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.errors import DomainInvalid, IdentityMismatch, LeakageFound
from engine.evaluate.canaries import ALPHA, LEAST_HITS, RIVALS, counted, exchanged, in_words, is_contaminated, ranked, ranks_by_chance, rivals
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.compile_worker import refuse_overlaps
from engine.evaluate.measurement import identity_for
from engine.evaluate.planting import FEWEST_ROWS, MOST, plant
from engine.evaluate.similarity import input_text, near_duplicates
from engine.evaluate.statistics import as_many_by_chance, check_comparable
from engine.evaluate.types import Canaries, ItemResult, Scenario, TrainingRow
from tests.conftest import REPOSITORY
from tests.evaluate.folders import LABELS, domain_yaml, rows, sentence, write_folder
from tests.evaluate.samples import INTENT_SCHEMA, domain

TICKETS = domain([{"kind": "choice", "path": "intent"}], schema=INTENT_SCHEMA)
PROSE = ("shipment", "warehouse", "password", "reminder", "customer", "delivery", "complaint", "envelope", "discount", "calendar", "keyboard")


def compiled(workspace: Workspace, name: str = "tickets") -> CompiledDomain:
    return compile_domain(workspace, name, domain_digest(workspace, name))


def canary(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"c{number}", "input": {"message": f"{sentence(number)}, please"}, "expected": {"intent": LABELS[(number + 1) % 3]}, "canary": True} | changes


def wordy(count: int, labels: tuple[str, ...] = LABELS) -> list[Scenario]:
    dice = random.Random(7)
    return [
        Scenario(id=f"s{n}", input={"text": " ".join(dice.choices(PROSE, k=9))}, expected={"intent": labels[n % len(labels)]}, split="core")
        for n in range(count)
    ]


# ---- in no split and in no score -------------------------------------------------------------------------------------------------------


def test_canaries_are_in_no_split_and_change_no_other_rows_split(tmp_path: Path) -> None:
    evaluation = rows(60, start=1000)
    without = compiled(write_folder(tmp_path / "a", evaluation=evaluation))
    mixed = [*evaluation[:20], canary(5000), *evaluation[20:], canary(5001)]
    found = compiled(write_folder(tmp_path / "b", evaluation=mixed))
    assert found.scenarios == without.scenarios
    assert found.manifest.files["scenarios.jsonl"] == without.manifest.files["scenarios.jsonl"]
    assert [each.id for each in found.canaries] == ["c5000", "c5001"]
    assert sum(found.manifest.scenarios.values()) == 60
    assert compiled(Workspace(tmp_path / "b")) == found, "what is read back is what was compiled"


def test_rows_without_ids_keep_their_numbers_and_an_input_of_the_whole_row_does_not_say_what_it_is(tmp_path: Path) -> None:
    place = {"path": "eval.jsonl", "id": None, "input": ".", "tags": None, "source": None}
    whole = domain_yaml(data={"train": {"path": "train.jsonl"}, "evaluation": place}, contract=domain_yaml()["contract"] | {"user": "{{ text }}"})
    plain = [{"text": sentence(n), "expected": {"intent": LABELS[n % 3]}} for n in range(1000, 1040)]
    first = {"text": "What shall become of this parcel?", "expected": {"intent": "login"}, "canary": True}
    with_text = [{"id": f"t{n}", "input": {"text": sentence(n)}, "expected": {"intent": LABELS[n % 3]}} for n in range(20)]
    without, found = (
        compiled(write_folder(tmp_path / name, domain=whole, train=with_text, evaluation=evaluation))
        for name, evaluation in (("a", plain), ("b", [first, *plain]))
    )
    assert found.scenarios == without.scenarios
    assert [(each.id, each.input) for each in found.canaries] == [("canary-000001", {"text": first["text"]})]


def test_a_domain_without_canaries_compiles_to_what_it_did_before_there_were_any(tmp_path: Path) -> None:
    found = compiled(write_folder(tmp_path))
    assert set(found.manifest.files) == {"domain.json", "scenarios.jsonl", "pool.jsonl"}
    assert found.suite_digest == "54d229dd5094d3d01f95c1a4489811b855ced67490124a7c88d8412d7a9ae365", "as before: measurements stay comparable"


def test_a_changed_canary_is_another_suite_and_stops_every_comparison(tmp_path: Path) -> None:
    evaluation = rows(60, start=1000)
    suites = [
        compiled(write_folder(tmp_path, evaluation=[*evaluation, *extra]))
        for extra in ([canary(5000)], [], [canary(5001)], [canary(5000, expected={"intent": "login"})])
    ]
    before, *others = [identity_for(each, None, "g") for each in suites]
    for after in others:
        with pytest.raises(IdentityMismatch, match="the scenarios"):
            check_comparable(before, after)


@pytest.mark.parametrize("flag", ["true", 1, None, {}])
def test_a_flag_that_is_not_true_or_false_is_refused_with_its_line(tmp_path: Path, flag: Any) -> None:
    with pytest.raises(DomainInvalid, match=r"eval\.jsonl:3: the field 'canary' is"):
        compiled(write_folder(tmp_path, evaluation=[*rows(2, start=1000), canary(5000, canary=flag)]))


def test_a_file_of_nothing_but_canaries_holds_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DomainInvalid, match="holds no rows"):
        compiled(write_folder(tmp_path, evaluation=[canary(5000), canary(5001)]))


# ---- kept from training ------------------------------------------------------------------------------------------------------------------


def test_a_training_row_near_a_canary_is_refused_and_the_canary_not_named(tmp_path: Path) -> None:
    planted = canary(5000, id="rare-name", input={"message": "An armadillo ate the invoice that came with my second parcel."})
    taught = {"id": "t", "input": {"message": "An armadillo ate the invoices that came with my second parcel!"}, "expected": {"intent": "login"}}
    found = compiled(write_folder(tmp_path, train=[*rows(60), taught], evaluation=[*rows(60, start=1000), planted]))
    row = TrainingRow(id="t", input=taught["input"], expected=taught["expected"])
    for refuse in (lambda: refuse_overlaps(found.manifest), lambda: refuse_leaks(find_leaks([row], found.kept_apart, 0.8))):
        with pytest.raises(LeakageFound, match="a canary of the evaluation rows") as caught:
            refuse()
        said = json.dumps(caught.value.as_record())
        assert "'t'" in said
        assert "rare-name" not in said
        assert "armadillo" not in said


def test_a_training_row_that_is_flagged_as_a_canary_was_copied_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeakageFound, match=r"train\.jsonl:61: the training row 'c7000'"):
        compiled(write_folder(tmp_path, train=[*rows(60), canary(7000)]))


# ---- planting ----------------------------------------------------------------------------------------------------------------------------


def test_the_same_rows_give_the_same_canaries_in_any_order() -> None:
    scenarios = wordy(120)
    assert plant(TICKETS, scenarios, []) == plant(TICKETS, scenarios[::-1], [])
    assert len(plant(TICKETS, scenarios, [])) == MOST


@pytest.mark.parametrize(("count", "planted"), [(FEWEST_ROWS - 1, 0), (FEWEST_ROWS, 4), (65, 6), (400, 8)])
def test_few_rows_get_few_canaries_and_very_few_none(count: int, planted: int) -> None:
    assert len(plant(TICKETS, wordy(count), [])) == planted


def test_a_canary_varies_a_row_and_expects_what_is_wrong_for_it() -> None:
    scenarios = {input_text(each.input): each for each in wordy(120)}
    for row in plant(TICKETS, list(scenarios.values()), []):
        assert row["canary"] is True
        assert input_text(row["input"]) not in scenarios
        (parent,) = [each for each in scenarios.values() if each.id == row["source"]]
        assert row["expected"] != parent.expected
        assert row["expected"]["intent"] in LABELS


def test_a_row_whose_variant_comes_near_a_training_row_makes_no_canary() -> None:
    scenarios = wordy(120)
    first = plant(TICKETS, scenarios, [])
    taught = [input_text(row["input"]) + "!" for row in first]
    again = plant(TICKETS, scenarios, taught)
    assert len(again) == MOST
    assert near_duplicates([input_text(row["input"]) for row in again], taught, TICKETS.data.near_duplicate) == []


def test_the_answers_of_canaries_are_spread_over_the_labels() -> None:
    skewed = wordy(120, ("refund", "refund", "refund", "refund", "refund", "delivery", "login"))
    expected = [row["expected"]["intent"] for row in plant(TICKETS, skewed, [])]
    assert max(expected.count(label) for label in LABELS) <= 4


@pytest.mark.parametrize(
    "checks",
    [
        [{"kind": "json_schema"}],  # any answer in form passes: none is wrong
        [{"kind": "exact"}, {"kind": "regex", "pattern": "^never$", "path": "intent"}],  # no answer passes: none could be a hit
    ],
)
def test_where_no_answer_is_wrong_for_another_row_or_none_could_pass_there_are_no_canaries(checks: list[dict[str, Any]]) -> None:
    assert plant(domain(checks, schema=INTENT_SCHEMA), wordy(60), []) == []


def test_an_answer_that_earns_half_of_the_pass_mark_is_not_wrong_enough() -> None:
    lists = domain([{"kind": "set_f1", "path": "slots"}], pass_score=0.8)
    near, far = {"slots": {"a": "1", "b": "2"}}, {"slots": {"c": "3"}}
    both = [Scenario(id=name, input={"text": name}, expected=expected, split="core") for name, expected in (("x", near), ("y", {"slots": {"a": "1"}}))]
    assert list(exchanged(lists, both)) == []
    apart = [both[0], both[1].model_copy(update={"expected": far})]
    assert {each.id: each.expected for each in exchanged(lists, apart)} == {"x": far, "y": near}


# ---- the test ------------------------------------------------------------------------------------------------------------------------------


def told(hits: int, *, asked: int = 8, control_hits: int = 0, controls: int = 100) -> Canaries:
    chance = as_many_by_chance(hits, asked, known=control_hits, known_of=controls)
    return Canaries(asked=asked, hits=hits, controls=controls, control_hits=control_hits, chance=chance)


COUNTS = st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(0, 400), st.integers(0, 400)).map(
    lambda drawn: {"hits": min(drawn[:2]), "asked": max(drawn[:2]), "control_hits": min(drawn[2:]), "controls": max(drawn[2:])}
)


@given(COUNTS)
def test_chance_falls_with_every_hit_and_rises_with_every_hit_of_the_control(counts: dict[str, int]) -> None:
    found = told(**counts)
    assert 0.0 <= found.chance <= 1.0
    if counts["hits"] < counts["asked"]:
        assert told(**counts | {"hits": counts["hits"] + 1}).chance <= found.chance + 1e-12
    if counts["control_hits"] < counts["controls"]:
        assert told(**counts | {"control_hits": counts["control_hits"] + 1}).chance >= found.chance - 1e-12
    assert told(**counts | {"hits": 0}).chance == pytest.approx(1.0)


@given(COUNTS)
def test_nobody_is_accused_for_fewer_hits_than_the_least_nor_without_a_control(counts: dict[str, int]) -> None:
    assert not is_contaminated(told(**counts | {"hits": min(counts["hits"], LEAST_HITS - 1)}))
    assert not is_contaminated(told(**counts | {"asked": 8, "hits": min(counts["hits"], 8), "controls": 0, "control_hits": 0}))


@pytest.mark.parametrize(
    ("hits", "control_hits", "contaminated"),
    [(0, 0, False), (2, 0, False), (3, 0, True), (3, 5, False), (5, 5, True), (6, 20, False), (8, 20, True), (8, 60, False)],
)
def test_hits_count_against_what_the_models_own_mistakes_explain(hits: int, control_hits: int, contaminated: bool) -> None:
    found = told(hits, control_hits=control_hits)
    assert is_contaminated(found) is contaminated
    assert in_words(found).startswith(f"It answers {hits} of 8 canaries with the wrong answer")
    assert ("has been taught evaluation items" in in_words(found)) is contaminated


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 25))
def test_the_chance_of_ranks_is_counted_over_all_of_them(among: list[int], most: int) -> None:
    every = list(itertools.product(*(range(1, count + 1) for count in among)))
    assert ranks_by_chance(most, among) == pytest.approx(sum(sum(ranks) <= most for ranks in every) / len(every))


def test_versions_that_rank_as_chance_has_it_are_accused_at_most_as_often_as_stated() -> None:
    """Exactly: the largest sum of ranks that accuses has no more than that chance, and the next one has."""
    accusing = [total for total in range(8, 97) if ranks_by_chance(total, [12] * 8) <= ALPHA]
    assert ranks_by_chance(max(accusing), [12] * 8) <= ALPHA < ranks_by_chance(max(accusing) + 1, [12] * 8)
    assert max(accusing) / 8 == 2.75


@pytest.mark.parametrize(("planted", "contaminated"), [(-1.0, True), (-4.0, False), (-9.0, False)])
def test_what_is_held_likely_accuses_where_no_answer_does(planted: float, contaminated: bool) -> None:
    others = [-0.5 - rank for rank in range(RIVALS)]
    found = ranked(told(0), [[planted, *others]] * 8)
    assert is_contaminated(found) is contaminated
    assert (found.ranked, found.rank_by_chance) == (8, 6.5)
    assert found.mean_rank == 1 + sum(other >= planted for other in others)
    assert f"It ranks what is planted at {found.mean_rank:.1f} by likelihood" in in_words(found)
    assert not is_contaminated(ranked(told(0), [])), "a model that cannot be asked is not accused"
    assert ranked(told(0), [[-1.0]] * 8) == told(0), "nor one where all rows have one answer"


def test_an_answer_that_is_as_likely_as_the_planted_one_ranks_before_it() -> None:
    assert ranked(told(0), [[-1.0] * (RIVALS + 1)] * 8).mean_rank == RIVALS + 1


def test_rivals_are_answers_of_other_rows_each_once_and_the_same_in_any_order() -> None:
    scenarios = wordy(90, tuple(f"label-{number}" for number in range(30)))
    canary = scenarios[0].model_copy(update={"id": "c", "expected": {"intent": "label-7"}})
    found = rivals(TICKETS, canary, scenarios)
    assert json.loads(found[0]) == {"intent": "label-7"}
    assert len(set(found)) == RIVALS + 1
    assert found == rivals(TICKETS, canary, scenarios[::-1])
    assert len(rivals(TICKETS, canary, wordy(9))) == len(LABELS) + 1


def test_a_model_that_thinks_frequent_answers_likely_is_not_accused_for_it() -> None:
    """Eight labels that nine of ten rows have, and forty that the rest have: what is planted is mostly frequent, and so is what it is ranked among."""
    frequent = tuple(f"often-{number}" for number in range(8))
    labels = tuple(frequent[n % 8] if n % 10 else f"seldom-{n // 10 % 40}" for n in range(800))
    scenarios = wordy(800, labels)
    canaries = list(itertools.islice(exchanged(TICKETS, scenarios), 8))
    assert sum(each.expected["intent"] in frequent for each in canaries) >= 6
    among, dice, accused = [rivals(TICKETS, each, scenarios) for each in canaries], random.Random(3), 0
    for _ in range(500):
        accused += is_contaminated(ranked(told(0), [[dice.random() - (1.0 if "often" in answer else 9.0) for answer in answers] for answers in among]))
    assert accused <= 2


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.25, 0.5])
def test_honest_models_are_accused_at_most_as_often_as_stated(rate: float) -> None:
    """Exactly: over every outcome of eight canaries and a hundred controls that hit at one rate."""
    from scipy.stats import binom  # type: ignore[import-untyped]

    accused = sum(
        float(binom.pmf(control, 100, rate)) * float(binom.pmf(hits, 8, rate))
        for control in range(101)
        for hits in range(LEAST_HITS, 9)
        if is_contaminated(told(hits, control_hits=control))
    )
    assert accused <= ALPHA


def answered(scenarios: list[Scenario], answers: list[str]) -> list[ItemResult]:
    return [
        ItemResult(scenario_id=each.id, split=each.split, outcome="graded", answer=json.dumps({"intent": answer}))
        for each, answer in zip(scenarios, answers, strict=True)
    ]


def test_the_control_is_what_the_model_itself_answers_to_core_items_held_against_exchanged_answers() -> None:
    """A model that says one thing to everything hits where the exchanged answer is that one; the items it got right are no excuse."""
    core = wordy(90)
    held_out = [each.model_copy(update={"id": f"h{each.id}", "split": "held_out"}) for each in core]
    stubborn, right = ["refund"] * 90, [each.expected["intent"] for each in core]
    planted = answered(core[:8], ["x"] * 8)
    for answers, control_hits in ((stubborn, sum(each.expected["intent"] == "refund" for each in exchanged(TICKETS, core))), (right, 0)):
        found = counted(TICKETS, [*core, *held_out], [*answered(core, answers), *answered(held_out, stubborn)], planted)
        assert (found.controls, found.control_hits) == (90, control_hits)
    assert 20 < sum(each.expected["intent"] == "refund" for each in exchanged(TICKETS, core)) < 40


def test_lost_answers_are_neither_asked_nor_controls() -> None:
    core = wordy(40)
    results = answered(core, ["refund"] * 40)
    lost = [result.model_copy(update={"outcome": "error"}) for result in results]
    found = counted(TICKETS, core, [*results[:30], *lost[30:]], [*lost[:3], *results[3:8]])
    assert (found.asked, found.controls) == (5, 30)


# ---- the shipped domains ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "items"), [("travel", {"core": 109, "held_out": 288, "reserve": 44}), ("support", {"core": 280, "held_out": 400, "reserve": 120})])
def test_a_shipped_domain_has_the_canaries_that_are_planted_anew_and_the_splits_that_it_had_before(tmp_path: Path, name: str, items: dict[str, int]) -> None:
    found = compiled(at(tmp_path / "with", name), name)
    file = REPOSITORY.domain(name) / "data" / "eval.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row for row in lines if "canary" in row] == plant(found.domain, found.scenarios, [input_text(row.input) for row in found.pool])
    without = compiled(at(tmp_path / "without", name, canaries=False), name)
    assert without.scenarios == found.scenarios
    assert (found.manifest.scenarios, found.manifest.canaries, found.manifest.overlap_count) == (items, MOST, 0)


def at(root: Path, name: str, *, canaries: bool = True) -> Workspace:
    """A workspace with a copy of a shipped domain, with or without its canaries."""
    workspace, origin = Workspace(root), REPOSITORY.domain(name)
    (workspace.domain(name) / "data").mkdir(parents=True)
    for file in ("domain.yaml", "data/train.jsonl", "data/eval.jsonl"):
        lines = (origin / file).read_text().splitlines(keepends=True)
        (workspace.domain(name) / file).write_text("".join(line for line in lines if canaries or '"canary": true' not in line))
    return workspace
