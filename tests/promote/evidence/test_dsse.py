"""Envelopes: encoded as the DSSE specification says, spelled in one way, opened by one key."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EvidenceRefused
from engine.promote.evidence.dsse import IN_TOTO, fingerprint, open_envelope, pae, sign

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PUBLIC = KEY.public_key()


def test_the_encoding_that_is_signed_is_the_specifications() -> None:
    """The test vector of the DSSE protocol, version 1.0.0: signed by somebody else's code, with ECDSA over P-256."""
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    signature = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    point = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    )
    r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
    point.public_key().verify(encode_dss_signature(r, s), encoded, ec.ECDSA(hashes.SHA256()))


def test_lengths_count_bytes_so_that_no_two_messages_are_encoded_alike() -> None:
    assert pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "
    assert pae("a", b"b 1 c") != pae("a b", b"1 c")


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_what_was_signed_comes_out_again(payload: bytes) -> None:
    assert open_envelope(sign(payload, KEY), PUBLIC, "it") == payload


def test_any_dsse_reader_finds_payload_type_and_signature_where_the_specification_has_them() -> None:
    envelope = json.loads(sign(b"{}", KEY))
    assert (base64.b64decode(envelope["payload"]), envelope["payloadType"]) == (b"{}", IN_TOTO)
    (signature,) = envelope["signatures"]
    PUBLIC.verify(base64.b64decode(signature["sig"]), pae(IN_TOTO, b"{}"))


@settings(max_examples=300)
@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(position: int, flip: int) -> None:
    envelope = bytearray(sign(b'{"verdict":"accept"}', KEY))
    envelope[position % len(envelope)] ^= flip
    with pytest.raises(EvidenceRefused):
        open_envelope(bytes(envelope), PUBLIC, "it")


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: text.replace(b":", b": ", 1),
        lambda text: text.replace(b'"keyid"', b'"key\\u0069d"'),
        lambda text: json.dumps(json.loads(text) | {"more": 1}, sort_keys=True, separators=(",", ":")).encode() + b"\n",
        lambda text: text.replace(b'"signatures":[', b'"signatures":[{"keyid":"x","sig":""},'),
        lambda text: b"[]",
        lambda text: b'{"payload":1,"payloadType":"x","signatures":[{"keyid":"k","sig":"s"}]}',
        lambda text: b"\xff\xfe",
        lambda text: b"{" * 100_000,
    ],
)
def test_another_spelling_of_the_same_envelope_is_refused(respell) -> None:
    with pytest.raises(EvidenceRefused, match="it "):
        open_envelope(respell(sign(b"{}", KEY)), PUBLIC, "it")


def test_another_key_is_named_and_cannot_pass_for_the_named_one() -> None:
    with pytest.raises(EvidenceRefused) as refused:
        open_envelope(sign(b"{}", OTHER), PUBLIC, "it")
    assert fingerprint(OTHER.public_key()) in refused.value.message
    forged = sign(b"{}", OTHER).replace(fingerprint(OTHER.public_key()).encode(), fingerprint(PUBLIC).encode())
    with pytest.raises(EvidenceRefused, match="does not verify"):
        open_envelope(forged, PUBLIC, "it")


def test_a_fingerprint_is_what_ssh_keygen_prints(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    try:
        said = subprocess.run(["ssh-keygen", "-lf", "key.pub"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not on this machine")
    assert said.split()[1] == fingerprint(PUBLIC)
