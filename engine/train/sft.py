"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT. Imported by the training worker alone, because it loads torch.

Promises: equal base, rows, plan and machine give the same adapter bytes, whether the run went through in one go or was killed and
resumed; rows are read in an order fixed beforehand; every setting is stated, none is a library's default; no row is cut.

What differs from TRL's own ways, each for a measured reason (`bench/training.py` shows the sum of it):

* the loss is computed on completion positions only: TRL's fused head scores the prompt too, and an entropy besides, where there is no Triton;
* adapter products run in the base's type over 32-bit master weights: PEFT's own go through 32-bit activations, which is slow on a CPU;
* rows are tokenised here and read in our order, so nothing depends on a cache or on a random generator's state;
* a checkpoint holds what resuming needs and no more (no tokenizer, no model card, no pickled arguments).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as LoraLinear
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from engine.config import ModelProfile
from engine.errors import DependencyMissing, TrainingDiverged
from engine.jobs.types import Progress
from engine.train import checkpoints
from engine.train.jobs import TrainJob
from engine.train.order import training_order
from engine.train.rows import CuratedRow, TokenRow, tokenise
from engine.train.types import TrainPlan

_SECONDS_BETWEEN_REPORTS = 0.5
_SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
_LOGIT_CHANGES = ("final_logit_softcapping", "logits_scaling", "logit_scale")


class Trained:
    """A finished training: the model in memory, its tokenizer and what the steps showed."""

    def __init__(self, model: Any, tokenizer: Any, losses: list[float], tokens: int, seconds: float, resumed_from_step: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.losses = losses
        self.tokens = tokens
        self.seconds = seconds
        self.resumed_from_step = resumed_from_step


def train_adapter(
    job: TrainJob, rows: Sequence[CuratedRow], work: Path, report: Callable[[Progress], None], check_cancelled: Callable[[], None]
) -> Trained:
    """Trains on `rows`, going on from the newest checkpoint under `work` that verifies. `check_cancelled` raises to stop, between batches."""
    if job.base is None or not isinstance(job.profile, ModelProfile):
        raise DependencyMissing(f"the base model of {job.model} is not prepared", next_step="Run set-up, or onboard the model again.")
    if job.plan.base_quantization == "nf4" and not torch.cuda.is_available():
        raise DependencyMissing("training on an nf4 base needs a GPU that torch can use", next_step="Install the CUDA build of torch.")
    plan = job.plan
    report(Progress(phase="loading", message=f"loading {job.profile.title}"))
    tokenizer = AutoTokenizer.from_pretrained(job.base.directory, local_files_only=True)
    tokens = tokenise(rows, tokenizer, stop_token=job.profile.stop_token, max_length=plan.max_length)
    order = training_order([len(row.input_ids) for row in tokens], batch_size=plan.batch_size, epochs=plan.epochs, seed=plan.seed)
    point = checkpoints.latest(work / "checkpoints")
    watcher = Watcher([len(tokens[index].input_ids) for index in order], plan.batch_size, point, report, check_cancelled)
    check_cancelled()
    trainer = CompletionTrainer(
        model=load_base(job.base.directory, plan, job.device),
        args=arguments(plan, work / "checkpoints", cpu=job.device == "cpu"),
        train_dataset=as_dataset(tokens, order),
        processing_class=tokenizer,
        peft_config=lora_config(plan),
        callbacks=[watcher],
    )
    trainer.check_cancelled = check_cancelled
    use_base_type(trainer.model)
    if job.device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    trainer.train(resume_from_checkpoint=None if point is None else str(point.directory))
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return Trained(trainer.model, tokenizer, losses, watcher.tokens, watcher.seconds(), 0 if point is None else point.step)


def load_base(directory: str, plan: TrainPlan, device: str) -> Any:
    """The frozen base, in the plan's type, quantised where the plan says so."""
    quantised: dict[str, Any] = {}
    if plan.base_quantization == "nf4":
        quantised = {
            "quantization_config": BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
            ),
            "device_map": {"": 0},
        }
    model = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=getattr(torch, plan.dtype),
        attn_implementation="eager" if device == "cpu" else "sdpa",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **quantised,
    )
    model.config.use_cache = False
    return model


