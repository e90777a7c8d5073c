"""The OpenSSF model signature of a package: `model.sig`, a Sigstore bundle that the tool `model_signing` verifies with a public key.

    model_signing verify key PACKAGE --signature PACKAGE/model.sig --public_key PACKAGE/model.sig.pub

The format (OpenSSF Model Signing v1.0) is an in-toto statement with the SHA-256 of every file, in a DSSE envelope, signed with ECDSA on P-256. It
is written here with `cryptography` alone: the PyPI package `model-signing` brings a dozen others, Sigstore's client among them, to do as much, and
its release 1.1.1 does not import as it is installed (it lacks a declaration of pyOpenSSL). The tests hold what is written against that package.

The format knows no ed25519, so the key is derived from the workspace's own: whoever can sign evidence can sign models, and nobody else, and there
is one key to guard. The public half stands in the package, and in its manifest, which the workspace's key signs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from engine.base.digests import canonical_json
from engine.base.files import parse_strict
from engine.promote.evidence.dsse import IN_TOTO, pae
from engine.promote.evidence.statement import STATEMENT_TYPE

SIGNATURE = "model.sig"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PURPOSE = b"modelsmith model signature, P-256"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""
SEED_BYTES = 48
"""128 bits more than the order has, so that no key is likelier than another."""


def model_key(workspace_key: Ed25519PrivateKey) -> ec.EllipticCurvePrivateKey:
    """The key that signs models: always the same one for a workspace's key."""
    seed = HKDF(algorithm=hashes.SHA256(), length=SEED_BYTES, salt=None, info=PURPOSE).derive(workspace_key.private_bytes_raw())
    return ec.derive_private_key(1 + int.from_bytes(seed) % (ORDER - 1), ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half, as `model_signing` takes it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign_model(name: str, files: Mapping[str, str], key: ec.EllipticCurvePrivateKey) -> bytes:
    """The signature over `files`, by path their SHA-256."""
    payload = canonical_json(_statement(name, files))
    signature = key.sign(pae(IN_TOTO, payload), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(public_pem(key)).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=1).encode() + b"\n"


def signature_problem(signature: bytes, public_key: bytes, files: Mapping[str, str]) -> str:
    """Why a signature does not stand for `files`, in a sentence; empty when it does."""
    try:
        envelope = parse_strict(signature)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        (given,) = envelope["signatures"]
        key = load_pem_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return "its public key is none of ECDSA"
        key.verify(base64.b64decode(given["sig"], validate=True), pae(IN_TOTO, payload), ec.ECDSA(hashes.SHA256()))
        listed = {resource["name"]: resource["digest"] for resource in parse_strict(payload)["predicate"]["resources"]}
    except InvalidSignature:
        return "it does not verify"
    except (ValueError, KeyError, TypeError):
        return "it cannot be read"
    return "" if listed == dict(files) else "it lists other files than there are"


def _statement(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Names and digests in the order of their names; the subject's digest is of the digests in that order."""
    listed = sorted(files.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed],
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]},
        },
    }
