"""How an error leaves the process: one record on every surface, an HTTP status, an exit code.

An error of the engine keeps its code and words. Anything else is a defect of ours: it is logged with its stack, and the caller learns only
that it happened and where to look, because a stack may hold anything.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from engine.errors import BadInput, Conflict, Infrastructure, ModelsmithError, NotFound, TooLarge, error_classes
from engine.escalate.runbooks.catalogue import INTERNAL_ERROR, runbook_for

log = logging.getLogger("modelsmith")

EXIT_DONE = 0
EXIT_BELOW_TARGET = 1
EXIT_BAD_REQUEST = 2
EXIT_INFRASTRUCTURE = 3

_STATUS: tuple[tuple[type[ModelsmithError], int], ...] = (
    (NotFound, 404),
    (TooLarge, 413),
    (BadInput, 400),
    (Conflict, 409),
    (Infrastructure, 503),
)


class Failure(NamedTuple):
    """An error as it is shown."""

    record: dict[str, Any]
    """code, message, next_step, details, runbook."""
    status: int
    """HTTP status."""

    @property
    def body(self) -> dict[str, Any]:
        """The JSON document of every surface."""
        return {"error": self.record}


def failure_of(error: BaseException, during: str) -> Failure:
    """What a caller is told about `error`, which happened `during` something (a tool's name)."""
    if isinstance(error, ModelsmithError):
        status = next((status for cls, status in _STATUS if isinstance(error, cls)), 500)
        return Failure(with_runbook(error.as_record()), status)
    log.error("unexpected %s during %s", type(error).__name__, during, exc_info=error)
    record = {
        "code": INTERNAL_ERROR,
        "message": f"{during} failed in a way that nobody foresaw ({type(error).__name__}).",
        "next_step": "Look at the end of .modelsmith/daemon.log; calling again is safe.",
        "details": {},
    }
    return Failure(with_runbook(record), 500)


def with_runbook(record: dict[str, Any]) -> dict[str, Any]:
    """An error's record with the id of the runbook that covers its code."""
    return {**record, "runbook": runbook_for(str(record["code"]))}


def exit_code_of(code: str) -> int:
    """The exit code that belongs to an error code."""
    cls = error_classes().get(code)
    return cls.exit_code if cls else EXIT_INFRASTRUCTURE
