"""The approver list: a document of signed entries, each holding the digest of the one before it.

    {"format": "modelsmith-approvers@v1", "entries": [
      {"entry": {"number": 1, "previous": "", "at": ..., "change": {"kind": "init", ...}}, "signatures": [...]},
      {"entry": {"number": 2, "previous": <digest of entry 1>, ...}, "signatures": [...]}]}

The first entry founds the list and is signed with a key that it holds itself; each later one by as many people of the list, as it stood before,
as the list then asked for. The digest of the last entry is the list's head. What the chain proves by itself: every change was signed by those
who might sign it, in this order. What it cannot prove: that this is the list one meant, whole. A list founded by somebody else, or cut
after an entry, verifies too; it is told by its head, which every request shows, every signature binds, and `approvers verify --head` compares.

Pure: reading and writing the file is in `approvers_file.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from engine.base.digests import sha256_hex
from engine.base.record import Record
from engine.errors import ApproversInvalid, ArgumentInvalid
from engine.promote.approvals.levels import Proof, level_of, reaches
from engine.promote.approvals.roster import Change, Founded, Later, Person, Roster, SshKey, changed, founded, meaning_of
from engine.promote.approvals.ssh import SshSignature, fingerprint_of, parse_signature, signs
from engine.promote.approvals.statement import signed_text

LIST_NAMESPACE: Final = "modelsmith-approvers@v1"
"""Signatures of this namespace change a list. An approval is none, and the other way round."""


class Entry(Record):
    """One change, as it is signed."""

    number: int = Field(ge=1)
    previous: str
    """Digest of the entry before; empty for the first."""
    at: str
    """When it was made, as its maker says."""
    change: Change


class SignedEntry(Record):
    """A change with the signatures under it."""

    entry: Entry
    signatures: tuple[str, ...] = ()
    """Armoured SSH signatures over `entry_text(entry)`."""


class Document(Record):
    """The list as it is stored."""

    format: Literal["modelsmith-approvers@v1"] = LIST_NAMESPACE
    entries: tuple[SignedEntry, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Approvers:
    """A list whose every entry was verified."""

    document: Document
    heads: tuple[str, ...]
    """The digest of each entry."""
    roster: Roster

    @property
    def head(self) -> str:
        """What names the list as it stands."""
        return self.heads[-1]

    def knows(self, head: str) -> bool:
        """Whether the list has, or once had, this head. A list that was cut, reordered or replaced does not know a later one."""
        return head in self.heads

    def at(self, head: str) -> Approvers:
        """The list as it stood at this head, for judging something that was signed then."""
        if not self.knows(head):
            raise ApproversInvalid(
                f"the approver list has no entry {head[:8] or '(none)'}: it was cut, or it is another list",
                next_step="Compare with a copy that an approver keeps: `modelsmith approvers verify --head HEAD`.",
                head=head,
            )
        return verify_document(Document(entries=self.document.entries[: self.heads.index(head) + 1]))


def entry_text(entry: Entry) -> bytes:
    """The bytes that are signed for a change."""
    return signed_text({"statement": LIST_NAMESPACE, "meaning": meaning_of(entry.change), **entry.model_dump(mode="json")})


def entry_digest(entry: Entry) -> str:
    """The head of a list that ends with this entry."""
    return sha256_hex(entry_text(entry))


# ---- verifying -----------------------------------------------------------------------------------------------------------------------


def verify_document(document: Document) -> Approvers:
    """The list, after every entry was verified from the first on. ApproversInvalid names the first that does not hold."""
    roster: Roster | None = None
    heads: list[str] = []
    for number, signed in enumerate(document.entries, start=1):
        try:
            roster = _follow(roster, signed, number, heads[-1] if heads else "")
        except ValueError as error:
            raise ApproversInvalid(
                f"entry {number} of the approver list does not hold: {error}",
                next_step="Put back the last copy that verifies; each approver should keep one, or at least its head.",
                entry=number,
            ) from None
        heads.append(entry_digest(signed.entry))
    assert roster is not None, "a document has an entry"
    return Approvers(document, tuple(heads), roster)


def _follow(roster: Roster | None, signed: SignedEntry, number: int, previous: str) -> Roster:
    entry, change = signed.entry, signed.entry.change
    if (entry.number, entry.previous) != (number, previous):
        raise ValueError("it does not follow the entry before it (one was left out, put in, or moved)")
    if roster is None:
        if not isinstance(change, Founded):
            raise ValueError("a list begins with an entry of the kind init")
        after = founded(change)
        missing = signers_missing(after, signed)
    else:
        if isinstance(change, Founded):
            raise ValueError("only the first entry is of the kind init")
        after = changed(roster, change)
        missing = signers_missing(roster, signed)
    if missing:
        raise ValueError(f"{missing} more people of the list have to sign it")
    return after


def signers_missing(roster: Roster, signed: SignedEntry) -> int:
    """How many more people must sign a change. A signature that does not count is a ValueError with a sentence."""
    names = {signer_of(roster, signed.entry, armoured).name for armoured in signed.signatures}
    return max(0, roster.threshold - len(names))


def signer_of(roster: Roster, entry: Entry, armoured: str) -> Person:
    """Who signed a change, if that signature counts."""
    signature = parse_signature(armoured)
    fingerprint = fingerprint_of(signature.key_blob)
    person, key = roster.held(fingerprint) or (None, None)
    if person is None or not isinstance(key, SshKey):
        raise ValueError(f"it is signed with {fingerprint}, which nobody in the list has")
    if signature.namespace != LIST_NAMESPACE or not signs(signature, key.key, entry_text(entry)):
        raise ValueError(f"the signature of {person.name} is over something else")
    proved = level_of(ssh_proof(signature, key), list_level=roster.level, user_verification=roster.user_verification)
    if not reaches(proved.level, roster.level):
        raise ValueError(f"the signature of {person.name} does not suffice for this list: {proved.because}")
    return person


def ssh_proof(signature: SshSignature, key: SshKey) -> Proof:
    """What a verified SSH signature shows."""
    return Proof("ssh-sk" if key.in_device else "ssh", signature.touched, signature.user_verified, signature.counter)


# ---- changing ------------------------------------------------------------------------------------------------------------------------


def first_entry(change: Founded, at: str) -> Entry:
    """The entry that founds a list, still to be signed."""
    return Entry(number=1, previous="", at=at, change=change)


def next_entry(approvers: Approvers, change: Later, at: str) -> Entry:
    """A change of the list, still to be signed. One that the list cannot take is refused before anybody signs it."""
    try:
        changed(approvers.roster, change)
    except ValueError as error:
        raise ArgumentInvalid(f"the approver list does not take that change: {error}", next_step="See `modelsmith approvers show`.") from None
    return Entry(number=len(approvers.heads) + 1, previous=approvers.head, at=at, change=change)


def extended(approvers: Approvers | None, signed: SignedEntry) -> Approvers:
    """The list with one more entry, verified anew from its beginning."""
    earlier: Sequence[SignedEntry] = approvers.document.entries if approvers else ()
    return verify_document(Document(entries=(*earlier, signed)))
