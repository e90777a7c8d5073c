"""Whether a signature approves a request: the one place where that is decided.

Pure: the request, the signature, the approver list and the time go in; an Approval comes out, or a refusal that names its reason and what to
do. An approval is believed for nothing but its signature: `verify_again` makes it anew from the signature when it is used, so that a row edited
in the database is found and opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.base.clock import seconds_between
from engine.errors import ApprovalAltered, ApprovalNeeded, SignatureRefused
from engine.promote.approvals.approvers import Approvers, ssh_proof
from engine.promote.approvals.levels import MEANINGS, Proof, Proved, level_of, reaches
from engine.promote.approvals.roster import Passkey, Person, SshKey
from engine.promote.approvals.ssh import fingerprint_of, parse_signature, signs
from engine.promote.approvals.statement import NAMESPACE, challenge_of, statement_of
from engine.promote.approvals.webauthn import parse_assertion, verify_assertion
from engine.promote.types import Approval, Level, SignedRequest

SIGN_AGAIN = "Read the request as it is now with `modelsmith approve {id} --key PATH`, and sign that if it is what you want."
COMPARE_STORE = "Somebody wrote into the store; `modelsmith store verify` compares it with the journal."
HOW_TO_REACH: Mapping[Level, str] = {
    "ssh": "Sign with a key of the approver list.",
    "ssh-sk": "Sign with a security key: `ssh-keygen -t ed25519-sk -O verify-required` makes one, an approver signs it into the list.",
    "webauthn": "Approve with a passkey of the approver list.",
}


class Signed(NamedTuple):
    """A signature that verified: whose, and what it shows."""

    person: Person
    key: str
    """Fingerprint."""
    proof: Proof


def verify_approval(
    request: SignedRequest,
    signature_text: str,
    approvers: Approvers,
    now: str,
    *,
    earlier: Sequence[Approval] = (),
    counters: Mapping[str, int] | None = None,
) -> Approval:
    """The approval that a signature is worth. SignatureRefused, with its reason, where it is worth none.

    `earlier` are the request's approvals so far: one person approves once. `counters` are the last counters seen by key (`counters_of`): a
    device that counts backwards was copied.
    """
    if not approvers.knows(request.approvers_head):
        raise SignatureRefused(
            f"the request was made under the approver list {request.approvers_head[:8] or '(none)'}; this one ({approvers.head[:8]}) never was that",
            next_step="Ask why the list was cut or replaced. When the list here is the right one, ask for the promotion again.",
            reason="other_list",
        )
    signed = (_webauthn if is_assertion(signature_text) else _ssh)(request, signature_text, approvers)
    if seconds_between(now, request.expires_at) <= 0:
        raise SignatureRefused(
            f"request {request.id} expired at {request.expires_at}",
            next_step="Ask for the promotion again; its new request can be signed.",
            reason="expired",
        )
    _check_counter(signed, (counters or {}).get(signed.key))
    _check_role(request, signed.person)
    level = _level_for(request, signed, approvers)
    if signed.person.name in (approval.approver for approval in earlier):
        raise SignatureRefused(
            f"{signed.person.name} has approved request {request.id} already; it needs {request.approvals} different people",
            next_step=f"Ask somebody else with the role {request.role}.",
            reason="same_person",
        )
    return Approval(
        request=request.id,
        approver=signed.person.name,
        role=request.role,
        level=level,
        key=signed.key,
        signature=signature_text,
        approvers_head=approvers.head,
        received_at=now,
    )


def verify_again(approvals: Sequence[Approval], request: SignedRequest, approvers: Approvers) -> tuple[Approval, ...]:
    """The approvals that open `request`, each made anew from its signature. To be called where the transition is taken.

    ApprovalAltered where a stored approval differs from what its signature is worth under the list as it is now (so a person or key that was
    removed since counts no longer; for looking back, hand in `approvers.at(request.approvers_head)`). ApprovalNeeded where too few people signed.
    """
    verified: list[Approval] = []
    for stored in approvals:
        verified.append(_made_anew(stored, request, approvers, verified))
    missing = max(1, request.approvals) - len(verified)
    if missing > 0:
        raise ApprovalNeeded(
            f"request {request.id} has {len(verified)} of {max(1, request.approvals)} approvals",
            next_step=f"Somebody else with the role {request.role} runs `modelsmith approve {request.id} --key PATH`.",
            missing=missing,
        )
    return tuple(verified)


def counters_of(approvals: Sequence[Approval]) -> dict[str, int]:
    """The highest counter that each device has shown in these approvals."""
    found: dict[str, int] = {}
    for approval in approvals:
        found[approval.key] = max(found.get(approval.key, 0), _counter_in(approval) or 0)
    return found


def _counter_in(approval: Approval) -> int | None:
    text = approval.signature
    try:
        return parse_assertion(text).counter if is_assertion(text) else parse_signature(text).counter
    except ValueError as error:
        message = f"the approval by {approval.approver} of request {approval.request} does not hold: {error}"
        raise ApprovalAltered(message, next_step=COMPARE_STORE, approver=approval.approver) from None


def is_assertion(signature_text: str) -> bool:
    """Whether it is a passkey's assertion, which is JSON, rather than an armoured SSH signature."""
    return signature_text.lstrip().startswith("{")


