"""Proposed scenarios as surfaces show them, and how the suite changed, in words."""

from __future__ import annotations

from collections.abc import Sequence

from engine.evaluate.proposals.types import Dropped, OriginRate, Proposal, SuiteDiff
from engine.views import NextCall, ProposalLine, ProposalPage

NAMED = 8
"""Scenarios that a sentence lists."""


def proposal_page(
    cluster: str,
    domain: str,
    summary: str,
    rates: tuple[OriginRate, ...],
    *,
    shown: Sequence[Proposal],
    dropped: Dropped | None = None,
    decide: Sequence[Proposal] = (),
) -> ProposalPage:
    """The proposals in `shown`, with the decision on those in `decide` as what makes sense next."""
    following = []
    if decide:
        ids = [proposal.draft.id for proposal in decide]
        arguments = {"cluster": cluster, "proposals": ids, "decision": "accept", "by": "NAME"}
        following.append(NextCall(tool="decide_scenario", arguments=arguments, why="a person keeps the good ones, and declines the rest"))
    return ProposalPage(
        summary=summary,
        next=tuple(following),
        domain=domain,
        proposals=tuple(proposal_line(proposal) for proposal in shown),
        dropped=None if dropped is None else dropped.model_dump(),
        waiting=sum(rate.staged for rate in rates),
        origins=rates,
    )


def proposal_line(proposal: Proposal) -> ProposalLine:
    """A proposal in a list."""
    draft = proposal.draft
    return ProposalLine(
        proposal=draft.id,
        state=proposal.state,
        origin=draft.origin,
        parent=draft.parent,
        pattern=draft.pattern,
        input=draft.input,
        expected=draft.expected,
    )


def diff_in_words(diff: SuiteDiff) -> str:
    """How a suite changed since it was measured; empty when it did not."""
    if diff.before == diff.after:
        return ""
    parts = []
    for ids, word in ((diff.added, "joined"), (diff.removed, "left")):
        if ids:
            parts.append(f"{len(ids)} {word} ({', '.join(ids[:NAMED])}{', ...' if len(ids) > NAMED else ''})")
    if diff.governed_changed:
        parts.append("governed rows or splits changed")
    return f" Since the last measurement the suite is another version ({diff.before[:12]} -> {diff.after[:12]}): {'; '.join(parts)}."
