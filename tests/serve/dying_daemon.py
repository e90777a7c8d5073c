"""The daemon, made to die at one instant of a rollback: `python -m tests.serve.dying_daemon STEP --workspace DIR`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from engine.generate.servers import ModelServers
from engine.promote import records
from engine.serve.production import Production
from engine.store.journal import Journal
from server.daemon import main

BEFORE = ("before its server starts", "while its server starts", "when it is proved", "before the journal")
"""Steps after which the version before the rollback serves."""
AFTER = ("after the journal", "when it has flipped")


def die(*_: Any, **__: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


def after(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: die(call(*arguments, **named))


def journal_that_dies(append: Callable[..., Any], *, written: bool) -> Callable[..., Any]:
    """Dies at the line of the rollback, before or after it is on disk."""

    def appended(journal: Journal, line: Any) -> Any:
        if line.entry.op != "roll_back":
            return append(journal, line)
        return die(append(journal, line)) if written else die()

    return appended


def arrange(step: str) -> None:
    if step == "before its server starts":
        ModelServers._start = die  # type: ignore[method-assign]
    elif step == "while its server starts":
        ModelServers._start = after(ModelServers._start)  # type: ignore[method-assign]
    elif step == "when it is proved":
        Production.prove = after(Production.prove)  # type: ignore[method-assign]
    elif step == "before the journal":
        Journal.append = journal_that_dies(Journal.append, written=False)  # type: ignore[method-assign]
    elif step == "after the journal":
        Journal.append = journal_that_dies(Journal.append, written=True)  # type: ignore[method-assign]
    else:
        records.roll_back = after(records.roll_back)


if __name__ == "__main__":
    arrange(sys.argv.pop(1))
    sys.exit(main())
