"""The decision history: kept as answered, noted, asked again, and set side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, NotFound
from tests.workspaces import make_workspace
from tools import TOOLS
from tools.tool import call, find_tool

PLAN = {"concurrency": 4, "own": ["L4 24GB"], "rent": False, "export": "vllm"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(make_workspace(tmp_path))
    yield engine
    engine.close()


def ask(engine: Engine, tool: str, **arguments: Any) -> dict[str, Any]:
    return call(engine, find_tool(TOOLS, tool), arguments)


def kept(engine: Engine, note: str = "", **arguments: Any) -> str:
    made = ask(engine, "record_decision", question="plan_deployment", arguments={**PLAN, **arguments}, note=note, by="ada")
    return str(made["decisions"][0]["decision"])


def test_a_plan_is_kept_with_its_answer_its_export_and_a_note_and_would_be_answered_the_same_now(engine: Engine) -> None:
    name = kept(engine, "cheapest that answers in time")
    shown = ask(engine, "decision_history", decision=name)
    answered = ask(engine, "plan_deployment", **PLAN)
    assert shown["answer"] == {key: value for key, value in answered.items() if key != "next"}
    assert "vllm" in shown["answer"]["document"]
    (line,) = shown["decisions"]
    assert line["arguments"] == PLAN
    assert [(note["by"], note["note"]) for note in line["notes"]] == [("ada", "cheapest that answers in time")]
    assert shown["summary"].endswith("It would be answered the same now.")
    assert "differences" not in shown or shown["differences"] == []


def test_kept_twice_it_is_one_decision_and_notes_are_added_in_their_order(engine: Engine) -> None:
    first, again = kept(engine, "first"), kept(engine, "second")
    assert first == again
    ask(engine, "record_decision", decision=first, note="third", by="bob")
    listed = ask(engine, "decision_history")
    assert listed["total"] == 1
    assert [note["note"] for note in listed["decisions"][0]["notes"]] == ["first", "second", "third"]


def test_what_would_be_answered_otherwise_now_is_said_place_by_place(engine: Engine) -> None:
    name = kept(engine)
    card = json.loads(json.dumps({"vendor": "nvidia", "memory_gib": 48.0, "bandwidth_gb_s": 900.0, "tflops": {"bf16": 300.0}, "compute_capability": 9.0}))
    entry = {**card, "source": "a test", "confidence": "high"}
    (engine.workspace.root / "atlas.json").write_text(json.dumps({"schema_version": 1, "accelerators": {"L4 24GB": entry}}))
    shown = ask(engine, "decision_history", decision=name)
    places = {each["place"]: each for each in shown["differences"]}
    assert places["configurations.0.usable_gib"]["after"] > places["configurations.0.usable_gib"]["before"]
    assert shown["differs_from"] == "now"


def test_two_decisions_are_held_against_each_other_in_what_was_asked_and_answered(engine: Engine) -> None:
    one, other = kept(engine), kept(engine, concurrency=64)
    shown = ask(engine, "decision_history", decision=one, against=other)
    places = {each["place"]: (each.get("before"), each.get("after")) for each in shown["differences"]}
    assert places["asked.concurrency"] == (4, 64)
    assert any(place.startswith("configurations.0.") for place in places)
    assert [line["decision"] for line in shown["decisions"]] == [one, other]


def test_history_is_listed_newest_first_a_page_at_a_time(engine: Engine) -> None:
    names = [kept(engine, concurrency=count) for count in (1, 2, 3)]
    first = ask(engine, "decision_history", limit=2)
    rest = ask(engine, "decision_history", limit=2, cursor=first["next_cursor"])
    assert [line["decision"] for page in (first, rest) for line in page["decisions"]] == names[::-1]


def test_a_decision_is_there_after_a_restart(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    before = Engine.open(workspace)
    name = kept(before, "to stay")
    before.close()
    after = Engine.open(workspace)
    assert after.decision(name).notes[0].text == "to stay"
    after.close()


def test_a_question_that_cannot_be_asked_any_more_still_shows_its_answer(engine: Engine) -> None:
    made = ask(engine, "record_decision", question="triage_tuning", arguments={"cluster": "tickets"}, by="ada")
    file = json.loads(engine.workspace.clusters_file.read_text())
    engine.workspace.clusters_file.write_text(json.dumps({**file, "clusters": {}}))
    shown = ask(engine, "decision_history", decision=made["decisions"][0]["decision"])
    assert "cannot be asked again" in shown["summary"]
    assert shown["answer"]["verdict"] == "measure_first"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "ada"}, "either a question or a decision"),
        ({"by": "ada", "question": "plan_deployment", "decision": "d-0123456789ab"}, "either a question or a decision"),
        ({"by": "ada", "decision": "d-0123456789ab"}, "nothing to add"),
        ({"by": "ada", "question": "promote"}, "question"),
        ({"by": "ada", "question": "plan_deployment", "arguments": {"concurrency": 0}}, "plan_deployment: concurrency"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_kept(engine: Engine, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentInvalid, match=said):
        ask(engine, "record_decision", **arguments)
    assert ask(engine, "decision_history")["total"] == 0


def test_a_decision_that_is_not_there_is_named_with_those_that_are(engine: Engine) -> None:
    name = kept(engine)
    for tool, arguments in (
        ("record_decision", {"decision": "d-0123456789ab", "note": "x", "by": "ada"}),
        ("decision_history", {"decision": "d-0123456789ab"}),
        ("decision_history", {"decision": name, "against": "d-0123456789ab"}),
    ):
        with pytest.raises(NotFound) as caught:
            ask(engine, tool, **arguments)
        assert caught.value.details["known"] == [name]
