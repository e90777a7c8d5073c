"""`modelsmith domain new`: a domain folder and a cluster from a file of labelled rows nobody has described.

Promises: which field is the answer, the input, the id and the source is found from names and statistics and reported, so that a person can
check it; the split into training and evaluation rows is deterministic and keeps near-duplicates and rows of one source on one side; what is
written loads (`engine.loading.load_domain`) and is never written over a domain that is already there. The folder appears whole or not at all:

    domains/<name>/
      domain.yaml           every block explained in place, for a person to edit
      data/train.jsonl      {"id", "input": {...}, "expected", "tags", "source"}
      data/eval.jsonl       the same; never trained on; the last few are canaries (`canaries.py`)
      data/PROVENANCE.json  the file it was made from, by hash, and what was done

Not here: reading the file (`raw_rows.py`), what its fields and answers are (`roles.py`), judging whether the labels are right, and anything
that needs a model.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from engine.base.digests import file_sha256, sha256_hex, tree_sha256
from engine.base.files import fsync_directory, inside, write_atomic, write_json, write_jsonl
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import Cluster
from engine.errors import DomainInvalid, DuplicateId, LeakageFound
from engine.evaluate.planting import plant
from engine.evaluate.raw_rows import MIN_ROWS, flattened_chat, read_records
from engine.evaluate.roles import Roles, Task, as_json, find_roles, find_task, plain_label, safe_field
from engine.evaluate.rows import CANARY
from engine.evaluate.similarity import input_text, near_duplicates_within, normalise
from engine.evaluate.splits import group_items
from engine.evaluate.types import Scenario
from engine.loading import load_clusters, load_domain, parse_domain, save_cluster

MAX_EVALUATION_ROWS = 800
NEAR_DUPLICATE = 0.8
SEED = "modelsmith-split-1"


class ScaffoldedDomain(Record):
    """What was made, and what it was made of."""

    domain: str
    cluster: str
    train_rows: int
    evaluation_rows: int
    fields: dict[str, str]
    """Which field of the rows serves as what: `input` (comma-separated), `expected`, and where found `id`, `source`, `slices`."""
    notes: tuple[str, ...] = ()
    """What was inferred, and what to check by hand."""


def scaffold_domain(workspace: Workspace, name: str, rows: Path) -> ScaffoldedDomain:
    """Makes `domains/<name>/` and a cluster of the same name from the labelled rows in a JSON-lines, JSON or CSV file."""
    check_identifier(name, "domain name")
    clusters = load_clusters(workspace)
    records = [flattened_chat(record) for record in read_records(rows)]
    _refuse_canaries(records, rows.name)
    roles = find_roles(records)
    task = find_task(roles.expected, [record[roles.expected] for record in records])
    made, repeats = _rows_of(records, roles, task)
    evaluation = choose_evaluation([row["id"] for row in made], [input_text(row["input"]) for row in made], [_stratum(row) for row in made],
                                   [row["source"] for row in made])  # fmt: skip
    train_rows = [row for number, row in enumerate(made) if number not in evaluation]
    evaluation_rows = [row for number, row in enumerate(made) if number in evaluation]
    longest = max(len(json.dumps(row["input"], ensure_ascii=False).encode()) + len(json.dumps(row["expected"]).encode()) for row in made)
    text = _domain_yaml(name, roles, task, rows.name, list(made[0]["input"]), longest)
    canaries = _canaries(name, text, train_rows, evaluation_rows)
    notes = [task.note, *roles.notes, *_notes_on_rows(made, repeats, len(evaluation_rows)), _note_on_canaries(len(canaries))]
    _write_folder(workspace, name, text, train_rows, [*evaluation_rows, *canaries], rows)
    if name not in clusters.clusters:
        model = next(iter(clusters.clusters.values())).model if clusters.clusters else next(iter(clusters.models))
        save_cluster(workspace, name, Cluster(domain=name, model=model))
    return ScaffoldedDomain(
        domain=name,
        cluster=name,
        train_rows=len(train_rows),
        evaluation_rows=len(evaluation_rows),
        fields=_fields_in_words(roles),
        notes=tuple(note for note in notes if note),
    )


# ---- rows and splits -------------------------------------------------------------------------------------------------------------------


def _rows_of(records: Sequence[dict[str, Any]], roles: Roles, task: Task) -> tuple[list[dict[str, Any]], int]:
    """The rows in the project's own shape, without exact repeats; and how many repeats there were."""
    inputs = [_input_of(record, roles.inputs) for record in records]
    names = _input_names([key for fields in inputs for key in fields])
    if not names:
        raise DomainInvalid("the inputs are empty objects", next_step="Give each row its input.", field=roles.inputs[0])
    made: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for number, (record, fields) in enumerate(zip(records, inputs, strict=True), start=1):
        row = {
            "id": str(record[roles.id])[:200] if roles.id else f"row-{number:06d}",
            "input": {safe: "" if fields.get(key) is None else fields[key] for key, safe in names.items()},
            "expected": task.convert(record[roles.expected]),
            "tags": {safe_field(field): plain_label(record[field]) for field in roles.tags if record.get(field) is not None},
            "source": str(record[roles.source])[:200] if roles.source else "",
        }
        identity = (as_json(row["input"]), as_json(row["expected"]))
        if identity not in seen:
            seen.add(identity)
            made.append(row)
    return made, len(records) - len(made)


