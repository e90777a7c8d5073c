"""The watchdog: named checks of what heals by itself, each with its state, since when, and what was done last and what came of it.

It heals nothing: supervisor, loop and servers do, whoever watches. It looks every few seconds, and a check that changes its state is an event in the
store (`watchdog:<check>`), so that what is told outlives the daemon. What was done is read from the events and the runs that doing it left; a model
server that is replaced leaves neither, so that check names no last action.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from engine.errors import ResourceExhausted
from engine.generate.servers import ModelServers
from engine.iterate import records as loop
from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.showing.watching import LOOKS, Facts, Seen, watch_page
from engine.store.database import Cursor
from engine.store.events import append_event, newest_of_kind, newest_of_subject
from engine.store.store import StageTables, Store
from engine.views import WatchCheck, WatchPage

LOOK_SECONDS = 5.0
SUBJECT = "watchdog:"
LOOKED_BACK = 50
"""Runs and events among which the last action is looked for."""


class Acted(NamedTuple):
    """What was done last, when, and what came of it."""

    action: str
    at: str
    outcome: str


class Watching:
    """The operation, over one engine."""

    def __init__(self, store: Store, supervisor: Supervisor, servers: ModelServers) -> None:
        self.store = store
        self.supervisor = supervisor
        self.servers = servers
        self._looked = time.monotonic()

    def look(self) -> None:
        """Notes which checks have changed their state. Called at every tick; looks every few seconds."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._note(self._facts())

    def page(self) -> WatchPage:
        """Every check, as it stands now."""
        facts = self._facts()
        since = self._note(facts)
        done = self._acted()
        checks = []
        for name, look in LOOKS.items():
            seen, acted = look(facts), done.get(name)
            action = {} if acted is None else {"last_action": acted.action, "acted_at": acted.at, "outcome": acted.outcome}
            checks.append(WatchCheck(check=name, state=seen.state, found=seen.found, since=since.get(name), **action))
        return watch_page(checks, facts.ended)

    def _facts(self) -> Facts:
        active = self.supervisor.list(states=runs.ACTIVE_STATES, limit=runs.LISTED_AT_MOST)
        ended = self.supervisor.list(states=("succeeded", "failed"), kinds=("iterate",), top_level=True, limit=LOOKED_BACK)
        newest = {run.cluster: run for run in reversed(ended)}
        in_use = {state.incumbent for state in loop.cluster_states(self.store).values()}
        altered = dict.fromkeys(event.subject for event in newest_of_kind(self.store, "version_altered", LOOKED_BACK) if event.subject in in_use)
        return Facts(
            active=active,
            waits={run.id: self.supervisor.waits_for(run.id) for run in active if run.parent is None},
            servers=self.servers.status(),
            ended=tuple(newest.values()),
            altered=tuple(altered),
        )

    def _note(self, facts: Facts) -> dict[str, str]:
        """Writes an event for each check that has changed; answers since when each stands as it does. A store that takes nothing is tried again."""
        known = newest_of_subject(self.store, SUBJECT)
        since = {}
        for name, look in LOOKS.items():
            seen, event = look(facts), known.get(SUBJECT + name)
            if seen.state != ("well" if event is None else event.kind.removeprefix("check_")):
                event = self._changed(name, seen) or event
            if event is not None:
                since[name] = event.happened_at
        return since

    def _changed(self, name: str, seen: Seen) -> Any:
        try:
            self.store.submit("note_check", {"check": name, "state": seen.state, "found": seen.found})
        except ResourceExhausted:
            return None
        return newest_of_subject(self.store, SUBJECT + name)[SUBJECT + name]

    def _acted(self) -> dict[str, Acted]:
        """What was done last, by check."""
        found: dict[str, Acted] = {}
        for event in newest_of_kind(self.store, "run_interrupted", LOOKED_BACK):
            check = "disk" if event.data.get("cause") == "disk" else "workers"
            if check not in found:
                state = self.supervisor.get(event.subject).state
                found[check] = Acted(f"{event.subject} was started again: {event.reason}", event.happened_at, state)
        for run in self.supervisor.list(kinds=("train", "prepare", "repair"), limit=LOOKED_BACK):
            made = _made_by(run)
            if made is not None:
                found.setdefault(made[0], Acted(f"{run.id}: {made[1]}", run.created_at, run.state))
        return found


def _made_by(run: Run) -> tuple[str, str] | None:
    """The check that a run is an action of, and what it does."""
    if "_smaller_" in str(run.step):
        return "memory", f"trained with less memory ({run.step})"
    return ("weights", f"made changed weights again ({run.step})") if str(run.step).endswith("_mend") else None


def _note_check(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    subject, kind = f"{SUBJECT}{arguments['check']}", f"check_{arguments['state']}"
    append_event(cursor, seq=seq, at=at, kind=kind, subject=subject, actor="watchdog", reason=arguments["found"])
    return {}


TABLES = StageTables(migrations=(), reducers={"note_check": _note_check})
