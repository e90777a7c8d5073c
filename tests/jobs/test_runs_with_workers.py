"""Runs with real worker processes: how they end, however their workers do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.base.files import read_json, write_json
from engine.base.processes import identity_of
from engine.errors import StateConflict
from engine.jobs.worker import read_process_file
from engine.store.events import events_of
from engine.store.lineage import ancestors
from engine.store.migrations import Migration
from engine.store.store import Cursor, StageTables

from .conftest import Daemon


def states(daemon: Daemon, run_id: str) -> list[str]:
    return [event.kind for event in events_of(daemon.store, run_id)]


def worker_pid(daemon: Daemon, run_id: str) -> int:
    announced = read_process_file(daemon.workspace.run(run_id))
    assert announced is not None
    return announced[0].pid


def test_a_run_succeeds_with_its_output_progress_and_events(daemon: Daemon) -> None:
    run = daemon.until_final(daemon.submit(job={"output": {"rows": 3}}))
    assert (run.state, run.epoch, run.output) == ("succeeded", 1, {"attempts": 1, "seed": 17, "rows": 3})
    assert run.progress is not None
    assert (run.progress.phase, run.progress.step) == ("working", 1)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert states(daemon, run.id) == ["run_queued", "run_running", "run_succeeded"]


def test_artefacts_are_stored_by_hash_and_traced_to_the_run(daemon: Daemon) -> None:
    job = {
        "files": {"adapter/a.txt": "weights", "log.txt": "text"},
        "output": {"artifacts": {"adapter": "outputs/adapter", "log": "outputs/log.txt"}},
    }
    run = daemon.until_final(daemon.submit(job=job))
    assert run.output is not None
    stored = run.output["artifacts"]
    assert (daemon.artifacts.path(stored["adapter"]) / "a.txt").read_text() == "weights"
    daemon.artifacts.verify(stored["adapter"])
    daemon.artifacts.verify(stored["log"])
    assert [(edge.relation, edge.parent) for edge in ancestors(daemon.store, stored["adapter"])] == [("made_by", run.id)]


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        ("engine", "leakage_found", "row a is item b"),
        ("foreign", "worker_crashed", "KeyError"),
        ("memory", "resource_exhausted", "memory"),
        ("nan", "worker_crashed", "not JSON compliant"),
    ],
)
def test_an_exception_in_a_worker_ends_the_run_with_its_code(daemon: Daemon, raised: str, code: str, shown: str) -> None:
    run = daemon.until_final(daemon.submit(job={"raise": raised}))
    assert run.state == "failed"
    assert run.error is not None
    assert run.error.code == code
    assert shown in run.error.message
    assert "Traceback" not in run.error.message
    assert "Traceback" in daemon.workspace.run(run.id).log.read_text()


def test_a_result_that_cannot_be_taken_in_for_a_reason_nobody_foresaw_fails_the_run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> str:
        raise RuntimeError("Symlink loop")

    monkeypatch.setattr(daemon.artifacts, "put_file", fail)
    run = daemon.until_final(daemon.submit(job={"files": {"a": "b"}, "output": {"artifacts": {"a": "outputs/a"}}}))
    assert run.state == "failed"
    assert run.error is not None
    assert (run.error.code, "RuntimeError: Symlink loop" in run.error.message) == ("worker_crashed", True)


def test_an_error_too_large_to_record_is_clipped_and_ends_the_run(daemon: Daemon) -> None:
    run = daemon.until_final(daemon.submit(job={"raise": "large"}))
    assert run.error is not None
    assert run.error.code == "leakage_found"
    assert len(run.error.model_dump_json()) < 4 * 4000


def test_a_run_that_cannot_be_moved_keeps_no_other_waiting_and_is_tried_again(start: Callable[..., Daemon]) -> None:
    skipped = [0.0]
    daemon = start(monotonic=lambda: time.monotonic() + skipped[0])
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    announced = daemon.workspace.run(run.id).root / "process.json"
    intact = announced.read_bytes()
    announced.write_text("[]")  # not what a worker writes: nobody foresaw it
    daemon.restart()
    assert daemon.until_final(daemon.submit()).state == "succeeded"
    assert daemon.supervisor.get(run.id).state == "running"
    announced.write_bytes(intact)
    (daemon.workspace.run(run.id).root / "go").touch()
    skipped[0] = 60.0
    done = daemon.until_final(run)
    assert (done.state, done.epoch) == ("succeeded", 1)


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"output": {"artifacts": {"x": "../../../../etc/passwd"}}}, "path_refused"),
        ({"output": {"artifacts": {"x": "/etc/passwd"}}}, "path_refused"),
        ({"output": {"artifacts": {"x": "outputs/none"}}}, "not_found"),
        ({"output": {"artifacts": ["x"]}}, "worker_crashed"),
        ({"link": "/etc/passwd", "output": {"artifacts": {"x": "outputs"}}}, "path_refused"),
        ({"link": "/etc/passwd", "output": {"artifacts": {"x": "outputs/link"}}}, "path_refused"),
        ({"output": {"large": "x" * 300_000}}, "too_large"),
        ({"output": {"text": "\ud800"}}, "worker_crashed"),
    ],
)
def test_a_result_that_cannot_be_accepted_fails_the_run(daemon: Daemon, job: dict[str, Any], code: str) -> None:
    if job.get("output", {}).get("text"):  # a lone surrogate cannot be put into a job; the worker's file is written for it
        run = daemon.submit(job={"wait": True})
        daemon.until_working(run)
        path = daemon.workspace.run(run.id).result
        path.write_text('{"run_id": "x", "epoch": 1, "state": "succeeded", "output": {"t": "\\ud800"}, "seconds": 1, "peak_rss_bytes": 1}')
    else:
        run = daemon.submit(job=job)
    run = daemon.until_final(run)
    assert run.state == "failed"
    assert run.error is not None
    assert run.error.code == code


def test_a_killed_worker_is_started_again_and_goes_on_from_its_files(daemon: Daemon) -> None:
    run = daemon.until_final(daemon.submit(job={"die_times": 2}))
    assert (run.state, run.epoch) == ("succeeded", 3)
    assert run.output == {"attempts": 3, "seed": 17}
    assert states(daemon, run.id).count("run_interrupted") == 2


def test_a_worker_that_always_dies_fails_the_run_and_names_the_end_of_its_log(start: Callable[..., Daemon]) -> None:
    clock = iter(float(tick) for tick in range(10**9))
    daemon = start(monotonic=lambda: next(clock))
    run = daemon.until_final(daemon.submit(job={"die_times": 99}))
    assert (run.state, run.epoch) == ("failed", 5)
    assert run.error is not None
    assert run.error.code == "worker_lost"
    assert "about to be killed" in run.error.message
    assert daemon.escalated(run).tried[-1].result == "failed for good after 5 attempts"


@pytest.mark.parametrize(("kind", "attempts"), [("train", 1), ("evaluate", 5)])
def test_a_worker_that_the_kernel_takes_for_memory_ends_as_out_of_memory(start: Callable[..., Daemon], kind: str, attempts: int) -> None:
    """A training at once, because its round tries it with less; anything else when starting it again has not helped."""
    clock, kills = (iter(range(10**9)) for _ in range(2))
    daemon = start(monotonic=lambda: float(next(clock)), kernel_oom_kills=lambda: next(kills))
    run = daemon.until_final(daemon.submit(kind, job={"die_times": 99}, arguments={"cluster": "c"}))
    assert run.error is not None
    assert (run.state, run.epoch, run.error.short_of) == ("failed", attempts, "memory")
    assert daemon.escalated(run).failure.code == "resource_exhausted"


def test_a_worker_that_is_alive_but_stalled_is_ended_and_started_again(start: Callable[..., Daemon]) -> None:
    daemon = start(stall_seconds={"train": 1.0}, stall_look_seconds=0.1)
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    os.kill(worker_pid(daemon, run.id), signal.SIGSTOP)
    (daemon.workspace.run(run.id).root / "go").touch()  # the next attempt does not wait
    done = daemon.until_final(run)
    assert (done.state, done.epoch) == ("succeeded", 2)
    (lost,) = [event for event in events_of(daemon.store, run.id) if event.kind == "run_interrupted"]
    assert "stalled (no progress, no processor time)" in lost.reason


def test_a_run_that_the_disk_stops_again_and_again_asks_for_more_room_each_time_and_then_fails(start: Callable[..., Daemon]) -> None:
    clock, free = iter(range(10**9)), [10]
    daemon = start(monotonic=lambda: float(next(clock)), free_bytes=lambda: free[0], disk_reserve_bytes=10)
    run = daemon.submit(job={"raise": "disk"})
    for room in (20, 40, 80, 160):
        daemon.tick_until(lambda: daemon.supervisor.waits_for(run.id).startswith("waits for disk") or daemon.supervisor.get(run.id).epoch > 1)
        free[0] = room
    failed = daemon.until_final(run)
    assert failed.error is not None
    assert (failed.epoch, failed.error.short_of) == (5, "disk")
    reasons = [event.reason for event in events_of(daemon.store, run.id) if event.kind == "run_interrupted"]
    assert reasons == ["the worker ran out of disk space; there is room again"] * 4
    assert daemon.escalated(failed).failure.code == "resource_exhausted"


def test_cancelling_a_queued_run_never_starts_it(daemon: Daemon) -> None:
    run = daemon.submit()
    assert daemon.supervisor.cancel(run.id).state == "cancelled"
    daemon.supervisor.tick()
    assert states(daemon, run.id) == ["run_queued", "run_cancelled"]
    assert not daemon.workspace.run(run.id).log.exists()


@pytest.mark.parametrize("job", [{"wait": True}, {"wait": True, "ignore_term": True, "child": True}])
def test_cancelling_ends_the_worker_and_its_children_within_seconds(daemon: Daemon, job: dict[str, Any]) -> None:
    run = daemon.submit(job=job)
    daemon.until_working(run)
    pids = [worker_pid(daemon, run.id)]
    if job.get("child"):
        child = daemon.workspace.run(run.id).work / "child"
        daemon.tick_until(lambda: child.exists() and child.read_text())
        pids.append(int(child.read_text()))
    before = time.monotonic()
    daemon.supervisor.cancel(run.id)
    assert daemon.until_final(run).state == "cancelled"
    assert time.monotonic() - before < 5
    assert [identity_of(pid) for pid in pids] == [None] * len(pids)
    assert daemon.supervisor.cancel(run.id).state == "cancelled"


def test_a_worker_that_somebody_else_stops_is_not_taken_for_cancelled(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    os.kill(worker_pid(daemon, run.id), signal.SIGTERM)
    daemon.tick_until(lambda: daemon.supervisor.get(run.id).epoch == 2)
    (daemon.workspace.run(run.id).root / "go").touch()
    assert daemon.until_final(run).state == "succeeded"


def test_children_that_a_dead_worker_left_are_ended(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True, "child": True})
    daemon.until_working(run)
    child = daemon.workspace.run(run.id).work / "child"
    daemon.tick_until(lambda: child.exists() and child.read_text())
    orphan = int(child.read_text())
    os.kill(worker_pid(daemon, run.id), signal.SIGKILL)
    daemon.tick_until(lambda: daemon.supervisor.get(run.id).state == "interrupted")
    assert identity_of(orphan) is None
    daemon.supervisor.cancel(run.id)
    assert daemon.until_final(run).state == "cancelled"


@pytest.mark.parametrize("announced", [True, False])
def test_a_live_worker_is_adopted_by_the_next_daemon(daemon: Daemon, announced: bool) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    pid = worker_pid(daemon, run.id)
    if not announced:  # as if the daemon had died before the worker could say who it is
        (daemon.workspace.run(run.id).root / "process.json").unlink()
    daemon.restart()
    daemon.supervisor.tick()
    assert identity_of(pid) is not None
    (daemon.workspace.run(run.id).root / "go").touch()
    run = daemon.until_final(run)
    assert (run.state, run.epoch) == ("succeeded", 1)


def test_a_run_that_was_claimed_but_not_started_is_started_by_the_next_daemon(daemon: Daemon) -> None:
    run = daemon.submit()
    daemon.store.submit("claim_run", {"run_id": run.id, "epoch": 1})
    daemon.restart()
    run = daemon.until_final(run)
    assert (run.state, run.epoch) == ("succeeded", 2)


def test_a_result_that_was_written_while_no_daemon_ran_is_taken_in_once(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    daemon.store.close()
    paths = daemon.workspace.run(run.id)
    (paths.root / "go").touch()
    deadline = time.monotonic() + 10
    while not paths.result.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    daemon.open()
    run = daemon.until_final(run)
    assert (run.state, run.epoch) == ("succeeded", 1)
    daemon.restart()
    daemon.supervisor.tick()
    assert states(daemon, run.id).count("run_succeeded") == 1


def test_a_run_marked_for_cancelling_is_ended_by_the_next_daemon(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    daemon.supervisor.cancel(run.id)
    daemon.restart()
    assert daemon.until_final(run).state == "cancelled"


def test_the_result_of_an_older_attempt_is_not_taken(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    os.kill(worker_pid(daemon, run.id), signal.SIGKILL)
    daemon.tick_until(lambda: daemon.supervisor.get(run.id).epoch == 2)
    paths = daemon.workspace.run(run.id)
    old = {"run_id": run.id, "epoch": 1, "state": "succeeded", "output": {"stale": True}, "seconds": 1.0, "peak_rss_bytes": 1}
    write_json(paths.result, old)
    daemon.supervisor.tick()
    (paths.root / "go").touch()
    done = daemon.until_final(run)
    assert done.state == "succeeded"
    assert done.output is not None
    assert "stale" not in done.output


def test_a_worker_of_an_older_attempt_refuses_to_work(daemon: Daemon) -> None:
    run = daemon.until_final(daemon.submit(job={"die_times": 1}))
    paths = daemon.workspace.run(run.id)
    before = paths.result.read_bytes()
    identity = daemon.supervisor.workers.spawn("train", paths, 1)
    assert identity is not None
    daemon.tick_until(lambda: identity_of(identity.pid) is None)
    assert paths.result.read_bytes() == before
    assert "comes after attempt 2" in paths.log.read_text()


def test_a_worker_reads_its_config_and_nothing_else(daemon: Daemon) -> None:
    run = daemon.until_final(daemon.submit(job={"output": {}}, arguments={"asked": 1}))
    config = read_json(daemon.workspace.run(run.id).config)
    assert config == {
        "schema_version": 1,
        "run_id": run.id,
        "kind": "train",
        "cluster": "c",
        "workspace": str(daemon.workspace.root.resolve()),
        "seed": 17,
        "job": {"output": {}},
    }


def test_no_more_workers_run_than_there_are_slots(start: Callable[..., Daemon]) -> None:
    daemon = start(worker_slots=1)
    first, second = daemon.submit(job={"wait": True}), daemon.submit()
    daemon.until_working(first)
    assert daemon.supervisor.get(second.id).state == "queued"
    (daemon.workspace.run(first.id).root / "go").touch()
    assert daemon.until_final(second).state == "succeeded"


def record_output(cursor: Cursor, run_id: str, cluster: str | None, output: dict[str, Any], at: str, seq: int) -> None:
    if output.get("refuse"):
        raise StateConflict("not this one", next_step="Nothing.")
    cursor.execute("INSERT INTO made VALUES (?, ?)", [run_id, output["attempts"]])
    if output.get("break"):
        raise ZeroDivisionError


MADE = StageTables((Migration("made-1", ("CREATE TABLE made (run_id VARCHAR PRIMARY KEY, attempts INTEGER)",)),), {})


def test_what_a_stage_records_of_a_result_comes_and_goes_with_the_end_of_the_run(start: Callable[..., Daemon]) -> None:
    daemon = start(MADE, hooks={"train": record_output})
    good = daemon.until_final(daemon.submit())
    refused = daemon.until_final(daemon.submit(job={"output": {"refuse": True}}))
    broken = daemon.until_final(daemon.submit(job={"output": {"break": True}}))
    assert [run.state for run in (good, refused, broken)] == ["succeeded", "failed", "failed"]
    assert [run.error.code for run in (refused, broken) if run.error] == ["state_conflict", "worker_crashed"]
    assert daemon.store.read("SELECT run_id FROM made") == [(good.id,)]
