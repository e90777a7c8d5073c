"""The watchdog tells where each check stands, since when, what was done last and what came of it; what it told outlives the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.engine import Engine
from engine.errors import ResourceExhausted, ServerFailed
from engine.store.events import events_of
from engine.views import WatchCheck
from tests.workspaces import make_workspace
from tools import TOOLS
from tools.tool import call, find_tool


def create(engine: Engine, kind: str, step: str | None = None) -> str:
    """A run that works, as far as the store knows."""
    arguments = {"step": step} if step else {}
    created = {"kind": kind, "cluster": "tickets", "parent": None, "step": step, "arguments": arguments, "seed": 1, "job": {}}
    run_id = str(engine.store.submit("create_run", created)["id"])
    engine.store.submit("claim_run", {"run_id": run_id, "epoch": 1})
    return run_id


def finish(engine: Engine, run_id: str, error: dict[str, Any] | None, epoch: int = 1) -> None:
    ending = {"state": "failed" if error else "succeeded", "output": None if error else {}, "error": error, "seconds": 1.0, "peak_rss_bytes": 1}
    engine.store.submit("finish_run", {"run_id": run_id, "epoch": epoch, **ending})


def checks(engine: Engine) -> dict[str, WatchCheck]:
    return {check.check: check for check in engine.watchdog().checks}


def test_each_check_tells_its_state_its_last_action_and_what_came_of_it(tmp_path: Path) -> None:
    engine = Engine.open(make_workspace(tmp_path))
    try:
        assert {(check.state, check.since) for check in checks(engine).values()} == {("well", None)}
        lost, full = create(engine, "compile"), create(engine, "evaluate")
        for run_id, cause in ((lost, "lost"), (full, "disk")):
            engine.store.submit("interrupt_run", {"run_id": run_id, "epoch": 1, "reason": f"of {cause}", "data": {"cause": cause}})
        found = checks(engine)
        assert found["workers"].state == "mending"
        assert found["workers"].since is not None
        assert found["workers"].last_action == f"{lost} was started again: of lost"
        assert found["disk"].last_action == f"{full} was started again: of disk"

        for run_id in (lost, full):
            engine.store.submit("claim_run", {"run_id": run_id, "epoch": 2})
        smaller = create(engine, "train", "1.train_smaller_1")
        mending = create(engine, "prepare", "0.measure_base_mend")
        finish(engine, lost, None, epoch=2)
        finish(engine, mending, ServerFailed("no room").as_record())
        found = checks(engine)
        assert (found["workers"].state, found["workers"].outcome) == ("well", "succeeded")
        assert (found["memory"].state, found["memory"].outcome) == ("mending", "running")
        assert smaller in found["memory"].last_action
        assert (found["weights"].state, found["weights"].outcome) == ("well", "failed")
        assert [event.kind for event in events_of(engine.store, "watchdog:workers")] == ["check_mending", "check_well"]
    finally:
        engine.close()


def test_a_run_that_nothing_mended_keeps_its_check_failing_over_a_restart(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    engine = Engine.open(workspace)
    finish(engine, create(engine, "iterate"), ResourceExhausted("too large", resource="memory").as_record())
    before = checks(engine)["runs"]
    assert (before.state, "resource_exhausted" in before.found) == ("failing", True)
    engine.close()
    engine = Engine.open(workspace)
    try:
        page = call(engine, find_tool(TOOLS, "watchdog"), {})
        assert page["summary"] == "6 checks: 5 well, 0 mending by itself, 1 failing."
        assert next(check for check in page["checks"] if check["check"] == "runs")["since"] == before.since
        assert page["next"][0]["tool"] == "run_status"
        assert len(events_of(engine.store, "watchdog:runs")) == 1
        finish(engine, create(engine, "iterate"), None)
        assert checks(engine)["runs"].state == "well"
    finally:
        engine.close()
