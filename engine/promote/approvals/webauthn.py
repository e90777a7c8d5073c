"""Passkey signatures: verifying a WebAuthn assertion over a request against a credential of the approver list.

Takes the JSON that a browser's `PublicKeyCredential.toJSON()` gives, and follows section 7.2 of the WebAuthn specification as far as it is about
verifying: type, challenge, origin, host, the flags for presence and verification, the counter, the signature. Registration is not here: the
list holds the public key as the browser gives it at registration, and an existing approver signs it in. Attestation is not looked at, so a
passkey made by a program looks like any other; whoever signs one in vouches for the device. The pages that make a passkey and ask it are served
by the daemon (`server/pages.py`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from engine.base.files import parse_strict
from engine.errors import SignatureRefused
from engine.promote.approvals.levels import Proof
from engine.promote.approvals.roster import Passkey, from_base64url

MAX_ASSERTION = 16 << 10
HEADER_BYTES = 37
"""Host digest, flags and counter; extensions may follow."""
PRESENT, VERIFIED, ATTESTED, EXTENDED = 0x01, 0x04, 0x40, 0x80


class Assertion(NamedTuple):
    """A browser's answer, taken apart. Nothing in it is believed yet."""

    credential: str
    client_data: bytes
    authenticator_data: bytes
    signature: bytes

    @property
    def flags(self) -> int:
        return self.authenticator_data[32]

    @property
    def counter(self) -> int:
        return int.from_bytes(self.authenticator_data[33:HEADER_BYTES], "big")


def parse_assertion(text: str) -> Assertion:
    """The assertion in a browser's JSON. Malformed, it is a ValueError with a sentence."""
    if len(text) > MAX_ASSERTION:
        raise ValueError(f"it has {len(text)} characters; an assertion has at most {MAX_ASSERTION}")
    document = parse_strict(text.encode())
    response = _text_of(document, "type") == "public-key" and document.get("response")
    if not isinstance(response, dict):
        raise ValueError("it is not a public-key assertion with a response")
    client_data, data, signature = (from_base64url(_text_of(response, name)) for name in ("clientDataJSON", "authenticatorData", "signature"))
    if len(data) < HEADER_BYTES or (len(data) > HEADER_BYTES and not data[32] & (ATTESTED | EXTENDED)):
        raise ValueError(f"its authenticator data has {len(data)} bytes, which is not what its flags say")
    return Assertion(_text_of(document, "id"), client_data, data, signature)


def verify_assertion(assertion: Assertion, passkey: Passkey, challenge: bytes, *, user_verification: bool) -> Proof:
    """What the assertion shows, if `passkey` made it for `challenge` on its own page. Otherwise SignatureRefused with the reason."""
    _check_client_data(assertion.client_data, passkey.origin, challenge)
    if assertion.authenticator_data[:32] != hashlib.sha256(passkey.rp_id.encode()).digest():
        raise SignatureRefused("the passkey signed for another host", next_step=f"Approve on {passkey.origin}.", reason="origin")
    if not _is_signed(assertion, passkey):
        raise SignatureRefused(
            f"the assertion is not signed by the passkey {passkey.fingerprint}", next_step="Approve again with that passkey.", reason="altered"
        )
    if not assertion.flags & PRESENT:
        raise SignatureRefused("the passkey's flags show no touch", next_step="Approve again and confirm on the device.", reason="not_touched")
    verified = bool(assertion.flags & VERIFIED)
    if user_verification and not verified:
        raise SignatureRefused(
            "the passkey's flags show neither PIN nor fingerprint, and the approver list asks for them",
            next_step="Approve again with a device that has a PIN or a fingerprint set up.",
            reason="not_verified",
        )
    return Proof("webauthn", True, verified, assertion.counter)


def _check_client_data(data: bytes, origin: str, challenge: bytes) -> None:
    """What the browser says of the page: it asked for this very request, on this origin, in no frame of another's page."""
    said = _client_data(data)
    if said.get("type") != "webauthn.get":
        raise SignatureRefused("the passkey did not sign a log-in or approval", next_step="Approve on the dashboard's page.", reason="malformed")
    expected = base64.urlsafe_b64encode(challenge).rstrip(b"=")
    if not hmac.compare_digest(str(said.get("challenge")).encode(), expected):
        raise SignatureRefused(
            "the passkey signed another request, or this one was altered since",
            next_step="Read the request as it is now, and approve again if it is what you want.",
            reason="other_statement",
        )
    if said.get("origin") != origin or said.get("crossOrigin"):
        asked = str(said.get("origin"))[:200]
        raise SignatureRefused(f"the page that asked the passkey was {asked!r}, not {origin}", next_step=f"Approve on {origin}.", reason="origin")


def _client_data(data: bytes) -> dict[str, Any]:
    """The browser's own JSON, which the signature covers byte by byte."""
    try:
        said = parse_strict(data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise SignatureRefused("the assertion's client data is not a JSON object", next_step="Approve again.", reason="malformed")
    return said


def _is_signed(assertion: Assertion, passkey: Passkey) -> bool:
    data = assertion.authenticator_data + hashlib.sha256(assertion.client_data).digest()
    verifier = passkey.verifier
    try:
        if isinstance(verifier, ed25519.Ed25519PublicKey):
            verifier.verify(assertion.signature, data)
        elif isinstance(verifier, ec.EllipticCurvePublicKey):
            verifier.verify(assertion.signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            verifier.verify(assertion.signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _text_of(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"its {name} is missing or no text")
    return value
