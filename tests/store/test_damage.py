"""Damaged files: proven damage is set aside and filled again, a lost journal is refused, and nothing else is touched."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb
import pytest

from engine.base.paths import Workspace
from engine.errors import StoreDamaged, StoreFailed
from engine.store.database import is_damage, write_ahead_log
from engine.store.rebuild import rebuild
from engine.store.store import Store

from .effort import DAMAGES, SEED
from .ledger import LEDGER, keys, open_store, verify_ledger

COMMANDS = 40
T = TypeVar("T")


def crashed(tmp_path: Path, name: str = "crashed") -> Workspace:
    """A workspace whose owner died after forty commands, the latter half still in DuckDB's log."""
    workspace, copy = Workspace(tmp_path / "first"), Workspace(tmp_path / name)
    store = open_store(workspace)
    for number in range(COMMANDS):
        store.submit("note", {"text": f"t{number}" * 50}, key=f"k{number}")
        if number == COMMANDS // 2:
            store._connection.execute("CHECKPOINT")
    shutil.copytree(workspace.state, copy.state)  # this drops DuckDB's own lock on the first, which nobody else opens
    store.close()
    shutil.rmtree(workspace.root)
    assert write_ahead_log(copy.database).stat().st_size > 0
    return copy


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 8
    path.write_bytes(data)


def damage(workspace: Workspace, kind: str, generator: random.Random) -> None:
    database, log = workspace.database, write_ahead_log(workspace.database)
    match kind:
        case "flipped database":
            flip(database, generator.randrange(database.stat().st_size))
        case "flipped log":
            flip(log, generator.randrange(log.stat().st_size))
        case "short database":
            database.write_bytes(database.read_bytes()[: generator.randrange(1, 8192)])
        case "cut log":
            log.write_bytes(log.read_bytes()[: generator.randrange(log.stat().st_size)])
        case "zeroed log":
            data = log.read_bytes()
            log.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        case "no log":
            log.unlink()
        case "no database":
            database.unlink()
        case "nothing but the journal":
            database.unlink()
            log.unlink()
        case "empty database":
            database.write_bytes(b"")
        case "torn journal":
            with workspace.journal.open("ab") as stream:
                stream.write(b"1234abcd {torn")


