"""Direct preference optimisation with TRL, from pairs of answers to training prompts. Imported by the training worker alone (loads torch).

Promises as SFT's: equal base, adapter to start from, pairs, plan and machine give the same adapter, killed and resumed or not; every setting is
stated; no pair is cut. The reference is the policy as training began: its log-probabilities of all pairs are computed once, before the first
step, so no second adapter is held or run. A resumed run computes them again from the same weights, and gets the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from engine.jobs.types import Progress
from engine.train import checkpoints
from engine.train.adapters import load_tokenizer, starting_model, trainable_profile
from engine.train.arguments import common_arguments
from engine.train.jobs import TrainJob
from engine.train.order import training_order
from engine.train.rows import PairRow, TokenPair, tokenise_pairs
from engine.train.sft import InOrder, Trained, Watcher, use_base_type
from engine.train.types import DpoPlan, TrainPlan


def train_dpo(
    job: TrainJob, pairs: Sequence[PairRow], work: Path, report: Callable[[Progress], None], check_cancelled: Callable[[], None]
) -> Trained:
    """Trains on `pairs`, going on from the newest checkpoint under `work` that verifies."""
    profile, plan = trainable_profile(job), job.plan
    assert plan.dpo is not None
    report(Progress(phase="loading", message=f"loading {profile.title}"))
    tokenizer = load_tokenizer(job, profile)
    tokens = tokenise_pairs(pairs, tokenizer, stop_token=profile.stop_token, max_length=plan.max_length)
    lengths = [len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in tokens]
    wanted = plan.dpo.steps * plan.dpo.pairs_per_step
    order = training_order(lengths, batch_size=plan.batch_size, epochs=math.ceil(wanted / len(tokens)), seed=plan.seed)[:wanted]
    point = checkpoints.latest(work / "checkpoints")
    seen = [2 * len(tokens[at].prompt_ids) + len(tokens[at].chosen_ids) + len(tokens[at].rejected_ids) for at in order]
    watcher = Watcher(seen, plan.batch_size, point, report, check_cancelled)
    check_cancelled()
    model = starting_model(job, tokenizer, check_cancelled)
    trainer = PairTrainer(
        model=model,
        args=arguments(plan, plan.dpo, work / "checkpoints", cpu=job.device == "cpu"),
        train_dataset=as_dataset(tokens, order),
        processing_class=tokenizer,
        callbacks=[watcher],
    )
    use_base_type(trainer.model)
    if job.device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    trainer.train(resume_from_checkpoint=None if point is None else str(point.directory))
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return Trained(trainer.model, tokenizer, losses, watcher.tokens, watcher.seconds(), 0 if point is None else point.step)


def as_dataset(tokens: Sequence[TokenPair], order: Sequence[int]) -> Dataset:
    """The pairs in the order of training."""
    return Dataset.from_dict({name: [getattr(tokens[at], name) for at in order] for name in ("prompt_ids", "chosen_ids", "rejected_ids")})


def arguments(plan: TrainPlan, dpo: DpoPlan, output: Path, *, cpu: bool) -> DPOConfig:
    """Every setting of the trainer. The pairs' order already holds all passes, so the trainer sees one."""
    return DPOConfig(
        beta=dpo.beta,
        loss_type=[dpo.loss],
        label_smoothing=0.0,
        f_divergence_type="reverse_kl",
        precompute_ref_log_probs=True,
        max_length=None,
        padding_free=False,
        disable_dropout=True,
        save_total_limit=checkpoints.KEPT,
        **common_arguments(plan, output, cpu=cpu),
    )


class PairTrainer(DPOTrainer):
    """TRL's trainer with our tokens, our order of pairs, one reference pass and lean checkpoints."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """The reference's log-probabilities as columns; TRL would keep them in a cache on disk. The copy of the adapter is not needed after."""
        chosen: list[float] = []
        rejected: list[float] = []
        for at in range(0, len(dataset), batch_size):
            batch = self._prepare_inputs(self.data_collator([dataset[index] for index in range(at, min(at + batch_size, len(dataset)))]))
            good, bad = self.compute_ref_log_probs(self.model, batch)  # type: ignore[no-untyped-call]
            chosen.extend(good.float().tolist())
            rejected.extend(bad.float().tolist())
        model: Any = self.model
        if "ref" in model.peft_config:
            model.delete_adapter("ref")
        return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)

    def _get_train_sampler(self, train_dataset: Any = None) -> InOrder:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return InOrder(len(rows))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        model: Any = self.model
        model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict, save_embedding_layers=False)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a checkpoint is private to its run."""
