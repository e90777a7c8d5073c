"""The owner killed at any instant, with clients racing and files damaged: what was answered stays, nothing is done twice.

How many times is said in `effort.py`.
"""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.base.files import Spool
from engine.base.paths import Workspace
from engine.errors import StoreFailed
from engine.store.database import write_ahead_log

from .effort import KILLS, SEED
from .ledger import keys, open_store, verify_ledger
from .owner import FAIL_STOP, Owner, Service
from .test_damage import damage, twice

CLIENTS = 4
DAMAGE = ("flipped database", "zeroed log", "no log", "nothing but the journal", "torn journal", "flipped log")


@pytest.mark.parametrize(("fault", "lines"), [("before_journal", 0), ("after_journal", 1)])
def test_a_command_cut_short_is_applied_once_when_asked_again(workspace: Workspace, fault: str, lines: int) -> None:
    owner = Owner(workspace, fault)
    with pytest.raises(ConnectionError):
        owner.ask("promote", {"expected": 0}, "k")
    owner.kill()
    assert workspace.journal.read_bytes().count(b"\n") == lines
    second = Owner(workspace)
    assert [second.ask("promote", {"expected": 0}, "k") for _ in range(2)] == [("ok", {"version": 1})] * 2
    assert second.ask("promote", {"expected": 0}, "other") == ("refused", "state_conflict")
    second.kill()
    assert workspace.journal.read_bytes().count(b"\n") == 1
    assert verify_ledger(workspace).differing == ()


def test_of_owners_that_start_together_one_serves(workspace: Workspace) -> None:
    owners = [Owner(workspace) for _ in range(4)]
    for owner in owners:
        owner.ready.wait(30)
    serving = [owner for owner in owners if not owner.gone.is_set()]
    assert len(serving) == 1
    assert serving[0].ask("note", {"text": "a"}, "k")[0] == "ok"
    for owner in owners:
        owner.kill()


class Client(threading.Thread):
    """Notes, promotes by compare-and-set, and reports to a spool of its own; remembers what was acknowledged."""

    def __init__(self, name: str, workspace: Workspace, service: Service, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.label, self.service, self.stop = name, service, stop
        self.acknowledged: dict[str, Any] = {}
        self.versions: list[int] = []
        self.spool = Spool(workspace.runs / name / "progress.jsonl")
        self.slowest = 0.0

    def run(self) -> None:
        number, version = 0, 0
        while not self.stop.is_set():
            number += 1
            before = time.monotonic()
            op, arguments = ("promote", {"expected": version}) if number % 5 == 0 else ("note", {"text": f"{self.label}-{number}"})
            key = f"{self.label}-{number}"
            outcome, value = self.service.ask(op, arguments, key)
            self.slowest = max(self.slowest, time.monotonic() - before)
            self.spool.append("2026-11-21T00:00:00.000Z", {"step": number})
            if outcome == "ok":
                self.acknowledged[key] = value
                if op == "promote":
                    version = value["version"]
                    self.versions.append(version)
            else:
                version += 1  # another client was first; sooner or later this one catches up


def kill_over_and_over(workspace: Workspace, service: Service, generator: random.Random, answered: Callable[[], int]) -> collections.Counter[str]:
    """Starts an owner, kills it some answers and a moment later, damages a file after every tenth, and again."""
    happened: collections.Counter[str] = collections.Counter()
    for number in range(1, KILLS + 1):
        owner = Owner(workspace)
        service.become(owner)
        if generator.random() < 0.8:  # the others may be killed while they still start
            owner.ready.wait(60)
            wanted = answered() + generator.randrange(5)
            while answered() < wanted and not owner.gone.wait(0.002):
                pass
        owner.gone.wait(generator.random() * 0.02)
        happened["fail-stop" if owner.kill() == FAIL_STOP else "killed"] += 1
        if number % 10 == 0:
            kind, log = generator.choice(DAMAGE), write_ahead_log(workspace.database)
            if workspace.database.exists() and log.exists() and log.stat().st_size:
                damage(workspace, kind, generator)
                happened[kind] += 1
    return happened


def test_random_kills_and_damage_lose_no_acknowledged_command(workspace: Workspace, record_property: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service, stop = Service(), threading.Event()
    clients = [Client(f"c{number}", workspace, service, stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()

    def answered() -> int:
        return sum(len(client.acknowledged) for client in clients)

    happened = kill_over_and_over(workspace, service, random.Random(SEED), answered)
    stop.set()
    last = Owner(workspace)
    service.become(last)
    while any(client.is_alive() for client in clients):
        clients[0].join(1)
        if last.gone.is_set():  # damage that shows only now
            last = Owner(workspace)
            service.become(last)
        for client in clients:
            client.join(0.1)
    last.kill()

    twice(lambda: check_nothing_lost(workspace, clients))
    report = twice(lambda: verify_ledger(workspace))
    acknowledged = answered()
    figures = {
        "seed": SEED,
        "kills": KILLS,
        **happened,
        "acknowledged": acknowledged,
        "lost": 0,
        "aside": len(list(workspace.state.glob("*aside*"))),
        "slowest_seconds": round(max(client.slowest for client in clients), 2),
        "tables": report.tables,
    }
    record_property("chaos", figures)
    with capsys.disabled():
        if KILLS > 40:
            print(figures)
    assert report.differing == ()
    assert acknowledged > KILLS


def check_nothing_lost(workspace: Workspace, clients: list[Client]) -> None:
    store = open_store(workspace)
    try:
        known = keys(store)
        for client in clients:
            assert client.acknowledged.keys() <= known
            for key, value in client.acknowledged.items():
                assert store.answer_of(key) == value
        assert store.read("SELECT text FROM note GROUP BY text HAVING count(*) > 1") == []
        versions = [version for client in clients for version in client.versions]
        assert len(versions) == len(set(versions))
        written = sum(client.spool.seq for client in clients)
        assert store.read("SELECT count(*), count(DISTINCT (writer, seq)) FROM progress") == [(written, written)]
    finally:
        store.close()


def test_a_store_that_failed_is_usable_after_the_next_start(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(workspace)
    store.submit("note", {"text": "a"}, key="a")

    class Broken:
        def __init__(self, real: Any) -> None:
            self.real = real

        def execute(self, sql: str, *rest: Any) -> Any:
            if sql == "COMMIT":
                raise OSError("the disk is gone")
            return self.real.execute(sql, *rest)

        def close(self) -> None:
            self.real.close()

    monkeypatch.setattr(store, "_writer", Broken(store._writer))
    for _ in range(2):
        with pytest.raises(StoreFailed, match="the disk is gone"):
            store.submit("note", {"text": "b"}, key="b")
    with pytest.raises(StoreFailed):
        store.read("SELECT 1")
    store.close()
    store = open_store(workspace)
    assert keys(store) == {"a", "b"}  # the journal had it: the retry is answered, not applied again
    assert store.submit("note", {"text": "b"}, key="b")["seq"] == 2
    store.close()
