"""`modelsmith domain new`: a domain folder and a cluster from a file of labelled rows nobody has described.

Promises: which field is the answer, the input, the id and the source is found from names and statistics and reported, so that a person can
check it; the split into training and evaluation rows is deterministic and keeps near-duplicates and rows of one source on one side; what is
written loads (`engine.loading.load_domain`) and is never written over a domain that is already there. The folder appears whole or not at all:

    domains/<name>/
      domain.yaml           every block explained in place, for a person to edit
      data/train.jsonl      {"id", "input": {...}, "expected", "tags", "source"}
      data/eval.jsonl       the same; never trained on
      data/PROVENANCE.json  the file it was made from, by hash, and what was done

Not here: judging whether the labels are right, and anything that needs a model.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from engine.base.digests import file_sha256, sha256_hex, tree_sha256
from engine.base.files import fsync_directory, inside, parse_strict, write_atomic, write_json, write_jsonl
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import Cluster
from engine.errors import DomainInvalid, DuplicateId, NotFound, TooLarge
from engine.evaluate.similarity import input_text, near_duplicates_within, normalise
from engine.evaluate.splits import group_items
from engine.loading import load_clusters, load_domain, save_cluster

MAX_FILE_BYTES = 64 << 20
MAX_ROW_BYTES = 64 << 10
MAX_ROWS = 100_000
MIN_ROWS = 40
MAX_EVALUATION_ROWS = 800
MAX_LABELS = 300
NEAR_DUPLICATE = 0.8
SEED = "modelsmith-split-1"

EXPECTED_NAMES = (
    "expected", "label", "target", "output", "answer", "gold", "gold_label", "gold_answer", "ground_truth", "completion", "response", "reference",
    "solution", "intent", "category", "class", "final_decision", "decision", "verdict", "sentiment", "topic", "label_text", "label_name", "result",
    "y", "tag", "labels", "outputs", "answers", "intents", "categories", "classes", "topics", "tags", "slots", "entities",
)  # fmt: skip
INPUT_NAMES = (
    "input", "text", "message", "prompt", "question", "utterance", "query", "sentence", "user", "system", "instruction", "context", "content",
    "body", "title", "subject", "description", "review", "comment", "passage", "document", "premise", "hypothesis", "transcript",
)  # fmt: skip
ID_NAMES = ("id", "_id", "uid", "uuid", "guid", "key", "row_id", "example_id", "idx", "index")
SOURCE_NAMES = (
    "source", "source_id", "dialogue_id", "conversation_id", "session_id", "session", "thread_id", "thread", "group", "document_id", "doc_id",
    "user_id", "customer_id", "author",
)  # fmt: skip
RESERVED = frozenset({"true", "false", "none", "not", "and", "or", "is", "in", "if", "else", "loop", "self", "range", "dict", "lipsum", "cycler"})
"""Names that mean something else in a template."""


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


class Roles(NamedTuple):
    """Which field of a row serves as what."""

    expected: str
    inputs: tuple[str, ...]
    id: str | None
    source: str | None
    tags: tuple[str, ...]
    notes: tuple[str, ...]


class Task(NamedTuple):
    """What the answers look like, and how they are judged."""

    output: dict[str, Any]
    """contract.output."""
    evaluation: dict[str, Any]
    """checks, pass_score, safety_nets, floor, and accept's metric."""
    answer: str
    """The sentence of the system prompt that says what an answer is."""
    convert: Callable[[Any], Any]
    """From the file's value to the row's `expected`."""
    note: str


