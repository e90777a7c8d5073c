"""Commands and queries: durable when answered, once however often asked, refused without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.base.files import Spool
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, KeyReused, PathRefused, StateConflict, StoreDamaged, StoreFailed, StoreOwned
from engine.store.events import events_of
from engine.store.lineage import ancestors
from engine.store.migrations import Migration
from engine.store.ownership import refuse_network_filesystem
from engine.store.rebuild import rebuild
from engine.store.store import StageTables, Store

from .ledger import LEDGER, keys, open_store, verify_ledger


def test_what_was_answered_is_there_after_opening_again(workspace: Workspace) -> None:
    store = open_store(workspace)
    answer = store.submit("note", {"text": "a"}, key="k")
    store.close()
    store = open_store(workspace)
    assert store.submit("note", {"text": "a"}, key="k") == answer == store.answer_of("k")
    assert store.read("SELECT text FROM note") == [("a",)]
    store.close()


def test_a_key_that_comes_back_with_other_arguments_is_refused(store: Store) -> None:
    store.submit("note", {"text": "a", "n": [1, 2]}, key="k")
    assert store.submit("note", {"n": [1, 2], "text": "a"}, key="k")["seq"] == 1
    with pytest.raises(KeyReused, match="'k'"):
        store.submit("note", {"text": "b"}, key="k")
    with pytest.raises(KeyReused):
        store.submit("promote", {"text": "a", "n": [1, 2]}, key="k")
    assert store.submit("note", {"text": "c"}, key="k2", asked="x") == store.submit("note", {"text": "d"}, key="k2", asked="x")
    for bad in ("", "x" * 201):
        with pytest.raises(ArgumentInvalid):
            store.submit("note", {"text": "a"}, key=bad)


@pytest.mark.parametrize(("arguments", "error"), [({"text": "a", "refuse": True}, StateConflict), ({"text": "a", "break": True}, ZeroDivisionError)])
def test_a_refused_command_leaves_no_trace_and_its_key_can_be_used(
    store: Store, workspace: Workspace, arguments: dict[str, object], error: type[Exception]
) -> None:
    for _ in range(2):
        with pytest.raises(error):
            store.submit("note", arguments, key="k")
    assert workspace.journal.read_bytes() == b""
    assert store.read("SELECT * FROM note") == store.read("SELECT * FROM event") == []
    assert store.submit("note", {"text": "a"}, key="k")["seq"] == 1


def test_readers_see_each_command_whole_while_threads_write(store: Store) -> None:
    def write(name: str) -> None:
        for number in range(20):
            store.submit("note", {"text": f"{name}{number}"})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ((notes, commands),) = store.read("SELECT (SELECT count(*) FROM note), (SELECT count(*) FROM command)")
        assert notes == commands
    for thread in threads:
        thread.join()
    assert store.read("SELECT count(*), count(DISTINCT seq) FROM note") == [(80, 80)]


def test_of_racing_compare_and_sets_one_wins(store: Store) -> None:
    won: list[bool] = []

    def promote() -> None:
        try:
            store.submit("promote", {"expected": 0})
            won.append(True)
        except StateConflict:
            won.append(False)

    threads = [threading.Thread(target=promote) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]


def test_events_and_lineage_are_written_with_the_command(store: Store) -> None:
    for text in ("a", "b", "a"):
        store.submit("note", {"text": text})
    assert [(event.seq, event.kind, event.actor, event.data) for event in events_of(store, "a")] == [
        (1, "noted", "test", {"text": "a"}),
        (3, "noted", "test", {"text": "a"}),
    ]
    assert [edge.parent for edge in ancestors(store, "n3")] == ["n2", "n1", "n0"]


def test_spools_are_taken_in_exactly_once_and_again_into_a_rebuilt_database(workspace: Workspace) -> None:
    store = open_store(workspace)
    store.submit("note", {"text": "a"})
    spool = Spool(workspace.runs / "w1" / "progress.jsonl")
    for number in range(3):
        spool.append("2026-11-21T00:00:00.000Z", {"step": number})
    assert store.ingest_spool("w1", spool.path) == 3
    assert store.ingest_spool("w1", spool.path) == 0
    with spool.path.open("ab") as stream:
        stream.write(b"torn")
    spool.close()
    assert store.ingest_spool("w1", spool.path) == 0
    spool = Spool(spool.path)
    spool.append("2026-11-21T00:00:01.000Z", {"step": 3})
    assert store.ingest_spool("w1", spool.path) == 1
    assert store.read("SELECT latest, latest_at FROM spool") == [('{"step": 3}', "2026-11-21T00:00:01.000Z")]
    spool.append("2026-11-21T00:00:02.000Z", {"step": 4})
    spool.close()
    store.close()
    assert rebuild(workspace, (LEDGER,)).commands == 1
    store = open_store(workspace)
    assert store.read("SELECT seq FROM progress ORDER BY seq") == [(1,), (2,), (3,), (4,), (5,)]
    store.close()


def test_a_second_owner_is_refused_in_this_process_and_in_another(store: Store, workspace: Workspace) -> None:
    with pytest.raises(StoreOwned, match=str(os.getpid())):
        open_store(workspace)
    code = f"from pathlib import Path; from engine.base.paths import Workspace; from tests.store.ledger import open_store; open_store(Workspace(Path({str(workspace.root)!r})))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert "StoreOwned" in other.stderr
    workspace.owner_lock.read_bytes()  # an unrelated open and close does not give the lock up, as it would give up DuckDB's
    with pytest.raises(StoreOwned):
        open_store(workspace)


def test_a_store_of_a_newer_version_is_refused_and_left_alone(workspace: Workspace) -> None:
    newer = StageTables((*LEDGER.migrations, Migration("ledger-2", ("ALTER TABLE note ADD COLUMN extra VARCHAR",))), LEDGER.reducers)
    store = Store.open(workspace, (newer,))
    store.close()
    with pytest.raises(StoreDamaged, match="ledger-2"):
        open_store(workspace)
    assert not list(workspace.state.glob("*aside*"))
    Store.open(workspace, (newer,)).close()


def test_a_failed_migration_leaves_the_store_as_it_was(workspace: Workspace) -> None:
    open_store(workspace).close()
    typo = StageTables((*LEDGER.migrations, Migration("ledger-2", ("CREATE TABLE more (a INTEGER)", "CREATE TABEL x (a INTEGER)"))), LEDGER.reducers)
    with pytest.raises(StoreFailed, match="ParserException"):
        Store.open(workspace, (typo,))
    assert not list(workspace.state.glob("*aside*"))
    mended = StageTables((*LEDGER.migrations, Migration("ledger-2", ("CREATE TABLE more (a INTEGER)",))), LEDGER.reducers)
    Store.open(workspace, (mended,)).close()
    changed = StageTables((*LEDGER.migrations, Migration("ledger-2", ("CREATE TABLE more (b INTEGER)",))), LEDGER.reducers)
    with pytest.raises(StoreDamaged, match="another version of that step"):
        Store.open(workspace, (changed,))


def test_a_command_that_this_version_does_not_know_stops_the_replay_with_its_line(workspace: Workspace) -> None:
    store = open_store(workspace)
    for number in range(3):
        store.submit("note" if number != 1 else "promote", {"text": "a", "expected": 0})
    store.close()
    workspace.database.unlink()
    with pytest.raises(StoreDamaged, match=r"line 2 .* 'promote'"):
        Store.open(workspace, (LEDGER._replace(reducers={"note": LEDGER.reducers["note"]}),))
    open_store(workspace).close()
    assert verify_ledger(workspace).differing == ()


def test_queries_cannot_reach_out(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM glob('/etc/*')",
    ):
        with pytest.raises(Exception, match=r"(?i)disabled|locked|cannot|permission"):
            store.read(sql)


def test_a_network_file_system_is_refused_with_its_kind(tmp_path: Path) -> None:
    local = "22 1 8:1 / / rw - ext4 /dev/sda1 rw"
    refuse_network_filesystem(tmp_path, local)
    refuse_network_filesystem(Path("/srv/a"), local + "\n23 22 0:9 / /srv/ab rw - nfs4 host:/x rw")
    for mount, kind in (("/srv", "nfs4"), ("/srv/a\\040b", "cifs"), ("/srv", "fuse.sshfs")):
        with pytest.raises(PathRefused, match=kind):
            refuse_network_filesystem(Path("/srv/a b/c"), local + f"\n23 22 0:9 / {mount} rw shared:1 - {kind} host:/x rw")


def test_a_closed_store_refuses(workspace: Workspace) -> None:
    store = open_store(workspace)
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.read("SELECT 1")
    with pytest.raises(StoreFailed, match="closed"):
        store.submit("note", {"text": "a"})
    store = open_store(workspace)
    assert keys(store) == set()
    store.close()
