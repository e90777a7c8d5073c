"""Versions of a domain's suite, and what changed between two of them, from what was compiled. Ids of expansion scenarios only: they are core."""

from __future__ import annotations

from engine.base.digests import digest_of
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.proposals.types import SuiteDiff
from engine.evaluate.types import Scenario


def suite_diff(before: CompiledDomain, after: CompiledDomain) -> SuiteDiff:
    """What the second suite has that the first has not, and the other way round."""
    old, new = _expansion(before), _expansion(after)
    return SuiteDiff(
        before=before.suite_digest,
        after=after.suite_digest,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        governed_changed=governed_digest(before) != governed_digest(after),
    )


def governed_digest(compiled: CompiledDomain) -> str:
    """Names the governed scenarios and their splits, and the canaries."""
    governed = sorted((scenario for scenario in compiled.kept_apart if scenario.layer == "governed"), key=lambda scenario: scenario.id)
    return digest_of([scenario.model_dump(mode="json") for scenario in governed])


def _expansion(compiled: CompiledDomain) -> dict[str, Scenario]:
    return {scenario.id: scenario for scenario in compiled.scenarios if scenario.layer == "expansion"}
