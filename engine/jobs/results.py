"""From what a worker left in its run directory to what goes into the store.

A worker is not trusted with the store: its result must be well-formed JSON of its own run and epoch, its output small, its artefacts plain
files inside the run directory. Whatever it is, the run ends in a recorded state: a result that cannot be accepted is a failure with a reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from engine.base.digests import canonical_json
from engine.base.files import disk_is_full, inside, parse_strict
from engine.base.paths import RunPaths
from engine.errors import ModelsmithError, NotFound, ResourceExhausted, TooLarge, WorkerCrashed
from engine.jobs.types import RunError, RunResult
from engine.store.artifacts import Artifacts

MAX_OUTPUT_BYTES = 256 << 10
MAX_ERROR_CHARACTERS = 4000
"""Of each text of an error, and of its details."""
LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 3
LOG_TAIL_CHARACTERS = 400


class Ending(NamedTuple):
    """How an attempt ended, ready for the store."""

    state: Literal["succeeded", "failed", "cancelled"]
    output: dict[str, Any] | None = None
    error: RunError | None = None
    seconds: float = 0.0
    peak_rss_bytes: int = 0


def failure(error: ModelsmithError, result: RunResult | None = None) -> Ending:
    """A failed attempt with `error`."""
    record = _clipped(RunError.model_validate(error.as_record()))
    if result is None:
        return Ending("failed", error=record)
    return Ending("failed", error=record, seconds=result.seconds, peak_rss_bytes=result.peak_rss_bytes)


def read_result(paths: RunPaths, epoch: int) -> RunResult | Ending | None:
    """The result of attempt `epoch`: None when it left none (an older attempt's does not count), a failure when it cannot be read."""
    try:
        data = paths.result.read_bytes()
    except FileNotFoundError:
        return None
    try:
        result = RunResult.model_validate(parse_strict(data))
    except (ValueError, ValidationError) as error:
        return failure(_refused(paths, f"it is not a result: {str(error)[:300]}"))
    if result.epoch < epoch:
        return None
    if result.epoch != epoch or result.run_id != paths.root.name:
        return failure(_refused(paths, f"it belongs to attempt {result.epoch} of {result.run_id[:96]}"))
    return result


def collect(paths: RunPaths, result: RunResult, artifacts: Artifacts) -> Ending:
    """Stores the artefacts of a result and names them by digest in its output. ResourceExhausted passes through: it is no fault of the run."""
    if result.state != "succeeded":
        error = None if result.error is None else _clipped(result.error)
        return Ending(result.state, error=error, seconds=result.seconds, peak_rss_bytes=result.peak_rss_bytes)
    try:
        output = dict(result.output)
        if "artifacts" in output:
            output["artifacts"] = {name: _store(paths.root, relative, artifacts) for name, relative in output["artifacts"].items()}
        size = len(canonical_json(output))
        if size > MAX_OUTPUT_BYTES:
            raise TooLarge(
                f"the output of {result.run_id} has {size} bytes; the limit is {MAX_OUTPUT_BYTES}",
                next_step="Write what is large to a file and name it under `artifacts`.",
            )
    except ModelsmithError as error:
        return failure(error, result)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if disk_is_full(error):
            raise ResourceExhausted(f"no space for the artefacts of {result.run_id}", next_step="Free disk space; the run then goes on.") from error
        return failure(_refused(paths, f"{type(error).__name__}: {str(error)[:300]}"), result)
    return Ending("succeeded", output=output, seconds=result.seconds, peak_rss_bytes=result.peak_rss_bytes)


def log_tail(log: Path) -> str:
    """The last lines of a worker's log on one line, without control characters; it may hold anything that a model or a user wrote."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()][-LOG_TAIL_LINES:]
    return "".join(character if character.isprintable() else " " for character in " | ".join(lines))[-LOG_TAIL_CHARACTERS:]


def _clipped(error: RunError) -> RunError:
    """The error in a size that a journal line and a surface can hold."""
    texts = {name: getattr(error, name)[:MAX_ERROR_CHARACTERS] for name in ("code", "message", "next_step")}
    details = str(error.details)
    kept = error.details if len(details) <= MAX_ERROR_CHARACTERS else {"clipped": details[:MAX_ERROR_CHARACTERS]}
    return RunError(**texts, details=kept)


def _store(root: Path, relative: str, artifacts: Artifacts) -> str:
    path = inside(root, relative)
    if path.is_dir():
        return artifacts.put_directory(path)
    if not path.exists():
        raise NotFound(f"the result names the file {relative[:200]!r}, which is not there", next_step="Report this as a defect of the worker.")
    return artifacts.put_file(path)


def _refused(paths: RunPaths, why: str) -> WorkerCrashed:
    return WorkerCrashed(f"the result of {paths.root.name} cannot be accepted: {why}", next_step="Report this as a defect of the worker.")
