"""Signatures as promotion uses them: against the list as it lies on disk now, and against every approval that was given before."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ApprovalAltered, ApprovalNeeded, ApproversInvalid, SignatureRefused
from engine.promote.approvals.approvers_file import write_approvers
from engine.promote.approvals.roster import PersonAdded, PersonRevoked
from engine.promote.approvals.signing import ListedSignatures
from engine.promote.types import Approval, Chain
from tests.promote.keys import NOW, FileKey, SoftSecurityKey, a_request, after, founded_by, person, signature_over


def test_a_change_of_the_list_counts_at_once(tmp_path: Path, ada: FileKey, bob: FileKey) -> None:
    path = tmp_path / "approvers.json"
    signing = ListedSignatures(lambda: path, list)
    list_ = after(founded_by("ada", ada), PersonAdded(person=person("bob", bob)), ada)
    write_approvers(path, list_)
    request = a_request(approvers_head=signing.head())
    text = signature_over(request, bob)
    approval = signing.verify(request, text, (), NOW)
    signing.verify_again([approval], request)
    chain = Chain(name="standard", states=("a", "b"), first="a", serving="b", transitions=())
    before = signing.rules(chain, signing.head())
    write_approvers(path, after(list_, PersonRevoked(name="bob"), ada))
    assert signing.rules(chain, signing.head()) != before
    with pytest.raises(SignatureRefused, match="was removed"):
        signing.verify(request, text, (), NOW)
    with pytest.raises(ApprovalAltered, match="was removed"):
        signing.verify_again([approval], request)


def test_a_list_that_was_damaged_closes_every_gate(tmp_path: Path, ada: FileKey) -> None:
    path = tmp_path / "approvers.json"
    write_approvers(path, founded_by("ada", ada))
    signing = ListedSignatures(lambda: path, list)
    request = a_request(approvers_head=signing.head())
    path.write_text(path.read_text().replace('"approver"', '"owner"'))
    with pytest.raises(ApproversInvalid, match="over something else"):
        signing.verify(request, signature_over(request, ada), (), NOW)


def test_without_a_list_nobody_can_sign() -> None:
    with pytest.raises(ApprovalNeeded) as refused:
        ListedSignatures(lambda: None, list).head()
    assert "modelsmith approvers init" in refused.value.next_step


def test_a_device_must_count_on_from_what_it_signed_for_any_request(tmp_path: Path) -> None:
    device, kept = SoftSecurityKey(), list[Approval]()
    write_approvers(tmp_path / "approvers.json", founded_by("carol", device))
    signing = ListedSignatures(lambda: tmp_path / "approvers.json", lambda: kept)
    first = a_request(approvers_head=signing.head(), level="ssh-sk")
    second = first.model_copy(update={"id": "promote-1121-d4e5f6", "nonce": "0ddba11" * 4})
    kept.append(signing.verify(first, signature_over(first, device, counter=7), (), NOW))
    with pytest.raises(SignatureRefused, match="copied"):
        signing.verify(second, signature_over(second, device, counter=7), (), NOW)
    kept.append(signing.verify(second, signature_over(second, device, counter=8), (), NOW))
    kept[0] = kept[0].model_copy(update={"signature": "rubbish"})
    with pytest.raises(ApprovalAltered, match="does not hold"):
        signing.verify(second, signature_over(second, device, counter=9), (), NOW)
