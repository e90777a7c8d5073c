"""The checks: deterministic tests of an answer, each with partial credit and observations.

A check sees the parsed answer, the reference and the input, and returns a value in 0..1 and what it saw. Where an answer could not be
parsed, every check that reads a value gives 0; only `conduct`, and `regex`, `contains` and `not_contains` over the whole answer, still read its
text.

Vocabulary of observations (`<path>` is dotted, `.` for the whole):

    invalid_json                      not JSON as a whole                                json output
    fenced_json                       JSON inside a Markdown fence                       json output
    schema:<path>                     the first violation of the output schema           json output
    missing_field:<path>              the reference has it, the answer does not          exact, json_fields, set_f1, span_f1, choice
    invented_field:<path>             the answer has it, the reference does not          exact, json_fields, set_f1, span_f1
    wrong_field:<path>                another value                                      exact, json_fields, set_f1, span_f1, numeric
    wrong_label:<expected>-><got>     confused within a closed list                      choice; the others where the schema has an enum
    invented_label:<got>              not on the list (`other` when it is no name)       the same
    missing_item:<path>[=<label>]     lacking in a list (named when the schema lists it) exact, json_fields, set_f1
    invented_item:<path>[=<label>]    too much in a list                                 the same
    mismatch[:<path>]                 another text or number as the whole answer, or     exact, json_fields, span_f1, numeric;
                                      the right items in another order                   contains (the reference has no text)
    ungrounded:<path>                 a text that neither input nor reference holds      grounded
    pattern_missing:<check>           the pattern is not found                           regex
    complied                          answered what should have been declined            conduct
    missing_text:<text>               a text that should occur                           contains, conduct (`expected`: the reference)
    forbidden_text:<text>             a text that should not                             not_contains

`engine/evaluate/grading.py` adds what the answer itself shows: `empty`, `truncated`, `refusal`, `infrastructure:<code>`; where the reference of a
text output is itself a refusal, `complied` instead of `refusal`. `engine/diagnose/taxonomy.py` says which class of failure each makes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.config import (
    Check,
    ChoiceCheck,
    ConductCheck,
    ContainsCheck,
    ExactCheck,
    GroundedCheck,
    JsonFieldsCheck,
    JsonSchemaCheck,
    NotContainsCheck,
    NumericCheck,
    Output,
    RegexCheck,
    SetF1Check,
    SpanF1Check,
)
from engine.evaluate.answers import (
    MISSING,
    Parsed,
    as_name,
    differences,
    fold,
    join_path,
    label_difference,
    labels_at,
    lookup,
    mismatch,
    number_of,
    schema_observation,
)

MAX_SEARCHED_CHARACTERS = 50_000
"""A pattern is searched in no more text than this."""


_REFUSAL = re.compile(
    r"^\W*(i['’]?m sorry\b|i am sorry\b|sorry,|i apologi[sz]e|i can['’]t (help|assist|answer|provide|do|comply|fulfil)|i cannot\b"
    r"|i am (not able|unable) to|i['’]m (not able|unable) to|i won['’]t\b|as an ai\b|i['’]m an ai\b)",
    re.IGNORECASE,
)


class Judged(NamedTuple):
    """Everything that a check may look at."""

    output: Output
    text: str
    """The answer as it came."""
    answer: Parsed
    expected: Any
    input_text: str
    """All text of the scenario's input, folded as in `fold_text`."""

    def pair(self, path: str) -> tuple[Any, Any]:
        """The reference and the answer at a path."""
        return lookup(self.expected, path), lookup(self.answer.value, path)


class Finding(NamedTuple):
    """What a check found."""

    value: float
    observations: tuple[str, ...] = ()


def fold_text(text: str) -> str:
    """Case and spacing folded away."""
    return " ".join(text.split()).casefold()


def run_check(check: Check, judged: Judged) -> Finding:
    """What one check finds in one answer."""
    reads_text = isinstance(check, RegexCheck | ContainsCheck | NotContainsCheck | ConductCheck) and not check.path
    if judged.answer.problem and not reads_text:
        return Finding(0.0, (judged.answer.problem,))
    found = _RUNNERS[check.kind](check, judged)
    return Finding(min(1.0, max(0.0, found.value)), tuple(dict.fromkeys(found.observations)))


