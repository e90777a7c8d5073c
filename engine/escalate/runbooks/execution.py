"""Carrying out a runbook: its acts in order, each held against what it should come to, and at the end its verification.

What is somebody's to do is never done here: such a step counts as done when its check holds, or when it is named as done; otherwise the execution
ends there and says what to do, and is started again afterwards. So acts that were done are done again, and must bear it: reading, waiting, and
starting runs do. A step is left out where it needs an input that was not given, or something that an earlier answer does not hold.

Who performs the acts comes in as an argument; nothing here knows the store, HTTP or the terminal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from engine.errors import ArgumentInvalid, ModelsmithError
from engine.escalate.runbooks.conditions import unmet
from engine.escalate.runbooks.templates import Missing, fill, fill_known, names_in, parts
from engine.escalate.runbooks.types import Act, Did, Execution, Runbook, Step
from engine.jobs.types import FINAL_STATES

LONGEST_INPUT = 1000
VERIFICATION = "Verification"


class Performs(Protocol):
    """Who calls tools and gives commands. A refusal is a ModelsmithError."""

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]: ...

    def command(self, words: tuple[str, ...]) -> dict[str, Any]: ...


class _Unexpected(Exception):
    """What an act came to instead."""


def checked_inputs(runbook: Runbook, given: Mapping[str, str]) -> dict[str, str]:
    """The inputs as they may stand in arguments and commands. ArgumentInvalid names those that are missing, unknown or no plain words."""
    missing = [name for name, about in runbook.inputs.items() if about.required and name not in given]
    unknown = [name for name in given if name not in runbook.inputs]
    strange = [name for name, value in given.items() if value.startswith("-") or not value.isprintable() or not 0 < len(value) <= LONGEST_INPUT]
    problems = [f"{word}: {', '.join(names)}" for word, names in (("missing", missing), ("unknown", unknown), ("not plain words", strange)) if names]
    if problems:
        takes = "; ".join(f"{name}: {about.about}" for name, about in runbook.inputs.items()) or "none"
        raise ArgumentInvalid(f"{runbook.id}: inputs {'; '.join(problems)}", next_step=f"It takes {takes}", inputs=list(runbook.inputs))
    return dict(given)


def plan(runbook: Runbook, given: Mapping[str, str]) -> Execution:
    """What carrying it out would do, as far as the inputs say; nothing is done."""
    scope = checked_inputs(runbook, given)
    lacking = runbook.inputs.keys() - scope.keys()
    steps = [_planned(step, scope, lacking) for step in runbook.steps]
    check = runbook.verification
    last = Did(number=0, title=VERIFICATION, outcome="planned", said=check.expect.means, **_filled(check, scope))
    own = sum(step.by is None and did.outcome == "planned" for step, did in zip(runbook.steps, steps, strict=True))
    return Execution(
        runbook=runbook.id,
        outcome="planned",
        summary=f"{runbook.id}: {own} of {len(steps)} steps would be carried out; nothing was.",
        steps=(*steps, last),
    )


def execute(runbook: Runbook, given: Mapping[str, str], performs: Performs, done: Collection[int] = ()) -> Execution:
    """Carries out what can be carried out by itself. `done` names steps of others that are done and that nothing else shows."""
    scope: dict[str, Any] = dict(checked_inputs(runbook, given))
    told: list[Did] = []
    for step in runbook.steps:
        did = _of_others(step, scope, performs, done) if step.by else _own(step, scope, performs)
        told.append(did)
        if did.outcome == "by_hand":
            return _ended(runbook, "waits", f"step {step.number} is for {'a person' if step.by == 'person' else 'you'}: {step.title}", told)
        if did.outcome == "unexpected":
            return _ended(runbook, "unexpected", f"step {step.number} ({step.title}) came to something else: {did.said}", told)
    try:
        _perform(runbook.verification, scope, performs)
    except (_Unexpected, Missing) as problem:
        why = f"nothing to verify: {problem} is not there" if isinstance(problem, Missing) else str(problem)
        told.append(Did(number=0, title=VERIFICATION, outcome="unexpected", said=why))
        return _ended(runbook, "not_verified", f"all steps are done, and the verification fails: {why}", told)
    told.append(Did(number=0, title=VERIFICATION, outcome="done", said=runbook.verification.expect.means))
    return _ended(runbook, "verified", runbook.verification.expect.means, told)


def _ended(runbook: Runbook, outcome: Any, why: str, told: list[Did]) -> Execution:
    return Execution(runbook=runbook.id, outcome=outcome, summary=f"{runbook.id}: {outcome.replace('_', ' ')}: {why}", steps=tuple(told))


def _own(step: Step, scope: dict[str, Any], performs: Performs) -> Did:
    """Carries out a step; its answer joins the scope under its number."""
    assert step.act is not None
    try:
        scope[str(step.number)] = _perform(step.act, scope, performs)
    except Missing as missing:
        return Did(number=step.number, title=step.title, outcome="left_out", said=f"there is no {missing}")
    except _Unexpected as problem:
        return Did(number=step.number, title=step.title, outcome="unexpected", said=str(problem), **_filled(step.act, scope))
    return Did(number=step.number, title=step.title, outcome="done", said=step.act.expect.means, **_filled(step.act, scope))


def _of_others(step: Step, scope: dict[str, Any], performs: Performs, done: Collection[int]) -> Did:
    """Whether a step of somebody else is done; otherwise what is to be done. The check's answer joins the scope."""
    said = "said to be done"
    if step.number not in done:
        try:
            if step.done_when is None:
                raise _Unexpected("nothing shows whether it is done")
            scope[str(step.number)] = _perform(step.done_when, scope, performs)
            said = step.done_when.expect.means
        except (_Unexpected, Missing) as problem:
            what = f"{step.text} (Not done yet: {problem}.)"
            return Did(number=step.number, title=step.title, outcome="by_hand", by=step.by, said=what, **_filled(step.act, scope))
    return Did(number=step.number, title=step.title, outcome="done", by=step.by, said=said)


