"""Trains a version: rows and plan in, an adapter with its evidence out.

    work/checkpoints/        resumable points (private; see `checkpoints.py`)
    outputs/
      adapter/               safetensors and configuration; its digest names the version
      merged/                the base with the adapter added in, where this machine serves merged weights
      fingerprint.json       log-probabilities by which a server can prove that it answers with these weights
      losses.json            one loss a step
      row_losses.json        SFT: what is left of each row's loss at the end
      stable/                SFT: the adapter from before the rate fell, where another round may go on from it
      rewards.json           GRPO: the figures of each step (reward, spread, length, form, diversity)

Killed at any instant, the same run started again goes on from its newest verified checkpoint and ends with the same adapter. Outputs are
made afresh each time and count only through result.json.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base.digests import tree_sha256
from engine.base.files import disk_is_full, read_json, write_atomic, write_json
from engine.base.paths import RunPaths, Workspace
from engine.config import ScriptedProfile
from engine.errors import ArgumentInvalid, DependencyMissing, ResourceExhausted
from engine.evaluate.compile import load_compiled
from engine.generate.fingerprint import fingerprint_probe_texts
from engine.generate.integrity import refuse_altered
from engine.generate.types import Fingerprint
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker
from engine.train.adapter_file import refuse_untrained
from engine.train.environment import enter_environment, training_environment
from engine.train.jobs import TrainJob
from engine.train.reward import Rubric
from engine.train.rows import CuratedRow, PairRow, read_dataset, read_pairs
from engine.train.scripted import train_scripted
from engine.train.types import TrainOutput

if TYPE_CHECKING:
    from engine.train.sft import Trained

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def train(context: WorkerContext) -> dict[str, Any]:
    """The body of a training run."""
    job = TrainJob.model_validate(context.config.job)
    pairs = read_pairs(Path(job.dataset), job.dataset_digest) if job.plan.method == "dpo" else []
    rows = chosen_rows(pairs) if job.plan.method == "dpo" else read_dataset(Path(job.dataset), job.dataset_digest)
    refuse_altered("base", Path(job.base.directory), job.base.digest)
    if job.warm_start is not None and job.warm_start_digest is not None:
        refuse_altered("adapter", Path(job.warm_start), job.warm_start_digest)
    if context.paths.outputs.exists():
        shutil.rmtree(context.paths.outputs)
    with foreign_errors_named():
        if isinstance(job.profile, ScriptedProfile):
            output = train_scripted(job, job.profile, context.paths, context.report, context.check_cancelled)
        else:
            output = train_managed(job, rows, pairs, context)
    shutil.rmtree(context.paths.work / "checkpoints", ignore_errors=True)
    artifacts = {"adapter": output.adapter_dir, "fingerprint": output.fingerprint, "losses": output.losses}
    if output.merged_dir is not None:
        artifacts["merged"] = output.merged_dir
    if output.row_losses is not None:
        artifacts["row_losses"] = output.row_losses
    if output.stable_dir is not None:
        artifacts["stable"] = output.stable_dir
    if output.rewards is not None:
        artifacts["rewards"] = output.rewards
    return {**output.model_dump(mode="json"), "artifacts": artifacts}


def train_managed(job: TrainJob, rows: list[CuratedRow], pairs: list[PairRow], context: WorkerContext) -> TrainOutput:
    """Trains a real model and writes what serving it needs."""
    if job.plan.method == "grpo":
        return train_by_rewards(job, rows, context)
    if job.plan.method == "dpo":
        from engine.train.dpo import train_dpo

        return saved(job, rows, train_dpo(job, pairs, context.paths.work, context.report, context.check_cancelled), context)
    from engine.train.sft import train_adapter

    return saved(job, rows, train_adapter(job, rows, context.paths.work, context.report, context.check_cancelled), context)


def train_by_rewards(job: TrainJob, rows: list[CuratedRow], context: WorkerContext) -> TrainOutput:
    """Trains with the domain's rubric as reward; the rewards curve stands beside the losses."""
    from engine.train.grpo import train_grpo

    if job.domain_digest is None:
        raise ArgumentInvalid("GRPO needs the domain whose rubric is the reward, and this job names none", next_step="Start it with domain_digest.")
    rubric = Rubric(load_compiled(Workspace(Path(context.config.workspace)), job.domain_digest), [row.id for row in rows])
    rewarded = train_grpo(job, rows, rubric, context.paths.work, context.report, context.check_cancelled)
    output = saved(job, rows, rewarded.trained, context)
    write_json(context.paths.outputs / "rewards.json", [figures.model_dump(mode="json") for figures in rewarded.curve])
    found = {"rewards": "outputs/rewards.json", "preflight": rewarded.preflight, "finding": rewarded.finding, "kept_step": rewarded.kept_step}
    return output.model_copy(update=found)


