"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT. Imported by the training worker alone, because it loads torch.

Promises: equal base, rows, plan and machine give the same adapter bytes, whether the run went through in one go or was killed and
resumed; rows are read in an order fixed beforehand; every setting is stated, none is a library's default; no row is cut.

What differs from TRL's own ways, each for a measured reason (`bench/training.py` shows the sum of it):

* the loss is computed on completion positions only: TRL's fused head scores the prompt too, and an entropy besides, where there is no Triton;
* what all prompts begin with is read once for a batch instead of once for each row; the sums are the same, and it is checked that they are;
* adapter products run in the base's type over 32-bit master weights: PEFT's own go through 32-bit activations, which is slow on a CPU;
* rows are tokenised here and read in our order, so nothing depends on a cache or on a random generator's state;
* a checkpoint holds what resuming needs and no more (no tokenizer, no model card, no pickled arguments).
"""

from __future__ import annotations

import math
import shutil
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
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, DynamicCache, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from engine.config import Device, ModelProfile
from engine.errors import ArgumentInvalid, DependencyMissing, TrainingDiverged
from engine.jobs.types import Progress
from engine.train import checkpoints
from engine.train.arguments import common_arguments
from engine.train.jobs import TrainJob
from engine.train.order import training_order
from engine.train.plan import DECAY_SHARE
from engine.train.rows import CuratedRow, TokenRow, shared_prefix, tokenise
from engine.train.types import TrainPlan
from engine.train.weights import go_on_from, save_adapter

_SECONDS_BETWEEN_REPORTS = 0.5
_ROWS_AT_ONCE = 16
"""In one forward pass when the rows' losses are taken; of similar length, so little is padding."""
STABLE = "stable"
"""Under `work/`: the adapter from before the rate fell."""
_SAME_DIRECTION = 0.99
"""Cosine of two hidden states that differ by rounding alone; measured 0.99999 and more in bfloat16."""


class Trained:
    """A finished training: the model in memory, its tokenizer and what the steps showed."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        losses: list[float],
        tokens: int,
        seconds: float,
        resumed_from_step: int,
        row_losses: dict[str, float] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.losses = losses
        self.tokens = tokens
        self.seconds = seconds
        self.resumed_from_step = resumed_from_step
        self.row_losses = row_losses or {}
        """What is left of each row's loss at the end, in nats a token; SFT only."""


def train_adapter(
    job: TrainJob, rows: Sequence[CuratedRow], work: Path, report: Callable[[Progress], None], check_cancelled: Callable[[], None]
) -> Trained:
    """Trains on `rows`, going on from the newest checkpoint under `work` that verifies. `check_cancelled` raises to stop, between batches."""
    if not isinstance(job.profile, ModelProfile):
        raise ArgumentInvalid(f"{job.model} is no managed model and cannot be trained", next_step="Give the cluster a profile with kind 'managed'.")
    if job.plan.base_quantization == "nf4" and not torch.cuda.is_available():
        raise DependencyMissing("training on an nf4 base needs a GPU that torch can use", next_step="Install the CUDA build of torch.")
    plan = job.plan
    report(Progress(phase="loading", message=f"loading {job.profile.title}"))
    tokenizer = AutoTokenizer.from_pretrained(job.base.directory, local_files_only=True)
    tokens = tokenise(rows, tokenizer, stop_token=job.profile.stop_token, max_length=plan.max_length)
    order = training_order([len(row.input_ids) for row in tokens], batch_size=plan.batch_size, epochs=plan.epochs, seed=plan.seed)
    point = checkpoints.latest(work / "checkpoints")
    watcher = Watcher([len(tokens[index].input_ids) for index in order], plan.batch_size, point, report, check_cancelled)
    steps = len(watcher.step_tokens)
    decay_steps = max(1, round(steps * DECAY_SHARE))
    stable = KeepStable(steps - decay_steps, work / STABLE, job.base.digest) if plan.scheduler == "wsd" else None
    check_cancelled()
    base = load_base(job.base.directory, plan, job.device)
    prefix = usable_prefix(base, tokens, plan)
    trainer = CompletionTrainer(
        model=base,
        args=arguments(plan, work / "checkpoints", cpu=job.device == "cpu", decay_steps=decay_steps),
        train_dataset=as_dataset(tokens, order, skip=len(prefix)),
        processing_class=tokenizer,
        peft_config=lora_config(plan, base),
        callbacks=[watcher] if stable is None else [watcher, stable],
    )
    trainer.prefix, trainer.check_cancelled = prefix, check_cancelled
    go_on_from(trainer.model, job)
    use_base_type(trainer.model)
    if job.device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    trainer.train(resume_from_checkpoint=None if point is None else str(point.directory))
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    seconds, left = watcher.seconds(), None
    if job.score_rows:
        report(Progress(phase="row losses", message=f"asking how likely the trained model finds each of {len(tokens)} rows"))
        left = row_losses(trainer.model, tokens, prefix, check_cancelled)
    return Trained(trainer.model, tokenizer, losses, watcher.tokens, seconds, 0 if point is None else point.step, left)


