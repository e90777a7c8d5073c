"""One definition, every surface: the same bad input gives the same error over REST, MCP and the command line, from the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from engine.base.paths import Workspace
from server.client import Client, ensure_daemon
from tests.server.daemons import daemon_workspace, run_cli, until
from tests.server.test_tokens import RESULT_TOKENS, tokens
from tests.workspaces import domain_file, rows, write_domain
from tools import TOOLS
from tools.measure import EVALUATE
from tools.runs import CANCEL, RUN_STATUS
from tools.tool import find_tool

MEGABYTE = "x" * 1_000_000


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with daemon_workspace(tmp_path_factory.mktemp("surfaces")) as made:
        yield made


@pytest.fixture(autouse=True)
def same_files_afterwards(workspace: Workspace) -> Iterator[None]:
    """Each test may break the configuration; the next one finds it whole."""
    before = workspace.clusters_file.read_bytes()
    yield
    workspace.clusters_file.write_bytes(before)


def over_rest(workspace: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    daemon = ensure_daemon(workspace)
    response = httpx2.post(f"{daemon.url}/api/v1/tools/{tool}", json=arguments, headers={"authorization": f"Bearer {daemon.token}"}, timeout=60)
    document: dict[str, Any] = response.json()
    assert (response.status_code == 200) == (document.keys() != {"error"})
    return document


def over_mcp(workspace: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    daemon = ensure_daemon(workspace)

    async def ask() -> Any:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {daemon.token}"}, timeout=60) as http,
            McpClient(streamable_http_client(f"{daemon.url}/mcp", http_client=http)) as session,
        ):
            return await session.call_tool(tool, arguments)

    result = anyio.run(ask)
    document: dict[str, Any] = json.loads(result.content[0].text)
    assert result.is_error == (document.keys() == {"error"})
    return document


def over_cli(workspace: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    words = [tool]
    for name, value in arguments.items():
        words += [str(value)] if name in find_tool(TOOLS, tool).positional else [f"--{name.replace('_', '-')}", str(value)]
    said = run_cli(workspace, *words, "--json", *(["--no-wait"] if find_tool(TOOLS, tool).starts_run else []))
    if said.json.keys() == {"error"}:
        assert said.code == 2
        assert said.json["error"]["code"] in said.err
    return said.json


SURFACES = (over_rest, over_mcp, over_cli)


def refused(workspace: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The error that all three surfaces agree on."""
    errors = [surface(workspace, tool, arguments)["error"] for surface in SURFACES]
    assert errors[0] == errors[1] == errors[2]
    error: dict[str, Any] = errors[0]
    assert error["message"]
    assert error["next_step"]
    assert tokens(error) < 700
    return error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "clusters.json"),
        ('{"models": {}, "clusters": {"tickets": {"domain": "tickets", "model": "gone"}}}', "clusters.tickets.model"),
        ('{"models": {}, "clusters": {}, "clutsers": {}}', "clutsers"),
        ('{"models": {}, "models": {}, "clusters": {}}', "twice"),
    ],
)
def test_a_malformed_clusters_json(workspace: Workspace, text: str, said: str) -> None:
    ensure_daemon(workspace)
    workspace.clusters_file.write_text(text)
    for tool, arguments in (("fleet_status", {}), ("iterate", {"cluster": "tickets"})):
        error = refused(workspace, tool, arguments)
        assert error["code"] in ("config_invalid", "duplicate_id")
        assert said in json.dumps(error)


def test_a_cluster_that_does_not_exist(workspace: Workspace) -> None:
    for tool in ("iterate", "evaluate", "diagnose", "promote"):
        error = refused(workspace, tool, {"cluster": "nope"})
        assert (error["code"], error["next_step"]) == ("not_found", "Use one of: tickets.")


def test_a_name_that_would_leave_the_workspace(workspace: Workspace) -> None:
    for name in ("../../etc", "/etc", "a/b", "..", ""):
        assert refused(workspace, "iterate", {"cluster": name})["code"] == "argument_invalid"


@pytest.mark.parametrize("path", ["../outside.jsonl", "/etc/passwd", "data/../../outside.jsonl", "link/outside.jsonl"])
def test_a_path_that_leaves_the_workspace(workspace: Workspace, path: str) -> None:
    outside = workspace.root.parent / "outside.jsonl"
    outside.write_text("{}\n")
    link = workspace.root / "link"
    if not link.exists():
        link.symlink_to(workspace.root.parent)
    error = refused(workspace, "onboard_domain", {"name": "stolen", "rows_path": path})
    assert error["code"] == "path_refused"
    assert not workspace.domain("stolen").exists()


def test_a_missing_file(workspace: Workspace) -> None:
    assert refused(workspace, "onboard_domain", {"name": "tickets2", "rows_path": "nothing.jsonl"})["code"] == "not_found"


def with_domain(workspace: Workspace, name: str, domain: dict[str, Any], evaluation: list[dict[str, Any]]) -> None:
    write_domain(workspace, name, domain, train=rows(0, 40), evaluation=evaluation)
    clusters = json.loads(workspace.clusters_file.read_text())
    clusters["clusters"][name] = {"domain": name, "model": "double"}
    workspace.clusters_file.write_text(json.dumps(clusters))


