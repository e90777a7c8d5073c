"""The approver list: who may change it, what its chain shows, and what only its head does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ApproversInvalid, ArgumentInvalid, NotFound, StateConflict
from engine.promote.approvals.approvers import Approvers, Document, SignedEntry, entry_digest, entry_text, extended, next_entry, verify_document
from engine.promote.approvals.approvers_file import (
    ENVIRONMENT,
    approvers_path,
    exposed_at,
    parse_approvers,
    protection,
    read_approvers,
    write_approvers,
)
from engine.promote.approvals.roster import (
    KeyAdded,
    KeyRevoked,
    Later,
    PersonAdded,
    PersonRevoked,
    RolesChanged,
    SshKey,
    ThresholdChanged,
)
from engine.promote.approvals.ssh import parse_public_key
from tests.promote.keys import NOW, PIN, TOUCH, FileKey, SoftSecurityKey, after, founded_by, person, signed_by


@pytest.fixture(scope="module")
def two(ada: FileKey, bob: FileKey) -> Approvers:
    """Ada founded the list and added Bob."""
    return after(founded_by("ada", ada), PersonAdded(person=person("bob", bob)), ada)


@pytest.fixture(scope="module")
def long(two: Approvers, ada: FileKey, bob: FileKey) -> Approvers:
    """Four entries, the last of them signed by two people."""
    governed = after(two, ThresholdChanged(threshold=2), bob)
    return after(governed, RolesChanged(name="bob", roles=("approver", "keeper")), ada, bob)


def names(approvers: Approvers) -> list[str]:
    return [person.name for person in approvers.roster.people]


def invalid(document: Document) -> str:
    with pytest.raises(ApproversInvalid) as refused:
        verify_document(document)
    return refused.value.message


# ---- changing ------------------------------------------------------------------------------------------------------------------------


def test_the_first_approver_signs_themselves_in(ada: FileKey) -> None:
    approvers = founded_by("ada", ada)
    assert names(approvers) == ["ada"]
    assert approvers.head == entry_digest(approvers.document.entries[0].entry)
    assert b"I begin a list of approvers with ada (approver; SHA256:" in entry_text(approvers.document.entries[0].entry)


def test_a_list_that_its_first_approver_did_not_sign_is_none(ada: FileKey, mallory: FileKey) -> None:
    founded = founded_by("ada", ada).document.entries[0]
    assert "nobody in the list has" in invalid(Document(entries=(signed_by(founded.entry, mallory),)))
    assert "1 more people" in invalid(Document(entries=(signed_by(founded.entry),)))


def test_each_kind_of_change_does_what_it_says(tmp_path: Path, two: Approvers, ada: FileKey, bob: FileKey) -> None:
    spare = FileKey(tmp_path, "spare")
    approvers = after(two, KeyAdded(name="bob", key=SshKey(public_key=spare.line)), ada)
    approvers = after(approvers, KeyRevoked(name="bob", fingerprint=parse_public_key(bob.line).fingerprint), spare)
    assert [key.fingerprint for key in approvers.roster.named("bob").keys] == [parse_public_key(spare.line).fingerprint]
    approvers = after(approvers, RolesChanged(name="bob", roles=("reviewer",)), spare)
    assert approvers.roster.named("bob").roles == ("reviewer",)
    approvers = after(approvers, ThresholdChanged(threshold=2), ada)
    assert approvers.roster.threshold == 2
    approvers = after(approvers, ThresholdChanged(threshold=1), ada, spare)
    assert names(after(approvers, PersonRevoked(name="bob"), ada)) == ["ada"]


def test_a_change_needs_as_many_people_as_the_list_asks_for(two: Approvers, ada: FileKey, bob: FileKey, mallory: FileKey) -> None:
    governed = after(two, ThresholdChanged(threshold=2), ada)
    entry = next_entry(governed, PersonAdded(person=person("carl", mallory)), NOW)
    for signers in ((ada,), (ada, ada)):
        with pytest.raises(ApproversInvalid, match="1 more people"):
            extended(governed, signed_by(entry, *signers))
    assert names(extended(governed, signed_by(entry, ada, bob))) == ["ada", "bob", "carl"]


def test_nobody_signs_themselves_into_a_list_that_is_there(two: Approvers, mallory: FileKey) -> None:
    entry = next_entry(two, PersonAdded(person=person("mallory", mallory)), NOW)
    with pytest.raises(ApproversInvalid, match=r"entry 3 .* nobody in the list has"):
        extended(two, signed_by(entry, mallory))


def test_somebody_who_was_removed_signs_no_further_change(two: Approvers, ada: FileKey, bob: FileKey, mallory: FileKey) -> None:
    without = after(two, PersonRevoked(name="bob"), ada)
    with pytest.raises(ApproversInvalid, match="nobody in the list has"):
        after(without, PersonAdded(person=person("carl", mallory)), bob)


def test_an_approval_is_no_signature_under_a_change(two: Approvers, ada: FileKey) -> None:
    entry = next_entry(two, ThresholdChanged(threshold=2), NOW)
    approval = ada.sign(entry_text(entry))
    with pytest.raises(ApproversInvalid, match="over something else"):
        extended(two, SignedEntry(entry=entry, signatures=(approval,)))


@pytest.mark.parametrize("flags", [0, PIN, TOUCH])
def test_a_list_of_security_keys_is_not_changed_without_a_touch_and_a_pin(flags: int, ada: FileKey) -> None:
    device = SoftSecurityKey()
    approvers = after(founded_by("carol", device), PersonAdded(person=person("ada", ada)), device)
    entry = next_entry(approvers, RolesChanged(name="ada", roles=("admin",)), NOW)
    touchless = device.sign(entry_text(entry), "modelsmith-approvers@v1", flags=flags)
    for signature in (touchless, ada.sign(entry_text(entry), "modelsmith-approvers@v1")):
        with pytest.raises(ApproversInvalid, match="does not suffice for this list"):
            extended(approvers, SignedEntry(entry=entry, signatures=(signature,)))


def changes_that_cannot_be(two: Approvers, bob: FileKey) -> dict[str, Later]:
    own = parse_public_key(bob.line).fingerprint
    return {
        "in the list already": PersonAdded(person=person("ada", bob)),
        "in the list twice": PersonAdded(person=person("carl", bob)),
        "carl is not in the list": PersonRevoked(name="carl"),
        "only key of bob": KeyRevoked(name="bob", fingerprint=own),
        "ada has no key": KeyRevoked(name="ada", fingerprint=own),
        "could never change again": ThresholdChanged(threshold=3),
    }


def test_a_change_that_the_list_cannot_take_is_refused_before_anybody_signs(two: Approvers, bob: FileKey) -> None:
    for said, change in changes_that_cannot_be(two, bob).items():
        with pytest.raises(ArgumentInvalid, match=said):
            next_entry(two, change, NOW)


def test_a_removed_key_does_not_come_back_and_the_last_signer_stays(two: Approvers, ada: FileKey, bob: FileKey) -> None:
    without = after(two, PersonRevoked(name="bob"), ada)
    with pytest.raises(ArgumentInvalid, match="does not come back"):
        next_entry(without, PersonAdded(person=person("robert", bob)), NOW)
    with pytest.raises(ArgumentInvalid, match="could never change again"):
        next_entry(without, PersonRevoked(name="ada"), NOW)


# ---- the chain and its head ----------------------------------------------------------------------------------------------------------


def test_an_entry_that_was_left_out_repeated_or_moved_is_found(long: Approvers) -> None:
    entries = long.document.entries
    for number, entry in enumerate(entries[:-1]):
        before, following, rest = entries[:number], entries[number + 1], entries[number + 2 :]
        for disordered in ((*before, following, *rest), (*before, entry, entry, following, *rest), (*before, following, entry, *rest)):
            assert "does not follow the entry before it" in invalid(Document(entries=disordered))


def test_an_entry_that_was_signed_for_another_course_of_the_list_does_not_fit_in(two: Approvers, ada: FileKey, bob: FileKey) -> None:
    """Otherwise a change that two people meant for one state of the list could be put after another."""
    one_course = after(two, RolesChanged(name="bob", roles=("owner",)), ada)
    other_course = after(two, RolesChanged(name="bob", roles=("reviewer",)), ada)
    last = after(one_course, ThresholdChanged(threshold=2), bob).document.entries[-1]
    assert "does not follow the entry before it" in invalid(Document(entries=(*other_course.document.entries, last)))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every text and number in a JSON value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, item in items for found in leaves(item, (*path, key))]
    return [path]


def test_no_value_in_the_document_can_be_changed_unnoticed(long: Approvers) -> None:
    document = json.loads(long.document.model_dump_json())
    for path in leaves(document):
        altered = json.loads(long.document.model_dump_json())
        place = altered
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        place[path[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old}x"
        with pytest.raises(ApproversInvalid):
            parse_approvers(json.dumps(altered).encode(), "the list")


def test_a_list_that_was_cut_verifies_but_does_not_know_the_head_it_had(long: Approvers) -> None:
    cut = verify_document(Document(entries=long.document.entries[:2]))
    assert not cut.knows(long.head)
    assert long.knows(cut.head)
    with pytest.raises(ApproversInvalid, match="was cut, or it is another list"):
        cut.at(long.head)


def test_a_list_that_somebody_else_founded_verifies_but_knows_no_head_of_ours(two: Approvers, mallory: FileKey) -> None:
    forged = founded_by("ada", mallory)
    assert names(forged) == ["ada"]
    assert not any(forged.knows(head) for head in two.heads)


def test_a_list_shows_who_was_in_it_at_an_earlier_head(two: Approvers, ada: FileKey) -> None:
    later = after(two, PersonRevoked(name="bob"), ada)
    assert (names(later), names(later.at(two.head))) == (["ada"], ["ada", "bob"])


# ---- the file ------------------------------------------------------------------------------------------------------------------------


def test_a_list_comes_back_from_its_file_as_it_was(tmp_path: Path, long: Approvers) -> None:
    path = tmp_path / "folder" / "approvers.json"
    write_approvers(path, long)
    assert read_approvers(path) == long


def test_a_file_is_only_extended_never_replaced(tmp_path: Path, long: Approvers, two: Approvers, mallory: FileKey) -> None:
    path = tmp_path / "approvers.json"
    write_approvers(path, two)
    write_approvers(path, long)
    for other in (two, long, founded_by("ada", mallory)):
        with pytest.raises(StateConflict):
            write_approvers(path, other)
    assert read_approvers(path) == long


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"entries"', '"more"'),
        lambda text: text.replace('"format"', '"format": "x", "format"'),
        lambda text: text.replace('"number": 1', '"number": "1"'),
        lambda text: text + " " * (2 << 20),
    ],
)
def test_a_file_that_is_no_list_is_named_with_what_is_wrong(tmp_path: Path, two: Approvers, spoil: Callable[[str], str]) -> None:
    path = tmp_path / "approvers.json"
    path.write_text(spoil(two.document.model_dump_json(indent=1)))
    with pytest.raises(ApproversInvalid, match=r"approvers\.json is not an approver list: "):
        read_approvers(path)


def test_a_list_that_is_not_there_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        read_approvers(tmp_path / "approvers.json")
    assert "modelsmith approvers init" in refused.value.next_step


def test_the_environment_names_the_list_before_the_configuration_does(tmp_path: Path) -> None:
    assert approvers_path(tmp_path, None, {}) is None
    assert approvers_path(tmp_path, "list.json", {}) == tmp_path / "list.json"
    assert approvers_path(tmp_path, "list.json", {ENVIRONMENT: "/etc/list.json"}) == Path("/etc/list.json")


def test_a_list_that_the_user_could_replace_is_said_to_be_tamper_evident_only(tmp_path: Path, two: Approvers) -> None:
    path = tmp_path / "approvers.json"
    write_approvers(path, two)
    assert exposed_at(path, os.geteuid()) == path
    assert protection(path, os.geteuid()).startswith("Tamper-evident only")
    guarded = Path("/etc/passwd")  # a file that root owns, below folders that root owns, on every Linux
    assert exposed_at(guarded, 12345) is None
    assert "cannot write" in protection(guarded, 12345)
    assert exposed_at(guarded, 0) == guarded.resolve()
    path.chmod(0o666)
    assert exposed_at(path, 12345) == path.resolve()
