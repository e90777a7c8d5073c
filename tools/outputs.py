"""A finished run's output, small enough to be read in a conversation.

The store keeps all of it, and `diagnose`, `compare` and the report open the parts. Here figures have four digits, an interval is its mean, its
ends and n, the slices are the lowest few, and a round of training is its verdict with its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SLICES = 6
ROUNDS = 5
DIGEST_CHARACTERS = 12


def small_output(kind: str, output: Mapping[str, Any]) -> dict[str, Any]:
    """What `run_status` shows of the output of a run of this kind."""
    chosen = _iterate(output) if kind == "iterate" else _evaluate(output) if kind == "evaluate" else output
    small: dict[str, Any] = _tidied(chosen)
    return small


def _iterate(output: Mapping[str, Any]) -> dict[str, Any]:
    rounds = output.get("iterations", [])
    shown = [
        {
            "iteration": one["iteration"],
            "challenger": one["challenger"],
            "challenger_evaluation": one["challenger_evaluation"],
            "rows": one["rows"],
            "verdict": one["decision"]["verdict"],
            "reasons": [clause["sentence"] for clause in one["decision"]["clauses"]],
            "stopped_early": one.get("stopped_early"),
        }
        for one in rounds[-ROUNDS:]
    ]
    return {**output, "iterations": shown, **({"iterations_before": len(rounds) - ROUNDS} if len(rounds) > ROUNDS else {})}


def _evaluate(output: Mapping[str, Any]) -> dict[str, Any]:
    summary = output.get("summary")
    if not isinstance(summary, Mapping):
        return dict(output)
    splits = [{**split, **_lowest_slices(split.get("slices", []))} for split in summary["splits"]]
    identity = {part: str(digest)[:DIGEST_CHARACTERS] for part, digest in summary["identity"].items()}
    kept = {name: value for name, value in output.items() if name not in ("summary", "artifacts", "domain_digest")}
    return {**summary, "splits": splits, "identity": identity, **kept}


def _lowest_slices(slices: list[dict[str, Any]]) -> dict[str, Any]:
    lowest = sorted(slices, key=lambda one: (one["score"]["mean"], one["slice"]))[:SLICES]
    return {"slices": lowest, **({"slices_left_out": len(slices) - SLICES} if len(slices) > SLICES else {})}


def _tidied(value: Any) -> Any:
    """Without nulls and empty values, and with four digits: more would be noise, and cost."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        if {"mean", "low", "high", "n"} <= value.keys():
            value = {name: value[name] for name in ("mean", "low", "high", "n")}
        return {name: _tidied(item) for name, item in value.items() if item is not None and item not in ({}, [])}
    if isinstance(value, list | tuple):
        return [_tidied(item) for item in value]
    return value
