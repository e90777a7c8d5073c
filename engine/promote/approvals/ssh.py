"""SSH signatures as `ssh-keygen -Y sign` makes them: reading them, and checking them against a public key.

Follows OpenSSH's PROTOCOL.sshsig (the armour and what is hashed), PROTOCOL.u2f (security keys) and RFC 4253, 5656, 8332 and 8709 (keys and
signatures). Taken: ed25519, ecdsa on the three NIST curves, rsa with SHA-2 from 2048 bits, and the security-key forms of ed25519 and
ecdsa, whose signatures carry two flags (a touch; a PIN or fingerprint) and a counter. Refused: certificates, dsa, rsa with SHA-1, bytes left over.

Not here: whose key it is and whether the signature suffices (`verify.py`). A malformed text is a ValueError with a sentence.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC = b"SSHSIG"
MAX_ARMOUR = 16 << 10
MAX_RSA_BITS, MIN_RSA_BITS = 8192, 2048
TOUCHED, VERIFIED = 0x01, 0x04

SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
RSA_HASHES: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
KINDS = ("ssh-ed25519", "ssh-rsa", *(f"ecdsa-sha2-{curve}" for curve in CURVES), SK_ED25519, SK_ECDSA)

Verifier = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class PublicKey(NamedTuple):
    """A public key as SSH writes it."""

    kind: str
    """One of KINDS."""
    blob: bytes
    verifier: Verifier
    application: bytes | None
    """What a security key was enrolled for, such as `ssh:`; null for a key in a file."""

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh-keygen prints it."""
        return fingerprint_of(self.blob)


class SshSignature(NamedTuple):
    """An armoured signature, taken apart. Nothing in it is believed yet."""

    key_blob: bytes
    namespace: str
    hash_name: str
    algorithm: str
    value: bytes
    flags: int
    """Of a security key; 0 for a key in a file."""
    counter: int | None
    """Signatures that the security key has made; null for a key in a file."""

    @property
    def touched(self) -> bool:
        """Whether the device says that somebody touched it."""
        return bool(self.flags & TOUCHED)

    @property
    def user_verified(self) -> bool:
        """Whether the device says that it was given a PIN or a fingerprint."""
        return bool(self.flags & VERIFIED)


class Reader:
    """Takes SSH's fields off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, count: int) -> bytes:
        if count > len(self._rest):
            raise ValueError("it ends in the middle of a field")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        data = self.string()
        if not data.isascii():
            raise ValueError("a name in it is not ASCII")
        return data.decode("ascii")

    def integer(self) -> int:
        """A positive number of any length (`mpint`)."""
        data = self.string()
        if not data or data[0] & 0x80:
            raise ValueError("a number in it is not positive")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        if self._rest:
            raise ValueError(f"{len(self._rest)} bytes are left over at its end")


def packed(*fields: bytes) -> bytes:
    """Fields as SSH strings, one after another."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def fingerprint_of(blob: bytes) -> str:
    """The name of a public key: `SHA256:` and its digest in base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


# ---- keys ----------------------------------------------------------------------------------------------------------------------------


def parse_public_key(line: str) -> PublicKey:
    """A line of a `.pub` file: kind, base64, and a comment that is ignored."""
    kind, _, rest = line.strip().partition(" ")
    if kind not in KINDS:
        raise ValueError(f"{kind[:60]!r} is not a kind of key that is taken ({', '.join(KINDS)})")
    key = read_key(_decoded(rest.partition(" ")[0]))
    if key.kind != kind:
        raise ValueError(f"the line says {kind} and the key is of the kind {key.kind}")
    return key


def read_key(blob: bytes) -> PublicKey:
    """A public key in SSH's binary form."""
    reader = Reader(blob)
    kind = reader.text()
    try:
        verifier = _read_verifier(kind, reader)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"it holds no usable {kind[:60]!r} key: {error}") from None
    application = reader.string() if kind in (SK_ED25519, SK_ECDSA) else None
    if application is not None and not application.startswith(b"ssh:"):
        raise ValueError("its security key was enrolled for something other than SSH")
    reader.end()
    return PublicKey(kind, blob, verifier, application)


