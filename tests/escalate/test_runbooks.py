"""The runbooks that ship: each parses, fits the tools as they are now, and together they cover every known failure once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import RUNBOOKS
from engine.diagnose.taxonomy import TAXONOMY
from engine.errors import error_classes
from engine.escalate.runbooks.catalogue import SURFACE_CODES, RunbookBroken, by_class, by_code, catalogue, read_all, runbook, runbook_for
from engine.escalate.runbooks.parsing import parse_runbook
from engine.escalate.runbooks.templates import fill, names_in, parts
from engine.escalate.runbooks.types import Act, Runbook
from server.cli import build_parser
from tools import TOOLS
from tools.tool import Tool, check_arguments, find_tool

IDENTIFIER = "evaluate-1121-a1b2c3"
"""Stands for whatever an earlier step answers: names and ids are what runbooks hand on."""

each_runbook = pytest.mark.parametrize("book", catalogue().values(), ids=list(catalogue()))


def examples(book: Runbook) -> dict[str, str]:
    return {name: about.example for name, about in book.inputs.items()}


def filled(value: Any, book: Runbook) -> Any:
    """With examples in the place of inputs, and an identifier in the place of what earlier steps answer."""
    scope: dict[str, Any] = examples(book)
    for name in names_in(value) - scope.keys():
        (number, _), (field, _) = parts(name)
        scope[number] = {**scope.get(number, {}), field: IDENTIFIER}
    return fill(value, scope)


def calls(book: Runbook) -> Iterator[tuple[Act, Tool]]:
    return ((act, find_tool(TOOLS, act.call)) for act in book.acts() if act.call)


def stands_in(schema: dict[str, Any], path: str) -> bool:
    """Whether an answer of this schema may have something at `path`. Inside an open object anything may stand."""

    def opened(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return opened(schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
        choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
        return opened(choices[0]) if len(choices) == 1 else node

    node = schema
    for name, picks in parts(path):
        node = opened(node)
        if "properties" not in node:
            return node.get("type") == "object"
        if name not in node["properties"]:
            return False
        node = opened(node["properties"][name])
        for pick in picks:
            node = opened(node.get("items", {}))
            field, equals, _ = pick.partition("=")
            if not node or (equals and field not in node.get("properties", {})):
                return False
    return True


@each_runbook
def test_every_call_fits_the_tool_s_own_arguments(book: Runbook) -> None:
    for act, tool in calls(book):
        check_arguments(tool, filled(act.arguments, book))


@each_runbook
def test_every_place_that_is_expected_or_handed_on_is_one_that_the_tool_answers(book: Runbook) -> None:
    answers = {step.number: step.act or step.done_when for step in book.steps}
    for act, tool in calls(book):
        for path in act.expect.result:
            assert stands_in(tool.result.model_json_schema(), filled(path, book)), f"{tool.name} answers no {path}"
    for act in book.acts():
        for name in (name for value in (act.arguments, act.command, act.expect.result) for name in names_in(value)):
            (root, _), *rest = parts(name)
            if rest:
                earlier = answers[int(root)]
                assert earlier is not None
                place = name.partition(".")[2]
                assert stands_in(find_tool(TOOLS, earlier.call).result.model_json_schema(), place), f"step {root} answers no {place}"


@each_runbook
def test_every_command_is_one_of_the_command_line(book: Runbook) -> None:
    for act in book.acts():
        if act.command:
            assert build_parser().parse_args([*filled(act.command, book), "--json"]).json


@each_runbook
def test_what_ends_or_undoes_something_or_takes_a_signature_is_never_carried_out_by_itself(book: Runbook) -> None:
    for step in book.steps:
        tool = find_tool(TOOLS, step.act.call) if step.act and step.act.call else None
        if tool and (tool.destructive or tool.effect == "human"):
            assert step.by == ("person" if tool.effect == "human" else step.by or "person"), f"{book.id}: step {step.number}"
            assert step.by
    for act in [*(step.done_when for step in book.steps), book.verification]:
        if act and act.call:
            tool = find_tool(TOOLS, act.call)
            assert (tool.effect == "read") or tool.idempotent, f"{book.id}: a check that changes something"


@each_runbook
def test_a_reader_finds_what_to_look_for_and_what_it_means(book: Runbook) -> None:
    assert "## What you see" in book.background
    assert "## What it means" in book.background
    for trigger in (*book.triggers.errors, *book.triggers.classes):
        assert f"`{trigger}`" in book.background, f"{book.id}.md does not say what {trigger} means"


def test_every_error_code_has_exactly_one_runbook() -> None:
    assert by_code(catalogue()).keys() == error_classes().keys() | SURFACE_CODES


def test_every_failure_class_has_exactly_one_runbook() -> None:
    assert by_class(catalogue()).keys() == TAXONOMY.keys()


def test_a_runbook_is_found_by_its_id_by_a_code_and_by_a_class() -> None:
    assert runbook("store-damaged") is runbook("store_failed") is catalogue()["store-damaged"]
    assert runbook("unlearnable").id == "person-reads"
    assert runbook_for("leakage_found") == "leakage"
    assert runbook_for("a_code_of_next_year") == ""


def test_two_runbooks_for_one_code_are_refused_by_name(tmp_path: Path) -> None:
    text = (RUNBOOKS / "leakage.md").read_text()
    (tmp_path / "leakage.md").write_text(text)
    (tmp_path / "second.md").write_text(text.replace("id: leakage", "id: second"))
    with pytest.raises(RunbookBroken, match=r"leakage\.md and second\.md both cover leakage_found"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ("---\nid:", "id:", "no front matter"),
        ("id: leakage", "id: leaks", "its id is leaks"),
        ("severity: critical", "severity: awful", "severity"),
        ("errors: [leakage_found]", "errors: []", "at least one error code"),
        ("### 2.", "### 4.", "not numbered"),
        ("tools: [iterate, run_status]", "tools: [iterate]", "`tools` names iterate"),
        ('"${2.run_id}"', '"${7.run_id}"', "${7.run_id} names neither an input nor a step before it"),
        ('cluster: "${cluster}"', 'cluster: "${custer}"', "${custer} names neither"),
        ("state: succeeded", "state: {is: succeeded}", "not one of the conditions"),
        ("call: iterate\n", "call: iterate\ncommand: [stop]\n", "either the call of a tool or a command"),
        ("```yaml\nby: agent\n```", "", "step 1 has 0 yaml blocks"),
        ("by: agent", "by: nobody", "step 1"),
        ("never:\n", "never: []\nsometimes:\n", "never"),
    ],
)
def test_a_file_that_is_no_runbook_is_refused_with_the_place(find: str, put: str, said: str) -> None:
    text = (RUNBOOKS / "leakage.md").read_text()
    assert find in text
    with pytest.raises(ValueError, match=r"^leakage\.md") as refused:
        parse_runbook("leakage", text.replace(find, put))
    assert said in str(refused.value)
