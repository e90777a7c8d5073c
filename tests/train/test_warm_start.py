"""Going on from an adapter, with a random llama of two layers: real training, in a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.digests import tree_sha256
from engine.config import DirectoryWeights, Inference, Lora, ModelProfile, Training, TrainOverrides
from engine.errors import ArgumentInvalid, ArtifactCorrupt
from engine.generate.types import PreparedBase
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training, unscheduled
from engine.train.rows import read_dataset
from tests.train.workers import dataset, file_sha256

pytestmark = pytest.mark.model

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
PROFILE = ModelProfile(
    title="Tiny",
    license="Apache-2.0",
    parameters_billion=0.0001,
    weights=DirectoryWeights(path="models/tiny"),
    inference=Inference(max_model_len=512),
    training=Training(dtype="float32", learning_rate=0.02, epochs=2, batch_size=4, micro_batch_size=4, checkpoint_every_steps=2, max_length=256),
    lora=Lora(rank=4, alpha=8),
)


class Stopped(Exception):
    """What a kill leaves: nothing more is written."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedBase]:
    """A llama of 2 layers with random weights and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate(["<unk>", "<|im_start|>", "<|im_end|>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only wait for each other
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=512, eos_token_id=2, bos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    yield PreparedBase(directory=str(directory), digest=tree_sha256(directory), chat_template="")
    torch.set_num_threads(threads)


def job(tiny: PreparedBase, rows: Path, *, warm: Path | None = None, rank: int | None = None) -> TrainJob:
    chosen = unscheduled(PROFILE, TrainOverrides(rank=rank)).model_copy(update={"warm_start": warm is not None})
    plan = plan_training(PROFILE, TrainOverrides(rank=rank), rows=16, device="cpu", seed=17, merge=False, schedule=chosen)
    return TrainJob(
        model="tiny", profile=PROFILE, base=tiny, dataset=str(rows), dataset_digest=file_sha256(rows), plan=plan, warm_start=None if warm is None else str(warm)
    )


def train(job: TrainJob, root: Path, check: Callable[[], None] = lambda: None) -> tuple[Path, Any]:
    """Trains in this process; the adapter's directory and what the steps showed."""
    from engine.train.sft import train_adapter
    from engine.train.weights import save_adapter

    trained = train_adapter(job, read_dataset(Path(job.dataset), job.dataset_digest), root, lambda _: None, check)
    save_adapter(trained.model, root / "adapter", base_digest=job.base.digest)
    return root / "adapter", trained


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("rows") / "rows.jsonl", 16)


@pytest.fixture(scope="module")
def incumbent(tiny: PreparedBase, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return train(job(tiny, rows), tmp_path_factory.mktemp("incumbent"))


def test_a_warm_start_begins_where_the_incumbent_ended(tiny: PreparedBase, rows: Path, incumbent: tuple[Path, Any], tmp_path: Path) -> None:
    adapter, first = incumbent
    again, second = train(job(tiny, rows, warm=adapter), tmp_path)
    assert second.losses[0] < (first.losses[0] + first.losses[-1]) / 2
    assert tree_sha256(again) != tree_sha256(adapter)


def test_a_warm_start_killed_in_the_middle_ends_with_the_same_adapter(
    tiny: PreparedBase, rows: Path, incumbent: tuple[Path, Any], tmp_path: Path
) -> None:
    whole, through = train(job(tiny, rows, warm=incumbent[0]), tmp_path / "whole")
    calls: list[int] = []

    def killed() -> None:
        calls.append(1)
        if len(calls) == 6:
            raise Stopped

    with pytest.raises(Stopped):
        train(job(tiny, rows, warm=incumbent[0]), tmp_path / "killed", killed)
    resumed, rest = train(job(tiny, rows, warm=incumbent[0]), tmp_path / "killed")
    assert rest.resumed_from_step == 4
    assert rest.losses == through.losses
    assert tree_sha256(resumed) == tree_sha256(whole)


def test_what_was_learnt_before_the_rate_fell_is_kept_to_go_on_from_even_by_a_training_that_was_killed(
    tiny: PreparedBase, rows: Path, tmp_path: Path
) -> None:
    anew = job(tiny, rows)
    staying = anew.model_copy(update={"plan": anew.plan.model_copy(update={"scheduler": "wsd"})})
    adapter, _ = train(staying, tmp_path / "whole")
    kept = tmp_path / "whole/stable"
    calls: list[int] = []

    def killed() -> None:
        calls.append(1)
        if len(calls) == 8:  # of 8 steps 6 keep the rate
            raise Stopped

    with pytest.raises(Stopped):
        train(staying, tmp_path / "killed", killed)
    resumed, _ = train(staying, tmp_path / "killed")
    assert tree_sha256(kept) != tree_sha256(adapter)
    assert (tree_sha256(tmp_path / "killed/stable"), tree_sha256(resumed)) == (tree_sha256(kept), tree_sha256(adapter))


def test_an_adapter_of_another_shape_or_base_is_refused(tiny: PreparedBase, rows: Path, incumbent: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="does not fit: rank 4"):
        train(job(tiny, rows, warm=incumbent[0], rank=8), tmp_path / "a")
    other = tiny.model_copy(update={"digest": "0" * 64})
    with pytest.raises(ArtifactCorrupt, match="does not fit"):
        train(job(other, rows, warm=incumbent[0]), tmp_path / "b")
    without = job(tiny, rows).model_copy(update={"plan": job(tiny, rows, warm=incumbent[0]).plan})
    with pytest.raises(ArgumentInvalid, match="names no adapter"):
        train(without, tmp_path / "c")


def test_the_adapter_names_its_base_and_no_path(incumbent: tuple[Path, Any], tiny: PreparedBase) -> None:
    config = json.loads((incumbent[0] / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"sha256:{tiny.digest}"
