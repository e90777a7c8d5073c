"""Which workers count as stalled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.jobs.stalls import LONGEST_LOOK_SECONDS, Idleness, Look


def looked(*looks: tuple[float, int, int]) -> float:
    """Idle seconds at the last of these looks: when, progress, processor time."""
    idleness = Idleness(Look(*looks[0]))
    for look in looks[1:]:
        idleness = idleness.after(Look(*look))
    return idleness.seconds


def test_time_without_progress_or_processor_time_adds_up() -> None:
    assert looked((0, 7, 3), (1, 7, 3), (2, 7, 3), (4, 7, 3)) == 4


def test_either_sign_of_work_begins_the_count_anew() -> None:
    assert looked((0, 7, 3), (3, 7, 3), (4, 8, 3)) == 0
    assert looked((0, 7, 3), (3, 7, 3), (4, 7, 4), (6, 7, 4)) == 2


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_no_jump_of_a_clock_counts_for_more_than_one_long_look(times: list[float]) -> None:
    assert 0 <= looked(*((at, 7, 3) for at in times)) <= LONGEST_LOOK_SECONDS * (len(times) - 1)
