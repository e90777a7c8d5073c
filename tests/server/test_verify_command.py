"""`modelsmith verify` in a terminal: anywhere, with nothing but the bundle and a public key."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.verify_bundle import synthetic_inputs
from engine.base.paths import Workspace
from engine.promote.evidence.bundle import make_bundle
from engine.promote.evidence.keys import workspace_key
from server import cli
from tests.promote.evidence.forging import forged

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(synthetic_inputs(160, channels=3), KEY, tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no workspace, with the public key in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence.pub").write_bytes(KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(["verify", *words])
    return code, out.getvalue(), err.getvalue()


def test_a_sound_bundle_is_verified_and_nothing_is_left_behind(bundle: Path, elsewhere: Path) -> None:
    code, out, err = run(str(bundle), "--key", "evidence.pub")
    assert (code, err) == (0, "")
    assert out.startswith("Verified: evidence ")
    assert "not checked:" in out
    code, out, _ = run(str(bundle), "--key", "evidence.pub", "--json")
    document = json.loads(out)
    assert (code, document["verified"], document["verdict"]) == (0, True, "accept")
    assert [path.name for path in elsewhere.iterdir()] == ["evidence.pub"]


def test_a_verdict_that_does_not_follow_exits_with_1_and_is_named(bundle: Path, elsewhere: Path) -> None:
    lie = forged(bundle, elsewhere / "lie", KEY, state=lambda predicate: predicate["found"]["decision"].update(verdict="roll_back"))
    code, out, _ = run(str(lie), "--key", "evidence.pub")
    assert code == 1
    assert out.startswith("NOT verified")
    assert "found.decision.verdict: roll_back is stated, accept was found" in out
    assert json.loads(run(str(lie), "--key", "evidence.pub", "--json")[1])["verified"] is False


def test_an_altered_bundle_another_key_and_a_missing_key_exit_with_2(bundle: Path, elsewhere: Path) -> None:
    other = forged(bundle, elsewhere / "other", Ed25519PrivateKey.generate())
    for words, code in (
        ([str(other), "--key", "evidence.pub"], "evidence_refused"),
        ([str(elsewhere / "nothing"), "--key", "evidence.pub"], "evidence_refused"),
        ([str(bundle), "--key", "nothing.pub"], "not_found"),
        ([str(bundle), "--key", str(bundle / "page.html")], "argument_invalid"),
        ([str(bundle)], "argument_invalid"),
        ([str(bundle), "--key", "evidence.pub", "--approvers", "nothing.json"], "not_found"),
        ([str(bundle), "--key", "evidence.pub", "--approved", "canary"], "argument_invalid"),
    ):
        exit_code, out, _ = run(*words, "--json")
        error = json.loads(out)["error"]
        assert (exit_code, error["code"]) == (2, code)
        assert error["next_step"]


def test_in_the_workspace_that_signed_it_its_own_key_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    monkeypatch.chdir(tmp_path)
    key = workspace_key(Workspace(tmp_path))
    own = make_bundle(synthetic_inputs(160, channels=3), key, tmp_path / "bundles")
    assert run(str(own))[0] == 0
    assert run(str(bundle))[0] == 2
