"""Signing in a terminal: shows what will be signed, word for word, and has ssh-keygen sign it.

ssh-keygen asks for the passphrase, the PIN or the touch by itself; no key and no secret passes through here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from engine.errors import ArgumentInvalid, DependencyMissing, NotFound
from engine.promote.approvals.roster import SshKey, problem_in

MAX_KEY = 16 << 10


def sign_shown(statement: bytes, namespace: str, key: Path) -> str:
    """The armoured signature over `statement`, after it was shown on stderr."""
    if not key.exists():
        raise NotFound(f"there is no key at {key}", next_step="Name a private key, or the .pub file of one that an ssh-agent holds.")
    print(f"This is signed, as {namespace}, with {key}:\n\n{statement.decode()}", file=sys.stderr, flush=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(key.absolute())]
    try:
        done = subprocess.run(command, input=statement, stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise DependencyMissing("ssh-keygen is not on this machine", next_step="Install OpenSSH's client, version 8.2 or newer.") from None
    if done.returncode:
        raise ArgumentInvalid(f"ssh-keygen did not sign with {key}; what it said stands above", next_step="Try the key with `ssh-keygen -Y sign`.")
    return done.stdout.decode()


def public_key_of(key: Path) -> SshKey:
    """The public half of a key that is named by either half."""
    return public_key_in(key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub"))


def public_key_in(path: Path) -> SshKey:
    """The key in a `.pub` file, without its comment."""
    try:
        with path.open(errors="replace") as stream:
            words = stream.read(MAX_KEY).split()
    except OSError as error:
        next_step = "Name a public key; `ssh-keygen -y -f KEY > KEY.pub` writes one from its private half."
        raise NotFound(f"{path} cannot be read: {error.strerror}", next_step=next_step) from None
    try:
        return SshKey(public_key=" ".join(words[:2]))
    except ValidationError as error:
        raise ArgumentInvalid(f"{path} holds no public key that is taken: {problem_in(error)}", next_step="Name an SSH public key.") from None
