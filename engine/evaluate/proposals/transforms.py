"""Variants of a scenario by transformation: pure, and the same for the same seed.

Two families, by what is known without asking a model:

- recombined   values that the expected answer copies from the input (`Oslo` in both) are exchanged, in both, for values that other scenarios
               have at the same place. Labels (an enum, a `choice` check) are never exchanged: nothing says how an input would change with them.
- typos, casing, punctuation
               the wording is disturbed and the expected answer stays. What the answer quotes, and whatever has a digit or looks like an address,
               is left as it is.

Not here: paraphrase (without a model a template only adds words around the same text; `engine/curate/draft.py` asks a teacher), other languages, and
joining two turns.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.config import ChoiceCheck, DomainFile
from engine.evaluate.answers import subschema
from engine.evaluate.proposals.types import Transformation
from engine.evaluate.types import Scenario

Path = tuple[str | int, ...]
Values = Mapping[str, Sequence[str | int]]
"""What scenarios copy from their inputs, by the place in the answer."""

PROSE_WORDS = 3
"""A field with fewer words is taken for a setting, not for somebody's wording."""
TYPO_LETTERS = 5
"""Shorter words stay: a typo in them often makes another word."""
WORDS_PER_TYPO = 8
_WORD = re.compile(r"[^\W\d_]+")
_FIXED = re.compile(r"\S*(?:\d|@|://)\S*")
_PUNCTUATION = re.compile(r"[.,!?;:]+(?=\s|$)")


class Variant(NamedTuple):
    """An input and the answer that is expected of it."""

    origin: str
    input: dict[str, Any]
    expected: Any


class Slot(NamedTuple):
    """A value that the expected answer copies from the input."""

    path: Path
    place: str
    """The path with list positions left out: where the same kind of value stands in other answers."""
    value: str | int


# ---- values that stand in both -------------------------------------------------------------------------------------------------------


def slots_of(domain: DomainFile, scenario: Scenario) -> list[Slot]:
    """The values of a `json` answer that may be exchanged: each stands word for word in the input's text, and nothing else in the answer or in the
    input could be meant by it."""
    if domain.contract.output.kind != "json":
        return []
    texts = [leaf for _, leaf in leaves(scenario.input) if isinstance(leaf, str)]
    others = [leaf for _, leaf in leaves(scenario.input) if not isinstance(leaf, str)]
    answer = [(path, leaf) for path, leaf in leaves(scenario.expected) if isinstance(leaf, str | int) and not isinstance(leaf, bool)]
    found = []
    for path, leaf in answer:
        place = ".".join("[]" if isinstance(part, int) else part for part in path)
        rivals = [str(value) for other, value in answer if other != path]
        if not path or is_label(domain, place) or not _is_named(str(leaf), texts) or leaf in others:
            continue
        if not any(_overlap(str(leaf), rival) for rival in rivals if _is_named(rival, texts) or rival.casefold() == str(leaf).casefold()):
            found.append(Slot(path, place, leaf))
    return found


def is_label(domain: DomainFile, place: str) -> bool:
    """Whether the answer chooses from a closed list there."""
    schema = subschema(domain.contract.output, place)
    chosen = any(isinstance(check, ChoiceCheck) and check.path == place for check in domain.eval.checks)
    return chosen or "enum" in schema or "const" in schema


def values_of(domain: DomainFile, scenarios: Sequence[Scenario]) -> dict[str, list[str | int]]:
    """What these scenarios copy from their inputs, by place, in a fixed order."""
    found: dict[str, set[str | int]] = {}
    for scenario in scenarios:
        for slot in slots_of(domain, scenario):
            found.setdefault(slot.place, set()).add(slot.value)
    return {place: sorted(values, key=lambda value: (str(type(value)), str(value))) for place, values in found.items()}


def recombine(domain: DomainFile, scenario: Scenario, values: Values, dice: random.Random) -> Variant | None:
    """The scenario with every exchangeable value exchanged, in the input and in the answer; None where nothing can be."""
    texts = [leaf for _, leaf in leaves(scenario.input) if isinstance(leaf, str)]
    taken = [str(leaf) for _, leaf in leaves(scenario.expected)]
    exchanged: dict[str, str] = {}
    expected = scenario.expected
    for slot in slots_of(domain, scenario):
        offered = [
            value
            for value in values.get(slot.place, ())
            if type(value) is type(slot.value)
            and not any(str(value).casefold() in text.casefold() for text in texts)
            and not any(_overlap(str(value), other) for other in taken)
        ]
        if offered:
            chosen = dice.choice(offered)
            exchanged[str(slot.value)] = str(chosen)
            taken.append(str(chosen))
            expected = replaced(expected, slot.path, chosen)
    if not exchanged:
        return None
    pattern = re.compile("|".join(_occurrence(value) for value in sorted(exchanged, key=lambda value: (-len(value), value))))
    changed = map_texts(scenario.input, lambda text: pattern.sub(lambda match: exchanged[match.group()], text))
    return Variant("recombined", changed, expected)


