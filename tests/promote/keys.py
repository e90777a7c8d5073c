"""Keys for tests of approvals: real ones made by ssh-keygen, and security keys and passkeys in software, which no list of hardware would hold."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from engine.promote.approvals.approvers import Approvers, Entry, SignedEntry, entry_text, extended, first_entry, next_entry
from engine.promote.approvals.roster import (
    Founded,
    KeyAdded,
    KeyRevoked,
    Passkey,
    Person,
    PersonAdded,
    PersonRevoked,
    RolesChanged,
    SshKey,
    ThresholdChanged,
)
from engine.promote.approvals.ssh import BEGIN, END, MAGIC, SK_ECDSA, SK_ED25519, packed, signed_data
from engine.promote.approvals.statement import NAMESPACE, challenge_of, statement_of
from engine.promote.types import PromotionRequest

NOW = "2026-11-21T12:00:00.000Z"
LATER = "2026-11-22T12:00:00.000Z"
TOUCH, PIN = 0x01, 0x04


def a_request(**changes: Any) -> PromotionRequest:
    """A request for production that waits for one signature with a key file."""
    fields: dict[str, Any] = {
        "id": "promote-1121-a1b2c3",
        "cluster": "travel",
        "version": "v-5f0c",
        "adapter": "ad" * 32,
        "chain": "standard",
        "source": "canary",
        "target": "production-accepted",
        "evidence": "e1" * 32,
        "policy": "b0" * 32,
        "nonce": "c0ffee" * 5,
        "expires_at": LATER,
        "proposed_by": "mcp",
        "created_at": NOW,
        "approvals": 1,
        "level": "ssh",
        "role": "approver",
    }
    return PromotionRequest(**(fields | changes))


# ---- keys that sign in a terminal ----------------------------------------------------------------------------------------------------


class FileKey:
    """A key pair that ssh-keygen made, without a passphrase."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.path = folder / name
        command = ["ssh-keygen", "-q", "-t", *(options or ("ed25519",)), "-N", "", "-C", f"{name}@example", "-f", str(self.path)]
        subprocess.run(command, check=True, timeout=60)

    @property
    def line(self) -> str:
        """Kind and base64."""
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    def sign(self, message: bytes, namespace: str = NAMESPACE) -> str:
        """As a person would, with ssh-keygen."""
        return ssh_keygen_sign(self.path, message, namespace)


def ssh_keygen_sign(path: Path, message: bytes, namespace: str = NAMESPACE, **environment: str) -> str:
    """What `ssh-keygen -Y sign` writes."""
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(path)]
    done = subprocess.run(command, input=message, capture_output=True, check=True, timeout=60, env=environment or None)
    return done.stdout.decode()


class SoftSecurityKey:
    """A FIDO security key for SSH, in software: it sets its flags as it is told."""

    def __init__(self, kind: str = SK_ED25519, application: bytes = b"ssh:") -> None:
        self.kind, self.application, self.counter = kind, application, 0
        self.private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
        if kind == SK_ED25519:
            self.private = ed25519.Ed25519PrivateKey.generate()
            self.blob = packed(kind.encode(), self.private.public_key().public_bytes_raw(), application)
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            point = self.private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            self.blob = packed(SK_ECDSA.encode(), b"nistp256", point, application)

    @property
    def line(self) -> str:
        """Kind and base64."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    def sign(self, message: bytes, namespace: str = NAMESPACE, *, flags: int = TOUCH | PIN, counter: int | None = None) -> str:
        """The armoured signature that ssh-keygen would write with such a device."""
        self.counter = counter if counter is not None else self.counter + 1
        tail = bytes([flags]) + self.counter.to_bytes(4, "big")
        data = hashlib.sha256(self.application).digest() + tail + hashlib.sha256(signed_data(namespace, "sha512", message)).digest()
        return armoured(self.blob, namespace, packed(self.kind.encode(), self._raw(data)) + tail)

    def _raw(self, data: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        numbers = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return packed(*(number.to_bytes(number.bit_length() // 8 + 1, "big") for number in numbers))


def armoured(key_blob: bytes, namespace: str, signature: bytes, *, hash_name: str = "sha512", version: int = 1, reserved: bytes = b"") -> str:
    """SSH's armour around a signature."""
    inner = MAGIC + version.to_bytes(4, "big") + packed(key_blob, namespace.encode(), reserved, hash_name.encode(), signature)
    text = base64.b64encode(inner).decode()
    return "\n".join([BEGIN, *(text[start : start + 70] for start in range(0, len(text), 70)), END, ""])


Signer = FileKey | SoftSecurityKey


# ---- passkeys ------------------------------------------------------------------------------------------------------------------------


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class SoftPasskey:
    """A WebAuthn authenticator and the browser in front of it, in software."""

    def __init__(self, kind: str = "es256", *, rp_id: str = "localhost", origin: str = "http://localhost:8123") -> None:
        self.rp_id, self.origin, self.counter = rp_id, origin, 0
        self.private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
        if kind == "es256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, 2048)
        self.der = self.private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.credential = base64url(hashlib.sha256(self.der).digest())

    @property
    def record(self) -> Passkey:
        """As an approver list holds it."""
        return Passkey(credential=self.credential, public_key=base64url(self.der), rp_id=self.rp_id, origin=self.origin)

    def approve(self, request: PromotionRequest, *, flags: int = TOUCH | PIN, counter: int | None = None, **said: Any) -> str:
        """The assertion over a request; `said` changes what the browser says of the page."""
        self.counter = counter if counter is not None else self.counter + 1
        client = {"type": "webauthn.get", "challenge": base64url(challenge_of(request)), "origin": self.origin, "crossOrigin": False} | said
        client_data = json.dumps(client).encode()
        data = hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")
        response = {"clientDataJSON": base64url(client_data), "authenticatorData": base64url(data), "signature": base64url(self._raw(data, client_data))}
        return json.dumps({"id": self.credential, "rawId": self.credential, "type": "public-key", "response": response, "clientExtensionResults": {}})

    def _raw(self, data: bytes, client_data: bytes) -> bytes:
        message = data + hashlib.sha256(client_data).digest()
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, PKCS1v15(), hashes.SHA256())
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


# ---- lists ---------------------------------------------------------------------------------------------------------------------------


def person(name: str, *keys: Signer | SoftPasskey, roles: tuple[str, ...] = ("approver",)) -> Person:
    return Person(name=name, roles=roles, keys=tuple(key.record if isinstance(key, SoftPasskey) else SshKey(public_key=key.line) for key in keys))


def signed_by(entry: Entry, *signers: Signer) -> SignedEntry:
    return SignedEntry(entry=entry, signatures=tuple(signer.sign(entry_text(entry), "modelsmith-approvers@v1") for signer in signers))


def founded_by(name: str, key: Signer, *, level: str | None = None, user_verification: bool = True, roles: tuple[str, ...] = ("approver",)) -> Approvers:
    """A list with one person in it, who signed themselves in."""
    own = level or ("ssh-sk" if isinstance(key, SoftSecurityKey) else "ssh")
    change = Founded(person=person(name, key, roles=roles), level=own, user_verification=user_verification)
    return extended(None, signed_by(first_entry(change, NOW), key))


Change = PersonAdded | KeyAdded | PersonRevoked | KeyRevoked | RolesChanged | ThresholdChanged


def after(approvers: Approvers, change: Change, *signers: Signer) -> Approvers:
    """The list after one more change."""
    return extended(approvers, signed_by(next_entry(approvers, change, NOW), *signers))


def signature_over(request: PromotionRequest, key: Signer, **how: Any) -> str:
    return key.sign(statement_of(request), **how)
