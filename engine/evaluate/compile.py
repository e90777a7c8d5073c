"""From a domain's folder to a suite and a training pool, once, under a digest that names both.

    .modelsmith/domains/<digest>/
      domain.json         the DomainFile
      scenarios.jsonl     the evaluation items with their splits
      pool.jsonl          the training pool, complete
      canaries.jsonl      the canaries; only where there are any, so that a domain without them compiles to the bytes that it always did
      manifest.json       written last: digests, and which pool rows nearly duplicate an evaluation item

The digest names what domain.yaml says, the bytes of the row files (accepted scenarios included), and the version of this code. A folder that
changed is another domain: what was compiled stays as it was, and a run that began with it ends with it. The order of keys is kept everywhere
(and is part of the digest), because a model is taught to write in that order.

A pool row that nearly duplicates an evaluation item is noted here (`overlaps`), not dropped: a run of kind `compile`, which comes before every
training and every floor, ends over it with the pair named. What a training set holds is compared once more by curation's leakage guard.

Canaries (`canaries.py`) are set apart before anything is dealt to the splits: they change no other row's split. The suite's digest names them.

If the power goes: the directory appears by a rename after its files are on disk, so it is whole or absent. `load_compiled` verifies every
file against the manifest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.base.digests import digest_of, sha256_hex
from engine.base.files import fsync_directory, inside, read_json, read_jsonl, write_atomic, write_json
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import DomainFile
from engine.errors import ArtifactCorrupt, DomainInvalid, LeakageFound, NotFound, PathRefused, StateConflict, TooLarge
from engine.evaluate.answers import MISSING, lookup
from engine.evaluate.grading import grading_digest
from engine.evaluate.prompts import render_messages
from engine.evaluate.proposals.expansion import EXPANSION_FILE, expanded, expansion_rows, read_expansion, refuse_as_rows, varied_rows
from engine.evaluate.proposals.types import ExpansionRow
from engine.evaluate.rows import MAX_FILE_BYTES, LabelledRow, read_rows
from engine.evaluate.similarity import input_text, near_duplicates, near_duplicates_within
from engine.evaluate.splits import Item, assign_splits, rotate
from engine.evaluate.types import Place, Scenario, Split, TrainingRow
from engine.loading import load_domain

COMPILER_VERSION = 1
"""Raised when the same bytes would compile to something else."""

LISTED_OVERLAPS = 20
FILES = ("domain.json", "scenarios.jsonl", "pool.jsonl")
CANARIES_FILE = "canaries.jsonl"


class Overlap(Record):
    """A training row that nearly duplicates an evaluation item."""

    row_id: str
    scenario_id: str
    split: Place
    similarity: float

    @property
    def named_item(self) -> str:
        """The item as an error may name it."""
        return named_item(self.scenario_id, self.split)


class Manifest(Record):
    """manifest.json: what was compiled."""

    digest: str
    name: str
    suite_digest: str
    """Names the scenarios and their splits, and the canaries."""
    grading_digest: str
    """Names the checks, safety nets and pass mark."""
    prompt_digest: str
    """Names the templates and the output contract."""
    pool_digest: str
    """Names the training pool."""
    scenarios: dict[Split, int]
    """Items by split."""
    pool: int
    """Rows of the training pool."""
    generation: int = 0
    """How often the held-out set has been rotated."""
    anchor: tuple[str, ...] = ()
    """Held-out items that were held-out before the last rotation too."""
    expansion: int = 0
    """Core items that were proposed and accepted."""
    expansion_set_aside: int = 0
    """Accepted scenarios that are not in the suite, because what they vary is not in core any more or an item there is near them."""
    pool_set_aside: int = 0
    """Training rows that are not in the pool, because an accepted scenario says the same in other words."""
    canaries: int = 0
    """Rows with an answer that is wrong on purpose; in no split."""
    overlap_count: int
    """Pool rows that nearly duplicate an evaluation item."""
    overlaps: tuple[Overlap, ...]
    """The first of them."""
    files: dict[str, str]
    """SHA-256 of each file beside the manifest."""


@dataclass(frozen=True)
class CompiledDomain:
    """A domain as every stage uses it."""

    manifest: Manifest
    domain: DomainFile
    scenarios: list[Scenario]
    pool: list[TrainingRow]
    canaries: list[Scenario] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def suite_digest(self) -> str:
        return self.manifest.suite_digest

    @property
    def grading_digest(self) -> str:
        return self.manifest.grading_digest

    @property
    def prompt_digest(self) -> str:
        return self.manifest.prompt_digest

    @property
    def kept_apart(self) -> list[Scenario]:
        """Everything that no training row may be, or nearly be: the scenarios of every split, and the canaries."""
        return [*self.scenarios, *self.canaries]

    def of_split(self, *splits: Split) -> list[Scenario]:
        """The scenarios of these splits, in the suite's order."""
        return [scenario for scenario in self.scenarios if scenario.split in splits]


