"""Floors: each method does what it is named for, on any domain, the same way each time."""

from __future__ import annotations

import pytest

from engine.evaluate.floors.methods import predict
from engine.evaluate.floors.nearest import Bm25
from engine.evaluate.floors.shape import Label, Labels, Opaque, Record, Slots, Text, shape_of
from engine.evaluate.floors.tagger import Span, align, tokens_of
from engine.evaluate.types import TrainingRow

CITIES = ("Oslo", "Bergen", "Paris", "Madrid", "Rome", "Lima", "New York", "Cairo", "Accra", "San Jose", "Perth", "Osaka")
UNSEEN = ("Dakar", "Turin", "Quito", "Nairobi", "Lyon", "Porto", "Hong Kong", "Riga", "Boston", "Santa Cruz", "Malmo", "Hanoi")
NUMBERS = ("two", "three", "four", "five")


def turn(number: int, asked: str, cities: tuple[str, ...]) -> dict[str, str]:
    start, end = cities[number % 12], cities[(number * 5 + 3) % 12]
    if asked:
        return {"system": f"Where do you want to {asked}?", "user": f"{start} please."}
    return {"system": "", "user": f"I need {NUMBERS[number % 4]} seats from {start} to {end}"}


def turn_answer(number: int, asked: str, cities: tuple[str, ...]) -> dict[str, object]:
    start, end = cities[number % 12], cities[(number * 5 + 3) % 12]
    if asked:
        return {"acts": ["inform"], "slots": {"origin" if asked == "leave from" else "destination": start}}
    return {"acts": ["inform", "request"], "slots": {"people": str(number % 4 + 2), "origin": start, "destination": end}}


def turns(start: int, count: int, cities: tuple[str, ...] = CITIES) -> list[TrainingRow]:
    asked = ("", "leave from", "go to")
    numbers = range(start, start + count)
    return [TrainingRow(id=str(n), input=turn(n, asked[n % 3], cities), expected=turn_answer(n, asked[n % 3], cities)) for n in numbers]


def right(method: str, pool: list[TrainingRow], items: list[TrainingRow]) -> float:
    answers = predict(method, pool, [item.input for item in items], seed=1)
    assert answers is not None
    return sum(answer == item.expected for answer, item in zip(answers, items, strict=True)) / len(items)


def test_shapes_are_read_off_the_reference_answers():
    assert shape_of([{"a": "x", "b": ["p"]}, {"a": "x", "b": []}]) == Record({"a": Label(), "b": Labels()})
    assert shape_of([{"a": "x"}, {"b": "y"}]) == Slots()
    assert shape_of([f"text {n}" for n in range(9)]) == Text()
    assert shape_of([[{"x": 1}], []]) == Opaque()
    assert shape_of([1, 2, 3, 4]) == Label()


def test_majority_gives_the_commonest_answer():
    pool = [TrainingRow(id=str(n), input={}, expected={"a": min(n, 2)}) for n in range(5)]
    assert predict("majority", pool, [{}, {}], seed=1) == [{"a": 2}, {"a": 2}]


def test_bm25_prefers_the_text_with_the_rare_word():
    index = Bm25(["the card is lost", "the card is late", "the transfer is late"])
    assert index.nearest("my card got lost") == 0
    assert index.nearest("transfer?") == 2
    assert index.nearest("zebra") == 0


def test_labels_are_learnt_from_words():
    pool = [TrainingRow(id=str(n), input={"t": f"{'lost card' if n % 2 else 'late transfer'} {n}"}, expected={"intent": n % 2}) for n in range(30)]
    assert right("tfidf_logistic", pool, pool) == 1.0
    assert predict("tagger", pool, [{"t": "x"}], seed=1) is None


def test_slots_are_found_where_they_stand_and_told_apart_by_the_question_before():
    pool, items = turns(0, 150), turns(150, 60, UNSEEN)
    assert right("tagger", pool, items) >= 0.75
    assert right("bm25_nearest", pool, items) == 0.0


def test_the_same_pool_gives_the_same_answers():
    inputs = [row.input for row in turns(150, 20)]
    assert predict("tagger", turns(0, 60), inputs, seed=1) == predict("tagger", turns(0, 60), inputs, seed=1)


def test_values_are_aligned_by_whole_words_and_numbers_by_their_spelling():
    tokens = tokens_of("Two seats to New York, not York")
    assert sorted(align(tokens, {"people": "2", "to": "new york", "via": "Yor", "what": "?"})) == [Span("people", 0, 1, True), Span("to", 3, 5)]


@pytest.mark.parametrize("method", ["majority", "bm25_nearest", "tfidf_logistic", "tagger"])
@pytest.mark.parametrize(
    "expected",
    [
        {"a": None},
        {"nested": {"deep": {"x": 1}}, "list": [{"y": 2}]},
        "a text of its own",
        {"slots": {}},
        [],
        ["one"],
        3.5,
        {"a": "", "b": {"c": "words in here"}},
    ],
)
def test_any_output_gets_answers_of_its_shape_or_none(method, expected):
    pool = [TrainingRow(id=str(n), input={"t": f"words in here {n}", "n": n, "empty": ""}, expected=expected) for n in range(12)]
    answers = predict(method, pool, [{"t": "unseen"}, {}, {"other": ["x"]}], seed=1)
    assert answers is None or len(answers) == 3