def _made_anew(stored: Approval, request: SignedRequest, approvers: Approvers, earlier: Sequence[Approval]) -> Approval:
    next_step = f"If the approver list was changed since, ask for the promotion again. If not: {COMPARE_STORE}"
    if not approvers.knows(stored.approvers_head):
        why = f"it was verified under the approver list {stored.approvers_head[:8] or '(none)'}, which the list here never was"
        raise ApprovalAltered(f"the approval by {stored.approver} does not hold: {why}", next_step=next_step, approver=stored.approver)
    try:
        anew = verify_approval(request, stored.signature, approvers, stored.received_at, earlier=earlier)
    except SignatureRefused as refused:
        raise ApprovalAltered(
            f"the approval by {stored.approver} does not hold: {refused.message}", next_step=next_step, approver=stored.approver, **refused.details
        ) from None
    if anew.model_copy(update={"approvers_head": stored.approvers_head}) != stored:
        raise ApprovalAltered(
            f"the stored approval by {stored.approver} is not what its signature is worth ({anew.approver}, {anew.level})",
            next_step=next_step,
            approver=stored.approver,
        )
    return stored


# ---- one signature -------------------------------------------------------------------------------------------------------------------


def _ssh(request: SignedRequest, text: str, approvers: Approvers) -> Signed:
    try:
        signature = parse_signature(text)
    except ValueError as error:
        raise _malformed(f"the text is no SSH signature: {error}", request) from None
    fingerprint = fingerprint_of(signature.key_blob)
    person, key = approvers.roster.held(fingerprint) or (None, None)
    if person is None or not isinstance(key, SshKey):
        raise _unknown(fingerprint, approvers, request)
    if signature.namespace != NAMESPACE:
        raise SignatureRefused(
            f"the signature was made for {signature.namespace[:80]!r}, not for {NAMESPACE}",
            next_step=f"Sign with `ssh-keygen -Y sign -n {NAMESPACE}`, or `modelsmith approve`, which does.",
            reason="namespace",
        )
    if not signs(signature, key.key, statement_of(request)):
        raise SignatureRefused(
            f"the signature of {person.name} is over something else: another request, this one as it was before it was altered, or it was damaged",
            next_step=SIGN_AGAIN.format(id=request.id),
            reason="other_statement",
        )
    return Signed(person, fingerprint, ssh_proof(signature, key))


def _webauthn(request: SignedRequest, text: str, approvers: Approvers) -> Signed:
    try:
        assertion = parse_assertion(text)
    except ValueError as error:
        raise _malformed(f"the text is no WebAuthn assertion: {error}", request) from None
    people = approvers.roster.people
    found = ((person, key) for person in people for key in person.keys if isinstance(key, Passkey) and key.credential == assertion.credential)
    person, key = next(found, (None, None))
    if person is None or key is None:
        raise _unknown(f"credential {assertion.credential[:80]!r}", approvers, request)
    proof = verify_assertion(assertion, key, challenge_of(request), user_verification=approvers.roster.user_verification)
    signed = Signed(person, key.fingerprint, proof)
    _check_counter(signed, key.counter)
    return signed


# ---- refusals ------------------------------------------------------------------------------------------------------------------------


def _check_counter(signed: Signed, last: int | None) -> None:
    """Devices that count must count upwards; those that always say 0 (most passkeys that are synced) do not count."""
    counter = signed.proof.counter
    if counter is None or last is None or (counter == 0 and last == 0) or counter > last:
        return
    raise SignatureRefused(
        f"the device of {signed.person.name} counts {counter} signatures after {last}: this one is old, or the device was copied",
        next_step="Sign again; if that is refused too, remove the key with `modelsmith approvers revoke` and enrol another.",
        reason="counter",
    )


def _check_role(request: SignedRequest, person: Person) -> None:
    if request.role not in person.roles:
        raise SignatureRefused(
            f"{person.name} has the role {', '.join(person.roles)}; request {request.id} needs {request.role}",
            next_step=f"Ask somebody with the role {request.role}, or have the list changed: `modelsmith approvers role {person.name} ...`.",
            reason="role",
        )


def _level_for(request: SignedRequest, signed: Signed, approvers: Approvers) -> Level:
    proved: Proved = level_of(signed.proof, list_level=approvers.roster.level, user_verification=approvers.roster.user_verification)
    if not reaches(proved.level, request.level):
        why = f": {proved.because}" if proved.because else ""
        raise SignatureRefused(
            f"the signature of {signed.person.name} proves {proved.level} and request {request.id} needs {request.level}{why}",
            next_step=f"{HOW_TO_REACH[request.level]} {request.level} means: {MEANINGS[request.level]}",
            reason="level",
        )
    return proved.level


def _malformed(message: str, request: SignedRequest) -> SignatureRefused:
    return SignatureRefused(message, next_step=SIGN_AGAIN.format(id=request.id), reason="malformed")


def _unknown(who: str, approvers: Approvers, request: SignedRequest) -> SignatureRefused:
    removed = who in approvers.roster.removed
    return SignatureRefused(
        f"the signature is by {who}, which " + ("was removed from the approver list" if removed else "nobody in the approver list has"),
        next_step=f"Sign with a key of the list (`modelsmith approvers show`); request {request.id} needs the role {request.role}.",
        reason="removed_key" if removed else "unknown_key",
    )
