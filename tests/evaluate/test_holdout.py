"""The held-out set's budget and ladder, its looks in the store, and its rotation."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base.paths import Workspace
from engine.config import Splits
from engine.errors import StateConflict
from engine.evaluate import records
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.grading import item_digest
from engine.evaluate.holdout import GAIN, LEAST_RESERVE, climb, in_words, is_reported, ladder_step, looks_borne, middle_looks, state_of, stated_error
from engine.evaluate.splits import Item, assign_splits, rotate
from engine.evaluate.types import Look
from engine.store.rebuild import table_digests
from tests.evaluate.folders import domain_yaml, rows, write_folder
from tests.evaluate.samples import result
from tests.evaluate.test_records import opened, record

# ---- the ladder and its budget -------------------------------------------------------------------------------------------------------


def overstatement(items: int, looks: int, share: float, *, ladder: bool, campaigns: int, seed: int = 5) -> float:
    """How far above the truth (one half) an analyst climbs who keeps what is answered as better, changes a share of the answers and asks
    again: the mean over campaigns, all at once."""
    dice = np.random.default_rng(seed)
    truth, kept = dice.integers(0, 2, (2, campaigns, items), dtype=np.int8)
    best = (kept == truth).mean(axis=1)
    step = ladder_step(items) if ladder else 0.0
    for _ in range(looks):
        redrawn = dice.random((campaigns, items), dtype=np.float32) < share
        asked = np.where(redrawn, dice.integers(0, 2, (campaigns, items), dtype=np.int8), kept)
        score = (asked == truth).mean(axis=1)
        better = np.array([is_reported(one, before, step) for one, before in zip(score, best, strict=True)])
        kept[better], best[better] = asked[better], score[better]
    return float((kept == truth).mean() - 0.5)


@pytest.mark.parametrize("sources", [60, 288])
def test_an_adaptive_analyst_who_uses_up_the_budget_gains_no_more_than_is_stated(sources: int) -> None:
    gained = [overstatement(sources, looks_borne(sources), share, ladder=True, campaigns=300) for share in (0.2, 0.5, 1.0)]
    assert max(gained) <= stated_error(sources)
    assert max(gained) <= 1.05 * GAIN * math.sqrt(looks_borne(sources) / sources)
    assert max(gained) > 0.4 * stated_error(sources), "the statement is no empty one"


def test_without_the_ladder_the_same_analyst_gains_half_as_much_again() -> None:
    looks = looks_borne(288)
    assert overstatement(288, looks, 0.3, ladder=False, campaigns=200) > 1.5 * overstatement(288, looks, 0.3, ladder=True, campaigns=200)


@given(st.integers(1, 100_000))
def test_a_larger_set_bears_more_and_is_read_more_finely(sources: int) -> None:
    assert looks_borne(sources) <= looks_borne(sources + 50)
    assert looks_borne(sources) >= 26
    assert ladder_step(sources) >= ladder_step(sources + 50) >= 0.01
    assert ladder_step(sources) >= 0.5 / math.sqrt(sources) - 1e-9 or sources > 2500


def test_nothing_is_borne_by_no_items() -> None:
    assert state_of(Splits(), generation=0, sources=0, looks=0, exposed=0, reserve=0).spent


@given(st.lists(st.tuples(st.sampled_from(["v1", "v2", "v3", "v4"]), st.floats(0, 1)), max_size=30))
def test_what_is_said_of_challengers_only_climbs_and_by_more_than_a_step(answers: list[tuple[str, float]]) -> None:
    looks = [Look(f"e{number}", subject, score, 100, f"{subject}{score}") for number, (subject, score) in enumerate(answers)]
    said = climb(looks, ())
    told = list(dict.fromkeys(look.score for look in looks if said[look.evaluation_id].exact))
    assert all(after > before + ladder_step(100) for before, after in pairwise(told))
    for look in looks:
        assert said[look.evaluation_id].exact or look.score <= said[look.evaluation_id].best + ladder_step(100)


def test_base_floor_and_accepted_versions_are_told_and_a_challenger_below_them_is_not() -> None:
    looks = [Look(f"e{n}", subject, score, 100, subject) for n, (subject, score) in enumerate([("base", 0.2), ("floor:majority", 0.7), ("v1", 0.72), ("v2", 0.76)])]
    assert [said.exact for said in climb(looks, {"base", "floor:majority"}).values()] == [True, True, False, True]
    assert [said.exact for said in climb(looks, {"base", "floor:majority", "v1"}).values()] == [True, True, True, False]


def test_measuring_the_same_again_is_answered_as_the_first_time() -> None:
    looks = [Look("e0", "base", 0.5, 100, "b"), Look("e1", "v1", 0.52, 100, "v1"), Look("e2", "v2", 0.7, 100, "v2"), Look("e3", "v2", 0.7, 100, "v2")]
    assert [said.exact for said in climb(looks, {"base"}).values()] == [True, False, True, True]


def test_a_look_that_stopped_early_is_never_said_raises_nothing_and_leaves_the_whole_measurement_to_be_said_by_itself() -> None:
    looks = [Look("e0", "base", 0.5, 100, "b"), Look("e1", "v1", 0.9, 100, "v1/64", whole=False), Look("e2", "v1", 0.7, 100, "v1")]
    for plain in (("base",), ("base", "v1")):
        said = climb(looks, plain)
        assert [said[name].exact for name in ("e0", "e1", "e2")] == [True, False, True]
        assert said["e2"].best == 0.5
        assert "not measured in full" in in_words(said["e1"])


@given(st.integers(1, 200), st.integers(0, 50), st.floats(0, 0.29))
def test_an_edit_of_less_than_three_in_ten_items_gives_a_set_no_new_count(items: int, looks: int, share: float) -> None:
    edited = math.floor(share * items)
    assert middle_looks([0] * edited + [looks] * (items - edited)) == looks


# ---- looks in the store --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def asked(prefix: str, count: int = 10, *, core: int = 0):
    """Results of items known by their digest."""
    return [result(n, 0.5, split="core" if n < core else "held_out", item=f"{prefix}{n}") for n in range(count)]


def test_each_measurement_of_held_out_is_a_look_and_only_new_ones_of_challengers_count(workspace):
    store, artifacts = opened(workspace)
    for run, subject, kind in (("e1", "base", "evaluate"), ("f1", "floor:majority", "floor"), ("e2", "v1", "evaluate"), ("e3", "v1", "evaluate")):
        record(store, artifacts, workspace, run, asked("a"), subject=subject, kind=kind, generator=subject)
    rows = store.read("SELECT evaluation_id, cluster, suite, subject, counted, looks FROM look ORDER BY seq")
    assert rows == [
        ("e1", "travel", "a", "base", False, 0),
        ("f1", "travel", "a", "floor:majority", False, 0),
        ("e2", "travel", "a", "v1", True, 1),
        ("e3", "travel", "a", "v1", False, 1),
    ]
    assert records.latest_use(store)["travel"].sources == 10
    store.close()


def test_looks_follow_the_items_through_an_edit_of_the_suite_and_items_shown_as_core_are_named(workspace):
    store, artifacts = opened(workspace)
    for number in range(3):
        record(store, artifacts, workspace, f"e{number}", asked("a"), subject=f"v{number}", generator=f"v{number}")
    record(store, artifacts, workspace, "e3", [*asked("a", 8), *asked("b", 2)], subject="v3", generator="v3", suite="edited")
    assert records.latest_use(store)["travel"].looks == 4
    record(store, artifacts, workspace, "e4", asked("c", core=10), subject="v3", generator="v3", suite="other")
    record(store, artifacts, workspace, "e5", asked("c"), subject="v3", generator="v3", suite="swapped")
    use = records.latest_use(store)["travel"]
    assert (use.looks, use.exposed) == (1, 10)
    assert state_of(Splits(), generation=0, sources=10, looks=use.looks, exposed=use.exposed, reserve=0).spent
    store.close()


def test_a_rotation_is_written_once_and_survives_a_rebuild_with_the_looks(workspace):
    store, artifacts = opened(workspace)
    record(store, artifacts, workspace, "e1", asked("a"), subject="v1", generator="v1")

    def ask(actor: str) -> int:
        return records.rotate_held_out(store, domain="travel", generation=0, cluster="travel", suite="a", actor=actor, reason="26 of 26")

    assert [ask("i1"), ask("i1"), ask("i2")] == [1, 1, 1], "of two clusters that found one set spent, one rotates it"
    assert (records.generation(store, "travel"), records.generation(store, "support")) == (1, 0)
    before = table_digests(store)
    store.close()
    for file in workspace.state.glob("state.duckdb*"):
        file.unlink()
    store, _ = opened(workspace)
    assert table_digests(store) == before
    assert [row[0] for row in store.read("SELECT kind FROM event WHERE subject = 'travel'")] == ["held_out_rotated"]
    store.close()


def test_a_store_from_before_looks_were_kept_has_them_as_a_rebuild_would(workspace, monkeypatch):
    older = records.TABLES._replace(migrations=records.TABLES.migrations[:2])
    with monkeypatch.context() as patched:
        patched.setattr(records, "TABLES", older)
        patched.setattr(records, "_record_look", lambda *_: None)
        patched.setattr(records, "_ITEM_COLUMNS", records._ITEM_COLUMNS[:-1])
        whole = records._item_row
        patched.setattr(records, "_item_row", lambda run, row: whole(run, row)[:-1])
        store, artifacts = opened(workspace)
        for run, subject in (("e1", "base"), ("e2", "v1"), ("e3", "v1")):
            record(store, artifacts, workspace, run, [result(n, n / 7, split="held_out") for n in range(5)], subject=subject, generator=subject)
        store.close()
    store, _ = opened(workspace)
    migrated = table_digests(store)
    assert store.read("SELECT evaluation_id, counted, score, sources FROM look ORDER BY seq")[1] == ("e2", True, store.read("SELECT score FROM look")[0][0], 5)
    store.close()
    for file in workspace.state.glob("state.duckdb*"):
        file.unlink()
    store, _ = opened(workspace)
    assert table_digests(store) == migrated
    store.close()


# ---- rotation ------------------------------------------------------------------------------------------------------------------------

SPLITS = Splits(core=0.3, held_out=0.4, reserve=0.3)


def made(count: int) -> list[Item]:
    return [Item(f"r{n}", f"s{n // 2}" if n % 3 else "", n % 4) for n in range(count)]


@settings(max_examples=60)
@given(st.integers(20, 120), st.integers(1, 3), st.floats(0.1, 0.6))
def test_a_rotation_never_brings_core_back_and_keeps_groups_whole(count: int, generation: int, reserve: float) -> None:
    splits = Splits(core=0.3, held_out=0.7 - reserve, reserve=reserve)
    items = made(count)
    first = assign_splits(items, (), splits)
    try:
        before, after = (rotate(items, (), first, splits, number) for number in (generation - 1, generation))
    except StateConflict:
        return
    for position in range(count):
        if before.splits[position] == "core":
            assert after.splits[position] == "core"
        if before.splits[position] == "held_out":
            assert after.splits[position] == ("held_out" if position in after.anchor else "core")
        if after.splits[position] == "held_out":
            assert before.splits[position] != "core"
    for source in {item.source for item in items if item.source}:
        assert len({after.splits[position] for position, item in enumerate(items) if item.source == source}) == 1
    held_out = after.splits.count("held_out")
    assert held_out <= before.splits.count("held_out") + LEAST_RESERVE + 2
    assert len(after.anchor) <= 0.25 * held_out + 1e-9
    assert held_out > len(after.anchor)


def test_a_large_reserve_is_rotated_in_piece_by_piece_and_ends_plainly() -> None:
    splits = Splits(core=0.2, held_out=0.2, reserve=0.6)
    items = [Item(f"r{n}", "", "") for n in range(200)]
    first = assign_splits(items, (), splits)
    sizes = [rotate(items, (), first, splits, number).splits.count("reserve") for number in range(5)]
    assert sizes == [120, 90, 60, 30, 0]
    with pytest.raises(StateConflict, match="rotation 5"):
        rotate(items, (), first, splits, 5)


def test_a_generation_is_another_domain_and_another_suite(tmp_path: Path) -> None:
    workspace = write_folder(tmp_path, evaluation=rows(90, start=1000), domain=domain_yaml(data={"train": {"path": "train.jsonl"}, "evaluation": {"path": "eval.jsonl"}, "splits": SPLITS.model_dump()}))

    def at(generation: int) -> CompiledDomain:
        return compile_domain(workspace, "tickets", domain_digest(workspace, "tickets", generation), generation)

    first, second, again = at(0), at(1), at(1)
    assert len({first.digest, second.digest}) == len({first.suite_digest, second.suite_digest}) == 2
    assert again == second
    assert second.grading_digest == first.grading_digest
    ids: Callable[[CompiledDomain, str], set[str]] = lambda compiled, split: {each.id for each in compiled.of_split(split)}  # type: ignore[arg-type]  # noqa: E731
    assert ids(second, "held_out") == ids(first, "reserve") | set(second.manifest.anchor)
    assert set(second.manifest.anchor) <= ids(first, "held_out")
    assert ids(second, "core") == ids(first, "core") | (ids(first, "held_out") - set(second.manifest.anchor))
    assert {item_digest(each.input) for each in first.scenarios} == {item_digest(each.input) for each in second.scenarios}
