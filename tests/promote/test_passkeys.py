"""Passkeys: an assertion approves exactly the request that it was made for, on the page and by the device that the list names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import ValidationError

from engine.errors import SignatureRefused
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.roster import Passkey, PersonAdded
from engine.promote.approvals.verify import counters_of, verify_again, verify_approval
from engine.promote.types import PromotionRequest
from tests.promote.keys import NOW, PIN, TOUCH, SoftPasskey, SoftSecurityKey, a_request, after, base64url, founded_by, person


@pytest.fixture
def passkey() -> SoftPasskey:
    return SoftPasskey()


@pytest.fixture
def approvers(passkey: SoftPasskey) -> Approvers:
    """Dora has a passkey, signed into the list with Carol's security key."""
    device = SoftSecurityKey()
    return after(founded_by("carol", device), PersonAdded(person=person("dora", passkey)), device)


@pytest.fixture
def request_(approvers: Approvers) -> PromotionRequest:
    return a_request(approvers_head=approvers.head, level="webauthn")


def refusal(request: PromotionRequest, text: str, approvers: Approvers, **more: Any) -> SignatureRefused:
    with pytest.raises(SignatureRefused) as refused:
        verify_approval(request, text, approvers, NOW, **more)
    assert refused.value.next_step
    return refused.value


def test_a_passkey_of_the_list_approves_the_request_that_it_was_shown(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    approval = verify_approval(request_, passkey.approve(request_), approvers, NOW)
    assert (approval.approver, approval.level, approval.key) == ("dora", "webauthn", passkey.record.fingerprint)
    assert verify_again([approval], request_, approvers) == (approval,)


@pytest.mark.parametrize("kind", ["ed25519", "rs256"])
def test_the_other_kinds_of_passkey_are_taken_too(kind: str) -> None:
    passkey, device = SoftPasskey(kind, rp_id="models.example", origin="https://approve.models.example:8443"), SoftSecurityKey()
    approvers = after(founded_by("carol", device), PersonAdded(person=person("dora", passkey)), device)
    request = a_request(approvers_head=approvers.head, level="webauthn")
    assert verify_approval(request, passkey.approve(request), approvers, NOW).level == "webauthn"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"origin": "http://localhost:9999"}, "origin"),
        ({"origin": "https://localhost:8123"}, "origin"),
        ({"crossOrigin": True}, "origin"),
        ({"type": "webauthn.create"}, "malformed"),
        ({"challenge": base64url(b"x" * 32)}, "other_statement"),
        ({"challenge": None}, "other_statement"),
    ],
)
def test_another_page_purpose_or_challenge_is_refused(
    passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest, said: dict[str, Any], reason: str
) -> None:
    assert refusal(request_, passkey.approve(request_, **said), approvers).details["reason"] == reason