def row_losses(model: Any, tokens: Sequence[TokenRow], prefix: Sequence[int], check_cancelled: Callable[[], None]) -> dict[str, float]:
    """The negative log-likelihood of each row's completion under the trained model, in nats a token. What is not learnt when the rest is learnt
    is what the rest contradicts (Arpit et al., "A Closer Look at Memorization in Deep Networks", 2017): wrong labels stand out. Costs a forward
    pass over each row."""
    distinct = sorted({row.id: row for row in tokens}.values(), key=lambda row: (len(row.input_ids), row.id))
    base = model.get_base_model()
    found: dict[str, float] = {}
    model.eval()
    with torch.no_grad():
        for at in range(0, len(distinct), _ROWS_AT_ONCE):
            check_cancelled()
            batch = distinct[at : at + _ROWS_AT_ONCE]
            inputs = padded(batch, skip=len(prefix), device=model.device)
            labels = inputs.pop("labels")[:, 1:]
            scored = labels != -100
            losses = functional.cross_entropy(completion_logits(base, inputs, scored, prefix), labels[scored], reduction="none")
            owners = scored.nonzero()[:, 0]
            sums = torch.zeros(len(batch), device=losses.device).index_add_(0, owners, losses)
            means = (sums / scored.sum(dim=1)).tolist()
            found.update((row.id, round(loss, 5)) for row, loss in zip(batch, means, strict=True))
    return found


def load_base(directory: str, plan: TrainPlan, device: Device) -> Any:
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


def usable_prefix(model: Any, rows: Sequence[TokenRow], plan: TrainPlan) -> list[int]:
    """The tokens that every row begins with, where reading them once is possible: it needs a key-value cache, which gradient checkpointing
    excludes, and gives dropout one pattern for all rows. A model whose cache does not reproduce its own sums is trained without."""
    count = shared_prefix(rows)
    if count == 0 or plan.gradient_checkpointing or plan.lora.dropout or not plain_head(model) or not plain_attention(model):
        return []
    prefix = rows[0].input_ids[:count]
    sample = max(rows, key=lambda row: len(row.input_ids)).input_ids
    with torch.no_grad():
        whole = model.base_model(input_ids=torch.tensor([sample], device=model.device), use_cache=False).last_hidden_state[0, count:]
        rest = torch.tensor([sample[count:]], device=model.device)
        shared = hidden_after_prefix(model, prefix, rest, torch.ones_like(rest))[0]
        difference = functional.cosine_similarity(whole.float(), shared.float(), dim=-1).min()
    return prefix if difference > _SAME_DIRECTION else []


def plain_attention(model: Any) -> bool:
    """Whether every layer attends to everything before it, so that its cache is keys and values alone."""
    return set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]) == {"full_attention"}