KINDS = (
    "flipped database",
    "flipped log",
    "short database",
    "cut log",
    "zeroed log",
    "no log",
    "no database",
    "nothing but the journal",
    "empty database",
    "torn journal",
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_to_the_database_loses_a_command(tmp_path: Path, kind: str) -> None:
    generator = random.Random(f"{SEED} {kind}")
    original = crashed(tmp_path)
    for attempt in range(DAMAGES):
        workspace = Workspace(tmp_path / f"try{attempt}")
        shutil.copytree(original.state, workspace.state)
        damage(workspace, kind, generator)
        twice(lambda workspace=workspace: check_all_there(workspace))  # type: ignore[misc]
        assert twice(lambda workspace=workspace: verify_ledger(workspace).differing) == ()  # type: ignore[misc]


def check_all_there(workspace: Workspace) -> None:
    store = open_store(workspace)
    try:
        assert keys(store) - {"after"} == {f"k{number}" for number in range(COMMANDS)}
        store.submit("note", {"text": "after"}, key="after")
    finally:
        store.close()


def twice(attempt: Callable[[], T]) -> T:
    """Damage in a block that was not read before shows only now: the store stops, and the next start sets the database aside."""
    try:
        return attempt()
    except StoreFailed:
        return attempt()


def test_a_log_without_its_database_is_not_applied_to_a_new_one(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    workspace.database.unlink()
    store = open_store(workspace)
    store.close()
    assert [path.name for path in workspace.state.glob("*aside*")] == ["state.duckdb.aside-1.wal"]


def test_a_database_ahead_of_the_journal_is_refused_until_asked_to_rebuild(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    lines = workspace.journal.read_bytes().splitlines(keepends=True)
    workspace.journal.write_bytes(b"".join(lines[:10]))
    with pytest.raises(StoreDamaged, match="ends at 10"):
        open_store(workspace)
    assert not list(workspace.state.glob("*aside*"))
    assert rebuild(workspace, (LEDGER,)).commands == 10


def test_a_lost_journal_is_refused_by_every_start_and_by_a_rebuild(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    workspace.journal.unlink()
    for attempt in (open_store, open_store, lambda w: rebuild(w, (LEDGER,))):
        with pytest.raises(StoreDamaged, match="is not there"):
            attempt(workspace)
    assert not workspace.journal.exists()
    assert not list(workspace.state.glob("*aside*"))


def test_an_empty_journal_does_not_replace_a_database(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    workspace.journal.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="holds no command"):
        rebuild(workspace, (LEDGER,))
    assert not list(workspace.state.glob("*aside*"))


def test_a_database_of_another_journal_is_refused(tmp_path: Path) -> None:
    workspace, other = crashed(tmp_path), crashed(tmp_path, "other")
    shutil.copyfile(other.journal, workspace.journal)
    with pytest.raises(StoreDamaged, match="another journal"):
        open_store(workspace)
    assert rebuild(workspace, (LEDGER,)).commands == COMMANDS


def test_a_journal_damaged_inside_is_refused_and_nothing_is_set_aside(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    flip(workspace.journal, 3000)
    before = {path.name: path.read_bytes() for path in workspace.state.iterdir()}
    for attempt in (open_store, lambda w: rebuild(w, (LEDGER,))):
        with pytest.raises(StoreDamaged, match=r"line \d+ of journal.jsonl"):
            attempt(workspace)
    after = {path.name: path.read_bytes() for path in workspace.state.iterdir()}
    del before["owner.lock"], after["owner.lock"]
    assert before == after


def test_a_rebuild_that_was_stopped_half_way_is_finished_by_the_next_start(tmp_path: Path) -> None:
    workspace = crashed(tmp_path)
    workspace.database.unlink()
    write_ahead_log(workspace.database).unlink()
    whole = workspace.journal.read_bytes()
    workspace.journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:25]))
    open_store(workspace).close()
    workspace.journal.write_bytes(whole)
    assert verify_ledger(workspace).tables["note"] == COMMANDS


def test_damage_found_while_running_stops_the_store_and_the_next_start_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = crashed(tmp_path)
    store = open_store(workspace)

    class Damaged:
        def execute(self, *_: object) -> None:
            raise duckdb.IOException("IO Error: Corrupt database file: computed checksum 1 does not match stored checksum 2 in block")

        def close(self) -> None:
            pass

    store._readers.append(Damaged())  # type: ignore[arg-type]
    with pytest.raises(StoreFailed, match="Corrupt"):
        store.read("SELECT 1")
    with pytest.raises(StoreFailed):
        store.submit("note", {"text": "a"})
    store.close()
    store = open_store(workspace)
    assert len(keys(store)) == COMMANDS
    store.close()
    assert (workspace.state / "state.duckdb.aside-1").exists()
    assert not (workspace.state / "state.duckdb.suspect").exists()


def test_only_proof_counts_as_damage() -> None:
    assert is_damage(duckdb.IOException("Corrupt WAL file: entry at byte position 5 computed checksum 1"))
    assert is_damage(duckdb.FatalException("Failed to create checkpoint because of error: Corrupt database file"))
    for harmless in (
        duckdb.IOException('Could not set lock on file "state.duckdb": Conflicting lock is held'),
        duckdb.IOException("Could not write to file: No space left on device"),
        duckdb.IOException("Trying to read a database file with version number 99, but we can only read versions between 64 and 69"),
        duckdb.ConstraintException('Duplicate key "key: Corrupt database file" violates primary key constraint'),
        duckdb.ConversionException("Could not convert string 'Corrupt' to INT32"),
        duckdb.ParserException("syntax error at or near Corrupt"),
        ValueError("Corrupt"),
    ):
        assert not is_damage(harmless)


def test_a_database_in_a_format_of_the_future_is_left_alone(workspace: Workspace) -> None:
    open_store(workspace).close()
    data = bytearray(workspace.database.read_bytes())
    position = data.index(b"DUCK") + 4
    data[position : position + 8] = (999).to_bytes(8, "little")
    workspace.database.write_bytes(data)
    try:
        store: Store | None = open_store(workspace)
    except StoreFailed:
        store = None
    if store is not None:  # DuckDB saw the checksum of its header broken before it saw the version
        store.close()
    assert bytes(data) in [path.read_bytes() for path in workspace.state.glob("state.duckdb*")]
