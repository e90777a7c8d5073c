"""The daemon escalates by itself, also what failed just before it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.paths import Workspace
from engine.jobs.types import FINAL_STATES
from server.client import Client
from tests.escalate.complete import escalation_of
from tests.escalate.failed import add_row
from tests.server.daemons import daemon_workspace, kill_daemon, run_cli, until
from tools import TOOLS
from tools.tool import find_tool

pytestmark = pytest.mark.processes


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with daemon_workspace(tmp_path / "w") as made:
        yield made


def test_a_run_that_fails_is_escalated_though_the_daemon_is_killed_as_it_ends(workspace: Workspace) -> None:
    client = Client(workspace)
    run_id = client.call(find_tool(TOOLS, "iterate"), {"cluster": "tickets", "idempotency_key": "one"})["run_id"]
    add_row(workspace)
    until(lambda: client.call(find_tool(TOOLS, "run_status"), {"run_id": run_id})["state"] in FINAL_STATES)
    kill_daemon(workspace)
    until(lambda: client.call(find_tool(TOOLS, "fleet_status"), {})["open_escalations"] == 1)
    listed = run_cli(workspace, "escalation", "list", "--json").json
    (line,) = listed["escalations"]
    shown = run_cli(workspace, "escalation", "show", line["escalation"])
    assert shown.code == 0
    assert escalation_of(workspace, run_id).id == line["escalation"]
    assert f"escalations/{line['escalation']}/REPORT.md" in shown.out
    refused = run_cli(workspace, "escalation", "approve", line["escalation"], "--key", "nothing", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "argument_invalid")