def plain_head(model: Any) -> bool:
    """Whether logits are the product of the last hidden state and the vocabulary, with nothing more to it."""
    config = model.config.get_text_config()
    return all(getattr(config, name, None) in (None, 1.0) for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"))


def hidden_after_prefix(model: Any, prefix: Sequence[int], input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states of rows that all begin with `prefix`, which is run once; gradients flow into it from every row."""
    rows, length = input_ids.shape
    cache = DynamicCache(config=model.config)
    model.base_model(input_ids=torch.tensor([list(prefix)], device=input_ids.device), past_key_values=cache, use_cache=True)
    layers: list[Any] = list(cache.layers)
    for layer in layers:
        layer.keys, layer.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    seen = torch.ones((rows, len(prefix)), dtype=attention_mask.dtype, device=attention_mask.device)
    positions = torch.arange(len(prefix), len(prefix) + length, device=input_ids.device).expand(rows, -1)
    output = model.base_model(
        input_ids=input_ids, attention_mask=torch.cat([seen, attention_mask], dim=1), position_ids=positions, past_key_values=cache, use_cache=True
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def completion_logits(base: Any, inputs: dict[str, torch.Tensor], scored: torch.Tensor, prefix: Sequence[int]) -> torch.Tensor:
    """Logits (positions x vocabulary, 32 bits) at the positions that `scored` (rows x length - 1) marks. The vocabulary projection, half of a
    small model, runs on those alone. `inputs` hold each row without the `prefix` that all of them begin with."""
    if not plain_head(base):
        logits: torch.Tensor = base(**inputs, use_cache=False).logits[:, :-1][scored]
        return logits.float()
    if prefix:
        hidden = hidden_after_prefix(base, prefix, inputs["input_ids"], inputs["attention_mask"])
    else:
        hidden = base.base_model(**inputs, use_cache=False).last_hidden_state
    logits = base.get_output_embeddings()(hidden[:, :-1][scored])
    return logits.float()


def lora_config(plan: TrainPlan, model: Any) -> LoraConfig:
    """The adapter's shape for PEFT."""
    layers = model.config.get_text_config().num_hidden_layers
    first = min(plan.lora.first_layer, layers - 1)
    targets = plan.lora.target_modules
    return LoraConfig(
        r=plan.lora.rank,
        lora_alpha=plan.lora.alpha,
        lora_dropout=plan.lora.dropout,
        target_modules=linear_names(model) if isinstance(targets, str) else list(targets),
        layers_to_transform=list(range(first, layers)) if first else None,
        bias="none",
        task_type="CAUSAL_LM",
    )


def linear_names(model: Any) -> list[str]:
    """What `all-linear` stands for: the last names of all linear layers but the head. (PEFT takes the word only for all layers of a model.)"""
    head = model.get_output_embeddings()
    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head})


def arguments(plan: TrainPlan, output: Path, *, cpu: bool, decay_steps: int) -> SFTConfig:
    """Every setting of the trainer. The rows' order already holds all epochs, so the trainer sees one."""
    return SFTConfig(
        lr_scheduler_kwargs={"num_decay_steps": decay_steps, "decay_type": "1-sqrt"} if plan.scheduler == "wsd" else {},
        packing=False,
        padding_free=False,
        max_length=None,
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        save_total_limit=checkpoints.KEPT,
        **common_arguments(plan, output, cpu=cpu),
    )


def as_dataset(tokens: Sequence[TokenRow], order: Sequence[int], *, skip: int) -> Dataset:
    """The rows in the order of training without their first `skip` tokens; the prompt's positions are left out of the loss."""
    rows = [tokens[index] for index in order]
    return Dataset.from_dict({"input_ids": [row.input_ids[skip:] for row in rows], "labels": [labels_of(row, skip=skip) for row in rows]})


def labels_of(row: TokenRow, *, skip: int) -> list[int]:
    """What each position should be, -100 where the loss does not look."""
    return [-100] * (row.prompt_tokens - skip) + row.input_ids[row.prompt_tokens :]


def padded(rows: Sequence[TokenRow], *, skip: int, device: Any) -> dict[str, torch.Tensor]:
    """A batch on `device`, each row without its first `skip` tokens, filled up on the right."""
    columns = {
        "input_ids": ([row.input_ids[skip:] for row in rows], 0),
        "attention_mask": ([[1] * (len(row.input_ids) - skip) for row in rows], 0),
        "labels": ([labels_of(row, skip=skip) for row in rows], -100),
    }
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        name: pad([torch.tensor(row, device=device) for row in values], batch_first=True, padding_value=fill)
        for name, (values, fill) in columns.items()
    }


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
    prefix: list[int]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Mean negative log-likelihood over completion tokens."""
        self.check_cancelled()
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        labels = inputs["labels"][:, 1:]
        scored = labels != -100
        tensors: dict[str, torch.Tensor] = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        logits = completion_logits(base, tensors, scored, self.prefix)
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


class KeepStable(TrainerCallback):
    """Keeps the adapter as it is after `step` steps, before the rate falls. A checkpoint that is newer is there only when this was written."""

    def __init__(self, step: int, directory: Path, base_digest: str) -> None:
        self.step = step
        self.directory = directory
        self.base_digest = base_digest

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == self.step:
            shutil.rmtree(self.directory, ignore_errors=True)
            save_adapter(model, self.directory, base_digest=self.base_digest)


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