def named_item(scenario_id: str, split: Place) -> str:
    """An evaluation item as an error may name it: of all but core not even the id."""
    if split == "canary":
        return "a canary of the evaluation rows"
    return f"the evaluation item {scenario_id!r} of the core split" if split == "core" else f"an evaluation item of the {split} split"


def prompt_digest(domain: DomainFile) -> str:
    """Names the templates and the output contract; what people read about the task is not in it."""
    return sha256_hex(_json(domain.contract.model_copy(update={"description": ""})))


def domain_digest(workspace: Workspace, name: str, generation: int = 0) -> str:
    """Names what the domain's folder holds now, with the generation of its held-out set. Reads and hashes the row files: about a millisecond
    a megabyte."""
    return rotated_digest(_read_folder(workspace, name).digest, generation)


def rotated_digest(digest: str, generation: int) -> str:
    """The digest of a domain after so many rotations, from its digest before the first."""
    return digest_of([digest, "generation", generation]) if generation else digest


def compile_domain(workspace: Workspace, name: str, expected_digest: str, generation: int = 0) -> CompiledDomain:
    """The compiled domain of that digest: from the cache, or made now from the folder. StateConflict when the folder has changed since."""
    try:
        return load_compiled(workspace, expected_digest)
    except NotFound:
        pass  # not compiled yet: done below
    except ArtifactCorrupt:
        shutil.rmtree(_directory(workspace, expected_digest))  # a cache; it is made again below
    folder = _read_folder(workspace, name)
    found = rotated_digest(folder.digest, generation)
    if found != expected_digest:
        raise StateConflict(
            f"domains/{name} changed after this run was accepted: expected {expected_digest[:12]}, found {found[:12]}",
            next_step="Start the run again; it will take the domain as it is now.",
            expected=expected_digest,
            found=found,
        )
    compiled = _compile(folder, generation)
    _write(workspace, compiled)
    return load_compiled(workspace, expected_digest)


def load_compiled(workspace: Workspace, digest: str) -> CompiledDomain:
    """A domain that was compiled before, verified. NotFound when it was not; ArtifactCorrupt when a file is not what the manifest says."""
    directory = _directory(workspace, digest)
    if not (directory / "manifest.json").is_file():
        raise NotFound(f"the domain {digest[:12]} is not compiled", next_step="Compile it: every run begins with that step.", digest=digest)
    try:
        manifest = Manifest.model_validate(read_json(directory / "manifest.json"))
        names = (*FILES, CANARIES_FILE) if manifest.canaries else FILES
        intact = manifest.digest == digest and all(sha256_hex((directory / name).read_bytes()) == manifest.files.get(name) for name in names)
        if not intact:
            raise ValueError("a file does not have the recorded hash")
        return CompiledDomain(
            manifest=manifest,
            domain=DomainFile.model_validate(read_json(directory / "domain.json")),
            scenarios=[Scenario.model_validate(row) for row in read_jsonl(directory / "scenarios.jsonl")],
            pool=[TrainingRow.model_validate(row) for row in read_jsonl(directory / "pool.jsonl")],
            canaries=[Scenario.model_validate(row) for row in read_jsonl(directory / CANARIES_FILE)] if manifest.canaries else [],
        )
    except (ValueError, OSError) as error:
        raise ArtifactCorrupt(
            f"the compiled domain {digest[:12]} is damaged: {str(error)[:200]}",
            next_step=f"Delete .modelsmith/domains/{digest}; it is made again from the domain's folder.",
            digest=digest,
        ) from error


# ---- reading the folder --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    """A domain's folder, read once: what is hashed is what is compiled."""

    name: str
    domain: DomainFile
    train: bytes
    evaluation: bytes
    expansion: bytes
    digest: str


