"""The n-th system call fails: what was answered stays, what was refused is not there, and the store says which it is."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.errors import ResourceExhausted, StoreFailed
from engine.store.database import write_ahead_log

from .effort import INJECTIONS
from .ledger import keys, open_store, verify_ledger

ROOT = Path(__file__).parents[2]
COMMANDS = 12


class FailingCall:
    """`os.<name>`, failing at its n-th call on the journal."""

    def __init__(self, name: str, when: int, number: int, journal: Path, *, short: bool = False) -> None:
        self.real: Callable[..., Any] = getattr(os, name)
        self.when, self.number, self.journal, self.short, self.calls = when, number, journal, short, 0

    def __call__(self, handle: int, *rest: Any) -> Any:
        if os.readlink(f"/proc/self/fd/{handle}") == str(self.journal):
            self.calls += 1
            if self.calls == self.when:
                if self.short:
                    return self.real(handle, rest[0][: len(rest[0]) // 2])
                raise OSError(self.number, os.strerror(self.number))
        return self.real(handle, *rest)


def submit_all(workspace: Workspace) -> tuple[set[str], set[str], bool]:
    """Acknowledged keys, cleanly refused keys, and whether the store failed."""
    store = open_store(workspace)
    acknowledged, refused = set[str](), set[str]()
    try:
        for number in range(COMMANDS):
            try:
                store.submit("note", {"text": "x" * 100}, key=f"k{number}")
                acknowledged.add(f"k{number}")
            except ResourceExhausted:
                refused.add(f"k{number}")
        return acknowledged, refused, False
    except StoreFailed:
        return acknowledged, refused, True
    finally:
        store.close()


@pytest.mark.parametrize("when", [1, 2, 7])
@pytest.mark.parametrize(
    ("call", "number", "short", "fails"),
    [("write", errno.ENOSPC, False, False), ("write", errno.EIO, False, False), ("write", 0, True, False), ("fdatasync", errno.EIO, False, True)],
)
def test_an_error_on_the_journal_is_refused_cleanly_or_stops_the_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, call: str, number: int, short: bool, fails: bool, when: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, call, FailingCall(call, when, number, workspace.journal, short=short))
        acknowledged, refused, failed = submit_all(workspace)
    assert failed == fails
    assert len(refused) == (0 if fails else 1)
    store = open_store(workspace)
    known = keys(store)
    store.close()
    assert acknowledged <= known
    assert not refused & known
    assert len(known - acknowledged) <= (1 if fails else 0)
    assert submit_all(workspace)[0] == {f"k{each}" for each in range(COMMANDS)}
    assert verify_ledger(workspace).differing == ()


def test_a_sync_that_failed_is_never_tried_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = FailingCall("fdatasync", 3, errno.EIO, workspace.journal)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        submit_all(workspace)
    assert failing.calls == 3


def test_a_failed_line_whose_end_cannot_be_cut_stops_the_store(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", FailingCall("write", 4, 0, workspace.journal, short=True))
        patched.setattr(os, "ftruncate", FailingCall("ftruncate", 1, errno.EIO, workspace.journal))
        acknowledged, _, failed = submit_all(workspace)
    assert failed
    store = open_store(workspace)
    assert keys(store) == acknowledged == {"k0", "k1", "k2"}
    store.close()
    assert len(list(workspace.state.glob("journal.jsonl.torn-*"))) == 1


LIMITED = """
import resource, signal, sys
from pathlib import Path
from engine.base.paths import Workspace
from engine.errors import ModelsmithError
from tests.store.ledger import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(Workspace(Path(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
for number in range(200):
    try:
        store.submit("note", {"text": "x" * 2000}, key=f"k{number}")
    except ModelsmithError as error:
        print("ended", error.code, flush=True)
        break
    print("k%d" % number, flush=True)
"""


@pytest.mark.parametrize("limit", [60_000, 150_000])
def test_files_that_may_not_grow_lose_nothing(workspace: Workspace, limit: int) -> None:
    """Stands for a full disk: journal, log or database, whichever comes to the limit first."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(workspace.root), str(limit)], capture_output=True, text=True, check=False, cwd=ROOT)
    lines = done.stdout.split("\n")
    acknowledged = {line for line in lines if line.startswith("k")}
    assert 5 < len(acknowledged) < 200
    assert any(line in ("ended resource_exhausted", "ended store_failed") for line in lines), done.stderr
    store = open_store(workspace)
    known = keys(store)
    assert acknowledged <= known
    assert len(known - acknowledged) <= 1
    store.submit("note", {"text": "there is room again"})
    store.close()
    assert verify_ledger(workspace).differing == ()


WRITER = """
import sys
from pathlib import Path
from engine.base.paths import Workspace
from engine.errors import StoreFailed, ResourceExhausted
from tests.store.ledger import open_store
store = open_store(Workspace(Path(sys.argv[1])))
for number in range(12):
    try:
        store.submit("note", {"text": "x" * 100}, key=f"k{number}")
        print("k%d" % number, flush=True)
    except ResourceExhausted:
        print("refused", flush=True)
    if number == 6:
        store._connection.execute("CHECKPOINT")
store.close()
"""


def strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


CALLS = (("fdatasync", "EIO"), ("pwrite64", "EIO"), ("write", "ENOSPC"))
LAST_CALL = 40
"""About as many of each as the writer makes."""


@pytest.mark.skipif(not strace_works(), reason="strace is not installed or may not trace here; errors on DuckDB's own files are not injected")
@pytest.mark.parametrize(("call", "error"), CALLS)
@pytest.mark.parametrize("when", [3 + number * LAST_CALL // INJECTIONS for number in range(INJECTIONS)])
def test_an_error_on_any_file_of_the_store_loses_nothing(workspace: Workspace, call: str, error: str, when: int) -> None:
    workspace.state.mkdir(parents=True)
    files = (workspace.journal, workspace.database, write_ahead_log(workspace.database))
    paths = [argument for path in files for argument in ("-P", str(path))]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]
    command = ["strace", "-f", "-o", "/dev/null", *paths, *inject, sys.executable, "-c", WRITER, str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    acknowledged = {line for line in done.stdout.split("\n") if line.startswith("k")}
    store = open_store(workspace)
    known = keys(store)
    store.close()
    assert acknowledged <= known
    assert len(known - acknowledged) <= 1
    assert verify_ledger(workspace).differing == ()
