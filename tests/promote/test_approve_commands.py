"""`modelsmith approvers` and `modelsmith approve` in a terminal: what is shown is what is signed, and nothing is written that does not verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.promote.approvals.approvers import entry_text
from engine.promote.approvals.approvers_file import ENVIRONMENT, read_approvers
from engine.promote.approvals.roster import Passkey
from engine.promote.approvals.ssh import parse_public_key
from engine.promote.approvals.statement import challenge_of, statement_of
from engine.promote.approvals.verify import verify_approval
from tests.promote.keys import NOW, FileKey, SoftPasskey, a_request
from tests.server.daemons import Said, run_cli


class Terminal:
    """A workspace that names a list, and a person who types."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.list = Workspace(root), root / "approvers.json"
        self.workspace.clusters_file.write_text('{"models": {}, "clusters": {}, "approvers": "approvers.json"}')

    def run(self, *words: str | Path) -> Said:
        return run_cli(self.workspace, *map(str, words), "--json")

    def done(self, *words: str | Path) -> dict[str, Any]:
        said = self.run(*words)
        assert said.code == 0, said.err
        return said.json

    def refused(self, *words: str | Path) -> dict[str, Any]:
        said = self.run(*words)
        assert said.code in (2, 3)
        error: dict[str, Any] = said.json["error"]
        assert error["next_step"]
        return error

    def people(self) -> dict[str, tuple[str, ...]]:
        return {person.name: person.roles for person in read_approvers(self.list).roster.people}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture
def governed(terminal: Terminal, ada: FileKey, bob: FileKey) -> Terminal:
    """Ada and Bob are in the list, and both must sign its changes."""
    terminal.done("approvers", "init", "ada", "--key", ada.path)
    terminal.done("approvers", "add", "bob", "--public-key", bob.path.with_suffix(".pub"), "--role", "approver", "reviewer", "--key", ada.path)
    terminal.done("approvers", "threshold", "2", "--key", bob.path)
    return terminal


def test_a_list_is_founded_shown_and_verified_by_its_head(terminal: Terminal, ada: FileKey) -> None:
    founded = terminal.done("approvers", "init", "ada", "--key", ada.path)
    assert founded["protection"].startswith("Tamper-evident only")
    shown = terminal.done("approvers", "show")
    fingerprint = parse_public_key(ada.line).fingerprint
    assert shown["people"] == [{"name": "ada", "roles": ["approver"], "keys": [{"fingerprint": fingerprint, "kind": "ssh-ed25519"}]}]
    assert (shown["head"], shown["level"], shown["threshold"]) == (founded["head"], "ssh", 1)
    assert "has the head" in terminal.done("approvers", "verify", "--head", founded["head"])["summary"]
    assert terminal.refused("approvers", "verify", "--head", "00" * 32)["code"] == "approvers_invalid"
    text = run_cli(terminal.workspace, "approvers", "show").out
    for said in (fingerprint, founded["head"], "any program that can read the file", "Tamper-evident only"):
        assert said in text


def test_what_the_terminal_shows_is_what_is_signed(terminal: Terminal, ada: FileKey) -> None:
    said = terminal.run("approvers", "init", "ada", "--key", ada.path)
    assert entry_text(read_approvers(terminal.list).document.entries[0].entry).decode() in said.err
    request = a_request(approvers_head=said.json["head"])
    (terminal.workspace.root / "request.json").write_text(request.model_dump_json())
    signed = terminal.run("approve", terminal.workspace.root / "request.json", "--key", ada.path, "--sign-only")
    assert statement_of(request).decode() in signed.err
    assert signed.json["digest"] == challenge_of(request).hex()
    assert verify_approval(request, signed.json["signature"], read_approvers(terminal.list), NOW).approver == "ada"


def test_approve_prints_the_signature_and_nothing_else_on_stdout(terminal: Terminal, ada: FileKey) -> None:
    (terminal.workspace.root / "request.json").write_text(a_request().model_dump_json())
    out = run_cli(terminal.workspace, "approve", str(terminal.workspace.root / "request.json"), "--key", str(ada.path), "--sign-only").out
    assert out.startswith("-----BEGIN SSH SIGNATURE-----\n")
    assert out.endswith("-----END SSH SIGNATURE-----\n")


def test_a_change_that_needs_two_people_waits_in_a_file_for_the_second(governed: Terminal, ada: FileKey, bob: FileKey) -> None:
    waiting = governed.done("approvers", "role", "bob", "owner", "--key", ada.path)
    assert (waiting["missing"], governed.people()["bob"]) == (1, ("approver", "reviewer"))
    assert governed.done("approvers", "sign", waiting["waiting"], "--key", ada.path)["missing"] == 1  # the same person again
    governed.done("approvers", "sign", waiting["waiting"], "--key", bob.path)
    assert governed.people()["bob"] == ("owner",)
    assert not Path(waiting["waiting"]).exists()


def test_a_waiting_change_of_a_list_that_went_on_is_refused(governed: Terminal, tmp_path: Path, ada: FileKey, bob: FileKey) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for file, role in ((first, "owner"), (second, "auditor")):
        waiting = governed.done("approvers", "role", "bob", role, "--key", ada.path)
        Path(waiting["waiting"]).rename(file)
    governed.done("approvers", "sign", first, "--key", bob.path)
    assert governed.refused("approvers", "sign", second, "--key", bob.path)["code"] == "state_conflict"
    assert governed.people()["bob"] == ("owner",)