def _read_folder(workspace: Workspace, name: str) -> _Folder:
    check_identifier(name, "domain name")
    domain = load_domain(workspace, name)
    train = b"" if domain.data.train is None else _read_file(workspace, name, domain.data.train.path)
    evaluation = _read_file(workspace, name, domain.data.evaluation.path)
    refuse_as_rows(domain, f"domains/{name}/domain.yaml")
    expansion = read_expansion(workspace, name)
    accepted = [sha256_hex(expansion)] if expansion.strip() else []  # without any, a domain keeps the digest that it had before there was a layer
    digest = digest_of([COMPILER_VERSION, name, sha256_hex(_json(domain)), sha256_hex(train), sha256_hex(evaluation), *accepted])
    return _Folder(name, domain, train, evaluation, expansion, digest)


def _read_file(workspace: Workspace, name: str, path: str) -> bytes:
    file = inside(workspace.domain(name), path)
    if not file.is_file():
        raise NotFound(f"domains/{name}/{path} does not exist", next_step="Put the file there, or mend the path in domain.yaml.", path=path)
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"domains/{name}/{path} has {size} bytes; the limit is {MAX_FILE_BYTES}", next_step="Use fewer rows.", path=path)
    return file.read_bytes()


# ---- compiling -----------------------------------------------------------------------------------------------------------------------


def _compile(folder: _Folder, generation: int) -> CompiledDomain:
    domain = folder.domain
    output, data = domain.contract.output, domain.data
    train: list[LabelledRow] = []
    if data.train is not None:
        label = f"domains/{folder.name}/{data.train.path}"
        train = read_rows(folder.train, data.train, output, label=label, numbered="train", quote=True)
        _refuse_canaries(train, label)
        _check_prompts(domain, label, train)
    label = f"domains/{folder.name}/{data.evaluation.path}"
    evaluation = read_rows(folder.evaluation, data.evaluation, output, label=label, numbered="eval", quote=False)
    _check_prompts(domain, label, evaluation)
    governed, anchor = _scenarios(domain, [row for row in evaluation if not row.canary], label, generation)
    canaries = [_scenario(row, "canary") for row in evaluation if row.canary]
    accepted = _accepted(folder)
    expansion, set_aside = expanded(governed, accepted, data.near_duplicate, f"domains/{folder.name}/{EXPANSION_FILE}")
    scenarios = governed + expansion
    varied = varied_rows(accepted)
    taught = [row for row in train if (row.source or row.id) not in varied]
    pool = [TrainingRow(id=row.id, input=row.input, expected=row.expected, tags=row.tags, source=row.source) for row in taught]
    count, overlaps = _overlaps(domain, pool, [*scenarios, *canaries])
    contents = _contents(domain, scenarios, pool, canaries)
    suite = [scenario.model_dump(mode="json") for scenario in sorted([*scenarios, *canaries], key=lambda scenario: scenario.id)]
    manifest = Manifest(
        digest=rotated_digest(folder.digest, generation),
        name=folder.name,
        suite_digest=digest_of([generation, suite] if generation else suite),
        grading_digest=grading_digest(domain),
        prompt_digest=prompt_digest(domain),
        pool_digest=sha256_hex(contents["pool.jsonl"]),
        scenarios={split: sum(scenario.split == split for scenario in scenarios) for split in ("core", "held_out", "reserve")},
        pool=len(pool),
        generation=generation,
        anchor=anchor,
        expansion=len(expansion),
        expansion_set_aside=set_aside,
        pool_set_aside=len(train) - len(pool),
        canaries=len(canaries),
        overlap_count=count,
        overlaps=overlaps,
        files={name: sha256_hex(data) for name, data in contents.items()},
    )
    return CompiledDomain(manifest, domain, scenarios, pool, canaries)


def _refuse_canaries(train: list[LabelledRow], label: str) -> None:
    """Raises LeakageFound when a training row is flagged as a canary: somebody copied rows of an evaluation file."""
    for row in train:
        if row.canary:
            raise LeakageFound(
                f"{label}:{row.line}: the training row {row.id!r} is flagged as a canary, which only evaluation rows are",
                next_step="Take out whatever was copied from an evaluation file; the answers of canaries are wrong on purpose besides.",
                file=label,
                line=row.line,
            )


def _check_prompts(domain: DomainFile, label: str, rows: list[LabelledRow]) -> None:
    """Renders every row once, so that a field that only some rows lack shows now and not in the middle of a run."""
    for row in rows:
        try:
            render_messages(domain.contract, row.input)
        except (DomainInvalid, TooLarge) as error:
            raise type(error)(f"{label}:{row.line}: {error.message}", next_step=error.next_step, file=label, line=row.line, **error.details) from None


