"""When two failures are the same: a digest of what failed, where and how, without what differs from one time to the next. Pure.

Numbers, ids, digests, addresses and paths are taken out of the words (`engine/jobs/alike.py`); the names of labels, fields, checks and errors
stay, because by them failures differ. The id of a failure pattern stays as it is (its numbers may be labels), but for the scenario that a group is
called after. A step loses its round. The run in which it happened, the time and the machine have no part in it.
"""

from __future__ import annotations

import re

from engine.base.digests import digest_of
from engine.escalate.types import Failure
from engine.jobs.alike import normalised, step_kind

ID_CHARACTERS = 12

_LIKE = re.compile(r"(?<=:like )\S+")
"""The scenario that a group of similar inputs is called after (`engine/diagnose/taxonomy.py`)."""

def signature_of(failure: Failure) -> str:
    """The digest by which a failure is known again."""
    return digest_of([failure.cluster or "", *identity_of(failure)])


def identity_of(failure: Failure) -> list[str]:
    """What a failure is, wherever it happened: what a rule of the taxonomy recognises."""
    words = _LIKE.sub("<id>", failure.words) if failure.kind == "pattern" else normalised(failure.words)
    return [failure.kind, failure.what, step_kind(failure.step), failure.code, failure.failure_class, words]


def escalation_id(signature: str) -> str:
    """The name of the one escalation that a signature has."""
    return f"esc-{signature[:ID_CHARACTERS]}"
