"""The wall clock jumps by days, forward and back, while a run works: nothing ends early or late, and nothing changes its order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.base.clock import Stopwatch, iso
from engine.engine import Engine
from engine.iterate.records import rounds_of
from engine.iterate.scheduling import history
from engine.iterate.types import IterateOutput
from tests.workspaces import finish, make_workspace

START = datetime(2026, 11, 21, tzinfo=UTC)


def test_an_iterate_run_outlives_a_clock_that_is_set_forward_and_back(tmp_path: Path) -> None:
    days = [0.0]
    engine = Engine.open(make_workspace(tmp_path), clock=lambda: iso(datetime.now(UTC) + timedelta(days=days[0])))
    try:
        run = engine.iterate("tickets", 2)
        for step, jump in (("0.floor", 3.0), ("1.train", -3.0), ("2.curate", 30.0)):
            finish(engine, run.id, until=lambda _, step=step: any(child.step == step for child in engine.supervisor.list(parent=run.id)))
            days[0] = jump
        done = finish(engine, run.id)
        assert done.state == "succeeded", done.error
        output = IterateOutput.model_validate(done.output)
        assert len(output.iterations) == 2  # the budget of ten minutes is not spent by three days that did not pass
        assert all(0 <= seconds < 600 for seconds in output.seconds.values())
        assert [one.iteration.iteration for one in rounds_of(engine.store, "tickets")] == [1, 2]
        assert [one.iteration for one in history(engine.store, "tickets", domain="tickets", model="double")] == [1, 2]
    finally:
        engine.close()


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e7, 1e7)), min_size=1, max_size=10))
def test_what_a_stopwatch_measured_is_what_passed(moves: list[tuple[float, float]]) -> None:
    """Each move: seconds that pass, and by how much the wall clock is set meanwhile."""
    passed, set_by = 0.0, 0.0
    watch = Stopwatch(lambda: iso(START + timedelta(seconds=passed + set_by)), lambda: 1000.0 + passed)
    assert watch.seconds("run", iso(START)) == 0.0
    for seconds, jump in moves:
        passed, set_by = passed + seconds, set_by + jump
        assert abs(watch.seconds("run", iso(START)) - passed) < 1e-3


@given(st.floats(-1e7, 1e7))
def test_a_clock_that_was_set_before_the_first_look_never_takes_time_away(set_by: float) -> None:
    watch = Stopwatch(lambda: iso(START + timedelta(seconds=set_by)), lambda: 5.0)
    assert watch.seconds("run", iso(START)) >= 0.0
