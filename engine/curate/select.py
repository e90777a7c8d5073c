"""Chooses the rows of a training set: those that a failure pattern is about, and replay of everything else.

Promises: equal arguments give equal rows in equal order, whatever the order of the pool; never more than `max_rows`; never a row from
outside the pool; at least `replay_share` of the set is replay.

Four decisions, with their grounds:

* A specialist is trained from its base, or goes on from its incumbent at a small rate; either way a set holds all that it must know, so
  replay is not optional.
* A pool that fits is used whole: more distinct rows beat emphasis. Aimed rows are then repeated once, as far as `max_rows` and
  `1 - replay_share` allow, because without that a second round would train the same weights again.
* Replay gives each stratum places by the square root of its size: between an equal share for each label (which overweights oddities) and
  the pool's own proportions (which starve rare labels).
* A pattern about more than half of the pool (broken JSON, an empty answer) is taught by every row: its share goes to replay.

Pure: no clock, no store; order comes from hashes of the seed and the row's id.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.curate.types import Selection, TargetPattern
from engine.diagnose.taxonomy import TAXONOMY
from engine.diagnose.types import FailurePattern
from engine.evaluate.answers import MISSING, lookup
from engine.evaluate.types import TrainingRow

_BROAD_SHARE = 0.5
_LABEL_SHARE = 0.2
_MOST_LABELS = 200
_FIELD_KINDS = frozenset({"missing_field", "invented_field", "wrong_field", "ungrounded", "mismatch"})
_ITEM_KINDS = frozenset({"missing_item", "invented_item"})
_ABSENT_KINDS = frozenset({"invented_field", "invented_item"})


def target_patterns(patterns: Sequence[FailurePattern]) -> tuple[TargetPattern, ...]:
    """The patterns of a diagnosis that training sets are aimed at (`aimed` in the taxonomy): a lost answer, a limit and a doubtful label are no
    matter of data."""
    actionable = [pattern for pattern in patterns if TAXONOMY[pattern.failure_class].aimed]
    failures = sum(pattern.items for pattern in actionable)
    return tuple(_target(pattern, pattern.items / failures) for pattern in actionable)


def _target(pattern: FailurePattern, weight: float) -> TargetPattern:
    """Reads the observation's detail (vocabulary in `engine/evaluate/checks.py`): `<expected>-><got>`, `<path>` or `<path>=<label>`."""
    labels: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    if pattern.kind == "wrong_label":
        labels = tuple(dict.fromkeys(part for part in pattern.detail.split("->") if part))
    elif pattern.kind in _FIELD_KINDS:
        fields = (pattern.detail,)
    elif pattern.kind in _ITEM_KINDS:
        path, _, label = pattern.detail.partition("=")
        fields, labels = (path,), (label,) if label else ()
    fields = tuple(field for field in fields if field not in ("", "."))
    return TargetPattern(pattern=pattern.pattern, kind=pattern.kind, labels=labels, fields=fields, weight=weight)


def select_rows(
    pool: Sequence[TrainingRow],
    patterns: Sequence[TargetPattern],
    *,
    max_rows: int,
    replay_share: float,
    seed: int,
    stratify: str | None = None,
) -> Selection:
    """Chooses at most `max_rows` of `pool`. `stratify` is a dotted path in a row's record; without one, strata come from the expected answers."""
    rows = sorted(pool, key=lambda row: _rank(seed, row.id))
    strata = strata_of(rows, stratify)
    reasons: list[str] = []
    specific, broad_weight = _specific_candidates(rows, patterns, reasons)
    total_weight = broad_weight + sum(pattern.weight for pattern, _ in specific)
    aim = (1.0 - replay_share) * (1.0 - broad_weight / total_weight) if total_weight else 0.0

    fits = len(rows) <= max_rows
    room = int(aim * max_rows)
    if fits:
        room = int(min(max_rows - len(rows), aim * len(rows) / replay_share if replay_share else math.inf))
    per_pattern, aimed = _draw_aimed(specific, strata, room)
    if fits:
        replay = [row.id for row in rows]
        reasons.append(f"All {len(rows)} rows of the pool are used: they fit into the limit of {max_rows}.")
        if aimed:
            reasons.append(f"{len(aimed)} of them are about failure patterns and stand twice in each epoch.")
    else:
        taken = set(aimed)
        replay = _draw_evenly([row for row in rows if row.id not in taken], strata, max_rows - len(aimed))
        reasons.append(
            f"{len(aimed)} of {len(aimed) + len(replay)} rows are aimed at failure patterns; {len(replay)} are drawn evenly over "
            f"{len(set(strata.values()))} strata of a pool of {len(rows)}."
        )
    reasons.extend(f"{count} rows for {pattern}." for pattern, count in per_pattern.items() if count)
    placed = [*aimed, *replay]
    order = sorted(range(len(placed)), key=lambda place: _rank(seed, f"{place}/{placed[place]}"))
    return Selection(
        rows=tuple(placed[place] for place in order), aimed=len(aimed), replay=len(replay), per_pattern=per_pattern, reasons=tuple(reasons)
    )