def _scenarios(domain: DomainFile, rows: list[LabelledRow], label: str, generation: int) -> tuple[list[Scenario], tuple[str, ...]]:
    items = [Item(row.id, row.source, _stratum(row, domain.data.splits.stratify, label)) for row in rows]
    near = near_duplicates_within([input_text(row.input) for row in rows], domain.data.near_duplicate)
    dealt = rotate(items, near, assign_splits(items, near, domain.data.splits), domain.data.splits, generation)
    scenarios = [_scenario(row, split) for row, split in zip(rows, dealt.splits, strict=True)]
    return scenarios, tuple(rows[position].id for position in dealt.anchor)


def _scenario(row: LabelledRow, place: Place) -> Scenario:
    return Scenario(id=row.id, input=row.input, expected=row.expected, split=place, tags=row.tags, source=row.source)


def _accepted(folder: _Folder) -> list[ExpansionRow]:
    """The accepted scenarios as they are written down. The governed ones, and their splits, are what they are without them."""
    label = f"domains/{folder.name}/{EXPANSION_FILE}"
    numbered = expansion_rows(folder.expansion, folder.domain, label)
    _check_prompts(folder.domain, label, [LabelledRow(line, row.id, row.input, row.expected, row.tags, row.source) for line, row in numbered])
    return [row for _, row in numbered]


def _stratum(row: LabelledRow, path: str | None, label: str) -> str:
    if path is None:
        return ""
    value: Any = lookup({"id": row.id, "input": row.input, "expected": row.expected, "tags": row.tags, "source": row.source}, path)
    if value is MISSING:
        raise DomainInvalid(
            f"{label}:{row.line}: nothing at {path!r}, which data.splits.stratify names",
            next_step="Name a path that every evaluation row has, such as expected.<field> or tags.<name>, or leave stratify out.",
            file=label,
            line=row.line,
        )
    return json.dumps(value, sort_keys=True)


def _overlaps(domain: DomainFile, pool: list[TrainingRow], scenarios: list[Scenario]) -> tuple[int, tuple[Overlap, ...]]:
    """How many pool rows nearly duplicate one of these evaluation items, and the first of the pairs."""
    pairs = near_duplicates(
        [input_text(row.input) for row in pool], [input_text(scenario.input) for scenario in scenarios], domain.data.near_duplicate
    )
    listed = (
        Overlap(
            row_id=pool[pair.left].id,
            scenario_id=scenarios[pair.right].id,
            split=scenarios[pair.right].split,
            similarity=round(pair.similarity, 4),
        )
        for pair in sorted(pairs, key=lambda pair: (-pair.similarity, pair.left, pair.right))[:LISTED_OVERLAPS]
    )
    return len({pair.left for pair in pairs}), tuple(listed)


# ---- the cache -----------------------------------------------------------------------------------------------------------------------


def _directory(workspace: Workspace, digest: str) -> Path:
    if len(digest) != 64 or not all(character in "0123456789abcdef" for character in digest):
        raise PathRefused(f"{digest[:80]!r} is not a digest", next_step="Give the digest of a compiled domain: 64 hexadecimal digits.")
    return workspace.compiled_domains / digest


def _json(record: Record) -> bytes:
    """A record as one line of JSON with its keys in their own order."""
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _contents(domain: DomainFile, scenarios: list[Scenario], pool: list[TrainingRow], canaries: list[Scenario]) -> dict[str, bytes]:
    contents = {"domain.json": _json(domain), "scenarios.jsonl": _lines(scenarios), "pool.jsonl": _lines(pool)}
    return contents | {CANARIES_FILE: _lines(canaries)} if canaries else contents


def _lines(records: Sequence[Record]) -> bytes:
    return b"".join(_json(record) + b"\n" for record in records)


def _write(workspace: Workspace, compiled: CompiledDomain) -> None:
    final = _directory(workspace, compiled.digest)
    temporary = final.with_name(f".{compiled.digest}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, data in _contents(compiled.domain, compiled.scenarios, compiled.pool, compiled.canaries).items():
            write_atomic(temporary / name, data)
        write_json(temporary / "manifest.json", compiled.manifest.model_dump(mode="json"))
        if (final / "manifest.json").exists():  # another process was faster, with the same content
            return
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        fsync_directory(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
