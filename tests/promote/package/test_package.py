"""A package as a folder: every byte signed, by two signatures; read by whoever has the public key, and by the tools of others."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.base.digests import file_sha256
from engine.config import HubWeights
from engine.errors import EvidenceRefused, PackageRefused
from engine.generate.vllm_command import engine_arguments
from engine.promote.evidence.bundle import read_bundle
from engine.promote.package.card import model_card
from engine.promote.package.folder import MANIFEST, PUBLIC_KEY, read_package, seal
from engine.promote.package.serving import SERVER, compose_file, serving_script
from engine.promote.package.signature import SIGNATURE, model_key, public_pem, sign_model, signature_problem
from engine.promote.package.verify import verify_package
from server import cli
from tests.promote.package.sealing import PROFILE, adapter_parity, fill, sealed
from tests.traps import grow, pickle_trap, zip_bomb

KEY = Ed25519PrivateKey.generate()
FILES = {
    "README.md", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "evidence/approvals.json", "evidence/items.jsonl",
    "evidence/manifest.dsse.json", "evidence/page.html", "evidence/statement.dsse.json", "evidence/verify_bundle.py", PUBLIC_KEY,
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read only."""
    return sealed(tmp_path_factory.mktemp("packages") / "package", KEY)


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "package"))


# ---- reading and refusing ---------------------------------------------------------------------------------------------------------------


def test_a_sound_package_is_read_and_its_verdict_found_again(package: Path) -> None:
    found = verify_package(package, KEY.public_key())
    assert found.verified
    assert found.problems == ()
    assert found.files == len(FILES)
    assert set(read_package(package, KEY.public_key()).files) == FILES
    assert any("condition follow from the " in sentence for sentence in found.held)