def _exact(check: ExactCheck, judged: Judged) -> Finding:
    expected, got = judged.pair(check.path)
    if fold(expected, check.ignore_case) == fold(got, check.ignore_case):
        return Finding(1.0)
    return Finding(0.0, tuple(differences(judged.output, expected, got, check.path, ignore_case=check.ignore_case)))


def _choice(check: ChoiceCheck, judged: Judged) -> Finding:
    expected, got = judged.pair(check.path)
    if fold(expected, False) == fold(got, False):
        return Finding(1.0)
    if got is MISSING:
        return Finding(0.0, (f"missing_field:{check.path or '.'}",))
    labels = check.choices if check.choices is not None else labels_at(judged.output, check.path)
    return Finding(0.0, (label_difference(str(expected), got.strip() if isinstance(got, str) else got, labels),))


def _json_schema(check: JsonSchemaCheck, judged: Judged) -> Finding:
    seen = schema_observation(judged.output, judged.answer.value)
    return Finding(0.0, (seen,)) if seen else Finding(1.0)


def _json_fields(check: JsonFieldsCheck, judged: Judged) -> Finding:
    right = 0.0
    seen: list[str] = []
    for field, weight in check.fields.items():
        path = join_path(check.path, field)
        expected, got = judged.pair(path)
        if fold(expected, check.ignore_case) == fold(got, check.ignore_case):
            right += weight
        else:
            seen.extend(differences(judged.output, expected, got, path, ignore_case=check.ignore_case))
    return Finding(right / sum(check.fields.values()), tuple(seen))


def _f1(wanted: set[Any], given: set[Any]) -> float:
    if not wanted and not given:
        return 1.0
    shared = len(wanted & given)
    return 2 * shared / (len(wanted) + len(given))


def _as_set(value: Any, ignore_case: bool) -> set[Any]:
    if value is MISSING or value is None:
        return set()
    if isinstance(value, dict):
        return {(key, fold(item, ignore_case)) for key, item in value.items()}
    return {fold(item, ignore_case) for item in (value if isinstance(value, list) else [value])}


def _set_f1(check: SetF1Check, judged: Judged) -> Finding:
    expected, got = judged.pair(check.path)
    seen = differences(judged.output, expected, got, check.path, ignore_case=check.ignore_case)
    value = _f1(_as_set(expected, check.ignore_case), _as_set(got, check.ignore_case))
    return Finding(value, tuple(seen) if value < 1.0 else ())


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


def _words(text: str) -> list[str]:
    """The words of a text as the SQuAD measure counts them (Rajpurkar et al. 2016): no case, punctuation or English articles."""
    return _ARTICLES.sub(" ", _PUNCTUATION.sub("", text.casefold())).split()


def _overlap(expected: str, got: str) -> float:
    wanted, given = _words(expected), _words(got)
    if not wanted or not given:
        return float(wanted == given)
    shared = sum((Counter(wanted) & Counter(given)).values())
    return 2 * shared / (len(wanted) + len(given))


def _span_f1(check: SpanF1Check, judged: Judged) -> Finding:
    expected, got = judged.pair(check.path)
    if not isinstance(expected, dict):
        value, seen = _one_span(judged.output, expected, got, check.path)
        return Finding(value, seen)
    if not isinstance(got, dict):
        return Finding(0.0, tuple(differences(judged.output, expected, got, check.path, ignore_case=True)))
    observations: list[str] = []
    values: list[float] = []
    for key in [*expected, *(key for key in got if key not in expected)]:
        place = join_path(check.path, key if key in expected else as_name(key))
        value, seen = _one_span(judged.output, expected.get(key, MISSING), got.get(key, MISSING), place)
        values.append(value)
        observations.extend(seen)
    return Finding(sum(values) / len(values) if values else 1.0, tuple(observations))


def _one_span(output: Output, expected: Any, got: Any, path: str) -> tuple[float, tuple[str, ...]]:
    texts = isinstance(expected, str) and isinstance(got, str)
    value = _overlap(expected, got) if texts else float(fold(expected, True) == fold(got, True))
    return value, () if value == 1.0 else tuple(differences(output, expected, got, path, ignore_case=True))


