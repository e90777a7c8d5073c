"""The call that shows a failure again, and the check that it is over, from the run in which it showed. Pure.

Both are one call: whoever asked for the run asks for it again with the same arguments, and it is over when that ends as it should. A call is said
as a command line too, whole, to be copied.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.escalate.types import Expectation, ResolutionCheck
from engine.jobs.types import Run, RunKind

POSITIONAL = ("cluster", "name", "run_id")
"""Arguments that the command line takes by position; the names that a tool has both are in this order."""


class Call(NamedTuple):
    """A call of a tool."""

    tool: str
    arguments: dict[str, Any]


def _same(tool: str, *names: str) -> Callable[[Run], Call]:
    """A call with what the run was asked for under these names."""
    return lambda run: Call(tool, {name: run.arguments[name] for name in names if run.arguments.get(name) is not None})


_AGAIN: Mapping[RunKind, Callable[[Run], Call]] = {
    "iterate": _same("iterate", "cluster", "max_iterations"),
    "evaluate": _same("evaluate", "cluster", "subject", "splits", "structured"),
    "teach": _same("evaluate", "cluster", "subject"),
    "export": _same("export", "cluster", "version"),
    "draft": _same("propose_scenario", "cluster", "pattern", "count"),
    "prepare": _same("onboard_model", "name", "profile"),
}
"""How a run of each kind that somebody can ask for is asked for again."""


def again(run: Run) -> Call:
    """The call that makes the same run anew; of a kind that nobody asks for by itself, a look at the run."""
    found = _AGAIN.get(run.kind)
    return Call("run_status", {"run_id": run.id}) if found is None else found(run)


def succeeds(run: Run) -> ResolutionCheck:
    """The check that the same, asked for again, ends well."""
    return ResolutionCheck(**again(run)._asdict(), expected=(Expectation(path="state", value="succeeded"),))


def command(call: Call) -> str:
    """The call as a command line."""
    words = ["modelsmith", call.tool.replace("_", "-")]
    words += [str(call.arguments[name]) for name in POSITIONAL if name in call.arguments and not isinstance(call.arguments[name], Mapping)]
    files = ""
    for name, value in call.arguments.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            files = f"echo {shlex.quote(json.dumps(value, sort_keys=True))} | "
            words += [option, "-"]
        elif isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif name not in POSITIONAL:
            words += [option, *(str(each) for each in (value if isinstance(value, list | tuple) else [value]))]
    return files + shlex.join(words)
