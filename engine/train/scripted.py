"""A pretended training for tests of everything around one: steps, progress, checkpoints, kills and cancellation, without torch.

The adapter's bytes come from a chain of hashes with a link for each step, so a run that skipped or repeated a step after a kill would
show in its digest. What the weights answer is decided in `engine/generate/scripted_rule.py`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base.digests import canonical_json, sha256_hex, tree_sha256
from engine.base.files import read_json, read_jsonl, write_atomic, write_json
from engine.base.paths import RunPaths
from engine.config import ScriptedProfile
from engine.generate.scripted import scripted_fingerprint, write_scripted_weights
from engine.jobs.types import Progress
from engine.train.checkpoints import KEPT, latest, seal
from engine.train.jobs import TrainJob
from engine.train.types import TrainOutput

STATE = "state.json"
"""In a checkpoint: how far the training is."""


def train_scripted(
    job: TrainJob, profile: ScriptedProfile, paths: RunPaths, report: Callable[[Progress], None], check_cancelled: Callable[[], None]
) -> TrainOutput:
    """Takes `profile.training_steps` steps of `profile.delay_seconds` each, going on from its checkpoint when there is one."""
    began = time.monotonic()
    checkpoints = paths.work / "checkpoints"
    went_on_from = [] if job.warm_start is None else [tree_sha256(Path(job.warm_start))]
    start: dict[str, Any] = {"step": 0, "chain": sha256_hex(canonical_json([job.dataset_digest, job.plan.seed, *went_on_from]))}
    newest = latest(checkpoints)
    found: dict[str, Any] = start if newest is None else read_json(newest.directory / STATE)
    resumed_from_step = step = int(found["step"])
    chain = str(found["chain"])
    while step < profile.training_steps:
        check_cancelled()
        time.sleep(profile.delay_seconds)
        step += 1
        chain = sha256_hex(f"{chain}/{step}".encode())
        _keep(checkpoints, step, chain)
        left = (profile.training_steps - step) * profile.delay_seconds
        report(Progress(phase="training", step=step, total=profile.training_steps, loss=round(_loss(step), 4), eta_seconds=left))
    check_cancelled()

    adapter = paths.outputs / "adapter"
    write_scripted_weights(adapter, skill=profile.trained_skill, identity=chain)
    digest = tree_sha256(adapter)
    fingerprint = scripted_fingerprint(adapter, digest)
    write_atomic(paths.outputs / "fingerprint.json", fingerprint.model_dump_json().encode())
    write_json(paths.outputs / "losses.json", [_loss(taken) for taken in range(1, profile.training_steps + 1)])
    if job.score_rows:
        write_json(paths.outputs / "row_losses.json", _row_losses(job, profile))
    return TrainOutput(
        adapter=digest,
        adapter_dir="outputs/adapter",
        merged_dir=None,
        fingerprint="outputs/fingerprint.json",
        steps=profile.training_steps,
        first_loss=_loss(1),
        final_loss=_loss(profile.training_steps),
        tokens=0,
        train_seconds=round(time.monotonic() - began, 3),
        resumed_from_step=resumed_from_step,
        losses="outputs/losses.json",
        row_losses="outputs/row_losses.json" if job.score_rows else None,
        base=job.base.digest,
        dataset=job.dataset_digest,
        warm_start=went_on_from[0] if went_on_from else None,
        plan=job.plan,
    )


def _keep(checkpoints: Path, step: int, chain: str) -> None:
    """A checkpoint, sealed like one of a real training; older ones go."""
    directory = checkpoints / f"checkpoint-{step}"
    write_json(directory / STATE, {"step": step, "chain": chain})
    seal(directory, step=step, seconds=0.0, tokens=0)
    shutil.rmtree(checkpoints / f"checkpoint-{step - KEPT}", ignore_errors=True)


def _row_losses(job: TrainJob, profile: ScriptedProfile) -> dict[str, float]:
    rows = sorted({str(row["id"]) for row in read_jsonl(Path(job.dataset))})
    return {row: (1.5 if row in profile.unlikely_rows else 0.02) * (1 + at % 7 / 10) for at, row in enumerate(rows)}


def _loss(step: int) -> float:
    return 2.0 / (1.0 + 0.3 * step)
