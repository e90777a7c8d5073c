"""The commands under `modelsmith approvers`: founding the list of approvers, changing it, and looking at it.

They work on the file alone, without the daemon: the list is the approvers' own, and may lie where the daemon can only read it. A change is
shown, signed and verified with the whole chain before anything is written. Where a change needs more than one person, it is written to a file
of its own, and the next one signs that with `approvers sign`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from engine.base.clock import utc_now
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.errors import ArgumentInvalid, NotFound, StateConflict
from engine.loading import find_workspace
from engine.promote.approvals.approvers import (
    LIST_NAMESPACE,
    Approvers,
    SignedEntry,
    entry_text,
    extended,
    first_entry,
    next_entry,
    signers_missing,
)
from engine.promote.approvals.approvers_file import (
    ENVIRONMENT,
    RECOMMENDED,
    named_list,
    own_uid,
    protection,
    read_approvers,
    save,
    write_approvers,
)
from engine.promote.approvals.levels import MEANINGS
from engine.promote.approvals.roster import (
    Founded,
    KeyAdded,
    KeyRevoked,
    Later,
    Passkey,
    Person,
    PersonAdded,
    PersonRevoked,
    RolesChanged,
    SshKey,
    ThresholdChanged,
    meaning_of,
    problem_in,
)
from server.signing import public_key_in, public_key_of, sign_shown
from server.terminal import Told, read_object

Made = TypeVar("Made", bound=Record)


# ---- founding and changing -----------------------------------------------------------------------------------------------------------


def init(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Founds the list; its first approver signs themselves in."""
    path = _list_path(arguments, workspace)
    target = _target(arguments, path)
    if target.exists():
        raise ArgumentInvalid(f"there is an approver list at {target} already", next_step="Change it with `modelsmith approvers add`.")
    key = public_key_of(Path(arguments.key))
    person = _person(arguments, key)
    change = Founded(person=person, level="ssh-sk" if key.in_device else "ssh", user_verification=not arguments.touch_only)
    return _sign_and_write(arguments, path, None, SignedEntry(entry=first_entry(change, utc_now())))