def _input_of(record: dict[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """The input's fields; one field that holds an object stands for that object's fields."""
    only = record.get(inputs[0])
    return only if len(inputs) == 1 and isinstance(only, dict) else {field: record.get(field) for field in inputs}


def _input_names(fields: Sequence[str]) -> dict[str, str]:
    """A safe and distinct name for each input field."""
    names: dict[str, str] = {}
    for field in dict.fromkeys(fields):
        safe = safe_field(field)
        while safe in names.values():
            safe += "_"
        names[field] = safe
    return names


def _stratum(row: dict[str, Any]) -> str:
    """What the splits are balanced on: the answer where answers repeat, which the caller sees by counting."""
    return as_json(row["expected"])


def choose_evaluation(ids: Sequence[str], texts: Sequence[str], strata: Sequence[str], sources: Sequence[str]) -> set[int]:
    """Which rows are for evaluation: a share of each stratum, whole groups only, in an order that depends on the rows' ids alone.

    A group is what must not be parted: rows of one source, and rows whose inputs are near-duplicates of one another, transitively. A stratum
    too small for a place of its own is drawn from together with the others like it.
    """
    count = min(MAX_EVALUATION_ROWS, round(len(ids) * (0.4 if len(ids) < 500 else 0.3)))
    groups = [sorted(group, key=lambda member: ids[member]) for group in group_items(sources, near_duplicates_within(texts, NEAR_DUPLICATE))]
    ordered = sorted(groups, key=lambda group: sha256_hex(f"{SEED}:{ids[group[0]]}".encode()))
    frequency = Counter(strata)
    stratum_of = [strata[group[0]] if 2 * frequency[strata[group[0]]] * count >= len(ids) else "" for group in ordered]
    rows_in = Counter[str]()
    for group, stratum in zip(ordered, stratum_of, strict=True):
        rows_in[stratum] += len(group)
    left = _places(rows_in, count)
    chosen: set[int] = set()
    for group, stratum in zip(ordered, stratum_of, strict=True):
        if len(group) <= left[stratum]:
            chosen.update(group)
            left[stratum] -= len(group)
    if len(chosen) < MIN_ROWS // 4:
        raise DomainInvalid(
            f"only {len(chosen)} of {len(ids)} rows can be set apart for evaluation: the rest are near-duplicates or share a source",
            next_step="Add rows that differ from one another, or rename the field that names their source.",
            rows=len(ids),
        )
    return chosen


def _places(rows_in: Counter[str], count: int) -> dict[str, int]:
    """`count` places shared out by size; those that rounding down leaves go to strata without any first, then by the largest remainder."""
    total = rows_in.total()
    places = {stratum: rows * count // total for stratum, rows in rows_in.items()}
    by_hash = sorted(rows_in, key=lambda stratum: sha256_hex(f"{SEED}:{stratum}".encode()))
    by_need = sorted(by_hash, key=lambda stratum: (places[stratum] > 0, -(rows_in[stratum] * count % total)))
    for stratum in by_need[: count - sum(places.values())]:
        places[stratum] += 1
    return places


def _notes_on_rows(rows: Sequence[dict[str, Any]], repeats: int, evaluation_rows: int) -> list[str]:
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(normalise(input_text(row["input"])), set()).add(as_json(row["expected"]))
    contradictions = sum(1 for found in answers.values() if len(found) > 1)
    held_out = round(evaluation_rows * 0.4)
    return [
        f"{repeats} rows were exact repeats and were left out" if repeats else "",
        f"{contradictions} inputs have two or more different answers: no model can get all of them right" if contradictions else "",
        f"decisions rest on about {held_out} held-out rows; only large differences can be shown with so few" if held_out < 100 else "",
    ]


def _refuse_canaries(records: Sequence[dict[str, Any]], file: str) -> None:
    """Raises LeakageFound for rows that were copied from an evaluation file: a domain made of them would train on another's test."""
    flagged = sum(str(record.get(CANARY)).lower() == "true" for record in records)
    if flagged:
        raise LeakageFound(
            f"{flagged} rows of {file} are flagged as canaries: they come from the evaluation file of a domain",
            next_step=f"Give a file with labelled rows of your own; where {CANARY!r} means something else there, call the field otherwise.",
            file=file,
            rows=flagged,
        )


def _canaries(name: str, text: str, train: Sequence[dict[str, Any]], evaluation: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Canaries made from the evaluation rows, for the domain.yaml that is about to be written."""
    domain = parse_domain(text.encode(), f"domains/{name}/domain.yaml")
    scenarios = [Scenario(**row, split="canary") for row in evaluation]
    return plant(domain, scenarios, [input_text(row["input"]) for row in train])


def _note_on_canaries(count: int) -> str:
    return f"data/eval.jsonl has {count} canaries: answers that are wrong on purpose and show whether a model was taught the file" if count else ""


def _fields_in_words(roles: Roles) -> dict[str, str]:
    found = {"input": ", ".join(roles.inputs), "expected": roles.expected, "id": roles.id, "source": roles.source, "slices": ", ".join(roles.tags)}
    return {role: field for role, field in found.items() if field}


# ---- writing -----------------------------------------------------------------------------------------------------------------------------


def _write_folder(workspace: Workspace, name: str, text: str, train: list[Any], evaluation: list[Any], origin: Path) -> None:
    folder = inside(workspace.root, f"domains/{name}")
    with _alone_in(folder.parent):
        for left_over in folder.parent.glob(".*.tmp"):  # of a process that ended half-way
            shutil.rmtree(left_over, ignore_errors=True)
        _write_folder_alone(folder, text, train, evaluation, origin)
        try:
            load_domain(workspace, name)
        except DomainInvalid:
            shutil.rmtree(folder)
            raise


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One writer of folders at a time, thread or process. The kernel gives the lock back when its holder dies."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_folder_alone(folder: Path, text: str, train: list[Any], evaluation: list[Any], origin: Path) -> None:
    half_made = folder.with_name(f".{folder.name}.tmp")
    try:
        write_atomic(half_made / "domain.yaml", text.encode())
        write_jsonl(half_made / "data" / "train.jsonl", train)
        write_jsonl(half_made / "data" / "eval.jsonl", evaluation)
        write_json(half_made / "data" / "PROVENANCE.json", {"made_from": origin.name, "sha256": file_sha256(origin), "split": SEED})
        if folder.exists():
            # The same rows again: what a set-up that lost power between folder and cluster needs.
            if tree_sha256(folder) == tree_sha256(half_made):
                return
            raise DuplicateId(
                f"domains/{folder.name}/ is already there",
                next_step=f"Choose another name, or remove domains/{folder.name}/ first.",
                domain=folder.name,
            )
        half_made.rename(folder)
        fsync_directory(folder.parent)
    finally:
        shutil.rmtree(half_made, ignore_errors=True)


def _domain_yaml(name: str, roles: Roles, task: Task, origin: str, inputs: Sequence[str], longest_bytes: int) -> str:
    user = f"{{{{ {inputs[0]} }}}}" if len(inputs) == 1 else "\n".join(f"{field}: {{{{ {field} }}}}" for field in inputs)
    max_length = (longest_bytes // 3 + 160 + 63) // 64 * 64
    evaluation = dict(task.evaluation)
    floor, accept = evaluation.pop("floor"), evaluation.pop("accept")
    slices = [safe_field(tag) for tag in roles.tags]
    found = ", ".join(f"{role}: {field}" for role, field in _fields_in_words(roles).items())
    return "\n".join([
        f"# Made by `modelsmith domain new` from {_comment(origin)} ({_comment(found)}).",
        "# Edit freely; every field is described in docs/schema/domain.schema.json, and each load checks the file.",
        "schema_version: 1",
        _block({"title": name}),
        "",
        "# The task. The templates are Jinja2 over the fields of a row's `input`; training and evaluation use the same ones.",
        "contract:",
        "  # One sentence for people and agents.",
        _block({"description": f"Answers rows of {name}."}, 2),
        "  # What the model is told. Short is fast: it learns the task from the rows, so labels and rules need not be listed.",
        _block({"system": task.answer, "user": user}, 2),
        "  # `structured` decodes under the schema as a grammar. `max_tokens`: a longer answer counts as truncated.",
        _block({"output": task.output}, 2),
        "",
        "# Training rows may be added at any time. Changing evaluation rows or splits makes a new suite, whose scores compare with no older ones.",
        "data:",
        "  train: {path: data/train.jsonl}",
        "  evaluation: {path: data/eval.jsonl}",
        "  # Core is for diagnosis, held-out for decisions (nobody sees its items), reserve for later. Rows with `canary: true` are in none of them.",
        "  splits: {core: 0.4, held_out: 0.4, reserve: 0.2, stratify: " + ("null" if task.output["kind"] == "text" else _stratify(task)) + "}",
        f"  near_duplicate: {NEAR_DUPLICATE}",
        "  licence: unspecified",
        "",
        "# What this domain changes in the model's training settings (null keeps the model's): max_rows, epochs, learning_rate, rank.",
        "train:",
        f"  max_length: {max_length if max_length > 512 else 'null'}",
        "",
        "# How answers are judged. The score is the weighted mean of the checks; kinds: exact, choice, json_schema, json_fields, set_f1, span_f1,",
        "# regex, contains, not_contains, numeric, grounded. A safety net sets the score to 0 when its check fails.",
        "eval:",
        _block(evaluation, 2),
        "  # Tags of the rows whose values are reported, and guarded against getting worse.",
        f"  slices: {json.dumps(slices)}",
        "  # Baselines without a language model; the best that fits is the floor.",
        f"  floor: [{', '.join(floor)}]",
        "  # When a trained version replaces the one before: the paired interval on held-out must lie above 0, and above the floor.",
        f"  accept: {{metric: {accept['metric']}, confidence: 0.95, floor: above}}",
        "",
    ])  # fmt: skip


def _stratify(task: Task) -> str:
    """Where the answers are one label, the splits are balanced on it."""
    checks = task.evaluation["checks"]
    return f"expected.{checks[0]['path']}" if len(checks) == 1 and checks[0]["kind"] == "choice" else "null"


def _block(value: dict[str, Any], indent: int = 0) -> str:
    """YAML with one line a key, and short inner lists and objects on one line."""
    style = {True: None, False: False}
    parts = [
        yaml.safe_dump({key: inner}, sort_keys=False, allow_unicode=True, width=130, default_flow_style=style[isinstance(inner, dict | list)])
        for key, inner in value.items()
    ]
    return "\n".join(" " * indent + line for part in parts for line in part.rstrip().splitlines())


def _comment(text: str) -> str:
    """A text that stays on its comment line."""
    return "".join(character if character.isprintable() else " " for character in text)[:200]
