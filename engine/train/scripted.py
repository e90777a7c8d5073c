"""A pretended training for tests of everything around one: steps, progress, checkpoints, kills and cancellation, without torch.

The adapter's bytes come from a chain of hashes with a link for each step, so a run that skipped or repeated a step after a kill would
show in its digest. Answers of the scripted generator follow the `skill` that stands in `scripted.json`.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable

from engine.base.digests import canonical_json, sha256_hex, tree_sha256
from engine.base.files import read_json, write_atomic, write_json
from engine.base.paths import RunPaths
from engine.config import ScriptedProfile
from engine.generate.types import Fingerprint, FingerprintProbe
from engine.jobs.types import Progress
from engine.train.jobs import TrainJob
from engine.train.types import TrainOutput


def train_scripted(
    job: TrainJob, profile: ScriptedProfile, paths: RunPaths, report: Callable[[Progress], None], check_cancelled: Callable[[], None]
) -> TrainOutput:
    """Takes `profile.training_steps` steps of `profile.delay_seconds` each, going on from its checkpoint when there is one."""
    began = time.monotonic()
    checkpoint = paths.work / "scripted.json"
    start = {"step": 0, "chain": sha256_hex(canonical_json([job.dataset_digest, job.plan.seed]))}
    found = read_json(checkpoint) if checkpoint.is_file() else start
    resumed_from_step = step = int(found["step"])
    chain = str(found["chain"])
    while step < profile.training_steps:
        check_cancelled()
        time.sleep(profile.delay_seconds)
        step += 1
        chain = sha256_hex(f"{chain}/{step}".encode())
        write_json(checkpoint, {"step": step, "chain": chain})
        left = (profile.training_steps - step) * profile.delay_seconds
        report(Progress(phase="training", step=step, total=profile.training_steps, loss=round(_loss(step), 4), eta_seconds=left))
    check_cancelled()

    adapter = paths.outputs / "adapter"
    skill = {"skill": profile.trained_skill, "seed": job.plan.seed, "data": job.dataset_digest, "steps": profile.training_steps}
    write_json(adapter / "scripted.json", skill)
    write_atomic(adapter / "adapter_model.safetensors", _safetensors(bytes.fromhex(chain)))
    digest = tree_sha256(adapter)
    fingerprint = Fingerprint(weights=digest, probes=(FingerprintProbe(token_ids=(0, 1), logprobs=(-int(digest[:4], 16) / 65536,)),))
    write_atomic(paths.outputs / "fingerprint.json", fingerprint.model_dump_json().encode())
    write_json(paths.outputs / "losses.json", [_loss(taken) for taken in range(1, profile.training_steps + 1)])
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
        base=job.base.digest if job.base is not None else "scripted",
        dataset=job.dataset_digest,
        plan=job.plan,
    )


def _loss(step: int) -> float:
    return 2.0 / (1.0 + 0.3 * step)


def _safetensors(data: bytes) -> bytes:
    """A safetensors file with `data` as its only tensor."""
    header = json.dumps({"chain": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + data
