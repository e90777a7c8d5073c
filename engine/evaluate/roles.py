"""What the fields of rows are for, and what their answers look like: found from names and statistics where nobody has described them.

Promises: the same rows give the same findings; each finding says itself in words (`notes`, `note`), so that a person can check it. Every
row satisfies the schema that is inferred from all of them.

Pure: rows in, findings out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from engine.base.files import parse_strict
from engine.errors import DomainInvalid

MAX_LABELS = 300

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


# ---- which field is what ----------------------------------------------------------------------------------------------------------------


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
    return [as_json(record.get(field)) for record in records]


def as_json(value: Any) -> str:
    """A value by which equal ones are recognised."""
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
    pairs = {(as_json(record.get(field)), as_json(record.get(expected))) for record in records}
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
        return _list_task(field, parsed) if texts else _object_task([{safe_field(field): answer} for answer in parsed], safe_field(field))
    if not all(isinstance(answer, str | int | float) for answer in answers):
        kinds = ", ".join(sorted({type(answer).__name__ for answer in answers}))
        raise DomainInvalid(
            f"the answers in {field!r} are of several kinds ({kinds})",
            next_step="Make them all texts, all numbers, all lists of texts, or all objects.",
            field=field,
        )
    labels = Counter(plain_label(answer) for answer in answers)
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


def plain_label(answer: Any) -> str:
    """An answer as the text of a label."""
    return ("true" if answer else "false") if isinstance(answer, bool) else str(answer).strip()


def safe_field(name: str) -> str:
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
    name = safe_field(field)
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
        convert=lambda answer: {name: plain_label(answer)},
        note=f"the answer is one of {len(labels)} labels"
        + (f"; {rare} of them occur fewer than 5 times, too few to learn or to measure" if rare else ""),
    )


def _list_task(field: str, answers: Sequence[list[str]]) -> Task:
    name = safe_field(field)
    items = Counter(item for answer in answers for item in answer)
    closed = len(items) <= MAX_LABELS and items and sum(items.values()) >= 2 * len(items)
    schema = _closed({name: {"type": "array", "items": {"enum": sorted(items)} if closed else {"type": "string"}}}, [name])
    return Task(
        output=_json_output(schema, max(len(as_json({name: answer}).encode()) for answer in answers)),
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
    name = safe_field(field)
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
        output=_json_output(schema, max(len(as_json(answer).encode()) for answer in answers)),
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
