"""What the tools cost a model that has them in its context. A token is taken as four characters of JSON, as clients count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.mcp_server import AGENT_TOOLS, listing
from tests.server.double import EngineDouble
from tools import TOOLS
from tools.tool import call, find_tool

LIST_TOKENS = 7400
"""Sixteen tools about clusters and runs, and three about models, hardware and whether to train, of which two ask for more."""
RESULT_TOKENS = 1200
DESCRIPTION_CHARACTERS = 400


def tokens(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) // 4


def test_the_whole_tool_list_is_small() -> None:
    listed = [listing(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in AGENT_TOOLS]
    assert tokens(listed) <= LIST_TOKENS


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_description_states_facts_in_few_words(tool: Any) -> None:
    assert len(tool.description) <= DESCRIPTION_CHARACTERS
    for word in ("you must", "always", "never call", "important", "do not call"):
        assert word not in tool.description.lower()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_argument_is_described(tool: Any) -> None:
    for name, about in tool.arguments.model_json_schema().get("properties", {}).items():
        assert about.get("description"), f"{tool.name}.{name}"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fleet_status", {}),
        ("iterate", {"cluster": "travel"}),
        ("evaluate", {"cluster": "travel"}),
        ("diagnose", {"cluster": "travel"}),
        ("diagnose", {"cluster": "travel", "pattern": "wrong_label:a->b0"}),
        ("compare", {"before_evaluation": "e1", "after_evaluation": "e2"}),
        ("evidence", {"cluster": "travel"}),
        ("onboard_model", {"name": "m", "profile": {}}),
        ("onboard_domain", {"name": "d", "rows_path": "rows.jsonl"}),
        ("promote", {"cluster": "travel"}),
        ("rollback", {"cluster": "travel", "drill": True}),
        ("escalations", {}),
        ("escalations", {"escalation": "esc-0a1b2c3d4e5f"}),
        ("approvals", {}),
        ("approvals", {"request": "promote-1121-a1b2c3d4"}),
    ],
)
def test_a_typical_result_is_small(name: str, arguments: dict[str, Any]) -> None:
    assert tokens(call(EngineDouble(), find_tool(TOOLS, name), arguments)) <= RESULT_TOKENS  # type: ignore[arg-type]
