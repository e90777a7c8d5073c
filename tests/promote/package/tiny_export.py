"""A tiny real version to export: random weights, an adapter that changes every answer, and an engine that answers with transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256, tree_sha256
from engine.base.files import write_atomic, write_jsonl
from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.jobs import StoredResults
from engine.generate.fingerprint import compare, load_fingerprint
from engine.generate.servers import mismatch_error
from engine.generate.types import Answer, FingerprintReport, Generator, GeneratorIdentity, PreparedBase, Request, Weights
from engine.promote.package.jobs import ExportJob
from engine.promote.package.replay import replay
from engine.promote.package.worker import Made, Opener, made_and_replayed
from engine.promote.types import FormName
from tests.train.tiny import letters_domain, tiny_base, tiny_profile


class TransformersGenerator:
    """Answers greedily, one question after another, from a checkpoint folder and perhaps an adapter: its tokenizer, its template, its weights."""

    def __init__(self, directory: str, adapter: str | None, fingerprint: str) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
        self._model: Any = (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()
        self._fingerprint = fingerprint

    @property
    def identity(self) -> GeneratorIdentity:
        return GeneratorIdentity(engine="transformers", base="base", weights="weights", chat_template="", served_as="merged")

    def prove(self) -> FingerprintReport:
        """As the managed generator does, with the log-probabilities of this engine."""
        import torch

        expected = load_fingerprint(self._fingerprint)
        measured = []
        with torch.inference_mode():
            for probe in expected.probes:
                rows = torch.log_softmax(self._model(torch.tensor([probe.token_ids])).logits[0, :-1].float(), dim=-1)
                measured.append(rows[torch.arange(len(probe.token_ids) - 1), torch.tensor(probe.token_ids[1:])].tolist())
        report = compare(expected, measured)
        if report.verdict == "mismatch":
            raise mismatch_error("tiny", Weights(digest=expected.weights), report)
        return report

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        import torch

        for request in requests:
            messages = [message.model_dump() for message in request.messages]
            prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = torch.tensor([self._tokenizer(prompt, add_special_tokens=False)["input_ids"]])
            with torch.inference_mode():
                made = self._model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.settings.max_tokens, do_sample=False)
            text = self._tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
            on_answer(Answer(key=request.key, text=text))

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class TinyVersion:
    """A version as the store has it, with the answers that it was evaluated by."""

    workspace: Workspace
    compiled: CompiledDomain
    job: ExportJob

    def opener(self, folder: Path, spoil: Callable[[Path], None] | None = None, spoilt: FormName = "merged") -> Opener:
        """Loads forms from `folder`; the form `spoilt` after `spoil` has had its way with it."""

        @contextmanager
        def open_form(form: FormName) -> Iterator[Generator]:
            if spoil is not None and form == spoilt:
                spoil(folder)
            adapter = form == "adapter"
            directory = self.job.base.directory if adapter else str(folder / form)
            yield TransformersGenerator(directory, str(folder / "adapter") if adapter else None, str(self.job.weights.fingerprint))

        return open_form

    def export(
        self, folder: Path, spoil: Callable[[Path], None] | None = None, spoilt: FormName = "merged", profile: ModelProfile | None = None
    ) -> Made:
        folder.mkdir(parents=True)
        job = self.job if profile is None else self.job.model_copy(update={"profile": profile})
        return made_and_replayed(job, folder, self.compiled, self.opener(folder, spoil, spoilt), lambda _: None)


def tiny_version(root: Path) -> TinyVersion:
    """Equal on every call. The adapter is random and large, so that what is answered hangs on every part of it and of the prompt."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.generate.fingerprint_torch import compute_fingerprint
    from engine.train.weights import merge, save_adapter

    workspace, compiled = letters_domain(root / "w")
    base = tiny_base(root / "base")
    tokenizer = AutoTokenizer.from_pretrained(base.directory)
    torch.manual_seed(11)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base.directory, dtype=torch.float32), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.7)
    save_adapter(model, root / "adapter", base_digest=base.digest)
    merge(Path(base.directory), root / "adapter", root / "merged")
    digest = tree_sha256(root / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(root / "merged", dtype=torch.float32)
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": row.input["message"][:40]}], tokenize=False) for row in compiled.pool[:4]]
    write_atomic(root / "fingerprint.json", compute_fingerprint(merged, tokenizer, texts, weights=digest).model_dump_json().encode())
    evaluated = replay(TransformersGenerator(str(root / "merged"), None, str(root / "fingerprint.json")), compiled, structured=False).results
    write_jsonl(root / "results.jsonl", [result.model_dump(mode="json") for result in evaluated])
    return TinyVersion(workspace, compiled, _job(root, base, compiled, digest))


def _job(root: Path, base: PreparedBase, compiled: CompiledDomain, digest: str) -> ExportJob:
    weights = Weights(
        digest=digest,
        adapter_dir=str(root / "adapter"),
        merged_dir=str(root / "merged"),
        merged_digest=tree_sha256(root / "merged"),
        fingerprint=str(root / "fingerprint.json"),
    )
    return ExportJob(
        cluster="tickets",
        version=f"v-{digest[:12]}",
        model="tiny",
        profile=tiny_profile(),
        base=base,
        weights=weights,
        device="cpu",
        domain_digest=compiled.digest,
        evaluated=StoredResults(evaluation="evaluate-1", path=str(root / "results.jsonl"), digest=file_sha256(root / "results.jsonl")),
        prompt=compiled.prompt_digest,
        structured=False,
        evidence=str(root / "evidence"),
        sources="s",
    )
