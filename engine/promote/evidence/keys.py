"""The workspace's signing key: made once, readable by its owner alone, and never replaced unseen.

    .modelsmith/keys/evidence         private, mode 0600 (PKCS #8)
    .modelsmith/keys/evidence.pub     public, one line as OpenSSH writes it: what is given to those who verify

What a signature by it proves: that a bundle comes from this workspace and has not changed since. Not that the workspace is honest: whoever can
read the key, which every process of its user can, signs what they like. People's approvals rest on keys of their own (`engine/promote/approvals`).

If the power goes while the key is made: the private half appears complete or not at all, and the public half is written again from it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from engine.base.files import fsync_directory, write_atomic
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, NotFound, SigningKeyUnsafe

MAX_KEY_BYTES = 4096


def workspace_key(workspace: Workspace) -> Ed25519PrivateKey:
    """The workspace's signing key, made now if there never was one. Raises SigningKeyUnsafe when it is gone, damaged, or open to others."""
    private, public = workspace.evidence_key, workspace.evidence_public_key
    if not private.exists():
        if public.exists():
            raise SigningKeyUnsafe(
                f"the private half of {public.name} is gone",
                next_step="Put keys/evidence back from a backup. To sign with a new key instead, remove keys/evidence.pub, and give those who "
                "verify the new one: bundles of the old key stay valid under it alone.",
            )
        _make(private)
    key = _load_private(private)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" modelsmith-evidence\n"
    if not public.exists() or public.read_bytes() != line:
        write_atomic(public, line)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """An ed25519 public key from a file, as OpenSSH or PEM."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_KEY_BYTES)
    except OSError as error:
        raise NotFound(f"the key {path.name[:120]!r} cannot be read: {error.strerror}", next_step="Name the public key's file.") from None
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(data) if data.startswith(b"-----BEGIN PUBLIC KEY-----") else load_ssh_public_key(data)
        if isinstance(key, Ed25519PublicKey):
            return key
    raise ArgumentInvalid(
        f"{path.name[:120]!r} holds no ed25519 public key", next_step="Give the line of keys/evidence.pub from the workspace that made the bundle."
    )


def _make(path: Path) -> None:
    """Writes a new private key. Of two makers at once, one key stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    complete = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        write_atomic(complete, made, mode=0o600)
        with contextlib.suppress(FileExistsError):
            os.link(complete, path)
    finally:
        complete.unlink(missing_ok=True)
    fsync_directory(path.parent)


def _load_private(path: Path) -> Ed25519PrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SigningKeyUnsafe(f"others may read keys/{path.name}", next_step="Run `chmod 600 .modelsmith/keys/evidence`, and ask who has read it.")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyUnsafe(f"keys/{path.name} is no ed25519 private key", next_step="Put it back from a backup.")
    return key