def scaffold_domain(workspace: Workspace, name: str, rows: Path) -> ScaffoldedDomain:
    """Makes `domains/<name>/` and a cluster of the same name from the labelled rows in a JSON-lines, JSON or CSV file."""
    check_identifier(name, "domain name")
    clusters = load_clusters(workspace)
    records = [_flattened_chat(record) for record in read_records(rows)]
    roles = find_roles(records)
    task = find_task(roles.expected, [record[roles.expected] for record in records])
    made, repeats = _rows_of(records, roles, task)
    evaluation = choose_evaluation([row["id"] for row in made], [input_text(row["input"]) for row in made], [_stratum(row) for row in made],
                                   [row["source"] for row in made])  # fmt: skip
    train_rows = [row for number, row in enumerate(made) if number not in evaluation]
    evaluation_rows = [row for number, row in enumerate(made) if number in evaluation]
    notes = [task.note, *roles.notes, *_notes_on_rows(made, repeats, len(evaluation_rows))]
    longest = max(len(json.dumps(row["input"], ensure_ascii=False).encode()) + len(json.dumps(row["expected"]).encode()) for row in made)
    text = _domain_yaml(name, roles, task, rows.name, list(made[0]["input"]), longest)
    _write_folder(workspace, name, text, train_rows, evaluation_rows, rows)
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


# ---- reading -------------------------------------------------------------------------------------------------------------------------


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a `.csv`/`.tsv` file, of a JSON array, or of JSON lines, as objects."""
    if not path.is_file():
        raise NotFound(f"there is no file {path.name!r}", next_step="Name a file of labelled rows: JSON lines, a JSON array, or CSV.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"{path.name} has {size} bytes; the limit is {MAX_FILE_BYTES}", next_step="Take a sample of the rows first.", bytes=size)
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() in (".csv", ".tsv"):
        records = _read_csv(path.name, data, "\t" if path.suffix.lower() == ".tsv" else ",")
    elif data.lstrip()[:1] == b"[":
        records = _read_array(path.name, data)
    else:
        records = [_read_line(path.name, number, line) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not MIN_ROWS <= len(records) <= MAX_ROWS:
        raise DomainInvalid(
            f"{path.name} has {len(records)} rows; a domain can be made from {MIN_ROWS} to {MAX_ROWS}",
            next_step="With fewer rows nothing can be shown; label more. With more, take a sample.",
            rows=len(records),
        )
    return records


def _read_line(name: str, number: int, line: bytes) -> dict[str, Any]:
    if len(line) > MAX_ROW_BYTES:
        what = f"{name}:{number}: the row has {len(line)} bytes; the limit is {MAX_ROW_BYTES}"
        raise TooLarge(what, next_step="Shorten the row or leave it out.", file=name, line=number)
    try:
        record = parse_strict(line)
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, number, f"not JSON: {str(error)[:200]}") from None
    if not isinstance(record, dict) or not record:
        raise _unreadable(name, number, "not an object with fields")
    return record


def _read_array(name: str, data: bytes) -> list[dict[str, Any]]:
    try:
        records = json.loads(data)
        return [_read_line(name, number, json.dumps(record).encode()) for number, record in enumerate(records, start=1)]
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, 1, f"not a JSON array: {str(error)[:200]}") from None


def _read_csv(name: str, data: bytes, delimiter: str) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=delimiter, strict=True)
        records: list[dict[str, Any]] = []
        for record in reader:
            if None in record or None in record.values():
                raise _unreadable(name, reader.line_num, f"not the {len(reader.fieldnames or [])} fields of the first line")
            records.append(dict(record))
            if len(records) > MAX_ROWS:
                break
    except UnicodeDecodeError as error:
        raise _unreadable(name, 1, f"a byte that is not UTF-8 at offset {error.start}") from None
    except csv.Error as error:
        raise _unreadable(name, reader.line_num, f"not CSV: {error}") from None
    return records


def _unreadable(name: str, line: int, what: str) -> DomainInvalid:
    return DomainInvalid(
        f"{name}:{line}: found {what}; expected one row, an object with an input and an answer",
        next_step='Write one object a line, such as {"text": "...", "label": "..."}.',
        file=name,
        line=line,
    )


def _flattened_chat(record: dict[str, Any]) -> dict[str, Any]:
    """A row in the chat format (`messages`) as a conversation and the assistant's last answer; any other row as it is."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) and "content" in message for message in messages):
        return record
    if not messages or messages[-1].get("role") != "assistant":
        return record
    before = [message for message in messages[:-1] if message.get("role") != "system"]
    only_user = len(before) == 1 and before[0].get("role") == "user"
    turns = [f"{str(turn.get('role')).capitalize()}: {turn['content']}" for turn in before]
    conversation = str(before[0]["content"]) if only_user else "\n".join(turns)
    rest = {key: value for key, value in record.items() if key not in ("messages", "message", "expected")}
    return {"message": conversation, "expected": messages[-1]["content"], **rest}


