"""Prepares a base model: one directory with nothing but safetensors, tokenizer and configuration, named by its content, with its fingerprint.

Three sources: a GGUF inside a Python package, dequantised once to bf16; a directory on this machine; a pinned revision on the Hugging Face hub.
The work is done in a directory of its own, synced, given its manifest, and renamed: killed at any instant, the next preparation removes what is
half made and starts again. Equal source and equal library versions give equal bytes. Two preparations wait for each other.

The dequantised weights are those of the quantised file, not of the original release.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base.digests import sha256_hex, tree_sha256
from engine.base.files import fsync_directory, write_atomic, write_json
from engine.base.paths import Workspace
from engine.config import Device, DirectoryWeights, HubWeights, ModelProfile, PackageWeights
from engine.errors import ConfigInvalid, DependencyMissing, GenerationFailed
from engine.fleet.probe import probe_local
from engine.generate.jobs import PrepareJob, PrepareOutput, SmokeAnswer
from engine.generate.open import open_generator
from engine.generate.prepared import (
    PreparedManifest,
    find_prepared,
    kept_files,
    package_file,
    read_manifest,
    read_prepared,
    source_directory,
    weights_source,
)
from engine.generate.server_record import locked
from engine.generate.types import Answer, GenerationSettings, Message, PreparedBase, Request
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker

SMOKE_QUESTION = "Name one colour."
SPARE_MEMORY = 1.4
"""Loading a model for its fingerprint takes this many times the size of its weights."""

PROBE_DIALOGUES = (
    ("Answer with one JSON object. I would like to book a table for two at seven.", '{"intent":"book_table","slots":{"people":"2","time":"7 pm"}}'),
    ("What is the capital of France?", "The capital of France is Paris, a city on the river Seine."),
    ("Classify this message: my card has not arrived yet.", '{"label":"card_arrival","confidence":"high"}'),
    ("Why is the sky blue? Be brief.", "Because the air scatters blue light from the sun more than it scatters red light."),
)
"""Questions and answers of a base's fingerprint."""


def prepare(context: WorkerContext) -> dict[str, Any]:
    """The body of a preparation."""
    started = time.monotonic()
    job = PrepareJob.model_validate(context.config.job)
    workspace = Workspace(Path(context.config.workspace))
    base = find_whole(workspace, job, context.check_cancelled)
    made = False
    notes: tuple[str, ...] = ()
    if base is None and isinstance(job.profile, ModelProfile):
        base, made = prepare_base(workspace, job.model, job.profile, job.device, context.report, context.check_cancelled)
        notes = () if base.fingerprint else ("The model does not fit into this machine's memory unquantised, so its weights cannot be proved.",)
    smoke = None
    if job.smoke_question:
        context.report(Progress(phase="asking", message="starting the server and asking one question"))
        smoke = ask(workspace, job, base, context.check_cancelled)
    output = PrepareOutput(base=base, made=made, seconds=round(time.monotonic() - started, 3), notes=notes, smoke=smoke)
    return output.model_dump(mode="json")


def find_whole(workspace: Workspace, job: PrepareJob, check_cancelled: Callable[[], None]) -> PreparedBase | None:
    """The prepared base when its bytes are what was prepared. One that has changed is taken away, and made anew."""
    base = find_prepared(workspace, job.model, job.profile)
    if base is None or _is_whole(base):
        return base
    with locked(workspace.models / "prepare.lock", exclusive=True, while_waiting=check_cancelled):
        base = find_prepared(workspace, job.model, job.profile)  # whoever held the lock may have made it anew
        if base is not None and not _is_whole(base):
            directory = Path(base.directory).parent
            aside = workspace.models / f".making-{directory.name}-altered"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(directory, aside)
            fsync_directory(workspace.models)
            shutil.rmtree(aside)
    return find_prepared(workspace, job.model, job.profile)


def _is_whole(base: PreparedBase) -> bool:
    return tree_sha256(Path(base.directory)) == base.digest


def prepare_base(
    workspace: Workspace,
    name: str,
    profile: ModelProfile,
    device: Device,
    report: Callable[[Progress], None],
    check_cancelled: Callable[[], None],
) -> tuple[PreparedBase, bool]:
    """The prepared base, and whether it was made now."""
    source = weights_source(workspace, name, profile)
    workspace.models.mkdir(parents=True, exist_ok=True)
    with locked(workspace.models / "prepare.lock", exclusive=True, while_waiting=check_cancelled):
        for left in workspace.models.glob(".making-*"):
            shutil.rmtree(left)
        found = find_prepared(workspace, name, profile)
        if found is not None:
            return found, False
        making = workspace.models / f".making-{name}"
        weights = making / "weights"
        weights.mkdir(parents=True)
        report(Progress(phase="preparing", message=f"making safetensors weights of {profile.title}"))
        _fill(workspace, name, profile, weights)
        check_cancelled()
        report(Progress(phase="preparing", message="computing the fingerprint"))
        digest = tree_sha256(weights)
        fingerprint = _fingerprint(profile, weights, digest, device, making / "fingerprint.json")
        manifest = PreparedManifest(
            source=source,
            digest=digest,
            chat_template=_chat_template(weights),
            fingerprint=fingerprint,
            files={path.name: path.stat().st_size for path in weights.iterdir()},
            made_with={library: importlib.metadata.version(library) for library in ("transformers", "torch")},
        )
        base = _publish(making, manifest, workspace.models / f"{name}-{digest[:12]}")
    return base, True