def _perform(act: Act, scope: Mapping[str, Any], performs: Performs) -> dict[str, Any]:
    """The answer of an act that came to what was expected. _Unexpected says to what it came after the last attempt."""
    arguments, command = fill(act.arguments, scope), fill(act.command, scope)
    expected = fill(act.expect.result, scope)
    problem = ""
    for _ in range(act.attempts):
        try:
            answer = performs.call(act.call, arguments) if act.call else performs.command(command)
        except ModelsmithError as refusal:
            answer = {"error": refusal.as_record()}
        problem = _difference(expected, answer)
        if not problem:
            return answer
        if answer.get("state") in FINAL_STATES:
            break  # waiting longer changes nothing
    raise _Unexpected(problem)


def _difference(expected: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """What is not as expected, with the error that the answer holds; a refusal that nobody expected is always a difference."""
    problem = unmet(expected, answer)
    error = answer.get("error")
    told = f"{error['code']}: {error['message']}" if isinstance(error, Mapping) else ""
    if problem:
        return f"{problem} ({told})" if told else problem
    foreseen = "state" in answer or any(parts(path)[0][0] == "error" for path in expected)  # a run's own error stands beside its state
    return "" if foreseen else told


def _planned(step: Step, scope: Mapping[str, Any], lacking: Collection[str]) -> Did:
    """`lacking`: inputs that were not given; what needs one is left out."""
    if step.act is not None and step.by is None and (unknown := sorted(names_in([step.act.arguments, step.act.command]) & set(lacking))):
        return Did(number=step.number, title=step.title, outcome="left_out", said=f"there is no {unknown[0]}")
    said = step.act.expect.means if step.act and step.by is None else step.text
    return Did(number=step.number, title=step.title, outcome="planned", by=step.by, said=said, **_filled(step.act, scope))


def _filled(act: Act | None, scope: Mapping[str, Any]) -> dict[str, Any]:
    """What an act calls, as far as it is known."""
    if act is None:
        return {}
    return {"tool": act.call, "arguments": fill_known(act.arguments, scope), "command": fill_known(act.command, scope)}