# ---- which field is what ---------------------------------------------------------------------------------------------------------------


def find_roles(records: Sequence[dict[str, Any]]) -> Roles:
    """The roles of the fields, from their names first and their values second."""
    fields = list(dict.fromkeys(key for record in records for key in record))
    by_name = {field.strip().lower(): field for field in reversed(fields)}
    identifier = next((by_name[name] for name in ID_NAMES if name in by_name and _unique(records, by_name[name])), None)
    expected = _find_expected(records, [field for field in fields if field != identifier], by_name)
    source = next((by_name[name] for name in SOURCE_NAMES if name in by_name and _groups(records, by_name[name])), None)
    rest = [field for field in fields if field not in (identifier, expected, source)]
    twins = [field for field in rest if _gives_away(records, field, expected)]
    rest = [field for field in rest if field not in twins]
    inputs = [field for field in rest if _is_input_name(field)] or [field for field in rest if _is_text(records, field)] or rest
    if not inputs:
        raise DomainInvalid(
            f"no field is left to be the input: found {', '.join(map(repr, fields))}, of which {expected!r} is the answer",
            next_step='Give each row its input, in a field such as "text".',
            fields=fields,
        )
    leftover = [field for field in rest if field not in inputs]
    tags = [field for field in leftover if _is_slice(records, field)]
    dropped = [field for field in leftover if field not in tags]
    notes = (
        f"left out, because each value goes with one answer and would give it away: {', '.join(twins)}" if twins else "",
        f"left out, neither text nor a slice: {', '.join(dropped)}" if dropped else "",
    )
    return Roles(expected, tuple(inputs), identifier, source, tuple(tags), notes)


def _find_expected(records: Sequence[dict[str, Any]], fields: list[str], by_name: dict[str, str]) -> str:
    named = [by_name[name] for name in EXPECTED_NAMES if by_name.get(name) in fields]
    everywhere = [field for field in named if all(record.get(field) not in (None, "") for record in records)]
    if everywhere:
        spelled = f"{everywhere[0]}_text"  # an index with its label's text beside it: the text is what a model can say
        return spelled if spelled in fields and all(record.get(spelled) not in (None, "") for record in records) else everywhere[0]
    if named:
        missing = next(number for number, record in enumerate(records, start=1) if record.get(named[0]) in (None, ""))
        raise DomainInvalid(
            f"row {missing} has no answer in the field {named[0]!r}",
            next_step="Give each row its answer, or leave such rows out.",
            field=named[0],
            row=missing,
        )
    few = [field for field in fields if _looks_like_label(records, field)]
    if len(few) != 1:
        raise DomainInvalid(
            f"cannot tell which field is the answer: found {', '.join(map(repr, fields[:20]))}",
            next_step='Name the field with the answer "expected" or "label".',
            fields=fields[:20],
        )
    return few[0]


def _is_input_name(field: str) -> bool:
    name = field.strip().lower()
    return name in INPUT_NAMES or name.removesuffix("s") in INPUT_NAMES


def _values(records: Sequence[dict[str, Any]], field: str) -> list[str]:
    return [_key(record.get(field)) for record in records]


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _unique(records: Sequence[dict[str, Any]], field: str) -> bool:
    values = [record.get(field) for record in records]
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) and str(value).isprintable() for value in values)
    return plain and len({str(value)[:200] for value in values}) == len(records) and "" not in values


def _groups(records: Sequence[dict[str, Any]], field: str) -> bool:
    """Names groups of rows: more than a handful of values, each plain; all in one group would leave nothing to split."""
    plain = all(isinstance(record.get(field), str | int) for record in records)
    return plain and len(set(_values(records, field))) >= 20