def test_an_assertion_over_another_request_is_refused(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    text = passkey.approve(request_)
    for change in ({"nonce": "other"}, {"adapter": "00" * 32}, {"approvals": 2}):
        assert refusal(request_.model_copy(update=change), text, approvers).details["reason"] == "other_statement"


@pytest.mark.parametrize(("flags", "reason"), [(0, "not_touched"), (PIN, "not_touched"), (TOUCH, "not_verified")])
def test_an_assertion_without_touch_or_verification_is_refused(
    passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest, flags: int, reason: str
) -> None:
    assert refusal(request_, passkey.approve(request_, flags=flags), approvers).details["reason"] == reason


def test_a_counter_that_was_seen_before_is_refused(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    seen = counters_of([verify_approval(request_, passkey.approve(request_, counter=9), approvers, NOW)])
    for counter in (9, 8, 0):
        assert refusal(request_, passkey.approve(request_, counter=counter), approvers, counters=seen).details["reason"] == "counter"
    assert verify_approval(request_, passkey.approve(request_, counter=10), approvers, NOW, counters=seen)


def test_a_counter_below_that_of_registration_is_refused_and_one_that_stays_zero_is_not(passkey: SoftPasskey) -> None:
    device = SoftSecurityKey()
    dora = person("dora", passkey)
    counted = dora.model_copy(update={"keys": (passkey.record.model_copy(update={"counter": 50}),)})
    approvers = after(founded_by("carol", device), PersonAdded(person=counted), device)
    request = a_request(approvers_head=approvers.head, level="webauthn")
    assert refusal(request, passkey.approve(request, counter=50), approvers).details["reason"] == "counter"

    synced = after(founded_by("carol", device), PersonAdded(person=dora), device)
    request = a_request(approvers_head=synced.head, level="webauthn")
    seen = counters_of([verify_approval(request, passkey.approve(request, counter=0), synced, NOW)])
    assert verify_approval(request, passkey.approve(request, counter=0), synced, NOW, counters=seen)


def test_a_passkey_of_another_host_or_nobodys_is_refused(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    assert refusal(request_, SoftPasskey().approve(request_), approvers).details["reason"] == "unknown_key"
    passkey.rp_id = "evil.example"
    assert refusal(request_, passkey.approve(request_), approvers).details["reason"] == "origin"


def test_another_devices_signature_under_a_listed_credential_is_refused(
    passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest
) -> None:
    imitation = SoftPasskey()
    imitation.credential = passkey.credential
    assert refusal(request_, imitation.approve(request_), approvers).details["reason"] == "altered"


def test_every_part_of_an_assertion_is_covered(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    honest = json.loads(passkey.approve(request_, flags=TOUCH))
    data = bytearray(base64.urlsafe_b64decode(honest["response"]["authenticatorData"] + "=="))
    data[32] |= PIN
    honest["response"]["authenticatorData"] = base64url(bytes(data))
    assert refusal(request_, json.dumps(honest), approvers).details["reason"] == "altered"


@pytest.mark.parametrize(
    "spoil",
    [
        {"type": "password"},
        {"response": None},
        {"id": 7},
        {"response": {"clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AA"}},
        {"response": {"clientDataJSON": "!!", "authenticatorData": base64url(b"x" * 37), "signature": "AA"}},
        {"response": {"clientDataJSON": "e30", "authenticatorData": base64url(bytes(60)), "signature": "AA"}},
        {"padding": "x" * 20_000},
    ],
)
def test_an_assertion_that_is_none_is_refused_in_a_sentence(
    passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest, spoil: dict[str, Any]
) -> None:
    text = json.dumps(json.loads(passkey.approve(request_)) | spoil)
    assert refusal(request_, text, approvers).details["reason"] == "malformed"


def test_client_data_that_is_no_object_is_refused(passkey: SoftPasskey, approvers: Approvers, request_: PromotionRequest) -> None:
    document = json.loads(passkey.approve(request_))
    document["response"]["clientDataJSON"] = base64url(b"[1, 2")
    assert refusal(request_, json.dumps(document), approvers).details["reason"] == "malformed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"origin": "http://models.example", "rp_id": "models.example"}, "no https:// page"),
        ({"origin": "https://models.example.evil", "rp_id": "models.example"}, "no https:// page"),
        ({"origin": "https://notmodels.example", "rp_id": "models.example"}, "no https:// page"),
        ({"public_key": "AAAA"}, "no public key"),
        ({"credential": "short"}, "credential"),
    ],
)
def test_a_passkey_that_could_be_asked_by_another_page_is_not_enrolled(passkey: SoftPasskey, change: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Passkey(**(passkey.record.model_dump() | change))


def test_a_list_founded_with_a_key_file_vouches_for_no_passkey(passkey: SoftPasskey, ada: Any) -> None:
    approvers = after(founded_by("ada", ada), PersonAdded(person=person("dora", passkey)), ada)
    request = a_request(approvers_head=approvers.head, level="webauthn")
    assert refusal(request, passkey.approve(request), approvers).details["reason"] == "level"
    low = request.model_copy(update={"level": "ssh"})
    approval = verify_approval(low, passkey.approve(low, counter=4), approvers, NOW)
    assert (approval.level, counters_of([approval])) == ("ssh", {passkey.record.fingerprint: 4})
