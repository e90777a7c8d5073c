"""What the worker of exports is told and what it returns."""

from __future__ import annotations

from engine.base.record import Record
from engine.config import Device, Profile
from engine.evaluate.jobs import StoredResults
from engine.generate.types import PreparedBase, Weights
from engine.promote.types import FormParity


class ExportJob(Record):
    """A version to export."""

    cluster: str
    version: str
    model: str
    """Name of the profile."""
    profile: Profile
    """As it was when the run was accepted."""
    base: PreparedBase
    weights: Weights
    """As the store has them."""
    device: Device
    domain_digest: str
    """Compiled domain that the measurement was made on."""
    evaluated: StoredResults
    """The measurement that each form is held against."""
    prompt: str
    """Digest of templates and output contract of that measurement."""
    structured: bool
    """Whether its answers were decoded under the output schema."""
    evidence: str
    """Path of the evidence bundle, with the approvals that had moved the version by then."""
    sources: str
    """Digest of everything that the export is made from and with."""


class ExportOutput(Record):
    """What an export found. There is a package only where every form that is required agrees."""

    version: str
    evaluation_id: str
    prompt: str
    sources: str
    agrees: bool
    forms: tuple[FormParity, ...]
    absent: tuple[str, ...]
    evidence: str
    """Digest of the evidence statement."""
    artifacts: dict[str, str] = {}
