"""The workspace's key: made once, its owner's alone, and never replaced unseen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, NotFound, SigningKeyUnsafe
from engine.promote.evidence.dsse import fingerprint
from engine.promote.evidence.keys import read_public_key, workspace_key


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_the_key_is_made_once_and_only_its_owner_may_read_it(workspace: Workspace) -> None:
    first = workspace_key(workspace)
    assert workspace.evidence_key.stat().st_mode & 0o777 == 0o600
    assert workspace.evidence_key.parent.stat().st_mode & 0o077 == 0
    assert fingerprint(workspace_key(workspace).public_key()) == fingerprint(first.public_key())
    assert fingerprint(read_public_key(workspace.evidence_public_key)) == fingerprint(first.public_key())
    assert sorted(path.name for path in workspace.evidence_key.parent.iterdir()) == ["evidence", "evidence.pub"]


def test_of_makers_that_start_together_all_hold_one_key(workspace: Workspace) -> None:
    made: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        made.append(fingerprint(workspace_key(workspace).public_key()))

    makers = [threading.Thread(target=make) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_a_key_whose_private_half_is_gone_is_not_replaced(workspace: Workspace) -> None:
    workspace_key(workspace)
    workspace.evidence_key.unlink()
    with pytest.raises(SigningKeyUnsafe, match="gone"):
        workspace_key(workspace)
    assert not workspace.evidence_key.exists()


def test_a_public_half_that_is_gone_or_wrong_is_written_again_from_the_private_one(workspace: Workspace) -> None:
    key = workspace_key(workspace)
    for leave in (workspace.evidence_public_key.unlink, lambda: workspace.evidence_public_key.write_text("ssh-ed25519 AAAA")):
        leave()
        workspace_key(workspace)
        assert fingerprint(read_public_key(workspace.evidence_public_key)) == fingerprint(key.public_key())


def test_a_private_key_that_others_may_read_signs_nothing(workspace: Workspace) -> None:
    workspace_key(workspace)
    workspace.evidence_key.chmod(0o640)
    with pytest.raises(SigningKeyUnsafe, match="others may read"):
        workspace_key(workspace)


def pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("content", [b"", b"nonsense", pem(generate_private_key(SECP256R1()))])
def test_a_damaged_or_foreign_private_key_signs_nothing(workspace: Workspace, content: bytes) -> None:
    workspace_key(workspace)
    workspace.evidence_key.write_bytes(content)
    with pytest.raises(SigningKeyUnsafe):
        workspace_key(workspace)


def test_a_public_key_is_read_as_openssh_and_as_pem_and_nothing_else_is(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    for encoding, form in ((Encoding.OpenSSH, PublicFormat.OpenSSH), (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        (tmp_path / "key").write_bytes(key.public_bytes(encoding, form))
        assert fingerprint(read_public_key(tmp_path / "key")) == fingerprint(key)
    other = generate_private_key(SECP256R1())
    for content in (b"", b"\xff" * 5000, pem(other), other.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(ArgumentInvalid, match="no ed25519 public key"):
            read_public_key(tmp_path / "key")
    with pytest.raises(NotFound):
        read_public_key(tmp_path / "nothing")
