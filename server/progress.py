"""Progress in words, the same in a notification, a terminal and a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def progress_line(status: Mapping[str, Any]) -> str:
    """Where a run stands, in one line: `1.train: training 12/50, loss 0.413, about 2 min left`. Works on `run_status` results."""
    progress = status.get("progress")
    return _in_words(progress) if progress else str(status.get("state", ""))


def _in_words(progress: Mapping[str, Any]) -> str:
    step, total = progress.get("step"), progress.get("total")
    place = "" if step is None else f" {step}/{total}" if total is not None else f" {step}"
    parts = [progress["phase"] + place]
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.3f}")
    if progress.get("score") is not None:
        parts.append(f"score {progress['score']:.3f}")
    if progress.get("eta_seconds") is not None:
        parts.append(f"about {duration(progress['eta_seconds'])} left")
    if step is None and progress.get("message"):
        parts.append(progress["message"])
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`2.4 s`, `45 s`, `3 min`, `2.5 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