def test_a_broken_template(workspace: Workspace) -> None:
    domain = domain_file()
    domain["contract"] = domain["contract"] | {"user": "{{ message "}
    with_domain(workspace, "broken", domain, rows(1000, 40))
    error = refused(workspace, "evaluate", {"cluster": "broken"})
    assert error["code"] == "domain_invalid"
    assert "contract.user" in error["message"]
    problems = {line["cluster"]: line.get("problem", "") for line in over_rest(workspace, "fleet_status", {})["clusters"]}
    assert "contract.user" in problems["broken"]
    assert problems["tickets"] == ""


@pytest.mark.parametrize(
    ("name", "row", "code"),
    [
        ("huge", {"id": "r1", "input": {"message": MEGABYTE}, "expected": {"intent": "refund"}}, "too_large"),
        ("twice", {"id": "r1001", "input": {"message": "again"}, "expected": {"intent": "refund"}}, "duplicate_id"),
    ],
)
def test_a_scenario_of_a_megabyte_and_an_id_given_twice_fail_the_run_alike(workspace: Workspace, name: str, row: dict[str, Any], code: str) -> None:
    """Rows are read by the run, not by the call that starts it: the call or else the run's error must say so, the same everywhere."""
    with_domain(workspace, name, domain_file(), [*rows(1000, 40), row])
    errors = []
    for surface in SURFACES:
        answer = surface(workspace, "evaluate", {"cluster": name})
        if answer.keys() != {"error"}:
            run_id = answer["run_id"]
            until(lambda run_id=run_id: over_rest(workspace, "run_status", {"run_id": run_id, "wait_seconds": 10})["state"] == "failed", 60)
            answer = surface(workspace, "run_status", {"run_id": run_id})
        errors.append(answer["error"])
    assert [error["code"] for error in errors] == [code] * 3
    assert len(json.dumps(errors)) < 6000


def test_a_run_that_nobody_knows(workspace: Workspace) -> None:
    for tool in ("run_status", "cancel"):
        assert refused(workspace, tool, {"run_id": "iterate-1121-ffffff"})["code"] == "not_found"


def test_a_promotion_that_cannot_be_and_a_signature_for_nothing(workspace: Workspace) -> None:
    assert refused(workspace, "promote", {"cluster": "tickets", "version": "v-000000000000"})["code"] == "not_found"
    assert refused(workspace, "approve_promotion", {"request": "promote-1121-00000000", "signature": "nonsense"})["code"] == "not_found"
    answers = [surface(workspace, "approvals", {"cluster": "tickets"}) for surface in SURFACES]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["requests"] == []


def test_arguments_that_do_not_fit(workspace: Workspace) -> None:
    for tool, arguments in (
        ("diagnose", {"cluster": "tickets", "limit": 0}),
        ("compare", {"before_evaluation": "e1", "after_evaluation": "e2", "split": "reserve"}),
        ("evaluate", {"cluster": "tickets", "subject": "../v"}),
    ):
        errors = [surface(workspace, tool, arguments)["error"] for surface in SURFACES]
        assert {error["code"] for error in errors} == {"argument_invalid"}


def test_a_model_profile_that_does_not_fit(workspace: Workspace, tmp_path: Path) -> None:
    profile = {"kind": "endpoint", "title": "T", "base_url": "ftp://x", "model": "m"}
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    rest = over_rest(workspace, "onboard_model", {"name": "new", "profile": profile})["error"]
    mcp = over_mcp(workspace, "onboard_model", {"name": "new", "profile": profile})["error"]
    cli = run_cli(workspace, "model", "add", "new", "--from", str(file), "--json")
    assert rest == mcp == cli.json["error"]
    assert (rest["code"], cli.code) == ("config_invalid", 2)
    assert "new" not in json.loads(workspace.clusters_file.read_text())["models"]


def test_one_idempotency_key_is_one_run_whichever_surface_asks(workspace: Workspace) -> None:
    asked = {"cluster": "tickets", "subject": "base", "idempotency_key": "whoever-asks"}
    answers = [surface(workspace, "evaluate", asked) for surface in SURFACES]
    assert len({answer["run_id"] for answer in answers}) == 1
    assert [answer["created"] for answer in answers] == [True, False, False]
    assert refused(workspace, "evaluate", asked | {"subject": "incumbent"})["code"] == "key_reused"
    client = Client(workspace)
    done = until(lambda: (status := client.call(RUN_STATUS, {"run_id": answers[0]["run_id"], "wait_seconds": 10}))["state"] == "succeeded" and status)
    statuses = [surface(workspace, "run_status", {"run_id": answers[0]["run_id"]}) for surface in SURFACES]
    assert statuses == [done] * 3
    assert tokens(done) <= RESULT_TOKENS


