"""Who may approve: people, their roles and public keys, and the changes that a list of them may go through.

Pure rules. A change that would leave the list in no sound state (one key with two people, a removed key that comes back, too few people left
to sign the next change) is a ValueError with a sentence. Who must sign a change, and in which order changes stand, is in `approvers.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import Field, ValidationError, field_validator, model_validator

from engine.base.record import Record
from engine.config import Identifier
from engine.promote.approvals.ssh import MIN_RSA_BITS, PublicKey, Verifier, fingerprint_of, parse_public_key
from engine.promote.types import Level

Name = Identifier
ListLevel = Literal["ssh", "ssh-sk"]
"""What a change of the list must be signed with, and so what the list can vouch for."""
MOST_SIGNERS = 5
ORIGIN = re.compile(r"(?:https://(?P<host>[a-z0-9.-]+)|http://(?P<local>localhost))(?::\d{1,5})?")


# ---- keys and people -----------------------------------------------------------------------------------------------------------------


class SshKey(Record):
    """A key that signs in a terminal."""

    kind: Literal["ssh"] = "ssh"
    public_key: str
    """Kind and base64 of a `.pub` file, without its comment."""

    @field_validator("public_key")
    @classmethod
    def _usable(cls, line: str) -> str:
        if len(line.split(" ")) != 2:
            raise ValueError("a public key is its kind and its base64, with one space between them and no comment")
        parse_public_key(line)
        return line

    @property
    def key(self) -> PublicKey:
        """The key, ready to verify with."""
        return parse_public_key(self.public_key)

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh-keygen prints it."""
        return self.key.fingerprint

    @property
    def in_device(self) -> bool:
        """Whether it is of the kind that lies in a security key."""
        return self.key.application is not None


class Passkey(Record):
    """A WebAuthn credential that signs in a browser."""

    kind: Literal["webauthn"] = "webauthn"
    credential: str = Field(pattern=r"^[A-Za-z0-9_-]{16,1400}$")
    """The credential's id, base64url."""
    public_key: str
    """SubjectPublicKeyInfo, base64url: what `getPublicKey()` answers at registration. P-256, ed25519 or RSA."""
    rp_id: str
    """The host that it was made for."""
    origin: str
    """The one page that may ask it: scheme, host and port."""
    counter: int = Field(default=0, ge=0, lt=2**32)
    """Its signature counter at registration."""

    @field_validator("public_key")
    @classmethod
    def _usable(cls, text: str) -> str:
        _load(text)
        return text

    @model_validator(mode="after")
    def _of_one_host(self) -> Passkey:
        found = ORIGIN.fullmatch(self.origin)
        host = (found["host"] or found["local"]) if found else ""
        if host != self.rp_id and not host.endswith(f".{self.rp_id}"):
            raise ValueError(f"origin {self.origin[:200]!r} is no https:// page (or http://localhost) of rp_id {self.rp_id[:200]!r}")
        return self

    @property
    def verifier(self) -> Verifier:
        """The key, ready to verify with."""
        return _load(self.public_key)

    @property
    def fingerprint(self) -> str:
        """Named like an SSH key: the digest of the public key's bytes."""
        return fingerprint_of(from_base64url(self.public_key))


Key = Annotated[SshKey | Passkey, Field(discriminator="kind")]


class Person(Record):
    """Somebody who may approve."""

    name: Name
    """As shown with every approval; one name is one person, whatever keys they sign with."""
    roles: tuple[Name, ...] = Field(min_length=1)
    """Which approvals count: a transition names the role that it needs."""
    keys: tuple[Key, ...] = Field(min_length=1)

    def may_change(self, level: Level) -> bool:
        """Whether they have a key with which a change of the list can be signed."""
        return any(isinstance(key, SshKey) and (level == "ssh" or key.in_device) for key in self.keys)


def problem_in(error: ValidationError) -> str:
    """The first thing that is wrong in a record, in a sentence; what was given is not repeated."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    spelt_wrong = first["type"] == "string_pattern_mismatch"
    said = "it has characters that may not stand there" if spelt_wrong else first["msg"].removeprefix("Value error, ")
    return (f"{where}: " if where else "") + said


def from_base64url(text: str) -> bytes:
    """Bytes from base64url without padding, as browsers write them."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("it is not base64url without padding") from None


def _load(text: str) -> Verifier:
    try:
        key = load_der_public_key(from_base64url(text))
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no public key as SubjectPublicKeyInfo in base64url") from None
    sound = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1))
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS)
    )
    if not sound or not isinstance(key, Verifier):
        raise ValueError(f"a passkey's key is P-256, ed25519, or RSA of {MIN_RSA_BITS} bits or more")
    return key


# ---- changes -------------------------------------------------------------------------------------------------------------------------


class Founded(Record):
    """The first entry: who signs themselves in, and what holds for the list for good."""

    kind: Literal["init"] = "init"
    person: Person
    level: ListLevel
    """The weakest signature that counts for a change. `ssh`: no approval through this list proves more than `ssh`."""
    user_verification: bool
    """Whether a device must also have been given its PIN or a fingerprint."""


class PersonAdded(Record):
    kind: Literal["add"] = "add"
    person: Person


