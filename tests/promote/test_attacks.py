"""What somebody with a shell on the machine and no approver's key can do to approvals: every attempt ends in a refusal that says what it saw."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from engine.errors import ApprovalAltered, ApprovalNeeded, SignatureRefused
from engine.promote.approvals.approvers import Approvers, Document, verify_document
from engine.promote.approvals.roster import PersonAdded, PersonRevoked
from engine.promote.approvals.ssh import SK_ED25519, packed
from engine.promote.approvals.statement import statement_of
from engine.promote.approvals.verify import verify_again, verify_approval
from engine.promote.types import Approval, PromotionRequest
from tests.promote.keys import NOW, FileKey, SoftSecurityKey, a_request, after, founded_by, person, signature_over, ssh_keygen_sign


@pytest.fixture(scope="module")
def approvers(ada: FileKey, bob: FileKey) -> Approvers:
    return after(founded_by("ada", ada), PersonAdded(person=person("bob", bob)), ada)


@pytest.fixture(scope="module")
def request_(approvers: Approvers) -> PromotionRequest:
    return a_request(approvers_head=approvers.head, approvals=2)


@pytest.fixture(scope="module")
def stored(request_: PromotionRequest, approvers: Approvers, ada: FileKey, bob: FileKey) -> tuple[Approval, Approval]:
    """What the store holds after Ada and Bob approved."""
    first = verify_approval(request_, signature_over(request_, ada), approvers, NOW)
    return first, verify_approval(request_, signature_over(request_, bob), approvers, NOW, earlier=[first])


def altered(approvals: Any, request: PromotionRequest, approvers: Approvers) -> str:
    with pytest.raises(ApprovalAltered) as refused:
        verify_again(approvals, request, approvers)
    assert refused.value.next_step
    return refused.value.message


# ---- keys that sign without a person ---------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An ssh-agent whose questions a program answers with yes."""
    environment = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent"), "SSH_ASKPASS": "/bin/true", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    process = subprocess.Popen(["ssh-agent", "-D", "-a", environment["SSH_AUTH_SOCK"]], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()  # it prints where it listens once it does
    yield environment
    process.terminate()
    process.wait(timeout=10)


@pytest.mark.parametrize("options", [(), ("-c",)], ids=["loaded", "loaded with confirmation"])
def test_a_key_in_an_agent_signs_with_nobody_there_and_is_never_taken_for_a_touch(
    tmp_path: Path, agent: dict[str, str], options: tuple[str, ...], approvers: Approvers, request_: PromotionRequest, ada: FileKey
) -> None:
    subprocess.run(["ssh-add", "-q", *options, str(ada.path)], env=agent, check=True, capture_output=True)
    public = tmp_path / "ada.pub"
    public.write_text(ada.line)
    text = ssh_keygen_sign(public, statement_of(request_), **agent)
    assert verify_approval(request_, text, approvers, NOW).level == "ssh"
    high = request_.model_copy(update={"level": "ssh-sk"})
    with pytest.raises(SignatureRefused, match="key in a file"):
        verify_approval(high, ssh_keygen_sign(public, statement_of(high), **agent), approvers, NOW)