def _looks_like_label(records: Sequence[dict[str, Any]], field: str) -> bool:
    values = [record.get(field) for record in records]
    if not all(isinstance(value, str | bool) and len(str(value)) <= 80 for value in values):
        return False
    return 2 <= len(set(values)) <= max(2, len(records) // 5)


def _gives_away(records: Sequence[dict[str, Any]], field: str, expected: str) -> bool:
    """The field and the answer name each other one to one, as an index and its label do, and repeat, as a text would not."""
    pairs = {(_key(record.get(field)), _key(record.get(expected))) for record in records}
    lefts, rights = {left for left, _ in pairs}, {right for _, right in pairs}
    return len(pairs) == len(lefts) == len(rights) and 2 <= len(pairs) <= len(records) // 2


def _is_text(records: Sequence[dict[str, Any]], field: str) -> bool:
    values = [record.get(field) for record in records]
    texts = [value for value in values if isinstance(value, str) and value]
    if len(texts) < len(values) * 0.5:
        return all(isinstance(value, dict | list) for value in values)
    return len(set(texts)) > len(records) // 3 or sum(map(len, texts)) / len(texts) > 40


def _is_slice(records: Sequence[dict[str, Any]], field: str) -> bool:
    values = [record.get(field) for record in records]
    plain = all(value is None or (isinstance(value, str | int | bool) and len(str(value)) <= 80) for value in values)
    return plain and 2 <= len(set(values)) <= 12


# ---- what the answers look like ----------------------------------------------------------------------------------------------------------


def find_task(field: str, answers: Sequence[Any]) -> Task:
    """Labels, lists of labels, numbers, objects or free text: the first that fits all answers."""
    parsed = [_parsed(answer) for answer in answers]
    if all(isinstance(answer, dict) for answer in parsed):
        return _object_task(parsed)
    if all(isinstance(answer, list) for answer in parsed):
        texts = all(isinstance(item, str) and len(item) <= 80 for answer in parsed for item in answer)
        return _list_task(field, parsed) if texts else _object_task([{_safe_field(field): answer} for answer in parsed], _safe_field(field))
    if not all(isinstance(answer, str | int | float) for answer in answers):
        kinds = ", ".join(sorted({type(answer).__name__ for answer in answers}))
        raise DomainInvalid(
            f"the answers in {field!r} are of several kinds ({kinds})",
            next_step="Make them all texts, all numbers, all lists of texts, or all objects.",
            field=field,
        )
    labels = Counter(_label(answer) for answer in answers)
    if 2 <= len(labels) <= min(MAX_LABELS, len(answers) // 2) and max(map(len, labels)) <= 120:
        return _label_task(field, labels)
    if all(isinstance(answer, int | float) and not isinstance(answer, bool) for answer in parsed):
        return _number_task(field)
    return _text_task([str(answer) for answer in answers])


def _parsed(answer: Any) -> Any:
    """A text that is JSON of its own (an object, a list, a number) as that value; anything else as it is."""
    if isinstance(answer, str) and re.match(r"\s*[\[{\d-]", answer):
        try:
            return parse_strict(answer.encode())
        except (ValueError, RecursionError):
            return answer
    return answer


def _label(answer: Any) -> str:
    return ("true" if answer else "false") if isinstance(answer, bool) else str(answer).strip()


def _safe_field(name: str) -> str:
    """A field name that a template and a dotted path can say."""
    safe = re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_").lower() or "field"
    return f"{safe}_" if safe in RESERVED else f"f_{safe}" if safe[0].isdigit() else safe


JSON_NET = [{"name": "readable", "check": {"kind": "json_schema"}}]


def _json_output(schema: dict[str, Any], longest_bytes: int) -> dict[str, Any]:
    return {"kind": "json", "structured": True, "max_tokens": _tokens(longest_bytes), "json_schema": schema}


def _tokens(longest_bytes: int) -> int:
    """A generous bound on the tokens of an answer: two bytes a token and room to spare, in steps of 16."""
    return min(4096, (longest_bytes // 2 + 16 + 15) // 16 * 16)


def _closed(properties: dict[str, Any], required: Iterable[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def _label_task(field: str, labels: Counter[str]) -> Task:
    name = _safe_field(field)
    schema = _closed({name: {"enum": sorted(labels)}}, [name])
    listed = f", one of: {', '.join(sorted(labels))}" if len(labels) <= 12 and not any("{" in label for label in labels) else ""
    rare = sum(1 for count in labels.values() if count < 5)
    return Task(
        output=_json_output(schema, max(len(label.encode()) for label in labels) + len(name) + 8),
        evaluation={
            "checks": [{"kind": "choice", "name": name, "path": name}],
            "pass_score": 1.0,
            "safety_nets": JSON_NET,
            "floor": ["majority", "bm25_nearest", "tfidf_logistic"],
            "accept": {"metric": "pass_rate"},
        },
        answer=f'Answer with a JSON object that has one field, "{name}"{listed}.',
        convert=lambda answer: {name: _label(answer)},
        note=f"the answer is one of {len(labels)} labels"
        + (f"; {rare} of them occur fewer than 5 times, too few to learn or to measure" if rare else ""),
    )


def _list_task(field: str, answers: Sequence[list[str]]) -> Task:
    name = _safe_field(field)
    items = Counter(item for answer in answers for item in answer)
    closed = len(items) <= MAX_LABELS and items and sum(items.values()) >= 2 * len(items)
    schema = _closed({name: {"type": "array", "items": {"enum": sorted(items)} if closed else {"type": "string"}}}, [name])
    return Task(
        output=_json_output(schema, max(len(_key({name: answer}).encode()) for answer in answers)),
        evaluation={
            "checks": [{"kind": "set_f1", "name": name, "path": name}],
            "pass_score": 1.0,
            "safety_nets": JSON_NET,
            "floor": ["majority", "bm25_nearest", "tfidf_logistic"],
            "accept": {"metric": "score"},
        },
        answer=f'Answer with a JSON object that has one field, "{name}", a list.',
        convert=lambda answer: {name: _parsed(answer)},
        note=f"the answer is a list of {'labels (' + str(len(items)) + ')' if closed else 'texts'}, judged by F1",
    )


def _number_task(field: str) -> Task:
    name = _safe_field(field)
    return Task(
        output=_json_output(_closed({name: {"type": "number"}}, [name]), 32),
        evaluation={
            "checks": [{"kind": "numeric", "name": name, "path": name, "relative": 0.01}],
            "pass_score": 1.0,
            "safety_nets": JSON_NET,
            "floor": ["majority", "bm25_nearest"],
            "accept": {"metric": "pass_rate"},
        },
        answer=f'Answer with a JSON object that has one field, "{name}", a number.',
        convert=lambda answer: {name: _parsed(answer)},
        note="the answer is a number, right within 1%; set the tolerance that fits",
    )


def _text_task(answers: Sequence[str]) -> Task:
    words = sum(len(answer.split()) for answer in answers) / len(answers)
    short = words <= 5
    checks: list[dict[str, Any]] = [{"kind": "span_f1", "name": "overlap", "weight": 1.0}]
    if short:
        checks.append({"kind": "exact", "name": "exact", "weight": 1.0, "ignore_case": True})
    return Task(
        output={"kind": "text", "structured": False, "max_tokens": _tokens(max(len(answer.encode()) for answer in answers))},
        evaluation={
            "checks": checks,
            "pass_score": 1.0 if short else 0.7,
            "safety_nets": [],
            "floor": ["majority", "bm25_nearest"],
            "accept": {"metric": "score"},
        },
        answer="Answer briefly, with the answer alone." if short else "Answer in the style and length of the examples you were trained on.",
        convert=lambda answer: str(answer),
        note="the answer is free text, judged by word overlap with the reference; "
        + ("short answers also by equality" if short else "overlap judges long texts weakly: add contains or regex checks for what must be said"),
    )


def _object_task(answers: Sequence[dict[str, Any]], wrapped: str | None = None) -> Task:
    """`wrapped` names the one field that a list of other things than texts was put into."""
    schema = infer_schema(answers)
    properties = schema.get("properties", {})
    plain = bool(properties) and all("." not in name for name in properties)
    named = ", ".join(json.dumps(name, ensure_ascii=False) for name in properties)
    checks = [_check_for(name, inner) for name, inner in properties.items()] if plain else [{"kind": "exact", "name": "whole"}]
    return Task(
        output=_json_output(schema, max(len(_key(answer).encode()) for answer in answers)),
        evaluation={
            "checks": checks,
            "pass_score": 1.0,
            "safety_nets": JSON_NET,
            "floor": ["majority", "bm25_nearest", "tfidf_logistic", "tagger"],
            "accept": {"metric": "score"},
        },
        answer=f"Answer with a JSON object with the fields {named}." if plain and "{" not in named else "Answer with a JSON object.",
        convert=(lambda answer: {wrapped: _parsed(answer)}) if wrapped else _parsed,
        note=f"the answer is an object with {len(properties)} fields; its schema was inferred from the rows, so check what is required",
    )


def _check_for(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if "enum" in schema:
        check: dict[str, Any] = {"kind": "choice"}
    elif kind in ("number", "integer"):
        check = {"kind": "numeric", "relative": 0.01}
    elif kind == "array" or (kind == "object" and all("type" in inner or "enum" in inner for inner in schema.get("properties", {}).values())):
        check = {"kind": "set_f1"}
    elif kind == "string":
        check = {"kind": "span_f1"}
    else:
        check = {"kind": "exact"}
    return {"kind": check.pop("kind"), "name": name, "path": name, **check}


def infer_schema(values: Sequence[Any], depth: int = 0) -> dict[str, Any]:
    """A JSON Schema that all these values satisfy; closed lists where values repeat, properties in the order first seen."""
    kinds = {_json_kind(value) for value in values}
    if kinds == {"object"} and depth < 6:
        names = list(dict.fromkeys(name for value in values for name in value))
        if len(names) <= 200:
            required = [name for name in names if all(name in value for value in values)]
            return _closed({name: infer_schema([value[name] for value in values if name in value], depth + 1) for name in names}, required)
        return {"type": "object"}
    if kinds == {"array"} and depth < 6:
        items = [item for value in values for item in value]
        return {"type": "array", **({"items": infer_schema(items, depth + 1)} if items else {})}
    if kinds == {"string"}:
        distinct = sorted(set(values))
        repeats = len(distinct) <= 50 and len(values) >= 10 and len(values) >= 3 * len(distinct) and max(map(len, distinct)) <= 120
        return {"enum": distinct} if repeats else {"type": "string"}
    if kinds <= {"integer", "number"}:
        return {"type": "integer" if kinds == {"integer"} else "number"}
    return {"type": sorted(kinds)} if len(kinds) > 1 else {"type": next(iter(kinds))}


def _json_kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "null")


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
            "tags": {_safe_field(field): _label(record[field]) for field in roles.tags if record.get(field) is not None},
            "source": str(record[roles.source])[:200] if roles.source else "",
        }
        identity = (_key(row["input"]), _key(row["expected"]))
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
        safe = _safe_field(field)
        while safe in names.values():
            safe += "_"
        names[field] = safe
    return names


def _stratum(row: dict[str, Any]) -> str:
    """What the splits are balanced on: the answer where answers repeat, which the caller sees by counting."""
    return _key(row["expected"])


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
        answers.setdefault(normalise(input_text(row["input"])), set()).add(_key(row["expected"]))
    contradictions = sum(1 for found in answers.values() if len(found) > 1)
    held_out = round(evaluation_rows * 0.4)
    return [
        f"{repeats} rows were exact repeats and were left out" if repeats else "",
        f"{contradictions} inputs have two or more different answers: no model can get all of them right" if contradictions else "",
        f"decisions rest on about {held_out} held-out rows; only large differences can be shown with so few" if held_out < 100 else "",
    ]


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
    slices = [_safe_field(tag) for tag in roles.tags]
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
        "  # Core is for diagnosis, held-out for decisions (nobody sees its items), reserve for later.",
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
