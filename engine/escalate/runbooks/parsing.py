"""A runbook's Markdown file into its record. The file is the document that people read; what is carried out stands in it as YAML.

    ---
    front matter: id, title, severity, triggers, inputs, tools, preconditions, verification, never
    ---
    ## What you see / ## What it means          prose
    ## Steps
    ### 1. A title
    prose, and one ```yaml block: an act (`call` with `arguments`, or `command`; `expect`; `attempts`), or `by` with `done_when`

Whatever is wrong is a ValueError that names the file and the place. Pure.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic import ValidationError

from engine.escalate.runbooks.conditions import condition_of
from engine.escalate.runbooks.templates import names_in, parts
from engine.escalate.runbooks.types import Act, Runbook, Step
from engine.loading import parse_yaml

_FILE = re.compile(r"---\n(?P<front>.*?)\n---\n(?P<before>.*?)\n## Steps\n(?P<steps>.*)", re.S)
_STEP = re.compile(r"^### (\d+)\. (.+)$", re.M)
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)


class _Section(NamedTuple):
    number: int
    title: str
    body: str


def parse_runbook(name: str, text: str) -> Runbook:
    """The runbook in `text`, whose file is called `name` without its ending."""
    whole = _FILE.fullmatch(text)
    if whole is None:
        raise ValueError(f"{name}.md: found no front matter between two lines `---`, or no section `## Steps`")
    front = _mapping(name, "front matter", whole["front"])
    steps = [_step(name, section) for section in _sections(whole["steps"])]
    try:
        runbook = Runbook.model_validate({**front, "background": whole["before"].strip(), "steps": steps})
    except ValidationError as failure:
        raise ValueError(f"{name}.md: {_first(failure)}") from None
    if runbook.id != name:
        raise ValueError(f"{name}.md: its id is {runbook.id}; file and id have one name")
    _check_names(runbook)
    return runbook


def _sections(text: str) -> list[_Section]:
    heads = list(_STEP.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [_Section(int(head[1]), head[2].strip(), text[head.end() : end].strip()) for head, end in zip(heads, ends, strict=True)]


def _step(name: str, section: _Section) -> Step:
    blocks = _BLOCK.findall(section.body)
    where = f"step {section.number}"
    if len(blocks) != 1:
        raise ValueError(f"{name}.md: {where} has {len(blocks)} yaml blocks; a step has one")
    fields = _mapping(name, where, blocks[0])
    aside = {key: fields.pop(key) for key in ("by", "done_when") if key in fields}
    try:
        return Step.model_validate(
            {"number": section.number, "title": section.title, "text": _BLOCK.sub("", section.body).strip(), "act": fields or None, **aside}
        )
    except ValidationError as failure:
        raise ValueError(f"{name}.md: {where}: {_first(failure)}") from None


def _mapping(name: str, where: str, text: str) -> dict[str, Any]:
    try:
        found = parse_yaml(text.encode())
    except ValueError as problem:
        raise ValueError(f"{name}.md: {where}: {problem}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{name}.md: {where}: found no names with values")
    return found


def _first(failure: ValidationError) -> str:
    error = failure.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}".removeprefix(": ")


def _check_names(runbook: Runbook) -> None:
    """Each template names an input or an earlier step, each condition is one, and each input is used."""
    used: set[str] = set()
    for number, act in _numbered(runbook):
        named = {name for value in (act.arguments, act.command, act.expect.result) for name in names_in(value)}
        for name in named:
            root = parts(name)[0][0]
            if not (root in runbook.inputs or (root.isdigit() and 0 < int(root) < number)):
                raise ValueError(f"{runbook.id}.md: ${{{name}}} names neither an input nor a step before it")
            used.add(root)
        for path, wanted in act.expect.result.items():
            try:
                condition_of(wanted)
            except ValueError as problem:
                raise ValueError(f"{runbook.id}.md: {path}: {problem}") from None
    if idle := set(runbook.inputs) - used:
        raise ValueError(f"{runbook.id}.md: no step uses the input {', '.join(sorted(idle))}")


def _numbered(runbook: Runbook) -> list[tuple[int, Act]]:
    """Every act with the number of its step; the verification comes after all."""
    of_steps = [(step.number, act) for step in runbook.steps for act in (step.act, step.done_when) if act is not None]
    return [*of_steps, (len(runbook.steps) + 1, runbook.verification)]