def _publish(making: Path, manifest: PreparedManifest, final: Path) -> PreparedBase:
    """Makes the finished directory durable, then visible.

    The same weights may be there already, made from a source that looked different (a touched file). Runs may be reading them, so they stay, and
    only what is said about their source is replaced.
    """
    there = read_manifest(final)
    if there is not None and there.digest == manifest.digest:
        write_json(final / "prepared.json", there.model_copy(update={"source": manifest.source}).model_dump())
        return _published(final, manifest)
    for path in (making / "weights").iterdir():
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(handle)
        os.close(handle)
    fsync_directory(making / "weights")
    write_json(making / "prepared.json", manifest.model_dump())
    shutil.rmtree(final, ignore_errors=True)  # of the same name, but not complete
    os.rename(making, final)
    fsync_directory(final.parent)
    return _published(final, manifest)


def _published(final: Path, manifest: PreparedManifest) -> PreparedBase:
    base = read_prepared(final, manifest.source)
    if base is None:
        raise ConfigInvalid(f"the prepared base in {final} changed while it was made", next_step="Run the same command again.")
    return base


# ---- the three sources -----------------------------------------------------------------------------------------------------------------


def _fill(workspace: Workspace, name: str, profile: ModelProfile, directory: Path) -> None:
    weights = profile.weights
    if isinstance(weights, PackageWeights):
        _dequantise(package_file(name, weights), profile.stop_token, directory)
    elif isinstance(weights, DirectoryWeights):
        _take_over(source_directory(workspace, name, weights), directory)
    else:
        _take_over(_download(weights), directory)


def _dequantise(gguf: Path, stop_token: str, directory: Path) -> None:
    """A GGUF as bf16 safetensors, with a tokenizer that pads on the left and a configuration that ends an answer at the stop token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    end = tokenizer.convert_tokens_to_ids(stop_token)
    if end is None or end == tokenizer.unk_token_id or not tokenizer.chat_template:
        raise ConfigInvalid(f"{gguf.name} has no token {stop_token} or no chat template", next_step="Set stop_token in the model's profile.")
    tokenizer.eos_token = stop_token
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = stop_token
    model.config.eos_token_id, model.config.bos_token_id, model.config.pad_token_id = end, tokenizer.bos_token_id, tokenizer.pad_token_id
    stops = {"eos_token_id": end, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**stops)  # type: ignore[no-untyped-call]
    # By now the weights are plain bf16; transformers still marks the model as quantised by its file and would refuse to save it.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
    for path in directory.iterdir():
        path.chmod(0o644)


def _take_over(source: Path, directory: Path) -> None:
    """The files of a checkpoint that are taken over: linked where the file system can, else copied. Should somebody write into a linked file
    later, its changed time makes the prepared base unfindable (`weights_source`), and it is made anew."""
    for path in kept_files(source):
        real = path.resolve()
        try:
            os.link(real, directory / path.name)
        except OSError:
            shutil.copyfile(real, directory / path.name)


def _download(weights: HubWeights) -> Path:
    """A pinned snapshot from the hub. Only this step uses the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        patterns = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
        return Path(snapshot_download(weights.repo, revision=weights.revision, allow_patterns=patterns))
    except (HfHubHTTPError, OSError, ValueError) as reason:
        raise DependencyMissing(
            f"{weights.repo} at {weights.revision} cannot be fetched: {str(reason)[:300]}",
            next_step="Check the name, the revision, the network and whether the repository asks for a token (HF_TOKEN).",
        ) from reason


# ---- fingerprint and smoke test --------------------------------------------------------------------------------------------------------


def _fingerprint(profile: ModelProfile, weights: Path, digest: str, device: Device, target: Path) -> bool:
    """Computes and writes the base's fingerprint; False when the model does not fit here."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.generate.fingerprint_torch import compute_fingerprint

    size = sum(path.stat().st_size for path in weights.glob("*.safetensors"))
    probe = probe_local()
    room = max((gpu.memory_bytes for gpu in probe.gpus), default=0) if device == "cuda" else probe.memory_available_bytes
    if size * SPARE_MEMORY > room:
        return False
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=profile.inference.dtype)
    model.to(device)
    texts = [_dialogue(tokenizer, *dialogue) for dialogue in PROBE_DIALOGUES]
    write_atomic(target, compute_fingerprint(model, tokenizer, texts, weights=digest).model_dump_json().encode())
    return True


def _dialogue(tokenizer: Any, question: str, answer: str) -> str:
    if not tokenizer.chat_template:
        return f"{question}\n{answer}"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def _chat_template(weights: Path) -> str:
    from transformers import AutoTokenizer

    template = AutoTokenizer.from_pretrained(weights).chat_template
    return sha256_hex(str(template).encode()) if template else ""


def ask(workspace: Workspace, job: PrepareJob, base: PreparedBase | None, check_cancelled: Callable[[], None]) -> SmokeAnswer:
    """One question through the real server or endpoint. GenerationFailed when no answer comes."""
    started = time.monotonic()
    generator = open_generator(
        job.model, job.profile, workspace=workspace, base=base, weights=None, device=job.device, check_cancelled=check_cancelled
    )
    report = generator.prove()
    answers: list[Answer] = []
    settings = GenerationSettings(max_tokens=16)
    generator.answer([Request(key="smoke", messages=(Message(role="user", content=SMOKE_QUESTION),), settings=settings)], answers.append)
    generator.close()
    if answers[0].error is not None:
        raise GenerationFailed(f"model {job.model} gave no answer: {answers[0].error}", next_step="Correct the model's profile, or its endpoint.")
    return SmokeAnswer(question=SMOKE_QUESTION, text=answers[0].text, seconds=round(time.monotonic() - started, 3), fingerprint=report)


if __name__ == "__main__":
    run_worker(prepare)
