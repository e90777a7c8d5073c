"""Signed envelopes: DSSE v1 (secure-systems-lab/dsse) around an in-toto statement, with one ed25519 signature.

What is signed is the payload with its type and both lengths (the pre-authentication encoding), never a re-encoded JSON. DSSE leaves open how the
envelope itself is spelled; here it has exactly one spelling (canonical JSON, standard base64, the key's fingerprint as its id, a final newline),
so that no byte of the file can change unseen. Any DSSE reader opens it; only that spelling is opened here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.base.digests import canonical_json
from engine.base.files import parse_strict
from engine.errors import EvidenceRefused

IN_TOTO = "application/vnd.in-toto+json"
"""The payload's type."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what a signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def fingerprint(key: Ed25519PublicKey) -> str:
    """`SHA256:...`, as `ssh-keygen -l` prints it."""
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def sign(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """The envelope's bytes."""
    return _spelled(payload, fingerprint(key.public_key()), key.sign(pae(IN_TOTO, payload)))


def open_envelope(envelope: bytes, key: Ed25519PublicKey, name: str) -> bytes:
    """The payload, when `key` signed it. Raises EvidenceRefused, calling the envelope `name`."""
    try:
        found = parse_strict(envelope)
        payload, signer, signature = _parts(found)
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise EvidenceRefused(f"{name} is not a signed envelope", next_step="Get the bundle again from where it was made.", file=name) from None
    if signer != fingerprint(key):
        raise EvidenceRefused(
            f"{name} says that {signer[:64]} signed it; the named key is {fingerprint(key)}",
            next_step="Name the public key of the workspace that made the bundle, as its owner gave it to you.",
            file=name,
        )
    try:
        key.verify(signature, pae(IN_TOTO, payload))
    except InvalidSignature:
        problem = f"{name} was altered: its signature does not verify"
        raise EvidenceRefused(problem, next_step="Do not rely on it; get the bundle again.", file=name) from None
    if envelope != _spelled(payload, signer, signature):
        raise EvidenceRefused(f"{name} was altered: it is spelled otherwise than it was written", next_step="Get the bundle again.", file=name)
    return payload


def _parts(envelope: Any) -> tuple[bytes, str, bytes]:
    (signature,) = envelope["signatures"]
    if not isinstance(signature["keyid"], str):
        raise TypeError("a key id is a text")
    return base64.b64decode(envelope["payload"], validate=True), signature["keyid"], base64.b64decode(signature["sig"], validate=True)


def _spelled(payload: bytes, signer: str, signature: bytes) -> bytes:
    """The one spelling of an envelope."""
    signatures = [{"keyid": signer, "sig": base64.b64encode(signature).decode()}]
    return canonical_json({"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": signatures}) + b"\n"