def saved(job: TrainJob, rows: list[CuratedRow], trained: Trained, context: WorkerContext) -> TrainOutput:
    """The outputs of a finished training."""
    context.check_cancelled()
    context.report(Progress(phase="saving", message="writing the adapter" + (" and the merged weights" if job.plan.merge else "")))
    return write_outputs(job, rows, trained, context.paths)


def chosen_rows(pairs: list[PairRow]) -> list[CuratedRow]:
    """The rows that the preferred answers make: what the fingerprint is computed on."""
    return [CuratedRow(id=pair.id, messages=pair.messages, completion=pair.chosen) for pair in pairs]


def write_outputs(job: TrainJob, rows: list[CuratedRow], trained: Trained, paths: RunPaths) -> TrainOutput:
    """Adapter, merged weights, fingerprint and loss curve of a finished training."""
    from engine.generate.fingerprint_torch import compute_fingerprint
    from engine.train.sft import STABLE, load_base
    from engine.train.weights import merge, save_adapter

    outputs = paths.outputs
    save_adapter(trained.model, outputs / "adapter", base_digest=job.base.digest)
    refuse_untrained(outputs / "adapter")
    stable = paths.work / STABLE
    if stable.is_dir():
        shutil.copytree(stable, outputs / STABLE)
    adapter = tree_sha256(outputs / "adapter")
    if job.plan.merge:
        merge(Path(job.base.directory), outputs / "adapter", outputs / "merged")
        trained.model = None  # the fingerprint is of what will be served; two models need not be in memory for it
        trained.model = load_base(str(outputs / "merged"), job.plan, job.device)
    texts = fingerprint_probe_texts([conversation(row, trained.tokenizer, job) for row in rows])
    fingerprint: Fingerprint = compute_fingerprint(trained.model, trained.tokenizer, texts, weights=adapter)
    write_atomic(outputs / "fingerprint.json", fingerprint.model_dump_json().encode())
    write_json(outputs / "losses.json", trained.losses)
    if trained.row_losses:
        write_json(outputs / "row_losses.json", trained.row_losses)
    return TrainOutput(
        adapter=adapter,
        adapter_dir="outputs/adapter",
        merged_dir="outputs/merged" if job.plan.merge else None,
        fingerprint="outputs/fingerprint.json",
        steps=len(trained.losses),
        first_loss=trained.losses[0],
        final_loss=trained.losses[-1],
        tokens=trained.tokens,
        train_seconds=round(trained.seconds, 3),
        resumed_from_step=trained.resumed_from_step,
        losses="outputs/losses.json",
        row_losses="outputs/row_losses.json" if trained.row_losses else None,
        stable_dir=f"outputs/{STABLE}" if stable.is_dir() else None,
        base=job.base.digest,
        dataset=job.dataset_digest,
        warm_start=None if job.warm_start is None else tree_sha256(Path(job.warm_start)),
        plan=job.plan,
    )


def conversation(row: CuratedRow, tokenizer: Any, job: TrainJob) -> str:
    """A row as the text that was trained on."""
    prompt = tokenizer.apply_chat_template([message.model_dump() for message in row.messages], tokenize=False, add_generation_prompt=True)
    return f"{prompt}{row.completion}{getattr(job.profile, 'stop_token', '')}"


@contextmanager
def foreign_errors_named() -> Iterator[None]:
    """Turns what libraries raise for want of a package, memory or disk into errors that say what to do."""
    try:
        yield
    except ImportError as error:
        raise DependencyMissing(f"training needs a package that is missing: {error}", next_step="Run `make setup` again.") from error
    except MemoryError as error:
        raise _exhausted("memory", error) from error
    except OSError as error:
        if disk_is_full(error):
            raise _exhausted("disk", error) from error
        raise
    except RuntimeError as error:  # torch has an error of its own for a GPU, and says it in words on a CPU
        if any(words in str(error).lower() for words in OUT_OF_MEMORY) or type(error).__name__ == "OutOfMemoryError":
            raise _exhausted("memory", error) from error
        raise


def _exhausted(what: str, error: BaseException) -> ResourceExhausted:
    advice = {
        "memory": "Free memory, or give the cluster a smaller model: a round tries smaller micro batches and gradient checkpointing by itself.",
        "disk": "Free disk space: the run then goes on by itself, from its newest checkpoint.",
    }
    return ResourceExhausted(f"training ran out of {what}: {str(error)[:300]}", next_step=advice[what], resource=what)


if __name__ == "__main__":
    told = read_json(RunPaths(Path(sys.argv[1])).config)["job"]
    if told["profile"]["kind"] == "managed":
        enter_environment(training_environment(told["device"]))
    run_worker(train)
