"""What surfaces say of held-out figures: the ladder's answer in place of a challenger's score that it keeps back.

The store keeps every figure and the loop decides by them. What a tool, the report page or the command line shows passes through here:
figures of the base, the floors and accepted versions as they are, and those of a challenger only when they lie more than a step above the
best said before (`engine/evaluate/holdout.py`). Pure; takes outputs as data and returns them changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.evaluate.early_stop import spared
from engine.evaluate.holdout import in_words
from engine.evaluate.types import EvaluationSummary, Reported

_SAID = ("complete", "no_harm", "canaries", "rolled_back")
"""Clauses whose sentences hold no figure of the held-out score."""
_COMPARISONS = ("against_incumbent", "against_floor", "detectable")
_BOUNDS = ("upper", "floor_upper")


def evaluate_output(output: Mapping[str, Any], said: Reported | None) -> dict[str, Any]:
    """A measurement's output. Where the figures are kept back, held-out shows its number of items and the ladder's answer alone."""
    if said is None or said.exact:
        return dict(output)
    splits = [_kept(split, said) if split["split"] == "held_out" else split for split in output["summary"]["splits"]]
    summary = {**output["summary"], "splits": splits, "stopped_early": _without_bounds(output["summary"].get("stopped_early"))}
    return {**output, "summary": summary, "targets_met": None}


def _kept(split: Mapping[str, Any], said: Reported) -> dict[str, Any]:
    return {"split": split["split"], "items": split["score"]["n"], "errors": split["errors"], "reported": in_words(said)}


def _without_bounds(stopped: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How many items an early stop saved and why, without how low the score must lie."""
    return None if stopped is None else {name: value for name, value in stopped.items() if name not in _BOUNDS}


def iterate_output(output: Mapping[str, Any], said: Mapping[str, Reported]) -> dict[str, Any]:
    """An iterate run's output: of rounds whose figures are kept back, the clauses without them."""
    masked: dict[str, str] = {}
    rounds = []
    for one in output["iterations"]:
        verdict = said.get(one["challenger_evaluation"])
        if verdict is None or verdict.exact:
            rounds.append(one)
            continue
        stopped = _without_bounds(one.get("stopped_early"))
        clauses = [{**clause, "sentence": _without_figures(clause, verdict, stopped)} for clause in one["decision"]["clauses"]]
        masked |= {old["sentence"]: new["sentence"] for old, new in zip(one["decision"]["clauses"], clauses, strict=True)}
        decision = {name: value for name, value in one["decision"].items() if name not in _COMPARISONS}
        rounds.append({**one, "decision": {**decision, "clauses": clauses}, "stopped_early": stopped})
    best = output.get("best_challenger")
    if best is not None and (verdict := said.get(best["evaluation_id"])) is not None and not verdict.exact:
        best = {"subject": best["subject"], "evaluation_id": best["evaluation_id"], "reported": in_words(verdict)}
    notes = [masked.get(note, note) for note in output["notes"]]
    return {**output, "iterations": rounds, "best_challenger": best, "notes": notes}


def saved_items(output: Mapping[str, Any]) -> str:
    """How many held-out items an iterate run saved by early stops, for the end of a sentence about it; empty when it saved none."""
    saved = sum(stopped["saved"] for one in output["iterations"] if (stopped := one.get("stopped_early")))
    return f" Early stops saved {saved} held-out items." if saved else ""


def _without_figures(clause: Mapping[str, Any], said: Reported, stopped: Mapping[str, Any] | None) -> str:
    """A clause's sentence; where it may have figures, its verdict, and for the improvement what the ladder says."""
    if clause["name"] in _SAID:
        return str(clause["sentence"])
    if stopped is not None:
        return spared(stopped["asked"], stopped["of"], stopped["because"])
    if clause["name"] == "improvement":
        return f"An improvement is {'' if clause['passed'] else 'not '}shown: held-out is {in_words(said)}."
    return f"{str(clause['name']).replace('_', ' ').capitalize()}: {'holds' if clause['passed'] else 'does not hold'}."


def shown_summary(summary: EvaluationSummary, said: Reported | None) -> EvaluationSummary:
    """A measurement for the report page: without held-out where its figures are kept back."""
    if said is None or said.exact:
        return summary
    return summary.model_copy(update={"splits": tuple(split for split in summary.splits if split.split != "held_out")})
