"""The leakage guard finds every way in which a training row can be an evaluation item, and names the pair without its texts."""

from __future__ import annotations

import random
import time

import pytest

from engine.curate.leakage import find_leaks, refuse_leaks
from engine.errors import LeakageFound
from engine.evaluate.types import Scenario, Split, TrainingRow

SENTENCE = "Could you tell me when the next train to Lyon leaves from platform four?"


def row(text: str, name: str = "row-1") -> TrainingRow:
    return TrainingRow(id=name, input={"text": text}, expected="x")


def item(text: str, split: Split = "held_out", name: str = "item-1") -> Scenario:
    return Scenario(id=name, input={"text": text}, expected="x", split=split)


@pytest.mark.parametrize("split", ["core", "held_out", "reserve"])
@pytest.mark.parametrize(
    ("text", "how"),
    [
        (SENTENCE, "exact"),
        (SENTENCE.upper().replace("?", " ..."), "normalised"),
        (SENTENCE.replace("four", "fourteen"), "near"),
    ],
)
def test_a_row_that_is_an_item_of_any_split_is_found(text: str, how: str, split: Split) -> None:
    leaks = find_leaks([row("Something else entirely, about refunds."), row(text, "row-2")], [item(SENTENCE, split)], 0.8)
    assert [(leak.row, leak.scenario, leak.split, leak.how) for leak in leaks] == [("row-2", "item-1", split, how)]


def test_unrelated_rows_pass() -> None:
    found = find_leaks([row("I would like a refund for my last payment.")], [item(SENTENCE)], 0.8)
    assert found == ()
    refuse_leaks(found)


def test_a_hit_stops_with_the_row_named_and_of_the_item_its_id_only_when_it_is_of_core() -> None:
    with pytest.raises(LeakageFound, match="'item-9' of the core split"):
        refuse_leaks(find_leaks([row(SENTENCE)], [item(SENTENCE, "core", "item-9")], 0.8))
    with pytest.raises(LeakageFound) as caught:
        refuse_leaks(find_leaks([row(SENTENCE.lower(), "row-7")], [item(SENTENCE, name="item-9")], 0.8))
    shown = str(caught.value.as_record())
    assert "row-7" in shown
    assert "item-9" not in shown
    assert "Lyon" not in shown
    assert "lyon" not in shown


def test_the_order_of_an_inputs_fields_hides_nothing() -> None:
    training = TrainingRow(id="r", input={"b": "two words here", "a": "one phrase there"}, expected="x")
    scenario = Scenario(id="s", input={"a": "one phrase there", "b": "two words here"}, expected="x", split="core")
    assert [leak.how for leak in find_leaks([training], [scenario], 0.8)] == ["exact"]


def test_two_thousand_rows_against_nine_hundred_items_take_less_than_two_seconds() -> None:
    dice = random.Random(3)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(800)]

    def sentence() -> str:
        return " ".join(dice.choices(words, k=14))

    rows = [row(sentence(), f"r{i}") for i in range(2000)]
    items = [item(sentence(), name=f"s{i}") for i in range(900)]
    rows[1234] = row(items[77].input["text"] + " please", "planted")
    began = time.process_time()
    leaks = find_leaks(rows, items, 0.8)
    assert time.process_time() - began < 2.0
    assert [(leak.row, leak.scenario) for leak in leaks] == [("planted", "s77")]