def _occurrence(value: str) -> str:
    return rf"(?<!\w){re.escape(value)}(?!\w)"


def _is_named(value: str, texts: Sequence[str]) -> bool:
    """Whether the texts have the value, as whole words and in one spelling."""
    if not any(character.isalnum() for character in value):
        return False
    exact = sum(len(re.findall(_occurrence(value), text)) for text in texts)
    return exact > 0 and exact == sum(text.casefold().count(value.casefold()) for text in texts)


def _overlap(value: str, other: str) -> bool:
    return value.casefold() in other.casefold() or other.casefold() in value.casefold()


# ---- disturbed wording ---------------------------------------------------------------------------------------------------------------


def disturb(origin: Transformation, scenario: Scenario, dice: random.Random) -> Variant | None:
    """The scenario with its wording disturbed and its answer as it was; None where there is nothing to disturb."""
    quoted = [str(leaf) for _, leaf in leaves(scenario.expected) if leaf is not None and str(leaf).strip()]

    def change(text: str) -> str:
        return DISTURBANCES[origin](text, kept_spans(text, quoted), dice) if len(_WORD.findall(text)) >= PROSE_WORDS else text

    changed = map_texts(scenario.input, change)
    return None if changed == scenario.input else Variant(origin, changed, scenario.expected)


def kept_spans(text: str, quoted: Sequence[str]) -> list[tuple[int, int]]:
    """Where `text` must stay as it is: what the answer quotes from it, and words with a digit or an address."""
    spans = [match.span() for match in _FIXED.finditer(text)]
    for value in quoted:
        spans.extend(match.span() for match in re.finditer(re.escape(value), text, re.IGNORECASE))
    return spans


def _typos(text: str, kept: Sequence[tuple[int, int]], dice: random.Random) -> str:
    words = [match for match in _WORD.finditer(text) if len(match.group()) >= TYPO_LETTERS and _free(match.span(), kept)]
    chosen = dice.sample(words, min(len(words), 1 + len(words) // WORDS_PER_TYPO))
    for match in sorted(chosen, key=lambda match: -match.start()):
        text = text[: match.start()] + _mistyped(match.group(), dice) + text[match.end() :]
    return text


def _mistyped(word: str, dice: random.Random) -> str:
    """The word with two inner letters swapped, one lost, or one doubled."""
    at = dice.randrange(1, len(word) - 2)
    kind = dice.choice(("swap", "lose", "double"))
    if kind == "swap" and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == "lose" else word[: at + 1] + word[at:]


def _casing(text: str, kept: Sequence[tuple[int, int]], dice: random.Random) -> str:
    turns = (str.lower, str.upper) if dice.random() < 0.5 else (str.upper, str.lower)
    for turn in turns:
        changed = _WORD.sub(lambda match, turn=turn: turn(match.group()) if _free(match.span(), kept) else match.group(), text)  # type: ignore[misc]
        if changed != text:
            return changed
    return text


def _punctuation(text: str, kept: Sequence[tuple[int, int]], dice: random.Random) -> str:
    """Without its punctuation; with more at the end where it has none."""
    without = _PUNCTUATION.sub(lambda match: "" if _free(match.span(), kept) else match.group(), text)
    if without.strip() and without != text:
        return without
    return text.rstrip() + dice.choice(("...", "!!", "??")) if text.strip() else text


Disturb = Callable[[str, Sequence[tuple[int, int]], random.Random], str]
DISTURBANCES: dict[Transformation, Disturb] = {"typos": _typos, "casing": _casing, "punctuation": _punctuation}


def _free(span: tuple[int, int], kept: Sequence[tuple[int, int]]) -> bool:
    return not any(start < span[1] and span[0] < end for start, end in kept)


# ---- values in values ------------------------------------------------------------------------------------------------------------------


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in `value` that is neither object nor list, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from leaves(item, (*path, position))
    else:
        yield path, value


def replaced(value: Any, path: Path, new: Any) -> Any:
    """A copy of `value` with `new` at `path`; the order of keys is kept."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, list):
        return [replaced(item, rest, new) if position == head else item for position, item in enumerate(value)]
    return {key: replaced(item, rest, new) if key == head else item for key, item in value.items()}


def map_texts(value: Any, change: Any) -> Any:
    """A copy of `value` with every text changed, keys not."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value
