"""The real thing: SmolLM2-135M under vLLM. One server, started once, goes through everything that the stand-in goes through."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.digests import tree_sha256
from engine.base.files import write_atomic
from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.errors import FingerprintMismatch
from engine.generate import server_control
from engine.generate.open import open_generator
from engine.generate.prepare_worker import prepare_base
from engine.generate.server_control import ServerAddress
from engine.generate.servers import ModelServers
from engine.generate.types import GenerationSettings, Generator, Message, PreparedBase, Request, Weights
from engine.loading import load_clusters
from tests.conftest import share_vllm_cache
from tests.generate.helpers import Collected

pytestmark = pytest.mark.model

REPOSITORY = Workspace(Path(__file__).resolve().parents[2])
NAME = "smollm2-135m"


class Real:
    """A workspace with one prepared model and a version of it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.workspace.state.mkdir()
        share_vllm_cache(self.workspace)
        profile = load_clusters(REPOSITORY).models[NAME]
        assert isinstance(profile, ModelProfile)
        self.profile = profile
        # Prepared in the repository's own state: made once a machine, as set-up does.
        self.base: PreparedBase
        self.base, _ = prepare_base(REPOSITORY, NAME, profile, "cpu", lambda _: None, lambda: None)
        self.version = make_version(self.base, root / "version")

    def generator(self, weights: Weights | None = None) -> Generator:
        return open_generator(NAME, self.profile, workspace=self.workspace, base=self.base, weights=weights, device="cpu")

    def record(self) -> dict[str, object]:
        (path,) = self.workspace.servers.glob("*/server.json")
        content: dict[str, object] = json.loads(path.read_text())
        return content


def make_version(base: PreparedBase, root: Path) -> Weights:
    """The base with a low-rank change, about as large as a short training makes, in every MLP; merged, with its fingerprint."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.generate.fingerprint_torch import compute_fingerprint

    merged = root / "merged"
    shutil.copytree(base.directory, merged)
    torch.manual_seed(5)
    tensors = load_file(merged / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("mlp.down_proj.weight"):
            up, down = torch.randn(tensor.shape[0], 4), torch.randn(4, tensor.shape[1])
            change = up @ down
            tensors[name] = (tensor.float() + change * (0.1 * tensor.float().norm() / change.norm())).to(tensor.dtype)
    save_file(tensors, merged / "model.safetensors", metadata={"format": "pt"})
    digest = tree_sha256(merged)
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    texts = ["The quick brown fox jumps over the lazy dog, and the dog sleeps on.", '{"acts":["inform"],"slots":{"origin":"Las Vegas"}}']
    fingerprint = compute_fingerprint(model, tokenizer, texts, weights=digest)
    write_atomic(root / "fingerprint.json", fingerprint.model_dump_json().encode())
    return Weights(digest=digest, merged_dir=str(merged), fingerprint=str(root / "fingerprint.json"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    made = Real(tmp_path_factory.mktemp("real"))
    yield made
    ModelServers(made.workspace).stop_all()


def requests(count: int, *, max_tokens: int = 24, schema: dict[str, object] | None = None) -> list[Request]:
    settings = GenerationSettings(max_tokens=max_tokens, json_schema=schema)
    texts = [f"Say something about the number {number}." for number in range(count)]
    return [Request(key=text, messages=(Message(role="user", content=text),), settings=settings) for text in texts]


def test_base_and_version_answer_in_turn_each_proved(real: Real) -> None:
    answers: dict[str, dict[str, str]] = {}
    for name, weights in (("base", None), ("version", real.version), ("base again", None)):
        generator, collected = real.generator(weights), Collected()
        report = generator.prove()
        print(name, report)
        assert report.verdict == "match"
        generator.answer(requests(4), collected)
        assert collected.errors == []
        answers[name] = {key: answer.text for key, answer in collected.answers.items()}
    assert answers["base"] == answers["base again"]
    assert answers["base"] != answers["version"]


def test_an_answer_that_was_given_is_held_likelier_than_those_to_other_questions(real: Real) -> None:
    asked, collected, generator = requests(3), Collected(), real.generator(real.version)
    generator.answer(asked, collected)
    answers = [collected.answers[request.key].text for request in asked]
    for place, request in enumerate(asked):
        likelihoods = generator.likelihoods(request, answers)
        assert likelihoods is not None
        assert all(value < 0 for value in likelihoods)
        assert max(range(3), key=likelihoods.__getitem__) == place


def test_answers_under_a_schema_are_compact_json(real: Real) -> None:
    properties = {"n": {"type": "integer"}, "odd": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["n", "odd"], "additionalProperties": False}
    collected = Collected()
    real.generator().answer(requests(4, max_tokens=48, schema=schema), collected)
    for answer in collected.answers.values():
        assert answer.finish_reason == "length" or set(json.loads(answer.text)) == {"n", "odd"}
        assert "\n" not in answer.text


def test_no_path_of_the_server_works_without_the_key(real: Real) -> None:
    real.generator().prove()
    record = real.record()
    stranger = ServerAddress(int(str(record["port"])), "guess", str(record["served_name"]))
    for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/collective_rpc"), ("POST", "/v1/chat/completions")):
        status, _ = server_control.call(stranger, method, path, {} if method == "POST" else None, timeout_seconds=10)
        assert status == 401


def test_a_server_killed_in_the_middle_of_a_batch_is_replaced_and_every_question_is_answered_once(real: Real) -> None:
    asked, collected = requests(48), Collected()
    killed: list[int] = []

    def kill_once(answer: object) -> None:
        collected(answer)  # type: ignore[arg-type]
        if len(collected.answers) == 3 and not killed:
            killed.append(int(str(real.record()["pid"])))
            os.kill(killed[0], signal.SIGKILL)

    generator = real.generator(real.version)
    generator.answer(asked, kill_once)
    assert killed
    assert collected.complete(asked)
    assert collected.errors == []
    assert generator.prove().verdict == "match"
    assert real.record()["pid"] != killed[0]


def test_a_version_whose_weights_are_another_s_is_told_apart(real: Real) -> None:
    """The last one here: it costs the server its life."""
    mixed_up = Weights(digest="f" * 64, merged_dir=real.base.directory, fingerprint=real.version.fingerprint)
    with pytest.raises(FingerprintMismatch) as refused:
        real.generator(mixed_up).prove()
    print("told apart by", refused.value.details["mean_difference"], "nats; limit", refused.value.details["limit"])