class KeyAdded(Record):
    kind: Literal["add_key"] = "add_key"
    name: Name
    key: Key


class PersonRevoked(Record):
    kind: Literal["revoke"] = "revoke"
    name: Name


class KeyRevoked(Record):
    kind: Literal["revoke_key"] = "revoke_key"
    name: Name
    fingerprint: str


class RolesChanged(Record):
    kind: Literal["roles"] = "roles"
    name: Name
    roles: tuple[Name, ...] = Field(min_length=1)


class ThresholdChanged(Record):
    kind: Literal["threshold"] = "threshold"
    threshold: int = Field(ge=1, le=MOST_SIGNERS)


Later = PersonAdded | KeyAdded | PersonRevoked | KeyRevoked | RolesChanged | ThresholdChanged
Change = Annotated[Founded | Later, Field(discriminator="kind")]


def meaning_of(change: Founded | Later) -> str:
    """A change as its signer says it."""
    match change:
        case Founded():
            device = "a security key with PIN or fingerprint" if change.user_verification else "a security key"
            signed_with = device if change.level == "ssh-sk" else "any key"
            return f"I begin a list of approvers with {_introduced(change.person)}. Changes are signed with {signed_with}."
        case PersonAdded():
            return f"I add {_introduced(change.person)}."
        case KeyAdded():
            return f"I add the key {change.key.fingerprint} to {change.name}."
        case PersonRevoked():
            return f"I remove {change.name} with all keys."
        case KeyRevoked():
            return f"I remove the key {change.fingerprint} from {change.name}."
        case RolesChanged():
            return f"I give {change.name} the roles {', '.join(change.roles)} and no others."
        case ThresholdChanged():
            return f"From now on {change.threshold} people must sign a change of this list."


def _introduced(person: Person) -> str:
    keys = " and ".join(key.fingerprint for key in person.keys)
    return f"{person.name} ({', '.join(person.roles)}; {keys})"


# ---- the roster ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Roster:
    """Who may approve at some point of the list."""

    people: tuple[Person, ...]
    level: ListLevel
    user_verification: bool
    threshold: int = 1
    """How many different people must sign a change."""
    removed: frozenset[str] = frozenset()
    """Fingerprints of keys that were taken out; they do not come back."""

    def held(self, fingerprint: str) -> tuple[Person, SshKey | Passkey] | None:
        """The key of that name and whose it is."""
        return next(((person, key) for person in self.people for key in person.keys if key.fingerprint == fingerprint), None)

    def named(self, name: str) -> Person:
        """The person of that name."""
        found = next((person for person in self.people if person.name == name), None)
        if found is None:
            raise ValueError(f"{name} is not in the list ({', '.join(person.name for person in self.people)})")
        return found


def founded(change: Founded) -> Roster:
    """The roster that a first entry makes."""
    return _sound(Roster((change.person,), change.level, change.user_verification))


def changed(roster: Roster, change: Later) -> Roster:
    """The roster after one change."""
    match change:
        case PersonAdded():
            if change.person.name in (person.name for person in roster.people):
                raise ValueError(f"{change.person.name} is in the list already")
            after = replace(roster, people=(*roster.people, change.person))
        case KeyAdded():
            person = roster.named(change.name)
            after = _with(roster, person, keys=(*person.keys, change.key))
        case PersonRevoked():
            gone = roster.named(change.name)
            fingerprints = {key.fingerprint for key in gone.keys}
            after = replace(roster, people=tuple(one for one in roster.people if one != gone), removed=roster.removed | fingerprints)
        case KeyRevoked():
            after = _without_key(roster, roster.named(change.name), change.fingerprint)
        case RolesChanged():
            after = _with(roster, roster.named(change.name), roles=change.roles)
        case ThresholdChanged():
            after = replace(roster, threshold=change.threshold)
    return _sound(after)


def _with(roster: Roster, person: Person, **new: object) -> Roster:
    other = person.model_copy(update=new)
    return replace(roster, people=tuple(other if one == person else one for one in roster.people))


def _without_key(roster: Roster, person: Person, fingerprint: str) -> Roster:
    left = tuple(key for key in person.keys if key.fingerprint != fingerprint)
    if len(left) == len(person.keys):
        raise ValueError(f"{person.name} has no key {fingerprint[:80]!r}")
    if not left:
        raise ValueError(f"it is the only key of {person.name}; remove the person instead")
    return replace(_with(roster, person, keys=left), removed=roster.removed | {fingerprint})


def _sound(roster: Roster) -> Roster:
    fingerprints = [key.fingerprint for person in roster.people for key in person.keys]
    twice = next((one for one in fingerprints if fingerprints.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"the key {twice} would be in the list twice")
    back = roster.removed.intersection(fingerprints)
    if back:
        raise ValueError(f"the key {min(back)} was removed from the list and does not come back; make a new one")
    signers = [person.name for person in roster.people if person.may_change(roster.level)]
    if len(signers) < roster.threshold:
        kind = "an SSH key" if roster.level == "ssh" else "a security key"
        raise ValueError(f"{len(signers)} people with {kind} would be left and a change needs {roster.threshold}, so it could never change again")
    return roster