def _specific_candidates(
    rows: Sequence[TrainingRow], patterns: Sequence[TargetPattern], reasons: list[str]
) -> tuple[list[tuple[TargetPattern, list[TrainingRow]]], float]:
    """Each pattern that singles out rows, with them; and the weight of those that do not."""
    specific: list[tuple[TargetPattern, list[TrainingRow]]] = []
    broad_weight = 0.0
    for pattern in sorted(patterns, key=lambda pattern: (-pattern.weight, pattern.pattern)):
        candidates = [row for row in rows if is_about(pattern, row)]
        if not candidates:
            reasons.append(f"No row of the pool is about {pattern.pattern}: more data would be needed for it.")
        if 0 < len(candidates) <= _BROAD_SHARE * len(rows):
            specific.append((pattern, candidates))
        else:
            broad_weight += pattern.weight
            if candidates:
                reasons.append(f"{pattern.pattern} is taught by most rows ({len(candidates)} of {len(rows)}), so its share is drawn evenly.")
    return specific, broad_weight


def _draw_aimed(
    specific: Sequence[tuple[TargetPattern, list[TrainingRow]]], strata: Mapping[str, str], room: int
) -> tuple[dict[str, int], list[str]]:
    """Up to `room` distinct rows, shared out by weight; a row about two patterns counts for the heavier one."""
    places = allocate(room, [pattern.weight for pattern, _ in specific], [len(rows) for _, rows in specific])
    chosen: list[str] = []
    per_pattern: dict[str, int] = {}
    for (pattern, candidates), count in zip(specific, places, strict=True):
        taken = set(chosen)
        drawn = _draw_evenly([row for row in candidates if row.id not in taken], strata, count)
        per_pattern[pattern.pattern] = len(drawn)
        chosen.extend(drawn)
    return per_pattern, chosen


def _draw_evenly(rows: Sequence[TrainingRow], strata: Mapping[str, str], count: int) -> list[str]:
    """`count` ids (or all), shared over the strata by the square root of their sizes, in the order of `rows` within each."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[strata[row.id]].append(row.id)
    names = sorted(groups)
    places = allocate(count, [math.sqrt(len(groups[name])) for name in names], [len(groups[name]) for name in names])
    return [row for name, share in zip(names, places, strict=True) for row in groups[name][:share]]


def allocate(total: int, weights: Sequence[float], capacities: Sequence[int]) -> list[int]:
    """Shares `total` out by weight (largest remainder), no share above its capacity; what one cannot take goes to the others."""
    shares = [0] * len(weights)
    left = min(total, sum(capacities))
    while left > 0:
        open_places = [i for i in range(len(weights)) if shares[i] < capacities[i]]
        weight = sum(weights[i] for i in open_places)
        exact = {i: left * weights[i] / weight for i in open_places}
        given = {i: min(int(exact[i]), capacities[i] - shares[i]) for i in open_places}
        if not any(given.values()):
            by_remainder = sorted(open_places, key=lambda i: (-(exact[i] - int(exact[i])), i))[:left]
            given = dict.fromkeys(by_remainder, 1)
        for i, count in given.items():
            shares[i] += count
            left -= count
    return shares


def is_about(pattern: TargetPattern, row: TrainingRow) -> bool:
    """Whether training on `row` bears on `pattern`: every kind of thing that the pattern names must be there."""
    if not pattern.labels and not pattern.fields:
        return True
    has_label = not pattern.labels or not set(pattern.labels).isdisjoint(_texts(row.expected))
    has_field = not pattern.fields or not set(pattern.fields).isdisjoint(_field_names(row.expected))
    return (has_label and has_field) != (pattern.kind in _ABSENT_KINDS)


def strata_of(rows: Sequence[TrainingRow], stratify: str | None) -> dict[str, str]:
    """The stratum of each row: the value at `stratify`; else its label-like values (few distinct ones in the pool); else its structure."""
    if stratify is not None:
        found = {row.id: lookup(row.model_dump(), stratify) for row in rows}
        return {row: "" if value is MISSING else _spelling(value) for row, value in found.items()}
    label_paths = _label_paths(rows)
    return {row.id: _stratum(row.expected, label_paths) for row in rows}


def _stratum(expected: Any, label_paths: Sequence[str]) -> str:
    if not isinstance(expected, dict):
        return _spelling(expected) if "" in label_paths else type(expected).__name__
    if label_paths:
        return _spelling([expected.get(path) for path in label_paths])
    return _spelling(sorted(key for key, value in expected.items() if value not in (None, "", [], {})))


def _label_paths(rows: Sequence[TrainingRow]) -> list[str]:
    """First-level fields whose values (scalars, or lists of them) are few; the empty path for answers that are such a value themselves."""
    values: dict[str, set[str]] = defaultdict(set)
    no_label: set[str] = set()
    for row in rows:
        fields = row.expected if isinstance(row.expected, dict) else {"": row.expected}
        for name, value in fields.items():
            if any(isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value])):
                no_label.add(name)
            else:
                values[name].add(_spelling(value))
    most = min(_MOST_LABELS, max(2, int(_LABEL_SHARE * len(rows))))
    return sorted(name for name, found in values.items() if name not in no_label and 1 < len(found) <= most)


def _texts(value: Any) -> Iterator[str]:
    """Every scalar in `value`, as text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def _field_names(value: Any, prefix: str = "") -> Iterator[str]:
    """Every field that is filled, by its dotted path and by each of its shorter endings (checks name fields relative to their own path)."""
    if isinstance(value, list):
        for item in value:
            yield from _field_names(item, prefix)
    elif isinstance(value, dict):
        for name, item in value.items():
            if item in (None, "", [], {}):
                continue
            path = f"{prefix}.{name}" if prefix else name
            parts = path.split(".")
            yield from (".".join(parts[start:]) for start in range(len(parts)))
            yield from _field_names(item, path)


def _spelling(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
