"""Proves which weights answer: log-probabilities of fixed texts, computed when the weights were made, against those of the running server.

Byte-equal answers cannot be promised between two engines, not even between two batch sizes of one, so answers prove nothing. Log-probabilities
of a given text differ by rounding alone while the weights are the same, and by much more when they are not. What is probed are texts of
the kind that a version was trained on: there its weights differ from every other version's most.

Comparing is pure. Computing the expected side needs torch (`fingerprint_torch.py`); asking the server is in `server_control.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from engine.base.digests import sha256_hex
from engine.errors import ArtifactCorrupt
from engine.generate.types import Fingerprint, FingerprintReport

PROBES = 4
"""Texts in a fingerprint."""
PROBE_TOKENS = 96
"""Tokens of each, from its end: that is where the answer stands, and the answer is what training changes."""

LIMIT = 0.2
"""Mean absolute difference in nats above which the weights are other ones. Measured with SmolLM2-135M in bf16, torch against vLLM's CPU build:
equal weights differ by 0.03 to 0.08, two versions trained for one domain by 0.41 to 0.61, a version and its base by 0.73 to 2.03."""
LIMIT_QUANTISED = 0.5
"""The same where the server holds the base in fewer bits than the fingerprint was computed with: rounding to 4 bits moves log-probabilities
too. Not measured here, for want of a GPU; chosen wide, so that it catches a wrong model and not a neighbouring version."""


def fingerprint_probe_texts(texts: Sequence[str], count: int = PROBES) -> list[str]:
    """`count` of `texts`, chosen by hash: always the same ones, whatever their order."""
    return sorted(set(texts), key=lambda text: sha256_hex(text.encode()))[:count]


def compare(expected: Fingerprint, measured: Sequence[Sequence[float]], *, quantised: bool = False, seconds: float = 0.0) -> FingerprintReport:
    """The verdict on log-probabilities that a server gave for the probes of `expected`. Anything missing, extra or not finite is a mismatch."""
    limit = LIMIT_QUANTISED if quantised else LIMIT
    mismatch = FingerprintReport(verdict="mismatch", limit=limit, seconds=seconds)
    if len(measured) != len(expected.probes):
        return mismatch
    differences: list[float] = []
    for probe, values in zip(expected.probes, measured, strict=True):
        if len(values) != len(probe.logprobs):
            return mismatch
        differences.extend(abs(ours - theirs) for ours, theirs in zip(probe.logprobs, values, strict=True))
    mean = math.fsum(differences) / len(differences) if differences else math.nan
    if not math.isfinite(mean):
        return mismatch
    return FingerprintReport(verdict="match" if mean <= limit else "mismatch", mean_difference=round(mean, 5), limit=limit, seconds=seconds)


def load_fingerprint(path: str) -> Fingerprint:
    """A fingerprint file. One that does not parse raises ArtifactCorrupt: without it, no weights can be proved."""
    try:
        return Fingerprint.model_validate_json(Path(path).read_bytes())
    except (OSError, ValueError) as reason:
        raise ArtifactCorrupt(f"the fingerprint {path} cannot be read: {reason}", next_step="Train or prepare these weights again.") from reason