def test_keys_and_people_are_added_and_removed(terminal: Terminal, tmp_path: Path, ada: FileKey, bob: FileKey) -> None:
    terminal.done("approvers", "init", "ada", "--key", ada.path)
    terminal.done("approvers", "add", "ada", "--public-key", bob.path.with_suffix(".pub"), "--key", ada.path)
    old = parse_public_key(ada.line).fingerprint
    terminal.done("approvers", "revoke", "ada", "--fingerprint", old, "--key", bob.path)
    passkey = SoftPasskey()
    (tmp_path / "passkey.json").write_text(passkey.record.model_dump_json())
    terminal.done("approvers", "add", "dora", "--passkey", tmp_path / "passkey.json", "--key", bob.path)
    roster = read_approvers(terminal.list).roster
    assert [key.fingerprint for person in roster.people for key in person.keys] == [parse_public_key(bob.line).fingerprint, passkey.record.fingerprint]
    assert isinstance(roster.named("dora").keys[0], Passkey)
    terminal.done("approvers", "revoke", "dora", "--key", bob.path)
    assert list(terminal.people()) == ["ada"]


def test_a_key_that_is_not_in_the_list_changes_nothing(governed: Terminal, mallory: FileKey) -> None:
    before = governed.list.read_bytes()
    public = mallory.path.with_suffix(".pub")
    error = governed.refused("approvers", "add", "mallory", "--public-key", public, "--key", mallory.path)
    assert "nobody in the list has" in error["message"]
    assert governed.refused("approvers", "init", "mallory", "--key", mallory.path)["code"] == "argument_invalid"
    assert governed.list.read_bytes() == before
    assert not list(governed.list.parent.glob("*.change.json"))


def test_a_list_that_may_not_be_written_is_written_elsewhere_for_root_to_put_there(terminal: Terminal, ada: FileKey, bob: FileKey) -> None:
    terminal.done("approvers", "init", "ada", "--key", ada.path)
    before = terminal.list.read_bytes()
    add = ["approvers", "add", "bob", "--public-key", str(bob.path.with_suffix(".pub")), "--key", str(ada.path)]
    terminal.done(*add, "--out", terminal.list.with_name("next.json"))
    assert terminal.list.read_bytes() == before
    assert len(read_approvers(terminal.list.with_name("next.json")).heads) == 2
    unwritable = terminal.refused(*add, "--out", terminal.list / "below-a-file.json")
    assert (unwritable["code"], "sudo install" in unwritable["next_step"]) == ("path_refused", True)


def test_where_the_list_lies_is_said_by_the_option_the_environment_or_the_configuration(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ada: FileKey
) -> None:
    terminal.workspace.clusters_file.write_text('{"models": {}, "clusters": {}}')
    unnamed = terminal.refused("approvers", "show")
    assert (unnamed["code"], '"approvers": "/etc/modelsmith/approvers.json"' in unnamed["next_step"]) == ("not_found", True)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "elsewhere.json"))
    terminal.done("approvers", "init", "ada", "--key", ada.path)
    assert terminal.done("approvers", "show")["path"] == str(tmp_path / "elsewhere.json")
    nowhere = Workspace(tmp_path / "no-workspace")  # verifying needs the list and nothing else
    nowhere.root.mkdir()
    assert run_cli(nowhere, "approvers", "verify", "--file", str(tmp_path / "elsewhere.json")).code == 0


def bad_calls(key: Path, folder: Path) -> dict[str, tuple[str | Path, ...]]:
    """Commands that ask for what cannot be, by what is said about it."""
    (folder / "empty.pub").write_text("")
    (folder / "empty.json").write_text("{}")
    return {
        "characters that may not stand there": ("approvers", "init", "Ada Lovelace", "--key", key, "--file", folder / "other.json"),
        "there is no key": ("approvers", "threshold", "1", "--key", folder / "missing"),
        "missing.pub cannot be read": ("approvers", "init", "x", "--key", folder / "missing", "--file", folder / "other.json"),
        "holds no public key": ("approvers", "add", "x", "--public-key", folder / "empty.pub", "--key", key),
        "holds no passkey": ("approvers", "add", "x", "--passkey", folder / "empty.json", "--key", key),
        "holds no change": ("approvers", "sign", folder / "empty.json", "--key", key),
        "less than or equal to 5": ("approvers", "threshold", "9", "--key", key),
        "could never change again": ("approvers", "threshold", "2", "--key", key),
        "is not in the list": ("approvers", "revoke", "nobody", "--key", key),
        "is in the list already": ("approvers", "add", "ada", "--role", "owner", "--public-key", key.with_suffix(".pub"), "--key", key),
        "holds no promotion request": ("approve", folder / "empty.json", "--key", key, "--sign-only"),
        "did not sign": ("approvers", "threshold", "1", "--key", folder / "empty.pub"),
    }


def test_a_command_that_cannot_be_done_says_what_is_wrong_with_what_was_given(terminal: Terminal, tmp_path: Path, ada: FileKey) -> None:
    terminal.done("approvers", "init", "ada", "--key", ada.path)
    before = terminal.list.read_bytes()
    for said, words in bad_calls(ada.path, tmp_path).items():
        assert said in terminal.refused(*words)["message"], words
    assert terminal.list.read_bytes() == before


def test_a_machine_without_ssh_keygen_is_told_what_to_install(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, ada: FileKey) -> None:
    monkeypatch.setenv("PATH", str(terminal.workspace.root))
    error = terminal.refused("approvers", "init", "ada", "--key", ada.path)
    assert (error["code"], "OpenSSH" in error["next_step"]) == ("dependency_missing", True)


def test_the_private_key_appears_nowhere(terminal: Terminal, ada: FileKey) -> None:
    said = terminal.run("approvers", "init", "ada", "--key", ada.path)
    secret = ada.path.read_text().splitlines()[2]
    assert secret not in json.dumps([said.out, said.err, terminal.list.read_text()])
    assert "ada@example" not in terminal.list.read_text()  # the comment of a key often names a person's machine