def test_a_key_file_dressed_up_as_a_security_key_is_another_key(ada: FileKey) -> None:
    carol = SoftSecurityKey()
    approvers = after(founded_by("carol", carol), PersonAdded(person=person("ada", ada)), carol)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    private = load_ssh_private_key(ada.path.read_bytes(), None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    disguise = SoftSecurityKey()
    disguise.private = private
    disguise.blob = packed(SK_ED25519.encode(), private.public_key().public_bytes_raw(), b"ssh:")
    with pytest.raises(SignatureRefused) as refused:
        verify_approval(request, disguise.sign(statement_of(request)), approvers, NOW)
    assert refused.value.details["reason"] == "unknown_key"


# ---- an approver list of one's own -----------------------------------------------------------------------------------------------------


def test_a_list_with_the_same_names_and_other_keys_opens_nothing(
    approvers: Approvers, request_: PromotionRequest, stored: Any, mallory: FileKey
) -> None:
    forged = founded_by("ada", mallory)
    with pytest.raises(SignatureRefused) as refused:
        verify_approval(request_, signature_over(request_, mallory), forged, NOW)
    assert refused.value.details["reason"] == "other_list"
    assert "never was" in altered(stored, request_, forged)


def test_a_request_rewritten_to_stand_under_the_forged_list_fails_where_the_true_list_is(approvers: Approvers, mallory: FileKey) -> None:
    """Whoever can write the store and the list can open the gate of their own machine: the list that they cannot write is what stops them."""
    forged = founded_by("ada", mallory)
    request = a_request(approvers_head=forged.head)
    approval = verify_approval(request, signature_over(request, mallory), forged, NOW)
    assert "never was" in altered([approval], request, approvers)
    relabelled = request.model_copy(update={"approvers_head": approvers.head})
    assert "nobody in the approver list has" in altered([approval.model_copy(update={"approvers_head": approvers.head})], relabelled, approvers)


def test_cutting_the_list_does_not_bring_back_somebody_who_was_removed(approvers: Approvers, ada: FileKey, bob: FileKey) -> None:
    without = after(approvers, PersonRevoked(name="bob"), ada)
    cut = verify_document(Document(entries=without.document.entries[:-1]))
    request = a_request(approvers_head=without.head)
    for list_, reason in ((without, "removed_key"), (cut, "other_list")):
        with pytest.raises(SignatureRefused) as refused:
            verify_approval(request, signature_over(request, bob), list_, NOW)
        assert refused.value.details["reason"] == reason


def test_a_list_cut_after_the_approval_is_found_when_the_approval_is_used(ada: FileKey, bob: FileKey) -> None:
    founded = founded_by("ada", ada)
    request = a_request(approvers_head=founded.head)
    grown = after(founded, PersonAdded(person=person("bob", bob)), ada)
    approval = verify_approval(request, signature_over(request, bob), grown, NOW)
    assert verify_again([approval], request, grown) == (approval,)
    assert "never was" in altered([approval], request, founded)


def test_the_approval_of_somebody_removed_since_opens_nothing_and_can_still_be_looked_back_on(
    approvers: Approvers, request_: PromotionRequest, stored: Any, ada: FileKey
) -> None:
    without = after(approvers, PersonRevoked(name="bob"), ada)
    assert "was removed from the approver list" in altered(stored, request_, without)
    assert verify_again(stored, request_, without.at(request_.approvers_head)) == stored


# ---- a database of one's own -----------------------------------------------------------------------------------------------------------


def test_approvals_that_nobody_touched_open_the_request(approvers: Approvers, request_: PromotionRequest, stored: Any) -> None:
    assert verify_again(stored, request_, approvers) == stored


@pytest.mark.parametrize(
    "edit",
    [
        {"approver": "carl"},
        {"role": "owner"},
        {"level": "webauthn"},
        {"key": "SHA256:" + "A" * 43},
        {"request": "promote-1121-000000"},
        {"signature": ""},
        {"signature": '{"type": "public-key"}'},
        {"received_at": "2027-01-01T00:00:00.000Z"},
        {"approvers_head": "00" * 32},
        {"approvers_head": ""},
    ],
)
def test_an_approval_row_that_was_edited_opens_nothing(
    approvers: Approvers, request_: PromotionRequest, stored: Any, edit: dict[str, str]
) -> None:
    first, second = stored
    assert "does not hold" in (said := altered([first, second.model_copy(update=edit)], request_, approvers)) or "is not what its signature is worth" in said


@pytest.mark.parametrize(
    "edit",
    [
        {"approvals": 1},
        {"approvals": 0},
        {"level": "ssh-sk"},
        {"role": "reviewer"},
        {"adapter": "00" * 32},
        {"evidence": "00" * 32},
        {"target": "canary"},
        {"cluster": "support"},
        {"expires_at": "2036-01-01T00:00:00.000Z"},
        {"nonce": ""},
        {"replaces": "v-other"},
        {"separate_duties": False},
        {"revision": 9},
    ],
)
def test_a_request_row_that_was_edited_is_a_request_that_nobody_signed(
    approvers: Approvers, request_: PromotionRequest, stored: Any, edit: dict[str, Any]
) -> None:
    assert "over something else" in altered(stored, request_.model_copy(update=edit), approvers)


def test_one_approval_copied_into_two_rows_counts_once(approvers: Approvers, request_: PromotionRequest, stored: Any) -> None:
    assert "has approved request" in altered([stored[0], stored[0]], request_, approvers)


def test_too_few_approvals_open_nothing_and_a_request_that_asks_for_none_still_needs_one(
    approvers: Approvers, request_: PromotionRequest, stored: Any
) -> None:
    with pytest.raises(ApprovalNeeded, match="1 of 2"):
        verify_again(stored[:1], request_, approvers)
    with pytest.raises(ApprovalNeeded, match="0 of 1"):
        verify_again([], request_.model_copy(update={"approvals": 0}), approvers)


def test_approvals_of_another_request_moved_to_this_one_open_nothing(approvers: Approvers, request_: PromotionRequest, stored: Any) -> None:
    other = request_.model_copy(update={"id": "promote-1121-ffffff", "version": "v-worse"})
    moved = [approval.model_copy(update={"request": other.id}) for approval in stored]
    assert "over something else" in altered(moved, other, approvers)
