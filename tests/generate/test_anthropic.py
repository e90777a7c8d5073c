"""An endpoint that speaks Anthropic messages: its headers, its body, its replies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.generate import chat
from engine.generate.types import GenerationSettings, Message, Request
from tests.generate.helpers import Collected, questions
from tests.generate.test_endpoint import Reply, endpoint

SCHEMA = {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]}


def message(*content: dict[str, Any], stop: str = "end_turn", **usage: Any) -> Reply:
    document = {"type": "message", "role": "assistant", "content": list(content), "stop_reason": stop}
    return 200, json.dumps(document | {"usage": {"input_tokens": 5, "output_tokens": 3} | usage}).encode()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def question(**settings: Any) -> Request:
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="?"))
    return Request(key="k", messages=messages, settings=GenerationSettings(max_tokens=9, **settings))


def test_a_question_goes_out_as_an_anthropic_message_with_its_own_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    seen: list[dict[str, str]] = []

    def rule(number: int, body: dict[str, Any], headers: Any) -> Reply:
        seen.append({name.lower(): value for name, value in headers.items()})
        return message(text("fine"), cache_read_input_tokens=4)

    collected = Collected()
    with endpoint(rule, dialect="anthropic", api_key_env="SOME_KEY") as (generator, bodies):
        generator.answer([question()], collected)
    assert bodies == [{"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "?"}]}]
    assert (seen[0]["x-api-key"], seen[0]["anthropic-version"], "authorization" in seen[0]) == ("sk-very-secret", "2023-06-01", False)
    answer = collected.answers["k"]
    assert (answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("fine", "stop", 9, 3)
    assert "secret" not in generator.identity.model_dump_json()


def test_a_schema_is_a_tool_that_must_be_called_and_its_input_is_the_answer() -> None:
    collected = Collected()
    reply = message(text("Let me see."), {"type": "tool_use", "id": "t", "name": "answer", "input": {"intent": "log in"}}, stop="tool_use")
    with endpoint(lambda *_: reply, dialect="anthropic") as (generator, bodies):
        generator.answer([question(json_schema=SCHEMA)], collected)
    assert bodies[0]["tools"][0]["input_schema"] == SCHEMA
    assert bodies[0]["tool_choice"] == {"type": "tool", "name": "answer"}
    assert collected.answers["k"].text == '{"intent":"log in"}'


def test_a_temperature_is_sent_only_where_the_profile_asks_for_it() -> None:
    for sampling, sent in ((None, None), (True, 0.5), (False, None)):
        with endpoint(lambda *_: message(text("x")), dialect="anthropic", sampling=sampling) as (generator, bodies):
            generator.answer([question(temperature=0.5)], Collected())
        assert bodies[0].get("temperature") == sent


def test_an_answer_cut_at_its_limit_says_so() -> None:
    collected = Collected()
    with endpoint(lambda *_: message(text("half an"), stop="max_tokens"), dialect="anthropic") as (generator, _):
        generator.answer([question()], collected)
    assert (collected.answers["k"].text, collected.answers["k"].finish_reason) == ("half an", "length")


@pytest.mark.parametrize(
    "bad", [(529, b'{"type":"error"}'), (200, b'{"content": 5}'), (200, b'{"content": [{"type": "text", "text": 5}]}'), (200, b'{"content": ["x"]}')]
)
def test_an_overloaded_endpoint_and_a_nonsense_reply_are_asked_again(bad: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.001)
    collected = Collected()
    with endpoint(lambda number, *_: bad if number < 2 else message(text("fine")), dialect="anthropic") as (generator, _):
        generator.answer(questions(1), collected)
    assert (collected.answers["q0"].text, collected.answers["q0"].attempts) == ("fine", 2)


def test_the_two_dialects_of_one_address_are_two_generators() -> None:
    with endpoint(lambda *_: message(text("x"))) as (one, _), endpoint(lambda *_: message(text("x")), dialect="anthropic") as (other, _):
        assert one.identity.engine.split()[0] == other.identity.engine.split()[0] == "endpoint"
        assert "anthropic" in other.identity.engine
