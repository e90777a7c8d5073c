"""An owner process for tests that kill it, and clients that ask again until they are answered."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.errors import ModelsmithError, StoreFailed
from engine.store.journal import Journal, Line
from engine.store.store import Store

from .ledger import open_store

FAIL_STOP = 70
Opening = Callable[[Workspace], Store]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.store.owner"])


def serve(root: str, requests: Connection, fault: str, opening: Opening) -> None:
    """Owns the store and answers requests until it is killed. Exits with 70 when the store fails."""
    threading.excepthook = lambda _: os._exit(1)
    kill_at(fault)
    try:
        store = opening(Workspace(Path(root)))
    except StoreFailed:
        os._exit(FAIL_STOP)
    sending = threading.Lock()
    requests.send("ready")

    def answer(number: int, op: str, arguments: dict[str, Any], key: str) -> None:
        try:
            reply: tuple[str, Any] = ("ok", store.submit(op, arguments, key=key))
        except StoreFailed:
            os._exit(FAIL_STOP)
        except ModelsmithError as error:
            reply = ("refused", error.code)
        with sending:
            requests.send((number, *reply))

    def ingest() -> None:
        while True:
            try:
                store.ingest_all_spools()
            except StoreFailed:
                os._exit(FAIL_STOP)
            threading.Event().wait(0.02)

    threading.Thread(target=ingest, daemon=True).start()
    with ThreadPoolExecutor(4) as pool, contextlib.suppress(EOFError):
        while True:
            pool.submit(answer, *requests.recv())
    os._exit(0)


def kill_at(fault: str) -> None:
    """Arranges that this process dies right before, or right after, the first journal line of a command is on disk."""
    if not fault:
        return
    append = Journal.append

    def killed(journal: Journal, line: Line) -> None:
        if fault == "after_journal":
            append(journal, line)
        os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = killed  # type: ignore[method-assign]


class Owner:
    """One owner process, seen from outside. `opening` says which tables its store has."""

    def __init__(self, workspace: Workspace, fault: str = "", opening: Opening = open_store) -> None:
        self.requests, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=serve, args=(str(workspace.root), theirs, fault, opening), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = threading.Event()
        self.gone = threading.Event()
        self._waiting: dict[int, Future[tuple[str, Any]]] = {}
        self._lock = threading.Lock()
        self._numbers = 0
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, op: str, arguments: dict[str, Any], key: str) -> tuple[str, Any]:
        """The answer; ConnectionError when the owner died first."""
        future: Future[tuple[str, Any]] = Future()
        with self._lock:
            if self.gone.is_set():
                raise ConnectionError
            self._numbers += 1
            self._waiting[self._numbers] = future
            try:
                self.requests.send((self._numbers, op, arguments, key))
            except OSError:
                raise ConnectionError from None
        return future.result(timeout=60)

    def kill(self) -> int | None:
        """Kills the process, and returns how it ended."""
        self.process.kill()
        self.process.join()
        self.gone.wait()
        return self.process.exitcode

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = self.requests.recv()
                if message == "ready":
                    self.ready.set()
                else:
                    number, outcome, value = message
                    self._waiting.pop(number).set_result((outcome, value))
        with self._lock:
            self.gone.set()
            self.ready.set()
            for future in self._waiting.values():
                future.set_exception(ConnectionError())


class Service:
    """Whoever is the owner now; a client's question goes to one owner after the other until it is answered."""

    def __init__(self) -> None:
        self.owner: Owner | None = None
        self._changed = threading.Condition()

    def become(self, owner: Owner) -> None:
        with self._changed:
            self.owner = owner
            self._changed.notify_all()

    def ask(self, op: str, arguments: dict[str, Any], key: str) -> tuple[str, Any]:
        asked: Owner | None = None
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: self.owner is not None and self.owner is not asked, timeout=60)  # noqa: B023
                asked = self.owner
            assert asked is not None
            with contextlib.suppress(ConnectionError):
                return asked.ask(op, arguments, key)