def test_results_are_the_same_on_every_surface_and_small(workspace: Workspace) -> None:
    said = run_cli(workspace, "iterate", "tickets", "--json")
    assert said.code == 0, said
    status = said.json
    assert tokens(status) <= RESULT_TOKENS
    assert status["output"]["iterations"][0]["reasons"]
    before, after = (status["output"][subject]["evaluation_id"] for subject in ("base", "final"))
    for tool, arguments in (
        ("run_status", {"run_id": status["run_id"]}),
        ("diagnose", {"cluster": "tickets"}),
        ("compare", {"before_evaluation": before, "after_evaluation": after}),
        ("compare", {"before_evaluation": before, "after_evaluation": after, "split": "core"}),
    ):
        answers = [surface(workspace, tool, arguments) for surface in SURFACES]
        assert answers[0] == answers[1] == answers[2]
        assert tokens(answers[0]) <= RESULT_TOKENS, (tool, arguments)
        assert answers[0]["summary"]
    assert refused(workspace, "diagnose", {"cluster": "tickets", "cursor": "soon"})["code"] == "argument_invalid"
    pattern = over_rest(workspace, "diagnose", {"cluster": "tickets"})["patterns"][0]["pattern"]
    page = over_cli(workspace, "diagnose", {"cluster": "tickets", "pattern": pattern, "limit": 2})
    assert len(page["examples"]) <= 2
    assert tokens(over_rest(workspace, "fleet_status", {})) <= RESULT_TOKENS


def test_held_out_items_are_shown_by_no_surface(workspace: Workspace) -> None:
    rows_by_id = {row["id"]: row for row in rows(1000, 240)}
    evaluations = [line["run_id"] for line in over_rest(workspace, "fleet_status", {})["recent_runs"] if line["kind"] == "evaluate" and line["cluster"] == "tickets"]
    page = over_rest(workspace, "compare", {"before_evaluation": evaluations[0], "after_evaluation": evaluations[0], "split": "held_out"})
    assert not [each for each in rows_by_id if f'"{each}"' in json.dumps(page)]


def test_a_report_is_written_as_a_page(workspace: Workspace, tmp_path: Path) -> None:
    client = Client(workspace)
    run_id = client.call(EVALUATE, {"cluster": "tickets", "subject": "base"})["run_id"]
    until(lambda: client.call(RUN_STATUS, {"run_id": run_id, "wait_seconds": 10})["state"] == "succeeded")
    out = tmp_path / "report.html"
    assert run_cli(workspace, "report", run_id, "--out", str(out)).code == 0
    assert out.read_text().lstrip().lower().startswith("<!doctype html>")
    assert run_cli(workspace, "report", "evaluate-1121-ffffff", "--json").json["error"]["code"] == "not_found"


def test_cancelling_twice_changes_nothing_more(workspace: Workspace) -> None:
    client = Client(workspace)
    run_id = client.call(EVALUATE, {"cluster": "tickets", "subject": "base", "structured": False})["run_id"]
    client.call(CANCEL, {"run_id": run_id})
    ended = until(lambda: (status := client.call(RUN_STATUS, {"run_id": run_id, "wait_seconds": 5}))["state"] in ("cancelled", "succeeded") and status)
    assert client.call(CANCEL, {"run_id": run_id})["state"] == ended["state"]


def test_an_agent_stages_scenarios_and_a_person_decides(workspace: Workspace) -> None:
    client = Client(workspace)
    run_id = client.call(EVALUATE, {"cluster": "tickets"})["run_id"]
    until(lambda: client.call(RUN_STATUS, {"run_id": run_id, "wait_seconds": 10})["state"] == "succeeded")
    staged = over_mcp(workspace, "propose_scenario", {"cluster": "tickets", "count": 2})
    assert tokens(over_mcp(workspace, "propose_scenario", {"cluster": "tickets", "count": 8})) <= RESULT_TOKENS
    first, second = (line["proposal"] for line in staged["proposals"])
    decision = {"cluster": "tickets", "proposals": [first], "decision": "accept", "by": "Ada"}
    assert staged["next"][0]["tool"] == "decide_scenario"
    assert over_mcp(workspace, "decide_scenario", decision)["error"]["code"] == "approval_needed"
    accepted = over_rest(workspace, "decide_scenario", decision)
    assert accepted["suite"]["added"] == [first]
    said = run_cli(workspace, "decide-scenario", "tickets", "--proposals", second, "--decision", "decline", "--by", "Ada", "--reason", "odd", "--json")
    assert (said.code, said.json["proposals"][0]["state"]) == (0, "declined")
    listed = [surface(workspace, "propose_scenario", {"cluster": "tickets", "count": 0}) for surface in SURFACES]
    assert listed[0] == listed[1] == listed[2]
    assert {(each["accepted"], each["declined"]) for each in listed[0]["origins"]} <= {(0, 0), (1, 0), (0, 1), (1, 1)}
    for arguments, code in (({"cluster": "nope"}, "not_found"), ({"cluster": "tickets", "count": 21}, "argument_invalid")):
        assert {surface(workspace, "propose_scenario", arguments)["error"]["code"] for surface in SURFACES} == {code}
    unknown = decision | {"proposals": ["x-0"]}
    assert over_rest(workspace, "decide_scenario", unknown)["error"]["code"] == "not_found"
