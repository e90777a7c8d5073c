"""The command that shows a failure again is one that the command line takes, and asks for what the run was asked for."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from engine.escalate.reproduction import POSITIONAL, again, command, succeeds
from engine.jobs.types import Run
from server.cli import build_parser, command_name, tool_arguments
from tools import TOOLS
from tools.escalate import checking_tool
from tools.tool import check_arguments, find_tool

ASKED: dict[str, dict[str, Any]] = {
    "iterate": {"cluster": "travel", "max_iterations": 3},
    "evaluate": {"cluster": "travel", "subject": "v-0a1b", "splits": ["core", "held_out"], "structured": False},
    "teach": {"cluster": "travel", "subject": "teacher:big"},
    "export": {"cluster": "travel", "version": "v-0a1b"},
    "draft": {"cluster": "travel", "pattern": "wrong_label:a->b", "count": 4},
    "prepare": {"name": "m", "profile": {"kind": "scripted", "title": "it's one"}},
    "compile": {"step": "0.compile"},
}


def run_of(kind: str) -> Run:
    return Run(
        id=f"{kind}-1121-a1b2c3", kind=kind, cluster="travel", state="failed", parent=None, step=None, epoch=1, arguments=ASKED[kind],
        created_at="", started_at=None, finished_at=None, output=None, error=None, progress=None,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_the_command_line_takes_the_command_and_reads_the_same_arguments(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = again(run_of(kind))
    words = shlex.split(command(call).rpartition("| ")[2])
    assert words[:2] == ["modelsmith", command_name(find_tool(TOOLS, call.tool))]
    parsed = build_parser().parse_args(words[1:])
    monkeypatch.setattr("server.cli.read_object", lambda source: call.arguments["profile"])
    given = {name: value for name, value in tool_arguments(parsed.tool, parsed, None).items() if value is not None}  # type: ignore[arg-type]
    text = {name: str(value) if isinstance(value, int) and not isinstance(value, bool) else value for name, value in call.arguments.items()}
    assert given == text


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_the_check_is_a_call_that_its_tool_takes_and_that_looks_or_measures(kind: str) -> None:
    check = succeeds(run_of(kind))
    tool = find_tool(TOOLS, check.tool)
    check_arguments(tool, check.arguments)
    assert checking_tool(tool.name) is tool


def test_what_is_positional_here_is_positional_on_the_command_line() -> None:
    for tool in TOOLS:
        for name in POSITIONAL:
            if name in tool.arguments.model_fields and tool.name in ("iterate", "evaluate", "diagnose", "export", "propose_scenario", "onboard_model", "run_status"):
                assert name in tool.positional, tool.name
