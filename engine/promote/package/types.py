"""Records of packages: what the manifest states, and what a check of a package found."""

from __future__ import annotations

from typing import Literal

from engine.base.record import Record
from engine.promote.types import FormParity


class PackageStatement(Record):
    """The predicate of a package's manifest."""

    schema_version: Literal[1] = 1
    cluster: str
    version: str
    adapter: str
    """Tree digest of the adapter, which names the version."""
    evidence: str
    """SHA-256 of the evidence statement in the package."""
    forms: tuple[FormParity, ...]
    """What each form's replay found."""
    absent: tuple[str, ...]
    """What the package lacks, in sentences."""
    modelsmith: str
    """The version that made it."""
    code: str
    """Digest of the engine's sources."""
    bytes: dict[str, int] = {}
    """Size of every file, by its path."""


class PackageVerification(Record):
    """What a check of a package found. One that was altered or cannot be read has none: it is refused."""

    verified: bool
    evidence: str
    key: str
    """Fingerprint of the public key that it was checked against."""
    cluster: str
    version: str
    adapter: str
    files: int
    bytes: int
    held: tuple[str, ...]
    """What was checked and holds, in sentences."""
    problems: tuple[str, ...]
    """What does not, in sentences."""
    unchecked: tuple[str, ...]
    """What was taken as signed, in sentences."""
