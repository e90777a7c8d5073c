"""Where each check of the watchdog stands, from what was found. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.errors import RemediesExhausted
from engine.generate.types import ServerStatus
from engine.jobs.types import Run
from engine.views import CheckState, NextCall, WatchCheck, WatchPage


class Seen(NamedTuple):
    """Where one check stands."""

    state: CheckState
    found: str


class Facts(NamedTuple):
    """What the checks look at."""

    active: Sequence[Run]
    waits: dict[str, str]
    """By run: why it stands still."""
    servers: Sequence[ServerStatus]
    ended: Sequence[Run]
    """Each cluster's newest ended iterate run."""
    altered: Sequence[str]
    """Versions in use whose weights were found changed."""


def workers(facts: Facts) -> Seen:
    """Worker processes that were lost or stalled."""
    lost = [run.id for run in facts.active if run.state == "interrupted"]
    working = sum(run.state == "running" and run.kind != "iterate" for run in facts.active)
    return Seen("mending", f"{', '.join(lost)} lost its worker and is started again") if lost else Seen("well", f"{working} at work")


def memory(facts: Facts) -> Seen:
    """Trainings that are tried with less memory."""
    smaller = [run.id for run in facts.active if "_smaller_" in str(run.step)]
    return Seen("mending", f"{', '.join(smaller)} trains with less memory") if smaller else Seen("well", "no training is short of memory")


def disk(facts: Facts) -> Seen:
    """Runs that stand still until there is room."""
    waiting = {run: why for run, why in facts.waits.items() if why}
    if not waiting:
        return Seen("well", "no run waits")
    run, why = next(iter(waiting.items()))
    return Seen("mending", f"{len(waiting)} runs stand still; {run} {why}")


def servers(facts: Facts) -> Seen:
    """Model servers that hang or do not start."""
    unwell = [server.base for server in facts.servers if server.state == "unhealthy"]
    if unwell:
        return Seen("mending", f"the server of {', '.join(unwell)} is unhealthy; whoever needs it next starts another")
    return Seen("well", f"{sum(server.state == 'healthy' for server in facts.servers)} healthy")


def weights(facts: Facts) -> Seen:
    """Weights whose bytes have changed on the disk."""
    if facts.altered:
        return Seen("failing", f"the weights of {', '.join(facts.altered)} have changed on the disk, and nothing makes them again")
    mending = [run.id for run in facts.active if str(run.step).endswith("_mend")]
    return Seen("mending", f"{', '.join(mending)} makes changed weights again") if mending else Seen("well", "none was found changed")


def runs(facts: Facts) -> Seen:
    """Iterate runs that ended with a failure which nothing mended."""
    failed = [run for run in facts.ended if run.state == "failed" and run.error is not None]
    if not failed:
        return Seen("well", "the newest run of each cluster did not fail")
    alike = [str(run.cluster) for run in failed if run.error is not None and run.error.code == RemediesExhausted.code]
    told = ", ".join(f"{run.id} of {run.cluster} ({run.error.code})" for run in failed if run.error is not None)
    return Seen("failing", f"{told}; starting again has not helped {', '.join(alike)}" if alike else told)


LOOKS: dict[str, Callable[[Facts], Seen]] = {
    "workers": workers,
    "memory": memory,
    "disk": disk,
    "servers": servers,
    "weights": weights,
    "runs": runs,
}
"""The checks, in the order in which they are told. What a check is about stands in its function's docstring."""


def watch_page(checks: Sequence[WatchCheck], ended: Sequence[Run]) -> WatchPage:
    """The checks, with a sentence over all of them and the failed runs to look at."""
    count = {state: sum(check.state == state for check in checks) for state in ("well", "mending", "failing")}
    failed = [run for run in ended if run.state == "failed"]
    return WatchPage(
        summary=f"{len(checks)} checks: {count['well']} well, {count['mending']} mending by itself, {count['failing']} failing.",
        next=tuple(NextCall(tool="run_status", arguments={"run_id": run.id}, why="what ended it") for run in failed[:3]),
        checks=tuple(checks),
    )
