"""The daemon's life: elected, killed, replaced, idle, told to stop; and what its callers notice of that."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx2
import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters

from engine.base.paths import Workspace
from engine.base.processes import find_processes, is_alive
from server import client as client_module
from server.client import Client, ensure_daemon, running_daemon, wait_until_gone
from server.daemon_file import live_daemon, read_daemon_file, write_daemon_file
from server.mcp_server import AGENT_TOOLS
from tests.server.daemons import COMMAND, ENVIRONMENT, daemon_workspace, kill_daemon, run_cli, until
from tools.fleet import FLEET_STATUS
from tools.learn import ITERATE
from tools.measure import EVALUATE
from tools.runs import CANCEL, RUN_STATUS


def listening_at_ipv6_loopback(port: int = 0) -> socket.socket | None:
    """Somebody else's socket; None where there is no such address, or where the port is taken."""
    try:
        return socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        return None


@pytest.fixture
def needs_ipv6() -> None:
    if (found := listening_at_ipv6_loopback()) is None:
        pytest.skip("this machine has no [::1], so nobody can listen there")
    found.close()


def daemons(workspace: Workspace) -> list[int]:
    return [identity.pid for identity, argv in find_processes(str(workspace.root)) if "server.daemon" in argv]


def follow(client: Client, run_id: str) -> dict:
    return until(lambda: (status := client.call(RUN_STATUS, {"run_id": run_id, "wait_seconds": 5}))["state"] == "succeeded" and status, 60)


def test_of_callers_that_start_together_all_are_served_by_one_daemon(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        command = [*COMMAND, "fleet-status", "--json", "--workspace", str(workspace.root)]
        callers = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        answers = [caller.communicate(timeout=90)[0] for caller in callers]
        assert [caller.returncode for caller in callers] == [0] * 6
        assert {json.loads(answer)["summary"] for answer in answers} == {"1 clusters, 0 at their targets; 0 active runs."}
        assert len(daemons(workspace)) == 1


def test_of_daemons_that_start_together_one_serves_and_the_others_leave_quietly(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        command = client_module.daemon_command(workspace)
        started = [subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True) for _ in range(4)]
        until(lambda: len([process for process in started if process.poll() is None]) == 1, 60)
        left = [process for process in started if process.returncode is not None]
        assert [process.returncode for process in left] == [0, 0, 0]
        assert all("Traceback" not in (process.stderr.read() if process.stderr else "") for process in left)
        assert until(lambda: running_daemon(workspace)).pid in {process.pid for process in started}
        winner = next(process for process in started if process.poll() is None)
        winner.terminate()
        assert winner.wait(20) == 0


def test_a_killed_daemon_is_replaced_at_the_next_call_which_knows_the_run_and_finishes_it(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.005}) as workspace:
        client = Client(workspace)
        run_id = client.call(EVALUATE, {"cluster": "tickets", "idempotency_key": "once"})["run_id"]
        first = kill_daemon(workspace)
        assert client.call(RUN_STATUS, {"run_id": run_id})["run_id"] == run_id
        second = live_daemon(workspace)
        assert second is not None
        assert second.pid != first
        kill_daemon(workspace)
        assert client.call(EVALUATE, {"cluster": "tickets", "idempotency_key": "once"})["run_id"] == run_id
        assert follow(client, run_id)["output"]["splits"]


