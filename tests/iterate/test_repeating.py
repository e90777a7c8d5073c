"""No remedy is applied to the same failure for ever: a rung that never sufficed is left out, and the third run that ends alike says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.errors import ResourceExhausted
from engine.iterate.repeating import rungs_in_vain
from engine.jobs import records
from engine.jobs.loops import Tried, in_vain, signature
from engine.jobs.types import RunError
from engine.jobs.workers import WORKER_MODULES
from engine.store.store import Store
from tests.escalate.complete import escalated
from tests.workspaces import finish, make_workspace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(Workspace(tmp_path), (records.tables({}),))
    yield store
    store.close()


def trained(store: Store, rung: int, *, fits: bool) -> None:
    """A finished training of the cluster `c` at a rung."""
    created = {"kind": "train", "cluster": "c", "parent": None, "step": None, "arguments": {"rung": rung}, "seed": 1, "job": {}}
    run_id = store.submit("create_run", created)["id"]
    store.submit("claim_run", {"run_id": run_id, "epoch": 1})
    error = None if fits else ResourceExhausted("training ran out of memory", resource="memory").as_record()
    ending = {"state": "succeeded" if fits else "failed", "output": {} if fits else None, "error": error, "seconds": 1.0, "peak_rss_bytes": 1}
    store.submit("finish_run", {"run_id": run_id, "epoch": 1, **ending})


def test_a_rung_that_has_not_sufficed_twice_is_left_out_until_it_has(store: Store) -> None:
    for rung, fits in ((0, False), (1, False), (2, True), (0, False), (1, False)):
        trained(store, rung, fits=fits)
    assert rungs_in_vain(store, "c", without="") == {0, 1}
    assert rungs_in_vain(store, "another", without="") == frozenset()
    trained(store, 1, fits=True)
    assert rungs_in_vain(store, "c", without="") == {0}


@pytest.mark.processes
def test_the_third_run_that_ends_alike_says_that_starting_again_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = tmp_path / "fails"
    fails.touch()
    monkeypatch.setenv("FAILS_WHILE", str(fails))
    engine = Engine.open(make_workspace(tmp_path / "workspace"))
    engine.supervisor.workers.modules = {**WORKER_MODULES, "compile": "tests.iterate.failing_worker"}
    try:
        errors = [finish(engine, engine.iterate("tickets").id).error for _ in range(4)]
        assert [error.code for error in errors if error is not None] == ["server_failed", "server_failed", "remedies_exhausted", "remedies_exhausted"]
        third, fourth = errors[2:]
        assert third is not None
        assert fourth is not None
        assert (third.details["failure"], third.details["times"], fourth.details["times"]) == ("server_failed", 3, 4)
        assert third.details["step"] == "0.compile"
        latest, *_ = engine.supervisor.list(top_level=True)
        assert escalated(engine, latest.id).occurrences == 4, "what came back is one failure, however it is told"
        fails.unlink()
        finish(engine, engine.iterate("tickets").id, until=lambda run: any(step.step == "0.floor" for step in engine.supervisor.list(parent=run.id)))
    finally:
        for run in engine.supervisor.list(states=("queued", "running", "interrupted"), top_level=True):
            engine.cancel(run.id)
            finish(engine, run.id)
        engine.close()


@given(st.integers(0, 10**6), st.text("0123456789abcdef", min_size=6, max_size=6), st.floats(0, 1e6))
def test_a_signature_holds_what_went_wrong_and_not_when_or_where_on_the_disk(number: int, digits: str, seconds: float) -> None:
    def failure(code: str, message: str, step: str) -> str:
        return signature(RunError(code=code, message=message, details={"step": step}))

    first = failure("server_failed", "the server of train-1121-abcdef at /tmp/x/run 5 died after 2.5 s", "1.train")
    again = failure("server_failed", f"the server of train-0101-{digits} at /srv/y/run {number} died after {seconds:.3f} s", f"{number}.train_smaller_2")
    assert first == again
    assert first != failure("server_failed", "the server of train-1121-abcdef at /tmp/x/run 5 hangs", "1.train")
    assert first != failure("worker_lost", "the server of train-1121-abcdef at /tmp/x/run 5 died after 2.5 s", "1.train")
    assert first != failure("server_failed", "the server of train-1121-abcdef at /tmp/x/run 5 died after 2.5 s", "1.curate")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.booleans()), max_size=20))
def test_what_is_in_vain_is_what_came_back_since_it_last_helped(history: list[tuple[str, str, bool]]) -> None:
    tried = [Tried(*one) for one in history]
    of_remedy = [one for one in tried if one.remedy == "x"]
    times = in_vain(tried, "a", "x")
    assert all(not one.mended and one.signature == "a" for one in of_remedy[len(of_remedy) - times :])
    if times < len(of_remedy):
        before = of_remedy[len(of_remedy) - times - 1]
        assert before.mended or before.signature != "a"
