"""Small workspaces for tests of the whole engine: a domain made on the spot, and the scripted double instead of a model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.jobs.types import FINAL_STATES, Run

LABELS = ("refund", "delivery", "login", "invoice")
NOUNS = ("parcel", "laptop", "ticket", "account", "order", "payment", "jacket", "router", "voucher", "address", "mug", "bicycle", "lamp", "phone")
VERBS = ("lost", "opened", "returned", "paid", "changed", "missed", "received", "booked", "ordered", "cancelled", "shared", "dropped")


def message(number: int) -> str:
    """A customer's message, unlike every other one."""
    noun, verb, other = NOUNS[number % 14], VERBS[(number // 14) % 12], NOUNS[(number * 5 + number // 168) % 14]
    return f"case {number * 7919 % 100003}: I {verb} the {noun} near street {number * 104729 % 9973}, and the {other} says code {number * 15485863 % 99991}"


def rows(start: int, count: int) -> list[dict[str, Any]]:
    """Labelled rows whose label does not follow from the text, so that no floor can be high."""
    return [
        {
            "id": f"r{number}",
            "input": {"message": message(number)},
            "expected": {"intent": LABELS[(number * 7 + number // 11) % 4]},
            "tags": {"channel": ("mail", "chat")[number % 2]},
        }
        for number in range(start, start + count)
    ]


def domain_file(**changes: Any) -> dict[str, Any]:
    """A complete domain.yaml as data; `changes` replace top-level blocks."""
    return {
        "title": "Tickets",
        "contract": {
            "description": "Sorts a customer's message.",
            "system": "Answer with the intent as JSON.",
            "user": "{{ message }}",
            "output": {
                "json_schema": {
                    "type": "object",
                    "properties": {"intent": {"type": "string", "enum": list(LABELS)}},
                    "required": ["intent"],
                    "additionalProperties": False,
                },
                "max_tokens": 24,
            },
        },
        "data": {
            "train": {"path": "data/train.jsonl"},
            "evaluation": {"path": "data/eval.jsonl"},
            "splits": {"core": 0.4, "held_out": 0.5, "reserve": 0.1, "stratify": "expected.intent"},
        },
        "diagnose": {"try_cheap": False},  # a process less for every test of the loop; what it does has tests of its own
        "eval": {"checks": [{"kind": "choice", "path": "intent"}], "slices": ["channel"], "floor": ["majority", "bm25_nearest"]},
    } | changes


def make_workspace(root: Path, *, profile: dict[str, Any] | None = None, targets: dict[str, float] | None = None, max_iterations: int = 1) -> Workspace:
    """A workspace with the cluster `tickets` on the scripted double."""
    workspace = Workspace(root)
    write_domain(workspace, "tickets", domain_file(), train=rows(0, 160), evaluation=rows(1000, 240))
    clusters = {
        "models": {"double": {"kind": "scripted", "training_steps": 4} | (profile or {})},
        "clusters": {"tickets": {"domain": "tickets", "model": "double", "targets": targets or {}}},
        "budgets": {"default": {"max_iterations": max_iterations, "max_minutes": 10}},
    }
    workspace.clusters_file.write_text(json.dumps(clusters, indent=2))
    return workspace


def write_domain(workspace: Workspace, name: str, domain: dict[str, Any], *, train: list[dict[str, Any]], evaluation: list[dict[str, Any]]) -> None:
    """A domain folder with its rows."""
    folder = workspace.domain(name)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "domain.yaml").write_text(yaml.safe_dump(domain, sort_keys=False))
    for file, content in (("train", train), ("eval", evaluation)):
        (folder / "data" / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))


def finish(engine: Engine, run_id: str, *, seconds: float = 300.0, until: Callable[[Run], bool] | None = None) -> Run:
    """Ticks until the run has ended (or `until` holds)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        engine.tick()
        run = engine.supervisor.get(run_id)
        if until(run) if until else run.state in FINAL_STATES:
            return run
        time.sleep(0.03)
    raise AssertionError(f"{run_id} is still {engine.supervisor.get(run_id).state} after {seconds} s: {[ (r.step, r.state) for r in engine.supervisor.list(parent=run_id)]}")
