"""The expansion layer of a domain: accepted scenarios, in a file that Modelsmith writes and people read.

    domains/<name>/data/expansion.jsonl     one ExpansionRow a line; absent until the first scenario is accepted

They belong to core and to no other split. Held-out decides: variants of failures that were looked at would tilt it, by what was drafted and by who
accepted. Whoever wants more held-out items adds governed rows.

The journal says what was accepted; the file is what a domain is compiled from, so the digest of a compiled domain names it like every other row,
it stands under version control with the rest of the domain, and a clone without the journal has the same suite. It is written (atomically) after
the journal: a power cut between the two leaves an accepted scenario out of the file, and the next start puts it in (`reconciled`). The governed
rows are never touched.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping, Sequence

from engine.base.files import inside, parse_strict, write_atomic
from engine.base.paths import Workspace
from engine.config import DomainFile
from engine.errors import DomainInvalid, DuplicateId, ResourceExhausted
from engine.evaluate.answers import schema_problem
from engine.evaluate.proposals.types import TEACHER, ExpansionRow, Proposal
from engine.evaluate.rows import MAX_ROW_BYTES
from engine.evaluate.similarity import input_text, near_duplicates
from engine.evaluate.types import Scenario

EXPANSION_FILE = "data/expansion.jsonl"


def read_expansion(workspace: Workspace, name: str) -> bytes:
    """The bytes of a domain's expansion file; nothing when there is none."""
    file = inside(workspace.domain(name), EXPANSION_FILE)
    return file.read_bytes() if file.is_file() else b""


def refuse_as_rows(domain: DomainFile, label: str) -> None:
    """Raises DomainInvalid when domain.yaml names the expansion file as rows of its own: accepted scenarios would be trained on, or split."""
    paths = [rows.path for rows in (domain.data.train, domain.data.evaluation) if rows is not None]
    if EXPANSION_FILE in map(posixpath.normpath, paths):
        raise DomainInvalid(f"{label}: data names {EXPANSION_FILE}, which Modelsmith writes", next_step="Keep your rows in a file of another name.")


def expansion_rows(data: bytes, domain: DomainFile, label: str) -> list[tuple[int, ExpansionRow]]:
    """The rows with their line numbers. DomainInvalid names the line of one that is not as Modelsmith writes it, or that breaks the output schema."""
    found: list[tuple[int, ExpansionRow]] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_ROW_BYTES:
                raise ValueError(f"it has {len(line)} bytes; the limit is {MAX_ROW_BYTES}")
            row = ExpansionRow.model_validate(parse_strict(line))
        except (ValueError, RecursionError) as error:
            raise DomainInvalid(
                f"{label}:{number}: not an accepted scenario: {str(error)[:200]}",
                next_step="Take the line out, or put the file back as Modelsmith wrote it.",
                file=label,
                line=number,
            ) from None
        problem = schema_problem(domain.contract.output, row.expected, quote=True) if domain.contract.output.kind == "json" else ""
        if problem:
            raise DomainInvalid(
                f"{label}:{number}: the expected answer of {row.id} breaks the output schema: {problem}",
                next_step=f"Decline {row.id}, or mend contract.output.json_schema in domain.yaml.",
                file=label,
                line=number,
            )
        found.append((number, row))
    return found


def varied_rows(rows: Sequence[ExpansionRow]) -> frozenset[str]:
    """Sources (or ids) of the training rows that accepted scenarios vary. They leave the pool: core would measure what was taught in other words."""
    return frozenset(row.source for row in rows if row.origin.startswith(TEACHER))


def expanded(governed: Sequence[Scenario], rows: Sequence[ExpansionRow], threshold: float, label: str) -> tuple[list[Scenario], int]:
    """The expansion scenarios of a suite, and how many were set aside.

    Governed rows and settings may change after an acceptance, and with them who is held-out. A row whose source is now in another split than core,
    or that is near an item there, is set aside: not measured on, and only counted.
    """
    ids = {scenario.id for scenario in governed}
    for row in rows:
        if row.id in ids:
            raise DuplicateId(f"{label}: the id {row.id!r} stands twice in the suite", next_step="Give the governed row another id.", id=row.id)
        ids.add(row.id)
    other = [scenario for scenario in governed if scenario.split != "core"]
    sources = {scenario.source or scenario.id for scenario in other} | {scenario.id for scenario in other}
    pairs = near_duplicates([input_text(row.input) for row in rows], [input_text(scenario.input) for scenario in other], threshold)
    near = {pair.left for pair in pairs}
    kept = [row for position, row in enumerate(rows) if position not in near and not {row.source, row.parent} & sources]
    scenarios = [
        Scenario(id=row.id, input=row.input, expected=row.expected, split="core", tags=row.tags, source=row.source, layer="expansion") for row in kept
    ]
    return scenarios, len(rows) - len(kept)


# ---- writing ---------------------------------------------------------------------------------------------------------------------------


def reconciled(data: bytes, decided: Mapping[str, Proposal]) -> bytes:
    """The file as it should be: accepted scenarios in, declined ones out. Lines that the journal knows nothing of stay as they are: another
    clone's acceptances, and whatever a person wrote, which compiling will judge."""
    lines: list[bytes] = []
    there: set[str] = set()
    for line in data.split(b"\n"):
        name = _id_of(line)
        if not line.strip() or (name in decided and decided[name].state != "accepted"):
            continue
        there.add(name)
        lines.append(line)
    lines += [_line(proposal) for name, proposal in decided.items() if proposal.state == "accepted" and name not in there]
    return b"".join(line + b"\n" for line in lines)


def write_expansion(workspace: Workspace, name: str, decided: Collection[Proposal]) -> bool:
    """Brings a domain's expansion file in line with what was decided; whether it changed. A domain whose folder is gone is left alone."""
    if not workspace.domain(name).is_dir():
        return False
    before = read_expansion(workspace, name)
    after = reconciled(before, {proposal.draft.id: proposal for proposal in decided})
    if after != before:
        try:
            write_atomic(inside(workspace.domain(name), EXPANSION_FILE), after)
        except OSError as error:
            raise ResourceExhausted(
                f"domains/{name}/{EXPANSION_FILE} cannot be written: {error.strerror}",
                next_step="The decision is recorded. Make the file writable and free disk space, then list the proposals; that writes it.",
            ) from error
    return after != before


def _id_of(line: bytes) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        return ""
    return str(row.get("id", "")) if isinstance(row, dict) else ""


def _line(proposal: Proposal) -> bytes:
    draft = proposal.draft
    row = ExpansionRow(
        id=draft.id,
        input=draft.input,
        expected=draft.expected,
        tags=draft.tags,
        source=draft.source,
        origin=draft.origin,
        parent=draft.parent,
        pattern=draft.pattern,
        cluster=proposal.cluster,
        evaluation_id=proposal.evaluation_id,
        accepted_at=proposal.decided_at or "",
        accepted_by=proposal.decided_by or "",
        reason=proposal.reason,
    )
    return json.dumps(row.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