def lora_config(plan: TrainPlan) -> LoraConfig:
    """The adapter's shape for PEFT."""
    targets = plan.lora.target_modules
    return LoraConfig(
        r=plan.lora.rank,
        lora_alpha=plan.lora.alpha,
        lora_dropout=plan.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def arguments(plan: TrainPlan, output: Path, *, cpu: bool) -> SFTConfig:
    """Every setting of the trainer. The rows' order already holds all epochs, so the trainer sees one."""
    return SFTConfig(
        output_dir=str(output),
        num_train_epochs=1,
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.batch_size // plan.micro_batch_size,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=_SCHEDULERS[plan.scheduler],
        warmup_steps=plan.warmup_share,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_grad_norm,
        optim="adamw_torch_fused",
        gradient_checkpointing=plan.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if plan.gradient_checkpointing else None,
        bf16=False,
        fp16=False,
        tf32=None,
        use_cpu=cpu,
        packing=False,
        padding_free=False,
        max_length=None,
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=not cpu,
        seed=plan.seed,
        data_seed=plan.seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=plan.checkpoint_every_steps,
        save_total_limit=checkpoints.KEPT,
        push_to_hub=False,
    )


def as_dataset(tokens: Sequence[TokenRow], order: Sequence[int]) -> Dataset:
    """The rows in the order of training, with the prompt's positions left out of the loss."""
    rows = [tokens[index] for index in order]
    return Dataset.from_dict(
        {
            "input_ids": [row.input_ids for row in rows],
            "labels": [[-100] * row.prompt_tokens + row.input_ids[row.prompt_tokens :] for row in rows],
        }
    )


class InOrder(torch.utils.data.Sampler[int]):
    """Rows as they stand."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with our loss, our order of rows and lean checkpoints."""

    check_cancelled: Callable[[], None]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Mean negative log-likelihood over completion tokens. The vocabulary projection, half of a small model, runs on those positions only."""
        self.check_cancelled()
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        labels = inputs["labels"][:, 1:]
        scored = labels != -100
        tensors = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        if any(getattr(base.config.get_text_config(), name, None) not in (None, 1.0) for name in _LOGIT_CHANGES):
            logits = base(**tensors, use_cache=False).logits[:, :-1][scored].float()  # a head with more to it than a product
        else:
            hidden = base.base_model(**tensors, use_cache=False).last_hidden_state[:, :-1]
            logits = base.get_output_embeddings()(hidden[scored]).float()
        count = num_items_in_batch if num_items_in_batch is not None else scored.sum()
        loss = functional.cross_entropy(logits, labels[scored], reduction="sum") / count
        return (loss, {"logits": logits}) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> InOrder:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return InOrder(len(rows))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        model: Any = self.model
        model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict, save_embedding_layers=False)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a checkpoint is private to its run."""


class Watcher(TrainerCallback):
    """Reports progress, stops on a loss that is no number, and seals checkpoints."""

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        point: checkpoints.Checkpoint | None,
        report: Callable[[Progress], None],
        check_cancelled: Callable[[], None],
    ) -> None:
        self.step_tokens = [sum(lengths[at : at + batch_size]) for at in range(0, len(lengths), batch_size)]
        self.first_step = 0 if point is None else point.step
        self.tokens = 0 if point is None else point.tokens
        self.spent = 0.0 if point is None else point.seconds
        self.report = report
        self.check_cancelled = check_cancelled
        self.began = time.monotonic()
        self.reported = -math.inf

    def seconds(self) -> float:
        """Spent on steps so far, over all attempts that count."""
        return self.spent + time.monotonic() - self.began

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.tokens += self.step_tokens[state.global_step - 1]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDiverged(
                f"at step {state.global_step} of {state.max_steps} the loss is {loss} and the gradient's norm {norm}",
                next_step="Lower the learning rate (train.learning_rate in the domain), or look for rows with empty or damaged answers.",
                step=state.global_step,
            )
        now = time.monotonic()
        if now - self.reported >= _SECONDS_BETWEEN_REPORTS or state.global_step == state.max_steps:
            self.reported = now
            done = state.global_step - self.first_step
            left = (now - self.began) / done * (state.max_steps - state.global_step)
            self.report(Progress(phase="training", step=state.global_step, total=state.max_steps, loss=round(loss, 4), eta_seconds=round(left, 1)))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        checkpoints.seal(directory, step=state.global_step, seconds=self.seconds(), tokens=self.tokens)


def use_base_type(model: Any) -> None:
    """Lets every plain LoRA layer compute in the type of its input instead of through 32 bits; its weights stay 32-bit, so steps stay exact."""
    for layer in model.modules():
        if type(layer) is LoraLinear and not layer.lora_variant and list(layer.lora_A) == ["default"]:
            layer.forward = MethodType(_forward_in_base_type, layer)  # type: ignore[method-assign]


def _forward_in_base_type(layer: Any, x: torch.Tensor) -> torch.Tensor:
    down = layer.lora_A["default"].weight.to(x.dtype)
    up = (layer.lora_B["default"].weight * layer.scaling["default"]).to(x.dtype)
    result: torch.Tensor = layer.base_layer(x) + functional.linear(functional.linear(layer.lora_dropout["default"](x), down), up)
    return result
