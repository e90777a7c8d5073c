"""All runbooks, and which of them covers an error code or a failure class.

They are files of the source tree (`runbooks/*.md`), read once. An error must reach its caller even where one of them was broken by an edit, so the
lookup by code answers nothing then, and everything else says what is wrong.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from engine.base.paths import RUNBOOKS
from engine.errors import ModelsmithError, NotFound
from engine.escalate.runbooks.parsing import parse_runbook
from engine.escalate.runbooks.types import Runbook

log = logging.getLogger("modelsmith")

INTERNAL_ERROR = "internal_error"
UNAUTHORIZED = "unauthorized"
ORIGIN_REFUSED = "origin_refused"
HOST_REFUSED = "host_refused"
SURFACE_CODES = frozenset({INTERNAL_ERROR, UNAUTHORIZED, ORIGIN_REFUSED, HOST_REFUSED})
"""Codes of errors that a surface has of its own, beside the tree in `engine/errors.py`."""


class RunbookBroken(ValueError):
    """A file below `runbooks/` that is no runbook."""


def read_all(folder: Path) -> dict[str, Runbook]:
    """Every runbook of a folder by its id, in the order of their names. RunbookBroken names the file and the place, or a trigger that two share."""
    try:
        found = {path.stem: parse_runbook(path.stem, path.read_text()) for path in sorted(folder.glob("*.md"))}
        _index([*by_code(found).items(), *by_class(found).items()])
    except ValueError as problem:
        raise RunbookBroken(str(problem)) from None
    return found


@functools.cache
def catalogue() -> dict[str, Runbook]:
    """The runbooks that ship."""
    return read_all(RUNBOOKS)


def by_code(runbooks: dict[str, Runbook]) -> dict[str, str]:
    """The runbook of each error code. ValueError when two claim one."""
    return _index([(code, runbook.id) for runbook in runbooks.values() for code in runbook.triggers.errors])


def by_class(runbooks: dict[str, Runbook]) -> dict[str, str]:
    """The runbook of each failure class. ValueError when two claim one."""
    return _index([(name, runbook.id) for runbook in runbooks.values() for name in runbook.triggers.classes])


def runbook_for(code: str) -> str:
    """The id of the runbook that covers an error code; empty for a code that none covers."""
    try:
        return by_code(catalogue()).get(code, "")
    except RunbookBroken as problem:
        log.error("runbooks cannot be read: %s", problem)
        return ""


def runbook(name: str) -> Runbook:
    """The runbook of that id, or the one that covers an error code or a failure class of that name. NotFound lists what there is."""
    try:
        known = catalogue()
    except RunbookBroken as problem:
        raise ModelsmithError(str(problem), next_step="Mend the file; every field is described in engine/escalate/runbooks/types.py.") from None
    found = known.get(name) or known.get((by_code(known) | by_class(known)).get(name, ""))
    if found is None:
        raise NotFound(f"there is no runbook {name[:80]!r}", next_step=f"Use one of: {', '.join(known)}.", known=list(known))
    return found


def _index(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The runbook of each trigger. A code and a class may share a name, where one runbook covers both."""
    found: dict[str, str] = {}
    for trigger, name in pairs:
        if found.get(trigger, name) != name:
            raise ValueError(f"{found[trigger]}.md and {name}.md both cover {trigger}")
        found[trigger] = name
    return found
