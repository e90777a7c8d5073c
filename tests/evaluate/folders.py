"""Domain folders on disk for the tests of compiling and of the workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from engine.base.paths import Workspace
from tests.evaluate.samples import INTENT_SCHEMA

LABELS = ("refund", "delivery", "login")
PLACES = ("Oslo", "Bergen", "Paris", "Madrid", "Rome", "Lima", "Quito", "Cairo", "Accra", "Dakar", "Perth", "Osaka")


def sentence(number: int) -> str:
    """A message unlike the others, whose label follows from a word in it."""
    word = {"refund": "money back", "delivery": "parcel late", "login": "password lost"}[LABELS[number % 3]]
    place, other = PLACES[number % 12], PLACES[number // 12 % 12]
    return f"{place} {number * 7919 % 9973}: {word} since {number * 104729 % 99991}, {other} said {number * 15485863 % 99991}"


def rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "input": {"message": sentence(n)}, "expected": {"intent": LABELS[n % 3]}, "tags": {"channel": ("mail", "chat")[n % 2]}}
        for n in range(start, start + count)
    ]


def domain_yaml(**blocks: Any) -> dict[str, Any]:
    return {
        "title": "Tickets",
        "contract": {
            "description": "d",
            "system": "Answer as JSON.",
            "user": "{{ message }}",
            "output": {"json_schema": INTENT_SCHEMA, "max_tokens": 24},
        },
        "data": {"train": {"path": "train.jsonl"}, "evaluation": {"path": "eval.jsonl"}, "splits": {"stratify": "expected.intent"}},
        "eval": {"checks": [{"kind": "choice", "path": "intent"}], "slices": ["channel"], "floor": ["majority", "bm25_nearest", "tagger"]},
    } | blocks


def write_folder(root: Path, *, train: Any = None, evaluation: Any = None, domain: dict[str, Any] | None = None, name: str = "tickets") -> Workspace:
    """A workspace with one domain. Rows are records, or the bytes of the file."""
    workspace = Workspace(root)
    workspace.domain(name).mkdir(parents=True, exist_ok=True)
    (workspace.domain(name) / "domain.yaml").write_text(yaml.safe_dump(domain or domain_yaml(), sort_keys=False))
    for file, content in (("train", rows(60) if train is None else train), ("eval", rows(60, start=1000) if evaluation is None else evaluation)):
        data = content if isinstance(content, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in content)
        (workspace.domain(name) / f"{file}.jsonl").write_bytes(data)
    return workspace
