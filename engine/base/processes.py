"""Processes that outlive the one that started them, named so that a recycled pid is never mistaken for ours.

A process is identified by its pid and the clock tick at which it started: the kernel reuses a pid, but not both. `spawn_detached` starts a
process as the leader of a session of its own, so that it and its children can be signalled together and none dies with us. Nothing is ever
sent to a pid whose start tick differs from the recorded one. Linux only: it reads /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
POLL_SECONDS = 0.02
KILL_SECONDS = 10.0
"""How long SIGKILL may take; a process that the kernel holds in a device driver does not die before the driver lets go."""


class ProcessIdentity(NamedTuple):
    """One process, for ever: no other process has or will have this pair while the machine is up."""

    pid: int
    start_ticks: int
    """When it started, in clock ticks since boot."""


class _Stat(NamedTuple):
    """What /proc says of a process."""

    state: str
    group: int
    session: int
    processor_ticks: int
    start_ticks: int
    resident_pages: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(fields[0], int(fields[2]), int(fields[3]), int(fields[11]) + int(fields[12]), int(fields[19]), int(fields[21]))


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of a live process; None when there is none."""
    stat = _stat(pid)
    return None if stat is None or stat.state in "ZX" else ProcessIdentity(pid, stat.start_ticks)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs. A zombie is dead; one that is our own child is reaped."""
    stat = _stat(identity.pid)
    if stat is None or stat.start_ticks != identity.start_ticks:
        return False
    if stat.state not in "ZX":
        return True
    with contextlib.suppress(ChildProcessError):
        os.waitpid(identity.pid, os.WNOHANG)
    return False


def spawn_detached(argv: list[str], *, cwd: Path, env: dict[str, str], log: Path) -> ProcessIdentity:
    """Starts `argv` in a session of its own, with no input, both outputs appended to `log`, and no other file of ours open."""
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True
        )
    finally:
        os.close(output)
    identity = identity_of(process.pid)
    if identity is None:
        # It has ended already, and stays a zombie until `is_alive` reaps it: its pid cannot be reused before that.
        stat = _stat(process.pid)
        identity = ProcessIdentity(process.pid, 0 if stat is None else stat.start_ticks)
    process.returncode = 0  # `is_alive` reaps it; a Popen that believed it still running would reap it behind our back
    return identity


def find_processes(argument: str) -> list[tuple[ProcessIdentity, list[str]]]:
    """Live processes of this user that have `argument` in their command line, each with that command line."""
    found: list[tuple[ProcessIdentity, list[str]]] = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            if argument in argv and os.stat(f"/proc/{pid}").st_uid == os.getuid():
                identity = identity_of(pid)
                if identity is not None:
                    found.append((identity, argv))
    return found


def boot_id() -> str:
    """Names this boot of the machine. An identity written to a file says nothing after the next boot: both its numbers begin again."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def group_members(identity: ProcessIdentity) -> list[ProcessIdentity]:
    """Live processes of the session that `identity` leads or led. Empty when its pid now names another process."""
    leader = _stat(identity.pid)
    if leader is not None and leader.start_ticks != identity.start_ticks:
        return []
    members: list[ProcessIdentity] = []
    for pid in _pids():
        stat = _stat(pid)
        # The kernel keeps a session's number from reuse while it has members; the start tick guards the moment after.
        if stat is not None and stat.session == identity.pid and stat.start_ticks >= identity.start_ticks and stat.state not in "ZX":
            members.append(ProcessIdentity(pid, stat.start_ticks))
    return members


def signal_group(identity: ProcessIdentity, number: signal.Signals) -> int:
    """Sends `number` to every live process of the session; returns how many there were."""
    members = group_members(identity)
    for member in members:
        stat = _stat(member.pid)
        if stat is not None and stat.start_ticks == member.start_ticks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, number)
    return len(members)


def end_group(identity: ProcessIdentity, grace_seconds: float) -> None:
    """Ends the whole session: SIGTERM, then SIGKILL for what is left after `grace_seconds`. Returns when none is left, or SIGKILL does not help."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        if seconds > 0 and not signal_group(identity, number):
            break
        while time.monotonic() < deadline and group_members(identity):
            time.sleep(POLL_SECONDS)
            is_alive(identity)
    is_alive(identity)


def group_rss_bytes(identity: ProcessIdentity) -> int:
    """Resident memory of the whole session; pages that its processes share are counted for each."""
    stats = (_stat(member.pid) for member in group_members(identity))
    return sum(stat.resident_pages for stat in stats if stat is not None) * PAGE_BYTES


def group_processor_ticks(identity: ProcessIdentity) -> int:
    """Processor time that the live processes of the session have used, in clock ticks."""
    stats = (_stat(member.pid) for member in group_members(identity))
    return sum(stat.processor_ticks for stat in stats if stat is not None)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())