def test_the_next_daemon_keeps_token_and_port_so_that_configured_clients_go_on(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        before = ensure_daemon(workspace)
        kill_daemon(workspace)
        after = ensure_daemon(workspace)
        assert (after.token, after.port) == (before.token, before.port)
        assert workspace.daemon_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("needs_ipv6")
def test_both_addresses_of_localhost_are_the_daemon_s_and_a_port_on_which_one_is_not_is_left_alone(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        before = ensure_daemon(workspace)
        for host in ("127.0.0.1", "[::1]", "localhost"):
            assert httpx2.get(f"http://{host}:{before.port}/health").json()["pid"] == before.pid
        assert listening_at_ipv6_loopback(before.port) is None
        kill_daemon(workspace)
        with until(lambda: listening_at_ipv6_loopback(before.port)):
            assert ensure_daemon(workspace).port != before.port
            kill_daemon(workspace)
            insisting = [*client_module.daemon_command(workspace), "--port", str(before.port)]
            refused = subprocess.run(insisting, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
            assert refused.returncode != 0
            assert "Address already in use" in refused.stderr


def test_an_idle_daemon_goes_away_by_itself_and_one_with_a_run_stays(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.01}) as workspace:
        clusters = json.loads(workspace.clusters_file.read_text())
        workspace.clusters_file.write_text(json.dumps(clusters | {"defaults": {"daemon_idle_minutes": 0.01}}))
        daemon = ensure_daemon(workspace)
        handle = Client(workspace).call(EVALUATE, {"cluster": "tickets"})
        assert wait_until_gone(daemon.identity, 60)
        log = workspace.daemon_log.read_text()
        assert "nothing to do" in log
        assert "Traceback" not in log
        assert (workspace.run(handle["run_id"]).root).exists()
        assert Client(workspace).call(RUN_STATUS, {"run_id": handle["run_id"]})["state"] == "succeeded"  # it was not left behind


def test_sigterm_stops_the_daemon_cleanly_and_its_run_goes_on_under_the_next(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.01}) as workspace:
        client = Client(workspace)
        run_id = client.call(EVALUATE, {"cluster": "tickets"})["run_id"]
        daemon = live_daemon(workspace)
        assert daemon is not None
        os.kill(daemon.pid, signal.SIGTERM)
        assert wait_until_gone(daemon.identity, 20)
        assert workspace.daemon_log.read_text().rstrip().endswith("stopped")
        assert follow(client, run_id)["output"]["splits"]


def test_a_file_that_names_another_process_is_not_taken_for_the_daemon(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        record = ensure_daemon(workspace)
        kill_daemon(workspace)
        write_daemon_file(workspace, record.model_copy(update={"pid": os.getpid(), "start_ticks": 1}))
        assert running_daemon(workspace) is None
        assert ensure_daemon(workspace).pid != os.getpid()
        kill_daemon(workspace)
        workspace.daemon_file.write_text("{ torn")
        assert read_daemon_file(workspace) is None
        assert ensure_daemon(workspace).pid


def test_a_daemon_of_other_code_makes_way_when_idle_and_stays_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.02}) as workspace:
        old = ensure_daemon(workspace)
        write_daemon_file(workspace, old.model_copy(update={"version": "0.0.1+older"}))
        new = ensure_daemon(workspace)
        assert new.pid != old.pid
        assert not is_alive(old.identity)
        run_id = Client(workspace).call(ITERATE, {"cluster": "tickets"})["run_id"]
        write_daemon_file(workspace, new.model_copy(update={"version": "0.0.1+older"}))
        assert ensure_daemon(workspace).pid == new.pid
        run_cli(workspace, "cancel", run_id)
        until(lambda: Client(workspace).call(RUN_STATUS, {"run_id": run_id})["state"] == "cancelled")


def test_why_a_daemon_cannot_start_reaches_the_caller_with_its_code(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        client = Client(workspace)
        run_id = client.call(EVALUATE, {"cluster": "tickets"})["run_id"]
        client.call(CANCEL, {"run_id": run_id})
        kill_daemon(workspace)
        lines = workspace.journal.read_bytes().splitlines(keepends=True)
        workspace.journal.write_bytes(b"".join([lines[0], lines[1].replace(b"run", b"rum"), *lines[2:]]))
        said = run_cli(workspace, "fleet-status", "--json")
        assert (said.code, said.json["error"]["code"]) == (3, "store_damaged")
        assert not daemons(workspace)


def test_stop_refuses_while_a_run_goes_on_and_then_stops_everything(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.05}) as workspace:
        run_id = Client(workspace).call(ITERATE, {"cluster": "tickets"})["run_id"]
        said = run_cli(workspace, "stop", "--json")
        assert (said.code, said.json["error"]["code"]) == (2, "run_active")
        assert run_cli(workspace, "cancel", run_id).code == 0
        until(lambda: Client(workspace).call(RUN_STATUS, {"run_id": run_id})["state"] == "cancelled")
        assert run_cli(workspace, "stop").code == 0
        assert not daemons(workspace)
        assert run_cli(workspace, "daemon", "status", "--json").json["running"] is False
        assert run_cli(workspace, "daemon", "stop", "--json").json["stopped"] is False


def test_the_store_is_verified_and_rebuilt_from_the_command_line(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        assert run_cli(workspace, "iterate", "tickets").code == 0
        verified = run_cli(workspace, "store", "verify", "--json")
        assert verified.code == 0, verified
        assert verified.json["commands"] > 10
        rebuilt = run_cli(workspace, "store", "rebuild", "--json").json
        assert rebuilt["commands"] == verified.json["commands"]
        assert run_cli(workspace, "fleet-status", "--json").json["runs_total"] == 7


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_mcp_over_stdio_starts_the_daemon_and_survives_its_death(tmp_path: Path, era: str) -> None:
    with daemon_workspace(tmp_path) as workspace:
        words = [*COMMAND[1:], "mcp", "--workspace", str(workspace.root)]
        server = StdioServerParameters(command=COMMAND[0], args=words, env=ENVIRONMENT)
        async with McpClient(server, mode=era) as session:
            assert not daemons(workspace)  # listing needs none
            assert {tool.name for tool in (await session.list_tools()).tools} == {tool.name for tool in AGENT_TOOLS}
            run_id = (await session.call_tool("evaluate", {"cluster": "tickets"})).structured_content["run_id"]
            kill_daemon(workspace)
            result = await session.call_tool("run_status", {"run_id": run_id, "wait_seconds": 50})
            assert result.structured_content["state"] == "succeeded"
            refused = await session.call_tool("evaluate", {"cluster": "nope"})
            assert json.loads(refused.content[0].text)["error"]["code"] == "not_found"
        assert Client(workspace).call(FLEET_STATUS, {})["recent_runs"][0]["run_id"] == run_id


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
