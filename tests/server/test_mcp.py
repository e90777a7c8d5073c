"""The MCP server as clients of both protocol eras see it, in memory."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import Any

import anyio
import pytest
from mcp import Client

from engine.base.clock import utc_now
from engine.jobs.types import Progress
from server.mcp_server import AGENT_TOOLS, INSTRUCTIONS, as_agent, build_mcp
from tests.server.double import EngineDouble
from tools import TOOLS
from tools.tool import call

ERAS = {"auto": "2026-07-28", "legacy": "2025-11-25"}

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> EngineDouble:
    return EngineDouble()


def client(engine: EngineDouble, era: str = "auto") -> Client:
    return Client(build_mcp(partial(call, engine)), mode=era)  # type: ignore[arg-type]


def error_of(result: Any) -> dict[str, Any]:
    assert result.is_error
    error: dict[str, Any] = json.loads(result.content[0].text)["error"]
    return error


@pytest.mark.parametrize("era", ERAS)
async def test_every_tool_is_listed_in_order_with_schemas_and_what_it_may_do(engine: EngineDouble, era: str) -> None:
    async with client(engine, era) as session:
        assert session.protocol_version == ERAS[era]
        listed = (await session.list_tools()).tools
    assert [tool.name for tool in listed] == [tool.name for tool in AGENT_TOOLS]
    for tool, shown in zip(AGENT_TOOLS, listed, strict=True):
        hints = shown.annotations
        assert hints is not None
        assert (bool(hints.read_only_hint), hints.open_world_hint) == (tool.effect == "read", False)
        assert shown.title == tool.title
        assert shown.output_schema is not None
        assert shown.output_schema["properties"]["next"]["type"] == "array"
    assert [tool.name for tool in listed if tool.annotations and tool.annotations.destructive_hint] == ["promote", "rollback", "cancel"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_result_is_structured_and_its_text_is_the_same_json(engine: EngineDouble, era: str) -> None:
    async with client(engine, era) as session:
        result = await session.call_tool("fleet_status", {})
    assert not result.is_error
    assert json.loads(result.content[0].text) == result.structured_content
    assert next(iter(result.structured_content)) == "summary"
    assert list(result.structured_content)[-1] == "next"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments", "code", "said"),
    [
        ("iterate", {"cluster": "nope"}, "not_found", "Use one of: travel"),
        ("iterate", {"cluster": "leaking"}, "leakage_found", "row t1"),
        ("iterate", {"cluster": "burning"}, "server_failed", "Look at its log"),
        ("iterate", {}, "argument_invalid", "cluster: it is required"),
        ("iterate", {"cluster": "../etc"}, "argument_invalid", "cluster"),
        ("iterate", {"cluster": "travel", "rounds": 3}, "argument_invalid", "rounds: no such argument"),
        ("iterate", {"cluster": "travel", "max_iterations": -1}, "argument_invalid", "greater than or equal to 0, given -1"),
        ("diagnose", {"cluster": "travel", "limit": 500}, "argument_invalid", "less than or equal to 20, given 500"),
        ("run_status", {"run_id": "iterate-1121-ffffff", "wait_seconds": 50}, "not_found", "there is no run"),
        ("run_status", {"run_id": "x", "wait_seconds": 51}, "argument_invalid", "less than or equal to 50"),
        ("dance", {}, "not_found", "fleet_status, iterate"),
    ],
)
async def test_an_error_arrives_with_its_code_what_happened_and_what_to_do(
    engine: EngineDouble, era: str, tool: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    async with client(engine, era) as session:
        error = error_of(await session.call_tool(tool, arguments))
    assert error["code"] == code
    assert said in error["message"] + error["next_step"]
    assert error["next_step"]


async def test_a_defect_shows_nothing_of_its_inside(engine: EngineDouble, caplog: pytest.LogCaptureFixture) -> None:
    async with client(engine) as session:
        result = await session.call_tool("iterate", {"cluster": "broken"})
    assert error_of(result)["code"] == "internal_error"
    assert "hunter2" not in result.content[0].text
    assert "hunter2" in caplog.text  # but the log has it


async def test_a_huge_value_is_not_repeated_in_the_error(engine: EngineDouble) -> None:
    async with client(engine) as session:
        result = await session.call_tool("iterate", {"cluster": "x" * 1_000_000})
    assert len(result.content[0].text) < 2000
    assert error_of(result)["code"] == "argument_invalid"


@pytest.mark.parametrize("era", ERAS)
async def test_waiting_reports_progress_and_answers_when_the_run_ends(engine: EngineDouble, era: str) -> None:
    seen: list[tuple[float, str | None]] = []
    two_seen = threading.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))
        if len(seen) == 2:
            two_seen.set()

    def work(run_id: str) -> None:
        engine.move(run_id, progress=Progress(phase="training", step=3, total=50, loss=0.5, eta_seconds=120))
        assert two_seen.wait(20)
        engine.move(run_id, state="succeeded", finished_at=utc_now(), output={"targets_met": True})

    async with client(engine, era) as session:
        run_id = (await session.call_tool("iterate", {"cluster": "travel"})).structured_content["run_id"]
        worker = threading.Thread(target=work, args=(run_id,))
        worker.start()
        with anyio.fail_after(20):
            result = await session.call_tool("run_status", {"run_id": run_id, "wait_seconds": 50}, progress_callback=on_progress)
        worker.join()
    assert result.structured_content["state"] == "succeeded"
    assert [value for value, _ in seen] == sorted({value for value, _ in seen})
    assert "training 3/50, loss 0.500, about 2 min left" in [message for _, message in seen]


async def test_the_same_key_is_the_same_run_and_says_that_it_was_there(engine: EngineDouble) -> None:
    async with client(engine) as session:
        first = (await session.call_tool("iterate", {"cluster": "travel", "idempotency_key": "k"})).structured_content
        await anyio.sleep(0.002)  # ids are told apart by the millisecond of their creation
        again = (await session.call_tool("iterate", {"cluster": "travel", "idempotency_key": "k"})).structured_content
        other = error_of(await session.call_tool("iterate", {"cluster": "travel", "max_iterations": 2, "idempotency_key": "k"}))
        active = error_of(await session.call_tool("evaluate", {"cluster": "travel"}))
    assert (first["created"], again["created"]) == (True, False)
    assert first["run_id"] == again["run_id"]
    assert (other["code"], active["code"]) == ("key_reused", "run_active")
    assert first["next"][0]["arguments"] == {"run_id": first["run_id"], "wait_seconds": 50}


async def test_a_figure_that_is_not_a_number_is_never_shown(engine: EngineDouble) -> None:
    engine.p_value = float("nan")
    async with client(engine) as session:
        assert error_of(await session.call_tool("compare", {"before_evaluation": "e1", "after_evaluation": "e2"}))["code"] == "internal_error"


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_asks_for_a_promotion_in_its_own_name_and_hands_in_a_signature_like_anybody(engine: EngineDouble, era: str) -> None:
    async with client(engine, era) as session:
        page = (await session.call_tool("promote", {"cluster": "travel", "by": "Ada"})).structured_content
        assert page["summary"].endswith("agent:mcp asked.")
        error = error_of(await session.call_tool("approve_promotion", {"request": "promote-1121-a1b2c3d4", "signature": "x", "by": "Ada"}))
        assert error["message"].startswith("agent:mcp handed in")
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert "by" not in listed["promote"].input_schema["properties"]
        assert "approve_promotion" not in listed


def test_the_instructions_fit_what_clients_show() -> None:
    assert len(INSTRUCTIONS.encode()) < 2048


def test_whoever_decides_over_mcp_is_an_agent_whatever_name_it_gives() -> None:
    named = [tool for tool in TOOLS if tool.effect == "human" or "by" in tool.arguments.model_fields]
    by_promotion, by_escalation = ["decide_scenario", "promote", "approve_promotion", "rollback"], ["escalate", "resolve_escalation", "approve_fix"]
    assert [tool.name for tool in named] == [*by_promotion, *by_escalation, "record_decision"]
    for tool in named:
        assert as_agent(tool, {"by": "Ada"}) == {"by": "agent:mcp"}
