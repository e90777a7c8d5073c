"""The escalation that counts what came when there were too many to keep apart. Pure."""

from __future__ import annotations

from engine.escalate.types import Expectation, Failure, Opening, ResolutionCheck


def overflow_opening(most: int) -> Opening:
    """What is opened once when `most` different failures are open and another one comes."""
    return Opening(
        failure=Failure(kind="overflow", cluster=None, what="escalations", words="more different failures than are kept apart"),
        title=f"More than {most} different failures wait for an answer",
        severity="high",
        class_guess="unknown",
        why_unmatched="It is no failure itself: it counts those that came while so many others were open.",
        blast_radius="Further new failures are counted here by their titles and have no escalation of their own. "
        "What recurs is still counted in its own.",
        reproduction="modelsmith escalations",
        allowed_actions=("Answer the open escalations, the most severe first; failures of one cause are mended together.",),
        question="What do these failures have in common: a machine, a release, a change of configuration?",
        check=ResolutionCheck(
            tool="fleet_status", arguments={}, expected=(Expectation(path="open_escalations", comparison="at_most", value=most),)
        ),
    )
