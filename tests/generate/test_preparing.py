"""Preparing base models: what is taken over, what an interruption leaves, what the smoke test says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import RunPaths, Workspace
from engine.config import DirectoryWeights, EndpointProfile, Inference, ModelProfile, ScriptedProfile
from engine.errors import GenerationFailed
from engine.generate import prepare_worker
from engine.generate.jobs import PrepareJob
from engine.generate.prepare_worker import ask, prepare_base
from engine.generate.prepared import find_prepared
from engine.generate.types import PreparedBase
from engine.jobs.types import RunConfig
from engine.loading import load_clusters
from tests.generate.test_weights import checkpoint

PROFILE = ModelProfile(
    title="t", license="l", parameters_billion=0.1, weights=DirectoryWeights(path="source"), inference=Inference(max_model_len=512)
)
REPOSITORY = Workspace(Path(__file__).resolve().parents[2])


def nothing(*_: object) -> None:
    """Neither reports nor cancels."""


def prepare(workspace: Workspace) -> tuple[PreparedBase, bool]:
    return prepare_base(workspace, "m", PROFILE, "cpu", nothing, nothing)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a checkpoint to prepare, and torch's share of the work left out."""
    source = checkpoint(tmp_path / "source", {"a": ("BF16", [1], 2)})
    for name in ("config.json", "tokenizer.json", "modeling_evil.py", "pytorch_model.bin", "training_args.bin"):
        (source / name).write_text("{}")
    monkeypatch.setattr(prepare_worker, "_fingerprint", lambda *_: False)
    monkeypatch.setattr(prepare_worker, "_chat_template", lambda _: "")
    return Workspace(tmp_path)


def test_only_weights_tokenizer_and_configuration_are_taken_over(place: Workspace) -> None:
    base, made = prepare(place)
    assert made
    assert sorted(path.name for path in Path(base.directory).iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert find_prepared(place, "m", PROFILE) == base
    assert prepare(place) == (base, False)


@pytest.mark.parametrize("broken", ["_fill", "_fingerprint", "_publish"])
def test_an_interrupted_preparation_is_not_found_and_the_next_one_ends_right(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(prepare_worker, broken, killed)
        with pytest.raises(Killed):
            prepare(place)
    assert find_prepared(place, "m", PROFILE) is None
    base, made = prepare(place)
    assert made
    assert [path.name for path in place.models.iterdir() if path.is_dir()] == [f"m-{base.digest[:12]}"]


def test_equal_sources_give_one_digest_and_a_changed_source_another(place: Workspace) -> None:
    first, _ = prepare(place)
    checkpoint(place.root / "source", {"a": ("BF16", [2], 4)})
    second, made = prepare(place)
    assert made
    assert second.digest != first.digest
    (place.root / "source" / "model.safetensors").unlink()
    checkpoint(place.root / "source", {"a": ("BF16", [1], 2)})
    third, _ = prepare(place)
    assert third.digest == first.digest


def test_two_preparations_wait_for_each_other_and_one_makes_it(place: Workspace) -> None:
    results: list[tuple[PreparedBase, bool]] = []
    threads = [threading.Thread(target=lambda: results.append(prepare(place))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({base.digest for base, _ in results}) == 1
    assert sorted(made for _, made in results) == [False, False, False, True]


def test_the_smoke_question_goes_through_the_server(workspace: Workspace) -> None:
    profile = ScriptedProfile(server=True)
    answer = ask(workspace, PrepareJob(model="double", profile=profile, smoke_question=True), None, nothing)
    assert answer.text == "scripted"
    assert answer.fingerprint.verdict == "match"


def test_a_smoke_question_without_an_answer_is_an_error(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.generate.chat.FIRST_PAUSE_SECONDS", 0.001)
    profile = EndpointProfile(title="x", base_url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(GenerationFailed):
        ask(workspace, PrepareJob(model="remote", profile=profile, smoke_question=True), None, nothing)


@pytest.mark.model
def test_a_preparation_killed_in_the_middle_starts_again_and_gives_the_same_weights(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    profile = load_clusters(REPOSITORY).models["smollm2-135m"]
    assert isinstance(profile, ModelProfile)
    paths = RunPaths(workspace.runs / "prepare-test")
    paths.root.mkdir(parents=True)
    job = PrepareJob(model="m", profile=profile).model_dump(mode="json")
    config = RunConfig(run_id="prepare-test", kind="prepare", cluster=None, workspace=str(tmp_path), seed=1, job=job)
    paths.config.write_text(config.model_dump_json())
    worker = [sys.executable, "-m", "engine.generate.prepare_worker", str(paths.root)]

    first = subprocess.Popen([*worker, "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    half_made = workspace.models / ".making-m" / "weights" / "model.safetensors"
    while not half_made.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    assert find_prepared(workspace, "m", profile) is None

    subprocess.run([*worker, "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads(paths.result.read_text())
    assert result["state"] == "succeeded"
    base = find_prepared(workspace, "m", profile)
    assert base is not None
    assert result["output"]["base"]["digest"] == base.digest
    elsewhere = find_prepared(REPOSITORY, "smollm2-135m", profile)
    assert elsewhere is None or elsewhere.digest == base.digest
    assert [path.name for path in workspace.models.iterdir() if path.is_dir()] == [f"m-{base.digest[:12]}"]