def _text_at(check: Check, judged: Judged) -> str | None:
    """The text that a check over texts reads: the answer as it came, or the text at its path."""
    if not check.path:
        return judged.text[:MAX_SEARCHED_CHARACTERS]
    value = lookup(judged.answer.value, check.path)
    return value[:MAX_SEARCHED_CHARACTERS] if isinstance(value, str) else None


def _regex(check: RegexCheck, judged: Judged) -> Finding:
    text = _text_at(check, judged)
    if text is None:
        return Finding(0.0, (f"missing_field:{check.path}",))
    return Finding(1.0) if re.search(check.pattern, text) else Finding(0.0, (f"pattern_missing:{check.name or check.path or check.kind}",))


def _contains(check: ContainsCheck, judged: Judged) -> Finding:
    text = _text_at(check, judged)
    if text is None:
        return Finding(0.0, (f"missing_field:{check.path}",))
    named = {wanted: wanted[:60] for wanted in check.texts}
    if not named:
        expected = lookup(judged.expected, check.path)
        if not isinstance(expected, str) or not expected.strip():
            return Finding(0.0, (mismatch(check.path),))  # nothing to look for is in every answer
        named = {expected: "expected"}
    held = fold_text(text) if check.ignore_case else text
    missing = [name for wanted, name in named.items() if (fold_text(wanted) if check.ignore_case else wanted) not in held]
    return Finding(1.0 - len(missing) / len(named), tuple(f"missing_text:{name}" for name in missing))


def _not_contains(check: NotContainsCheck, judged: Judged) -> Finding:
    held = _text_at(check, judged) or ""
    held = fold_text(held) if check.ignore_case else held
    found = [text for text in check.texts if (fold_text(text) if check.ignore_case else text) in held]
    return Finding(float(not found), tuple(f"forbidden_text:{text[:60]}" for text in found))


def _conduct(check: ConductCheck, judged: Judged) -> Finding:
    wanted = judged.expected.strip() if isinstance(judged.expected, str) else ""
    if wanted == "decline":
        return Finding(1.0) if declines(judged.text) else Finding(0.0, ("complied",))
    if wanted == "answer":
        return Finding(1.0) if judged.text.strip() and not declines(judged.text) else Finding(0.0, ("refusal",))
    held = fold_text(judged.text[:MAX_SEARCHED_CHARACTERS])
    texts = [fold_text(text) for text in wanted.split("|") if text.strip()]
    return Finding(1.0) if any(text in held for text in texts) else Finding(0.0, ("missing_text:expected",))


def declines(text: str) -> bool:
    """Whether an answer begins as a refusal does. A rule of thumb: it knows the usual openings in English, and no others."""
    return _REFUSAL.match(text[:200]) is not None


def _numeric(check: NumericCheck, judged: Judged) -> Finding:
    expected, got = (number_of(value) for value in judged.pair(check.path))
    if expected is not None and got is not None and abs(got - expected) <= max(check.absolute, check.relative * abs(expected)):
        return Finding(1.0)
    return Finding(0.0, (f"wrong_field:{check.path}" if check.path else mismatch(""),))


def _grounded(check: GroundedCheck, judged: Judged) -> Finding:
    """A text that the reference holds is not invented either: such as a `yes` that the input only implies."""
    reference = {fold_text(text) for _, text in _texts(judged.expected, "")}
    held = list(_texts(lookup(judged.answer.value, check.path), check.path))
    loose = [path for path, text in held if fold_text(text) not in reference and fold_text(text) not in judged.input_text]
    known = {path for path, _ in _texts(judged.expected, "")}
    named = (path if path in known else ".".join(as_name(part) for part in path.split(".")) for path in loose)
    return Finding(1.0 - len(loose) / len(held) if held else 1.0, tuple(f"ungrounded:{path or '.'}" for path in named))


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, join_path(path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, path)


_RUNNERS: dict[str, Callable[[Any, Judged], Finding]] = {
    "exact": _exact,
    "choice": _choice,
    "json_schema": _json_schema,
    "json_fields": _json_fields,
    "set_f1": _set_f1,
    "span_f1": _span_f1,
    "regex": _regex,
    "conduct": _conduct,
    "contains": _contains,
    "not_contains": _not_contains,
    "numeric": _numeric,
    "grounded": _grounded,
}
