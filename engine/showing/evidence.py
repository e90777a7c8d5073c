"""A bundle as a call answers it: its digest, what it says in a few figures, and where it and its page lie."""

from __future__ import annotations

from engine.evaluate.types import Interval
from engine.promote.types import Drill, Evidence
from engine.showing.rollbacks import drill_in_words
from engine.views import EvidencePage, NextCall


def evidence_page(cluster: str, found: Evidence, drill: Drill | None, *, bundle: str, page: str, public_key: str) -> EvidencePage:
    """The answer for a stored bundle."""
    stored = found.summary
    difference = Interval.model_validate(stored["difference"])
    return EvidencePage(
        summary=(
            f"Evidence {found.digest[:8]} for {stored['version']} of {cluster}: {stored['verdict'].replace('_', ' ')}; held-out "
            f"{stored['metric'].replace('_', ' ')} {stored['before']:.3f} -> {stored['after']:.3f}, difference {difference.mean:+.3f} "
            f"[{difference.low:+.3f}, {difference.high:+.3f}], n={difference.n}. People read {page}."
        ),
        next=(NextCall(tool="diagnose", arguments={"cluster": cluster}, why="what still fails"),),
        version=stored["version"],
        evidence=found.digest,
        verdict=stored["verdict"],
        conditions=tuple(stored["conditions"]),
        absent=tuple(stored["absent"]),
        bundle=bundle,
        page=page,
        key=stored["key"],
        public_key=public_key,
        last_drill="" if drill is None else drill_in_words(drill),
    )
