"""A random llama of a few thousand parameters with a tokenizer of its own: real TRL in a second or two."""

from __future__ import annotations

import json
from pathlib import Path

from engine.base.digests import file_sha256, tree_sha256
from engine.base.files import write_json, write_jsonl
from engine.base.paths import RunPaths, Workspace
from engine.config import DirectoryWeights, Inference, Lora, ModelProfile, Training
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.prompts import render_messages, render_target
from engine.generate.types import PreparedBase
from engine.jobs.types import RunConfig
from engine.train.jobs import TrainJob
from engine.train.types import TrainPlan
from tests.workspaces import domain_file, make_workspace, rows, write_domain

STOP = "<|im_end|>"
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ANSWERS = ("ab", "ba", "aab", "abb")
"""References whose characters a random model can hit now and then."""


def tiny_base(root: Path) -> PreparedBase:
    """The model, as a prepared base. Equal on every call."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    weights = root / "weights"
    alphabet = ["<unk>", "<|im_start|>", STOP, *sorted({*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;'{}\"\n_-#"})]
    tokenizer = Tokenizer(models.WordLevel({text: number for number, text in enumerate(alphabet)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token=STOP, pad_token=STOP, additional_special_tokens=["<|im_start|>"]
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # a few tokens are likely from the start, so that rewards differ and answers end
        bias = torch.full((len(alphabet), 1), 0.0)
        for text, weight in ((STOP, 2.2), ("a", 2.6), ("b", 2.6)):
            bias[alphabet.index(text)] = weight
        model.model.embed_tokens.weight.normal_(0.0, 0.3)
        model.model.embed_tokens.weight[:, 0] = 1.5
        model.lm_head.weight.normal_(0.0, 0.1)
        model.lm_head.weight[:, 0] = bias[:, 0] / 3.8
    model.save_pretrained(weights)
    fast.save_pretrained(weights)
    return PreparedBase(directory=str(weights), digest=tree_sha256(weights), chat_template="", fingerprint=None)


def tiny_profile(**training: object) -> ModelProfile:
    return ModelProfile(
        title="Tiny",
        license="Apache-2.0",
        parameters_billion=0.0001,
        weights=DirectoryWeights(path="nowhere"),
        stop_token=STOP,
        inference=Inference(max_model_len=256),
        training=Training.model_validate(
            {"dtype": "float32", "learning_rate": 0.2, "max_length": 250, "micro_batch_size": 8, "checkpoint_every_steps": 2} | training
        ),
        lora=Lora(rank=4, alpha=8),
    )


def letters_domain(root: Path, count: int = 24) -> tuple[Workspace, CompiledDomain]:
    """A text domain with partial credit: the answer is a handful of a and b, an empty one breaches a safety net."""
    workspace = make_workspace(root)
    changes = {
        "contract": {"description": "Says letters.", "system": "", "user": "{{ message[5:12] }}", "output": {"kind": "text", "max_tokens": 6}},
        "eval": {
            "checks": [{"kind": "exact", "weight": 0.5}, {"kind": "regex", "pattern": "a", "weight": 0.5}],
            "safety_nets": [{"name": "says_something", "check": {"kind": "regex", "pattern": "[ab]"}}],
            "floor": ["majority"],
        },
    }
    domain = domain_file(**changes)
    domain["data"]["splits"].pop("stratify")

    def lettered(start: int, number: int) -> list[dict[str, object]]:
        return [row | {"expected": ANSWERS[at % len(ANSWERS)]} for at, row in enumerate(rows(start, number))]

    write_domain(workspace, "tickets", domain, train=lettered(0, count), evaluation=lettered(1000, 40))
    digest = domain_digest(workspace, "tickets")
    return workspace, compile_domain(workspace, "tickets", digest)


def prompts_file(path: Path, compiled: CompiledDomain) -> Path:
    """The pool as curated rows."""
    contract = compiled.domain.contract
    write_jsonl(
        path,
        [
            {
                "id": row.id,
                "messages": [message.model_dump() for message in render_messages(contract, row.input)],
                "completion": render_target(contract, row.expected),
            }
            for row in compiled.pool
        ],
    )
    return path


def pairs_file(path: Path, compiled: CompiledDomain) -> Path:
    """A pair for each row of the pool: the reference against a letter too many."""
    lines = [json.loads(line) for line in prompts_file(path, compiled).read_text().splitlines()]
    write_jsonl(path, [{"id": row["id"], "messages": row["messages"], "chosen": row["completion"], "rejected": row["completion"] + "zq"} for row in lines])
    return path


def job_of(base: PreparedBase, profile: ModelProfile, rows_file: Path, plan: TrainPlan, compiled: CompiledDomain, warm: Path | None = None) -> TrainJob:
    return TrainJob(
        model="tiny",
        profile=profile,
        base=base,
        dataset=str(rows_file),
        dataset_digest=file_sha256(rows_file),
        domain_digest=compiled.digest,
        plan=plan.model_copy(update={"warm_start": warm is not None}),
        warm_start=None if warm is None else str(warm),
    )


def run_of(workspace: Workspace, name: str, job: TrainJob) -> RunPaths:
    """A run directory with its config, ready for a worker."""
    paths = workspace.run(name)
    config = RunConfig(run_id=name, kind="train", cluster="tickets", workspace=str(workspace.root), seed=17, job=job.model_dump(mode="json"))
    write_json(paths.config, config.model_dump(mode="json"))
    return paths
