"""Processes started, recognised and ended: all of a group, and never a stranger."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.base.processes import (
    ProcessIdentity,
    end_group,
    find_processes,
    group_members,
    group_rss_bytes,
    identity_of,
    is_alive,
    signal_group,
    spawn_detached,
)

STUBBORN_PARENT = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
quiet = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", quiet])
other = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"], start_new_session=True)
print("other", other.pid, flush=True)
time.sleep(600)
"""


def start(tmp_path: Path, code: str) -> tuple[ProcessIdentity, Path]:
    log = tmp_path / "log"
    return spawn_detached([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), log=log), log


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_ends_is_dead_and_leaves_no_zombie(tmp_path: Path) -> None:
    identity, log = start(tmp_path, "print('done')")
    until(lambda: not is_alive(identity))
    assert not Path(f"/proc/{identity.pid}").exists()
    assert log.read_text() == "done\n"
    end_group(identity, 1)


def test_it_has_no_input_its_own_session_and_none_of_our_files(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        identity, log = start(tmp_path, "import os, sys; print(repr(sys.stdin.read()), os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd')))")
        until(lambda: not is_alive(identity))
    assert log.read_text() == "'' True ['0', '1', '2', '3']\n"  # 3 is the listing itself


def test_ending_a_group_ends_its_children_and_spares_other_sessions(tmp_path: Path) -> None:
    identity, log = start(tmp_path, STUBBORN_PARENT)
    until(lambda: log.exists() and log.read_text().count("up") == 2 and "other" in log.read_text())
    other = identity_of(int(log.read_text().split("other ")[1].split()[0]))
    assert other is not None
    assert len(group_members(identity)) == 2
    assert group_rss_bytes(identity) > 2**20
    before = time.monotonic()
    end_group(identity, 0.2)
    assert time.monotonic() - before < 5
    assert group_members(identity) == []
    assert not is_alive(identity)
    assert is_alive(other)
    end_group(other, 0)


def test_children_are_found_when_their_leader_is_dead(tmp_path: Path) -> None:
    identity, log = start(tmp_path, STUBBORN_PARENT)
    until(lambda: log.exists() and log.read_text().count("up") == 2 and "other" in log.read_text())
    other = identity_of(int(log.read_text().split("other ")[1].split()[0]))
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: not is_alive(identity))
    assert len(group_members(identity)) == 1
    end_group(identity, 0)
    assert group_members(identity) == []
    assert other is not None
    end_group(other, 0)


def test_a_recycled_pid_is_neither_alive_nor_signalled(tmp_path: Path) -> None:
    identity, _ = start(tmp_path, "import time; time.sleep(600)")
    stranger = ProcessIdentity(identity.pid, identity.start_ticks - 1)
    assert not is_alive(stranger)
    assert signal_group(stranger, signal.SIGKILL) == 0
    end_group(stranger, 0)
    assert is_alive(identity)
    assert [found for found, argv in find_processes("import time; time.sleep(600)") if found == identity]
    end_group(identity, 0)
    assert identity_of(identity.pid) is None
    assert identity_of(2**22 + 1) is None
