"""Openings for tests of escalations, and a store with their tables."""

from __future__ import annotations

from typing import Any

from engine.base.paths import Workspace
from engine.escalate import records
from engine.escalate.records import get
from engine.escalate.types import Escalation, Expectation, Failure, Opening, ResolutionCheck
from engine.store.store import Store

CHECK = ResolutionCheck(tool="fleet_status", arguments={}, expected=(Expectation(path="clusters.*.problem", comparison="lacks", value="gone"),))


def failure(**changes: Any) -> Failure:
    fields = {"kind": "run", "cluster": "travel", "what": "train", "step": "1.train", "code": "worker_crashed", "words": "KeyError: 'intent'"}
    return Failure(**(fields | changes))


def opening(**changes: Any) -> Opening:
    """Something that failed; `changes` are of the failure."""
    return Opening(
        failure=failure(**changes),
        title="iterate of travel failed in 1.train",
        severity="medium",
        class_guess="infrastructure",
        why_unmatched="Its attempts are spent.",
        blast_radius="One run.",
        reproduction="modelsmith iterate travel",
        allowed_actions=("Look.",),
        question="What has to change?",
        check=CHECK,
    )


def open_escalations(workspace: Workspace) -> Store:
    return Store.open(workspace, (records.TABLES,))


def opened(store: Store, source: str = "iterate-1121-a1b2c3", **changes: Any) -> Escalation:
    """An escalation that a run gave rise to."""
    (name,) = records.look_into(store, source, [opening(**changes)])
    return get(store, name)