def add(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Adds a person, or one more key to a person of the list."""
    approvers, key = _read(arguments, workspace), _new_key(arguments)
    if arguments.name not in (person.name for person in approvers.roster.people):
        return _change(arguments, workspace, approvers, PersonAdded(person=_person(arguments, key)))
    if arguments.role is not None:
        raise ArgumentInvalid(f"{arguments.name} is in the list already", next_step="Add a key without --role, or use `approvers role`.")
    return _change(arguments, workspace, approvers, _made(KeyAdded, name=arguments.name, key=key))


def revoke(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Removes a person, or one key of theirs."""
    name, fingerprint = arguments.name, arguments.fingerprint
    change: Later = _made(KeyRevoked, name=name, fingerprint=fingerprint) if fingerprint else _made(PersonRevoked, name=name)
    return _change(arguments, workspace, _read(arguments, workspace), change)


def role(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Gives a person other roles."""
    return _change(arguments, workspace, _read(arguments, workspace), _made(RolesChanged, name=arguments.name, roles=tuple(arguments.roles)))


def threshold(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Says how many people must sign a change from now on."""
    return _change(arguments, workspace, _read(arguments, workspace), _made(ThresholdChanged, threshold=arguments.people))


def sign(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Adds a signature to a change that waits for more people."""
    path, file = _list_path(arguments, workspace), Path(arguments.change)
    approvers = read_approvers(path)
    signed = _made(SignedEntry, f"{file} holds no change of an approver list: ", **read_object(arguments.change))
    if signed.entry.previous != approvers.head:
        raise StateConflict(f"{file} changes a list other than {path} as it stands now", next_step="Make the change again, and have it signed anew.")
    return _sign_and_write(arguments, path, approvers, signed, waiting=file)


def _change(arguments: argparse.Namespace, workspace: Workspace, approvers: Approvers, change: Later) -> Told:
    entry = next_entry(approvers, change, utc_now())
    return _sign_and_write(arguments, _list_path(arguments, workspace), approvers, SignedEntry(entry=entry))


def _sign_and_write(
    arguments: argparse.Namespace, path: Path, approvers: Approvers | None, unsigned: SignedEntry, *, waiting: Path | None = None
) -> Told:
    """Has the entry signed; writes the longer list, or the change, where more people must sign it."""
    signature = sign_shown(entry_text(unsigned.entry), LIST_NAMESPACE, Path(arguments.key))
    signed = unsigned.model_copy(update={"signatures": (*unsigned.signatures, signature)})
    missing = _missing(approvers, signed)
    target = _target(arguments, path)
    if missing:
        file = waiting or target.with_name(f"{target.stem}.change.json")
        save(file, signed)
        summary = f"Signed; {missing} more people of the list must sign: `modelsmith approvers sign {file} --key PATH`."
        return Told({"summary": summary, "waiting": str(file), "missing": missing}, summary)
    after = extended(approvers, signed)
    if target == path:
        write_approvers(path, after)
    else:
        save(target, after.document)
    if waiting is not None:
        waiting.unlink()
    return _told(f"{meaning_of(signed.entry.change)} Written to {target}.", after, target)


def _missing(approvers: Approvers | None, signed: SignedEntry) -> int:
    if approvers is None:
        return 0
    try:
        return signers_missing(approvers.roster, signed)
    except ValueError as error:
        raise ArgumentInvalid(f"that signature does not count: {error}", next_step="Sign with a key of the list (`approvers show`).") from None


# ---- looking -------------------------------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Who may approve, with which keys, what their signatures prove, and the head."""
    path = _list_path(arguments, workspace)
    return _told(f"The approver list at {path}, verified:", read_approvers(path), path)


def verify(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Verifies every entry, and that the list has the head that is named."""
    path = _list_path(arguments, workspace)
    approvers = read_approvers(path)
    if arguments.head:
        approvers.at(arguments.head)
    known = f" It has the head {arguments.head[:8]}." if arguments.head else " Compare its head with the one that an approver keeps."
    return _told(f"All {len(approvers.heads)} entries of {path} hold.{known}", approvers, path)


def _told(summary: str, approvers: Approvers, path: Path) -> Told:
    roster = approvers.roster
    kept = protection(path, own_uid())
    people = [{"name": one.name, "roles": list(one.roles), "keys": [_key(key) for key in one.keys]} for one in roster.people]
    result = {
        "summary": summary,
        "path": str(path),
        "head": approvers.head,
        "level": roster.level,
        "user_verification": roster.user_verification,
        "threshold": roster.threshold,
        "people": people,
        "protection": kept,
    }
    lines = [summary, "", *(f"  {one.name:<16} {', '.join(one.roles):<24} {_keys(one)}" for one in roster.people), ""]
    lines += [f"  head       {approvers.head}", f"  a change   {roster.threshold} of them, level {roster.level}"]
    vouched = MEANINGS if roster.level == "ssh-sk" else {"ssh": MEANINGS["ssh"]}
    lines += [*(f"  {level:<10} {meaning}" for level, meaning in vouched.items()), "", kept]
    return Told(result, "\n".join(lines))


def _key(key: SshKey | Passkey) -> Mapping[str, str]:
    kind = key.key.kind if isinstance(key, SshKey) else f"passkey of {key.origin}"
    return {"fingerprint": key.fingerprint, "kind": kind}


def _keys(person: Person) -> str:
    return ", ".join(f"{about['fingerprint']} ({about['kind']})" for about in map(_key, person.keys))


# ---- files and arguments -------------------------------------------------------------------------------------------------------------


def _list_path(arguments: argparse.Namespace, workspace: Workspace) -> Path:
    if arguments.file is not None:
        return Path(arguments.file).absolute()
    path = named_list(find_workspace(workspace.root))
    if path is None:
        raise NotFound(
            "this workspace names no approver list",
            next_step=f'Put "approvers": "{RECOMMENDED}" into clusters.json, set {ENVIRONMENT}, or give --file.',
        )
    return path


def _target(arguments: argparse.Namespace, path: Path) -> Path:
    return Path(arguments.out).absolute() if arguments.out else path


def _read(arguments: argparse.Namespace, workspace: Workspace) -> Approvers:
    return read_approvers(_list_path(arguments, workspace))


def _person(arguments: argparse.Namespace, key: SshKey | Passkey) -> Person:
    return _made(Person, name=arguments.name, roles=tuple(arguments.role or ("approver",)), keys=(key,))


def _made(kind: type[Made], where: str = "", /, **fields: object) -> Made:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        next_step = "Names and roles have lower-case letters, digits, '.', '_' and '-'. Everything else is in `docs/approvals.md`."
        raise ArgumentInvalid(f"{where}{problem_in(error)}", next_step=next_step) from None


def _new_key(arguments: argparse.Namespace) -> SshKey | Passkey:
    if arguments.public_key is not None:
        return public_key_in(Path(arguments.public_key))
    return _made(Passkey, f"{arguments.passkey} holds no passkey: ", **read_object(arguments.passkey))
