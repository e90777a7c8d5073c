"""What a signature proves, in levels, and in the words in which users are told.

A level is worked out from the signature and the key that the approver list holds, never taken from a parameter. A level is what the device
says of itself: the list vouches that the key lies in a device, and whoever enrols a key should hold that device in their hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, get_args

from engine.promote.types import Level

ORDER: tuple[Level, ...] = get_args(Level)
"""Weakest first."""
MEANINGS: Mapping[Level, str] = {
    "ssh": "A key file was used. A person may have done it, or any program that can read the file or reach an agent that holds the key.",
    "ssh-sk": "Somebody touched a security key and, where the approver list asks for it, gave its PIN or a fingerprint.",
    "webauthn": "Somebody confirmed on a passkey's device for this very request, and the browser vouches for the page that asked.",
}


class Proof(NamedTuple):
    """What one verified signature shows of how it was made."""

    at_most: Level
    """What its kind of key can prove."""
    touched: bool
    user_verified: bool
    counter: int | None = None
    """Signatures that the device has made; null for a key in a file."""


class Proved(NamedTuple):
    """A level, and what kept it from being higher."""

    level: Level
    because: str
    """Empty where nothing did."""


def reaches(level: Level, needed: Level) -> bool:
    """Whether `level` is `needed` or stronger."""
    return ORDER.index(level) >= ORDER.index(needed)


def level_of(proof: Proof, *, list_level: Level, user_verification: bool) -> Proved:
    """What a signature proves under an approver list that vouches for keys at `list_level` and may ask for user verification."""
    if proof.at_most == "ssh":
        return Proved("ssh", "it is by a key in a file, which any program that can read the file or reach its agent may use")
    if list_level == "ssh":
        return Proved("ssh", "the approver list was founded with a key in a file, so it cannot vouch that any key lies in a device")
    if not proof.touched:
        return Proved("ssh", "its flags show no touch")
    if user_verification and not proof.user_verified:
        return Proved("ssh", "its flags show a touch, but neither PIN nor fingerprint, and the approver list asks for them")
    return Proved(proof.at_most, "")
