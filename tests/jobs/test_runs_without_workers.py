"""What the store says of runs: ids, keys, claims, lists; and runs that a driver advances."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ArgumentInvalid, KeyReused, NotFound, RunActive, StaleEpoch, StateConflict
from engine.jobs import records
from engine.jobs.types import FINAL_STATES, TRANSITIONS, Run, RunError
from engine.store.events import events_of
from engine.store.rebuild import verify

from .conftest import Daemon


def test_the_same_key_gives_the_same_run_even_when_its_job_would_now_be_another(daemon: Daemon) -> None:
    first = daemon.submit("evaluate", key="k", job={"incumbent": "a"})
    again = daemon.submit("evaluate", key="k", job={"incumbent": "b"})
    assert again.id == first.id
    with pytest.raises(KeyReused, match="other arguments"):
        daemon.submit("evaluate", key="k", cluster="d")
    with pytest.raises(ArgumentInvalid):
        daemon.submit("train", key="")


def test_a_cluster_has_one_active_top_level_run(daemon: Daemon) -> None:
    first = daemon.submit("evaluate")
    with pytest.raises(RunActive, match=first.id):
        daemon.submit("iterate")
    assert daemon.supervisor.list(cluster="c") == [first]
    daemon.submit("evaluate", cluster="d")
    daemon.submit("train")
    daemon.supervisor.cancel(first.id)
    assert daemon.submit("iterate").state == "queued"


def test_of_racing_submissions_one_wins(daemon: Daemon) -> None:
    outcomes: list[str] = []

    def submit() -> None:
        try:
            outcomes.append(daemon.submit("iterate").id)
        except RunActive:
            outcomes.append("refused")

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["refused"] * 7


def test_an_unknown_run_is_answered_with_the_latest_ones(daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="nothing"):
        daemon.supervisor.get("nothing")
    run = daemon.submit()
    with pytest.raises(NotFound) as caught:
        daemon.supervisor.get("nothing")
    assert run.id in caught.value.next_step


def test_lists_are_filtered_ordered_and_paged(daemon: Daemon) -> None:
    runs = [daemon.submit(cluster=cluster, kind=kind) for kind, cluster in [("train", "a"), ("floor", "b"), ("train", "b"), ("floor", None)]]
    daemon.supervisor.cancel(runs[0].id)
    ids = [run.id for run in runs]
    listed = daemon.supervisor.list
    assert [run.id for run in listed()] == ids[::-1]
    assert [run.id for run in listed(cluster="b")] == [ids[2], ids[1]]
    assert [run.id for run in listed(states=("cancelled",))] == [ids[0]]
    assert [run.id for run in listed(kinds=("floor",), limit=1)] == [ids[3]]
    assert [run.id for run in listed(limit=2, before=ids[2])] == [ids[1], ids[0]]
    assert records.count(daemon.store) == 4


def test_only_the_next_epoch_may_claim_and_only_the_present_one_may_finish(daemon: Daemon) -> None:
    run = daemon.submit()
    submit = daemon.store.submit
    with pytest.raises(StaleEpoch):
        submit("claim_run", {"run_id": run.id, "epoch": 2})
    submit("claim_run", {"run_id": run.id, "epoch": 1})
    with pytest.raises(StaleEpoch):
        submit("claim_run", {"run_id": run.id, "epoch": 1})
    submit("interrupt_run", {"run_id": run.id, "epoch": 1, "reason": "killed"})
    submit("claim_run", {"run_id": run.id, "epoch": 2})
    finish = {"run_id": run.id, "state": "succeeded", "output": {}, "error": None, "seconds": 1.0, "peak_rss_bytes": 1}
    with pytest.raises(StaleEpoch, match="attempt 1"):
        submit("finish_run", {**finish, "epoch": 1})
    submit("finish_run", {**finish, "epoch": 2})
    with pytest.raises(StateConflict):
        submit("finish_run", {**finish, "epoch": 2})


OPERATIONS = st.lists(st.sampled_from(["claim", "interrupt", "succeed", "fail", "cancel"]), max_size=12)


@given(OPERATIONS)
def test_no_order_of_commands_leaves_the_table_of_transitions(operations: list[str]) -> None:
    """The same guards that the commands use, walked without a store: final states are left by nothing."""
    to = {"claim": "running", "interrupt": "interrupted", "succeed": "succeeded", "fail": "failed", "cancel": "cancelled"}
    state = "queued"
    for operation in operations:
        if to[operation] in TRANSITIONS[state]:
            assert state not in FINAL_STATES
            state = to[operation]
    assert TRANSITIONS.keys() == {"queued", "running", "interrupted", *FINAL_STATES}


def test_waiting_ends_with_the_next_sign_of_life(daemon: Daemon) -> None:
    run = daemon.submit(job={"wait": True})
    assert daemon.supervisor.wait(run.id, 0.01) == run
    seen: list[Run] = []
    waiter = threading.Thread(target=lambda: seen.append(daemon.supervisor.wait(run.id, 20)))
    waiter.start()
    daemon.tick_until(lambda: not waiter.is_alive())
    assert seen[0].state == "running"
    daemon.supervisor.cancel(run.id)
    done = daemon.until_final(run)
    assert daemon.supervisor.wait(run.id, 20) == done


def test_a_tick_with_nothing_to_do_reads_no_row(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    run = daemon.submit(job={"wait": True})
    daemon.until_working(run)
    monkeypatch.setattr(daemon.store, "read", None)
    monkeypatch.setattr(daemon.store, "submit", None)
    monkeypatch.setattr(daemon.store, "ingest_spool", None)
    seconds = []
    for _ in range(50):
        before = time.perf_counter()
        daemon.supervisor.tick()
        seconds.append(time.perf_counter() - before)
    monkeypatch.undo()
    assert sorted(seconds)[25] < 0.002
    daemon.supervisor.cancel(run.id)
    daemon.until_final(run)


class TwoSteps:
    """A driver: one step after the other, then done."""

    def __init__(self, daemon: Daemon, job: dict[str, Any]) -> None:
        self.daemon, self.job, self.calls = daemon, job, 0

    def advance(self, run: Run) -> None:
        self.calls += 1
        steps = {step.step: step for step in self.daemon.supervisor.list(parent=run.id)}
        for name in ("1.first", "1.second"):
            if name not in steps:
                self.daemon.submit(key=f"{run.id}/{name}", parent=run.id, step=name, job=self.job)
                return
            if steps[name].state == "failed":
                self.daemon.supervisor.finish_driver(run, state="failed", error=RunError(code="x", message="a step failed"))
                return
            if steps[name].state not in FINAL_STATES:
                return
        self.daemon.supervisor.finish_driver(run, state="succeeded", output={"steps": len(steps)})

    def cancel(self, run: Run) -> None:
        for step in self.daemon.supervisor.list(parent=run.id):
            self.daemon.supervisor.cancel(step.id, reason=f"{run.id} is cancelled", actor=run.id)


def test_a_driver_takes_a_run_through_its_steps_across_a_restart(daemon: Daemon) -> None:
    daemon.supervisor.drive("iterate", TwoSteps(daemon, {}))
    run = daemon.submit("iterate")
    daemon.tick_until(lambda: len(daemon.supervisor.list(parent=run.id)) == 2)
    daemon.restart()
    daemon.supervisor.drive("iterate", TwoSteps(daemon, {}))
    done = daemon.until_final(run)
    assert (done.state, done.epoch, done.output) == ("succeeded", 1, {"steps": 2})
    assert [step.step for step in daemon.supervisor.list(parent=run.id)] == ["1.first", "1.second"]
    assert [listed.id for listed in daemon.supervisor.list(top_level=True)] == [run.id]


def test_a_driver_is_not_called_while_its_step_works(daemon: Daemon) -> None:
    driver = TwoSteps(daemon, {"wait": True})
    daemon.supervisor.drive("iterate", driver)
    run = daemon.submit("iterate")
    daemon.tick_until(lambda: daemon.supervisor.list(parent=run.id) and daemon.supervisor.list(parent=run.id)[0].progress)
    daemon.supervisor.tick()
    calls = driver.calls
    for _ in range(20):
        daemon.supervisor.tick()
    assert driver.calls == calls
    daemon.supervisor.cancel(run.id)
    daemon.until_final(run)


def test_cancelling_a_driven_run_ends_its_steps_first(daemon: Daemon) -> None:
    daemon.supervisor.drive("iterate", TwoSteps(daemon, {"wait": True}))
    run = daemon.submit("iterate")
    daemon.tick_until(lambda: [step.progress for step in daemon.supervisor.list(parent=run.id) if step.progress])
    daemon.supervisor.cancel(run.id)
    assert daemon.until_final(run).state == "cancelled"
    (step,) = daemon.supervisor.list(parent=run.id)
    assert step.state == "cancelled"
    assert [event.actor for event in events_of(daemon.store, run.id) if event.kind == "run_cancelling"] == ["caller"]
    assert [event.actor for event in events_of(daemon.store, step.id) if event.kind == "run_cancelling"] == [run.id]
    (ended,) = [event.seq for event in events_of(daemon.store, step.id) if event.kind == "run_cancelled"]
    (whole,) = [event.seq for event in events_of(daemon.store, run.id) if event.kind == "run_cancelled"]
    assert ended < whole
    with pytest.raises(StateConflict, match="no further steps"):
        daemon.submit(parent=run.id, step="1.second")


@pytest.mark.parametrize(("raised", "code"), [(NotFound, "not_found"), (ZeroDivisionError, "worker_crashed")])
def test_a_driver_that_cannot_go_on_fails_its_run_and_cancels_the_steps(daemon: Daemon, raised: type[Exception], code: str) -> None:
    driver = TwoSteps(daemon, {"wait": True})
    daemon.supervisor.drive("iterate", driver)
    run = daemon.submit("iterate")
    daemon.tick_until(lambda: [step.progress for step in daemon.supervisor.list(parent=run.id) if step.progress])

    def fail(run: Run) -> None:
        raise raised("no base")

    driver.advance = fail  # type: ignore[method-assign]
    daemon.restart()
    daemon.supervisor.drive("iterate", driver)
    done = daemon.until_final(run)
    assert done.error is not None
    assert done.error.code == code
    daemon.until_final(daemon.supervisor.list(parent=run.id)[0])


def test_a_driven_run_that_fails_leaves_no_step_that_goes_on(daemon: Daemon) -> None:
    daemon.supervisor.drive("iterate", TwoSteps(daemon, {"wait": True}))
    run = daemon.submit("iterate")
    daemon.tick_until(lambda: [step.progress for step in daemon.supervisor.list(parent=run.id) if step.progress])
    queued = daemon.submit(parent=run.id, step="1.second")
    daemon.supervisor.finish_driver(daemon.supervisor.get(run.id), state="failed", error=RunError(code="x", message="a step failed"))
    daemon.restart()  # killed right after the end of the run was recorded
    (ended,) = [event.seq for event in events_of(daemon.store, run.id) if event.kind == "run_failed"]
    for step in daemon.supervisor.list(parent=run.id):
        (told,) = [event for event in events_of(daemon.store, step.id) if event.kind in ("run_cancelling", "run_cancelled")]
        assert (told.seq, told.actor, told.reason) == (ended, run.id, f"{run.id} failed")
    assert daemon.supervisor.get(queued.id).state == "cancelled"
    for step in daemon.supervisor.list(parent=run.id):
        assert daemon.until_final(step).state == "cancelled"
    daemon.store.close()
    assert verify(daemon.workspace, (records.tables({}),)).differing == ()
    daemon.open()


def test_the_rebuilt_store_says_the_same_of_runs(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.until_final(daemon.submit(job={"die_times": 1, "files": {"a": "b"}, "output": {"artifacts": {"a": "outputs/a"}}}))
    daemon.until_final(daemon.submit(job={"raise": "engine"}))
    daemon.store.close()
    report = verify(daemon.workspace, (records.tables({}),))
    assert report.differing == ()
    assert report.tables["run"] == 2
    assert report.tables["progress"] == 3
    daemon.open()
