"""Promotions as surfaces show them: where a version stands, what keeps its gate closed, and what waits for whose signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.jobs.types import Run
from engine.promote.chains import in_words, leaving, onward
from engine.promote.types import Approval, Chain, Check, Gate, Passkeys, PromotionRequest, RequestStatus, StoredRequest, VersionState
from engine.views import ApprovalsPage, CheckLine, NextCall, PromotionPage, RequestLine, SigningPage


class ToSign(NamedTuple):
    """What people read and sign."""

    statement: str
    how_to_sign: str
    evidence_page: str | None
    """Null where the evidence that the request names is kept here no longer, or not as it was."""


def stopped_page(standing: VersionState, chain: Chain, found: Gate, export: Run | None = None) -> PromotionPage:
    """A closed gate: which checks, their figures, their limits, and what would open them; and the export that was started to open it."""
    closed = [check for check in found.checks if not check.passed]
    names = ", ".join(check.name for check in closed)
    summary = f"{standing.version} stays {standing.state}: the gate to {found.transition.target} is closed by {names}."
    page = _page(standing, chain, found, summary, moved=False)
    if export is None:
        return page
    named = {"cluster": standing.cluster, "version": standing.version, "to": found.transition.target}
    following = (
        NextCall(tool="run_status", arguments={"run_id": export.id, "wait_seconds": 50}, why="wait for the export"),
        NextCall(tool="promote", arguments=named, why="when it agrees"),
    )
    return page.model_copy(update={"summary": f"{summary} Its export goes on as {export.id}.", "next": following})


def moved_page(moved: VersionState, chain: Chain, found: Gate) -> PromotionPage:
    """A transition that was taken."""
    summary = f"{moved.version} of {moved.cluster} is {moved.state} now.{_onward_in_words(chain, moved)}"
    return _page(moved, chain, found, summary, moved=True)


def requested_page(standing: VersionState, chain: Chain, found: Gate, line: RequestLine, to_sign: ToSign) -> PromotionPage:
    """A transition that waits for people."""
    summary = f"{standing.version} stays {standing.state} until request {line.request} is signed: {line.needs}, by {line.expires_at}."
    page = _page(standing, chain, found, summary, moved=False)
    return page.model_copy(
        update={"next": (_look_at(line),), "request": line, "statement": to_sign.statement, "how_to_sign": to_sign.how_to_sign}
    )


def approved_page(after: VersionState, chain: Chain, found: Gate, line: RequestLine, approval: Approval) -> PromotionPage:
    """A signature that counted; with the last one the version has moved."""
    moved = line.status == "used"
    signed = f"{approval.approver} approved request {line.request} ({approval.level}, {approval.key})."
    if not moved:
        page = _page(after, chain, found, f"{signed} It has {len(line.signed_by)} signatures and needs {line.needs}.", moved=False)
        return page.model_copy(update={"request": line, "next": (_look_at(line),)})
    summary = f"{signed} {after.version} of {after.cluster} is {after.state} now.{_onward_in_words(chain, after)}"
    return _page(after, chain, found, summary, moved=True).model_copy(update={"request": line})


def approvals_page(lines: Sequence[RequestLine]) -> ApprovalsPage:
    """Requests in a list."""
    waiting = [line for line in lines if line.status == "waiting"]
    summary = f"{len(waiting)} promotion requests wait for signatures."
    return ApprovalsPage(summary=summary, next=tuple(map(_look_at, waiting[:1])), requests=tuple(lines))


def request_page(line: RequestLine, request: PromotionRequest, to_sign: ToSign) -> ApprovalsPage:
    """One request in full."""
    summary = f"Request {request.id}, {line.status}: {request.version} of {request.cluster}, {request.source} to {request.target}."
    return ApprovalsPage(summary=summary, requests=(line,), document=request.model_dump(mode="json"), **to_sign._asdict())


def signing_page(line: RequestLine, evidence: str, to_sign: ToSign, passkeys: Passkeys) -> SigningPage:
    """One request for the page on which a passkey signs."""
    return SigningPage(
        request=line,
        statement=to_sign.statement,
        how_to_sign=to_sign.how_to_sign,
        evidence=evidence,
        evidence_kept=to_sign.evidence_page is not None,
        credentials=passkeys.credentials,
        user_verification=passkeys.user_verification,
    )


def request_line(stored: StoredRequest, status: RequestStatus) -> RequestLine:
    """A request in a list."""
    request = stored.request
    people = "1 person" if request.approvals == 1 else f"{request.approvals} people"
    return RequestLine(
        request=request.id,
        cluster=request.cluster,
        version=request.version,
        source=request.source,
        target=request.target,
        status=status,
        signed_by=tuple(approval.approver for approval in stored.approvals),
        needs=f"{people} with the role {request.role}, {request.level} or stronger",
        asked_by=request.proposed_by,
        expires_at=request.expires_at,
    )


# ---- parts -----------------------------------------------------------------------------------------------------------------------------


def _page(standing: VersionState, chain: Chain, found: Gate, summary: str, *, moved: bool) -> PromotionPage:
    return PromotionPage(
        summary=summary,
        next=_next_calls(standing, chain, found, moved=moved),
        cluster=standing.cluster,
        version=standing.version,
        chain=chain.name,
        state=standing.state,
        target=found.transition.target,
        moved=moved,
        open=found.open,
        checks=tuple(map(_check_line, sorted(found.checks, key=lambda check: check.passed))),
    )


def _check_line(check: Check) -> CheckLine:
    """A check as it is shown: a closed one in full, an open one with its figures."""
    said = {} if check.passed else {"found": check.sentence, "opens": check.opens}
    return CheckLine(check=check.name, passed=check.passed, figure=check.figure, limit=check.limit, **said)


def _next_calls(standing: VersionState, chain: Chain, found: Gate, *, moved: bool) -> tuple[NextCall, ...]:
    named = {"cluster": standing.cluster, "version": standing.version}
    if not moved:
        measure = NextCall(tool="evaluate", arguments={"cluster": standing.cluster, "subject": standing.version}, why="measure it anew")
        return () if found.open else (measure,)
    step = onward(chain, standing.state)
    if step is None or step.by == "loop":
        return ()
    why = "ask people for the next state" if step.by == "human" else "try the next gate"
    return (NextCall(tool="promote", arguments=named, why=why),)


def _onward_in_words(chain: Chain, standing: VersionState) -> str:
    following = leaving(chain, standing.state)
    return f" From there: {'; '.join(map(in_words, following))}." if following else ""


def _look_at(line: RequestLine) -> NextCall:
    return NextCall(tool="approvals", arguments={"request": line.request}, why="what people read and sign, and who has")
