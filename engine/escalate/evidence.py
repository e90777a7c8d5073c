"""The files that an escalation is judged by: bounded, redacted, and marked as data. Each with what it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.diagnose.types import FailurePattern
from engine.escalate.redaction import MARK, Redaction, bounded, fenced
from engine.jobs.types import Run

FILE_BYTES = 32 << 10
Files = dict[str, tuple[str, bytes]]


def of_run_files(run: Run, steps: Sequence[Run], events: Sequence[Mapping[str, Any]], log: Path, redaction: Redaction) -> Files:
    """Of a run that failed: what is recorded of it and its steps, and the end of the log of the worker that failed."""
    recorded = {
        "note": MARK,
        "run": run.model_dump(mode="json", exclude={"output"}),
        "steps": [step.model_dump(mode="json", include={"id", "kind", "step", "state", "epoch", "error"}) for step in steps],
        "events": list(events)[-40:],
    }
    files = {"run.json": ("the run, its steps and its events, as they are recorded", _json(redaction.value(recorded)))}
    if said := _tail(log):
        text = bounded(redaction.text(said), FILE_BYTES, keep="end")
        files["worker.log"] = ("the end of the log of the worker that failed", f"{MARK}\n{text}\n".encode())
    return files


def of_pattern_files(pattern: FailurePattern, examples: Sequence[Mapping[str, Any]], redaction: Redaction) -> Files:
    """Of a failure pattern: what diagnosis says of it, and some of its core items. Held-out items have no patterns."""
    blocks = [MARK]
    for example in examples:
        blocks += ["", fenced(bounded(json.dumps(redaction.value(example), indent=1, ensure_ascii=False), FILE_BYTES // max(1, len(examples)) - 200))]
    found = pattern.model_dump(mode="json", exclude={"plan"})
    return {
        "pattern.json": ("the failure pattern, as diagnosis found it", _json(redaction.value({"note": MARK, "pattern": found}))),
        "examples.md": ("some of its core items: input, expected and given answer", ("\n".join(blocks) + "\n").encode()),
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return bounded(json.dumps(value, indent=1, ensure_ascii=False) + "\n", FILE_BYTES).encode()


def _tail(log: Path) -> str:
    """The last lines of a worker's log; empty where it has none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 2 * FILE_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