@pytest.mark.parametrize("name", sorted({*FILES, MANIFEST, SIGNATURE}))
def test_a_flipped_byte_in_any_file_is_refused(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises((PackageRefused, EvidenceRefused)):
        read_package(copied, KEY.public_key())


def remove(folder: Path) -> None:
    (folder / "adapter/adapter_config.json").unlink()


def add(folder: Path) -> None:
    (folder / "adapter/note.txt").write_bytes(b"by somebody else")


def pickled(folder: Path) -> None:
    (folder / "adapter/adapter_model.bin").write_bytes(pickle_trap(folder.parent / "sprung"))


def archived(folder: Path) -> None:
    (folder / "adapter/more.zip").write_bytes(zip_bomb(folder.parent / "sprung"))


def swapped(folder: Path) -> None:
    """Under the name of what was signed."""
    (folder / "adapter/adapter_model.safetensors").write_bytes(pickle_trap(folder.parent / "sprung"))


def larger(folder: Path) -> None:
    grow(folder / "adapter/adapter_model.safetensors")


def larger_manifest(folder: Path) -> None:
    grow(folder / MANIFEST)


def link(folder: Path) -> None:
    (folder / "adapter/adapter_config.json").unlink()
    os.symlink("/etc/hostname", folder / "adapter/adapter_config.json")


def unsign(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


@pytest.mark.parametrize("spoil", [remove, add, link, unsign, pickled, archived, swapped, larger, larger_manifest])
def test_a_package_that_is_not_whole_or_not_plain_files_is_refused(copied: Path, spoil: Callable[[Path], None]) -> None:
    """What it holds is read as bytes or not at all: nothing is loaded, nothing unpacked, and no more read than was signed."""
    spoil(copied)
    with pytest.raises(PackageRefused) as refusal:
        read_package(copied, KEY.public_key())
    assert refusal.value.next_step
    assert not (copied.parent / "sprung").exists()


def test_another_key_is_refused(package: Path) -> None:
    with pytest.raises(EvidenceRefused, match="signed it; the named key is"):
        read_package(package, Ed25519PrivateKey.generate().public_key())


def test_parts_of_two_versions_are_refused_though_each_is_signed(package: Path, tmp_path: Path) -> None:
    stated = fill(tmp_path / "other", KEY, adapter=b"other weights")
    shutil.rmtree(tmp_path / "other/evidence")
    shutil.copytree(package / "evidence", tmp_path / "other/evidence")
    seal(tmp_path / "other", stated, KEY)
    with pytest.raises(PackageRefused, match="not of one version"):
        read_package(tmp_path / "other", KEY.public_key())


def test_a_replay_beyond_its_limits_is_no_verified_package_whatever_is_said_of_it(tmp_path: Path) -> None:
    beyond = adapter_parity(other=30)
    said = beyond.model_copy(update={"figures": tuple(figure.model_copy(update={"holds": True}) for figure in beyond.figures)})
    found = verify_package(sealed(tmp_path / "lie", KEY, forms=[said]), KEY.public_key())
    assert not found.verified
    assert found.problems == ("adapter: 70 of 100 answers to core items are the same to the letter; at least 90% must be.",)


def test_the_terminal_tells_a_package_from_a_bundle(package: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence.pub").write_bytes(KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))

    def run(folder: Path) -> tuple[int, str]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            code = cli.main(["verify", str(folder), "--key", "evidence.pub", "--json"])
        return code, out.getvalue()

    code, out = run(package)
    assert (code, json.loads(out)["verified"]) == (0, True)
    assert json.loads(out)["summary"].startswith("Verified: the package of v-")
    assert run(package / "evidence")[0] == 0
    (copied / "README.md").write_text("better")
    code, out = run(copied)
    assert (code, json.loads(out)["error"]["code"]) == (2, "package_refused")


# ---- the OpenSSF signature --------------------------------------------------------------------------------------------------------------


def test_the_model_signature_stands_for_every_file_under_the_workspace_s_key(package: Path) -> None:
    files = {name: file_sha256(package / name) for name in {*FILES, MANIFEST}}
    signature, public = (package / SIGNATURE).read_bytes(), (package / PUBLIC_KEY).read_bytes()
    assert public == public_pem(model_key(KEY)), "always the same key for a workspace's key"
    assert signature_problem(signature, public, files) == ""
    assert signature_problem(signature, public, files | {"README.md": "0" * 64}) == "it lists other files than there are"
    assert signature_problem(signature, public_pem(model_key(Ed25519PrivateKey.generate())), files) == "it does not verify"
    assert signature_problem(sign_model("x", files, model_key(Ed25519PrivateKey.generate())), public, files) == "it does not verify"
    assert signature_problem(b"{}", public, files) == "it cannot be read"


def test_the_tool_of_openssf_accepts_it_and_refuses_a_changed_file(copied: Path) -> None:
    model_signing = pytest.importorskip("model_signing", reason="model-signing and pyOpenSSL are not in this environment")

    def verify() -> None:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=copied / PUBLIC_KEY).verify(copied, copied / SIGNATURE)

    verify()
    (copied / "adapter/adapter_model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="adapter_model"):
        verify()


# ---- the card ---------------------------------------------------------------------------------------------------------------------------


def test_the_card_is_what_the_hub_reads_with_the_figures_of_the_evidence(package: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(package / "README.md").data
    stated = read_bundle(package / "evidence", KEY.public_key()).predicate
    measured = next(figures for figures in stated.found.measured if figures.role == "challenger")
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "peft", "text-generation")
    assert data.eval_results is not None
    shown = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert shown == {
        (split.split, name): round(score.mean, 6)
        for split in measured.splits
        for name, score in (("score", split.score), ("pass_rate", split.pass_rate))
    }


def test_a_licence_that_the_hub_does_not_list_is_named_in_full_and_a_base_on_it_linked(package: Path) -> None:
    stated = read_bundle(package / "evidence", KEY.public_key()).predicate
    stated = stated.model_copy(update={"lineage": stated.lineage.model_copy(update={"licence": "Our own terms"})})
    head = yaml.safe_load(model_card(stated, "e" * 64, [adapter_parity()], [], base_repository="org/base", served=True).split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "Our own terms")
    assert (head["base_model"], head["base_model_relation"]) == ("org/base", "adapter")


# ---- serving ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_script_and_compose_file_serve_with_the_arguments_of_the_replay(tmp_path: Path, device: str, form: str) -> None:
    profile = PROFILE.model_copy(update={"weights": HubWeights(repo="org/base", revision="abc")})
    arguments = engine_arguments(profile, device, adapters=form == "adapter")  # type: ignore[arg-type]
    (tmp_path / "serve.sh").write_text(serving_script(profile, device, form, "tickets"))  # type: ignore[arg-type]
    (tmp_path / "python3").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin", "VLLM_API_KEY": "k", "PORT": "8123"}
    run = subprocess.run(["sh", str(tmp_path / "serve.sh"), "--seed", "1"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    said = run.stdout.splitlines()
    assert said[:2] == list(SERVER[1:])
    assert said[2:4] == ["--model", "org/base" if form == "adapter" else "./merged"]
    assert said[-6:] == ["--host", "127.0.0.1", "--port", "8123", "--seed", "1"]
    assert said[6:-6] == arguments
    refused = subprocess.run(["sh", str(tmp_path / "serve.sh")], env=environment | {"VLLM_API_KEY": ""}, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "set a key" in refused.stderr

    service = yaml.safe_load(compose_file(profile, device, form, "tickets", "0.32.0"))["services"]["tickets"]  # type: ignore[arg-type]
    assert service["command"][4:-4] == arguments
    assert service["entrypoint"] == list(SERVER)
    assert service["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert service["volumes"][0] == f"./{form}:/package/{form}:ro"
    assert ("deploy" in service) == (device == "cuda")


def test_an_adapter_whose_base_is_nowhere_to_be_had_asks_for_it() -> None:
    assert "set the directory of the base model" in serving_script(PROFILE, "cuda", "adapter", "tickets")
    assert "BASE_MODEL" not in serving_script(PROFILE, "cpu", "merged", "tickets")