def _read_verifier(kind: str, reader: Reader) -> Verifier:
    if kind in ("ssh-ed25519", SK_ED25519):
        return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())
    if kind == "ssh-rsa":
        exponent, modulus = reader.integer(), reader.integer()
        if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
            raise ValueError(f"it has {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are taken")
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if kind not in KINDS:
        raise ValueError(f"taken are {', '.join(KINDS)}")
    curve, _ = CURVES[_curve_of(kind)]
    if reader.text() != _curve_of(kind):
        raise ValueError("the curve is not that of the key's kind")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, reader.string())


def _curve_of(kind: str) -> str:
    return kind.removeprefix("sk-").removeprefix("ecdsa-sha2-").partition("@")[0]


# ---- signatures ----------------------------------------------------------------------------------------------------------------------


def parse_signature(armoured: str) -> SshSignature:
    """The text that `ssh-keygen -Y sign` writes."""
    if len(armoured) > MAX_ARMOUR:
        raise ValueError(f"it has {len(armoured)} characters; a signature has at most {MAX_ARMOUR}")
    lines = armoured.strip().splitlines()
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise ValueError(f"it does not begin with {BEGIN} and end with {END}")
    reader = Reader(_decoded("".join(lines[1:-1])))
    if reader.take(len(MAGIC)) != MAGIC or reader.number() != 1:
        raise ValueError("it is not an SSH signature of version 1")
    key_blob, namespace, reserved, hash_name = reader.string(), reader.text(), reader.string(), reader.text()
    inner = Reader(reader.string())
    reader.end()
    if reserved or hash_name not in ("sha256", "sha512"):
        raise ValueError(f"its hash {hash_name[:20]!r} is neither sha256 nor sha512, or its reserved field is not empty")
    algorithm, value = inner.text(), inner.string()
    flags, counter = (inner.take(1)[0], inner.number()) if algorithm in (SK_ED25519, SK_ECDSA) else (0, None)
    inner.end()
    return SshSignature(key_blob, namespace, hash_name, algorithm, value, flags, counter)


def signs(signature: SshSignature, key: PublicKey, message: bytes) -> bool:
    """Whether `signature` is one by `key` over `message` under the namespace that it names."""
    data = signed_data(signature.namespace, signature.hash_name, message)
    if key.application is not None:
        flags_and_counter = bytes([signature.flags]) + (signature.counter or 0).to_bytes(4, "big")
        data = hashlib.sha256(key.application).digest() + flags_and_counter + hashlib.sha256(data).digest()
    try:
        _check(signature, key, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_data(namespace: str, hash_name: str, message: bytes) -> bytes:
    """What the key itself signs for a message."""
    return MAGIC + packed(namespace.encode(), b"", hash_name.encode(), hashlib.new(hash_name, message).digest())


def _check(signature: SshSignature, key: PublicKey, data: bytes) -> None:
    """Raises InvalidSignature or ValueError."""
    verifier = key.verifier
    if isinstance(verifier, rsa.RSAPublicKey):
        if signature.algorithm not in RSA_HASHES:
            raise ValueError("an rsa key signs with SHA-2")
        verifier.verify(signature.value, data, padding.PKCS1v15(), RSA_HASHES[signature.algorithm])
        return
    if signature.algorithm != key.kind:
        raise ValueError("the signature is of another kind than the key")
    if isinstance(verifier, ed25519.Ed25519PublicKey):
        verifier.verify(signature.value, data)
        return
    numbers = Reader(signature.value)
    der = utils.encode_dss_signature(numbers.integer(), numbers.integer())
    numbers.end()
    verifier.verify(der, data, ec.ECDSA(CURVES[_curve_of(key.kind)][1]))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64 between its first and last line") from None
