"""Checking a bundle with nothing but the bundle and a public key: no store, no daemon, no network.

Three questions, in this order. Is every byte what the key signed (`bundle.py`; otherwise EvidenceRefused)? Do figures and verdict follow from the
items, by the functions that the loop decides with? Is the page the one that the statement gives? What cannot be found again from the items
(latency, lineage, who could roll back to what) was signed and is taken as said; the answer lists it.

With an approver list (`against`), each approval in the bundle is verified again from its signature, so whoever deploys believes that list and
nothing else about who has approved what.

What this proves: that the workspace which holds the key said so, and that its verdict follows from the results it gives. That those results are
true is another matter: measure the version again to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.errors import EvidenceRefused, ModelsmithError
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.verify import verify_again
from engine.promote.evidence.bundle import PAGE, Bundle, read_bundle, verifier_source
from engine.promote.evidence.derivation import derive
from engine.promote.evidence.dsse import fingerprint
from engine.promote.evidence.page import PAGE_DIGEST, render_page
from engine.promote.evidence.types import ApprovedRequest, Difference, Verification
from engine.promote.requests import refuse_uncounted
from engine.promote.types import State

SHOWN_DIFFERENCES = 20
SHOWN_CHARACTERS = 120
ROUNDING = 1e-9

ApprovalCheck = Callable[[ApprovedRequest], None]
"""Raises an engine error when the signatures of the request do not open it."""


def verify_bundle(folder: Path, key: Ed25519PublicKey, check_approvals: ApprovalCheck | None = None, approved: State | None = None) -> Verification:
    """What a check of the bundle finds; with `approved`, also whether people have approved this very evidence for that state.

    That somebody has is as good as `check_approvals`, which looks at the signatures. Raises EvidenceRefused when the bundle was altered, is
    incomplete, or is not signed by `key`.
    """
    bundle = read_bundle(folder, key)
    page_note = _refuse_another_page(bundle)
    differences = [*_underived(bundle), *_refused_approvals(bundle.approvals, check_approvals), *_strays(bundle), *_unapproved(bundle, approved)]
    predicate = bundle.predicate
    return Verification(
        verified=not differences,
        evidence=bundle.evidence,
        key=fingerprint(key),
        cluster=predicate.cluster,
        version=predicate.version,
        adapter=predicate.lineage.adapter,
        verdict=predicate.found.decision.verdict,
        items=len(bundle.rows),
        held=_held(bundle, differences, check_approvals),
        differences=tuple(differences[:SHOWN_DIFFERENCES]),
        unchecked=(*page_note, *_unchecked(bundle, check_approvals)),
    )


# ---- the verdict -----------------------------------------------------------------------------------------------------------------------


def _underived(bundle: Bundle) -> Iterator[Difference]:
    """Where the statement differs from what its items and rules give."""
    try:
        found = derive(bundle.rows, bundle.predicate.rules).model_dump(mode="json")
    except (ModelsmithError, KeyError, ValueError) as error:
        reason = error.message if isinstance(error, ModelsmithError) else f"{type(error).__name__}: {error}"
        yield Difference(place="found", stated=bundle.predicate.found.decision.verdict, found=f"nothing: {reason[:SHOWN_CHARACTERS]}")
        return
    yield from differences_between(bundle.stated["found"], found, "found")


def differences_between(stated: Any, found: Any, place: str) -> Iterator[Difference]:
    """Every place at which two JSON values differ by more than rounding."""
    if isinstance(stated, dict) and isinstance(found, dict) and stated.keys() == found.keys():
        for name in found:
            yield from differences_between(stated[name], found[name], f"{place}.{name}")
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        for number, (one, other) in enumerate(zip(stated, found, strict=True)):
            yield from differences_between(one, other, f"{place}[{number}]")
    elif not _same(stated, found):
        yield Difference(place=place, stated=_shown(stated), found=_shown(found))


def _same(stated: Any, found: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (stated, found))
    return abs(stated - found) <= ROUNDING if numbers else type(stated) is type(found) and bool(stated == found)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


# ---- everything else -------------------------------------------------------------------------------------------------------------------


def _refuse_another_page(bundle: Bundle) -> tuple[str, ...]:
    """Draws the page again. A sentence where other code drew it, which then proves nothing; EvidenceRefused where the same code gives another."""
    if bundle.predicate.made_with.page != PAGE_DIGEST:
        return ("The page was drawn by another version of Modelsmith and was not compared with the statement: go by this answer, not by the page.",)
    if render_page(bundle.predicate, bundle.evidence, bundle.approvals).encode() != bundle.page:
        raise EvidenceRefused(f"{PAGE} does not show what the statement says", next_step="Do not rely on the bundle.", file=PAGE)
    return ()


def _strays(bundle: Bundle) -> Iterator[Difference]:
    """Names that must agree with each other: the version with its adapter, the requests with the version."""
    predicate = bundle.predicate
    version = f"v-{predicate.lineage.adapter[:12]}"
    if predicate.version != version:
        yield Difference(place="version", stated=predicate.version, found=version)
    for each in bundle.approvals:
        for name, about in (("cluster", predicate.cluster), ("version", predicate.version), ("adapter", predicate.lineage.adapter)):
            if getattr(each.request, name) != about:
                yield Difference(place=f"approvals.{each.request.id}.{name}", stated=getattr(each.request, name), found=about)
        for approval in each.approvals:
            if approval.request != each.request.id:
                yield Difference(place=f"approvals.{each.request.id}", stated=approval.request, found=each.request.id)


def _refused_approvals(approvals: Sequence[ApprovedRequest], check: ApprovalCheck | None) -> Iterator[Difference]:
    if check is None:
        return
    for each in approvals:
        try:
            check(each)
        except ModelsmithError as error:
            yield Difference(place=f"approvals.{each.request.id}", stated="approved", found=error.message)


def against(approvers: Approvers) -> ApprovalCheck:
    """Makes each approval anew from its signature, by the list as it stood when the request was made."""

    def check(approved: ApprovedRequest) -> None:
        given = approved.approvals
        verify_again(given, approved.request, approvers.at(approved.request.approvers_head))
        for number, approval in enumerate(given):
            refuse_uncounted(approved.request, given[:number], approval)

    return check


def _unapproved(bundle: Bundle, state: State | None) -> Iterator[Difference]:
    if state is not None and not any((each.request.target, each.request.evidence) == (state, bundle.evidence) for each in bundle.approvals):
        yield Difference(place="approvals", stated=f"approved for {state}", found="no request for it that names this evidence")


def _held(bundle: Bundle, differences: Sequence[Difference], check: ApprovalCheck | None) -> tuple[str, ...]:
    held = ["Every byte is what the key signed, and nothing was added."]
    if not differences:
        verdict, items = bundle.predicate.found.decision.verdict, len(bundle.rows)
        held.append(f"The verdict {verdict} and every mean, interval and condition follow from the {items} items.")
        if check is not None and bundle.approvals:
            held.append(f"{sum(len(each.approvals) for each in bundle.approvals)} approvals verify against the approvers' list.")
            held += [_approved_in_words(each) for each in bundle.approvals]
    return tuple(held)


def _approved_in_words(each: ApprovedRequest) -> str:
    people = ", ".join(f"{approval.approver} ({approval.level})" for approval in each.approvals)
    return f"{each.request.source} to {each.request.target} was approved by {people}."


def _unchecked(bundle: Bundle, check: ApprovalCheck | None) -> tuple[str, ...]:
    sentences = ["Taken as signed: latency, tokens, capacity, cost, counts of canaries, lineage and rollback posture, which no result here shows."]
    given = sum(len(each.approvals) for each in bundle.approvals)
    if check is None:
        sentences.append(f"The {given} approvals in the bundle were not checked." if given else "The bundle holds no approval.")
    elsewhere = [each.request.id for each in bundle.approvals if each.request.evidence != bundle.evidence]
    if elsewhere:
        sentences.append(f"Given for other evidence about this version: {', '.join(elsewhere)}.")
    if bundle.verifier != verifier_source():
        sentences.append("verify_bundle.py in the bundle is not the one of this version of Modelsmith.")
    if bundle.predicate.made_with.numpy != np.__version__:
        sentences.append(f"Made with numpy {bundle.predicate.made_with.numpy}, checked with {np.__version__}: intervals may differ by resampling.")
    return tuple(sentences)
