"""The power goes at any point: every disk that this could leave opens with all that was acknowledged, and takes in what comes after.

The journal is explored in full. The whole store, DuckDB's files included, is explored where strace can trace, as far as `effort.py` says.
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from engine.base.files import Spool, read_spool
from engine.base.paths import Workspace
from engine.errors import ResourceExhausted
from engine.store.journal import Journal
from engine.store.store import Store

from .effort import IMAGES, SEED
from .ledger import keys, open_store, verify_ledger
from .power import MODES, FileRecorder, Op, disk_after, placed, traced
from .test_io_errors import ROOT, FailingCall, strace_works


def test_every_disk_that_a_cut_can_leave_of_the_journal_keeps_what_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With some lines that did not fit and were taken back in between."""
    recorder = FileRecorder(tmp_path / "journal.jsonl")
    with monkeypatch.context() as patched:
        for when in (3, 6, 7):
            patched.setattr(os, "write", FailingCall("write", when, 0, recorder.path, short=True))
        recorder.patch(patched.setattr)
        record_commands(recorder, 12)
    generator, ops = random.Random(SEED), placed(recorder.ops)
    images = 0
    for end in range(1, len(ops) + 1):
        acknowledged = [op.offset for op in ops[:end] if op.kind == "acknowledge"]
        for mode in MODES:
            for data in disk_after(ops[:end], mode, generator).values():
                images += 1
                found = reopen(tmp_path / f"image{images}", data)
                assert set(acknowledged) <= set(found), (mode, end)
                assert len(found) - len(acknowledged) <= 1
    assert images > 150


def record_commands(recorder: FileRecorder, count: int) -> None:
    journal = Journal.open(recorder.path)
    for number in range(count):
        line = journal.line(at="", key=str(number), op="note", identity="", arguments={"text": "x" * 60})
        try:
            journal.append(line)
            recorder.ops.append(Op("acknowledge", offset=number))
        except ResourceExhausted:
            continue
    journal.close()


def reopen(folder: Path, data: bytes) -> list[int]:
    """The commands of a journal with this content, which must also take another one."""
    folder.mkdir()
    path = folder / "journal.jsonl"
    path.write_bytes(data)
    journal = Journal.open(path)
    journal.append(journal.line(at="", key="after", op="note", identity="", arguments={}))
    journal.close()
    journal = Journal.open(path)
    found = [entry.key for entry in journal.entries()]
    journal.close()
    assert found[-1] == "after"
    return [int(key) for key in found[:-1]]


def test_after_every_cut_a_worker_that_goes_on_is_taken_in_once_and_whole(
    store: Store, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(SEED)
    for number in range(8 * len(MODES)):
        writer, mode = f"w{number}", MODES[number % len(MODES)]
        path = workspace.runs / writer / "progress.jsonl"
        recorder = FileRecorder(path)
        with monkeypatch.context() as patched:
            recorder.patch(patched.setattr)
            spool = Spool(path)
            for step in range(generator.randrange(1, 5)):
                spool.append("", {"step": step})
            store.ingest_spool(writer, path)
            for step in range(generator.randrange(3)):
                spool.append("", {"not taken in": step})
            spool.close()
        path.write_bytes(disk_after(placed(recorder.ops), mode, generator)[str(path)])
        check_spool_goes_on(store, writer, mode)


def check_spool_goes_on(store: Store, writer: str, mode: str) -> None:
    path = store.workspace.runs / writer / "progress.jsonl"
    spool = Spool(path)
    spool.append("", {"after": "the cut"})
    spool.close()
    store.ingest_spool(writer, path)
    taken_in = store.read("SELECT seq, data FROM progress WHERE writer = ? ORDER BY seq", [writer])
    assert taken_in == [(line.seq, json.dumps(line.data)) for line in read_spool(path)], mode
    assert store.read("SELECT latest FROM spool WHERE writer = ?", [writer]) == [('{"after": "the cut"}',)], mode


WRITER = """
import sys
from pathlib import Path
from engine.base.files import Spool
from engine.base.paths import Workspace
from tests.store.ledger import open_store
store = open_store(Workspace(Path(sys.argv[1])))
spool = Spool(Workspace(Path(sys.argv[1])).runs / "w" / "progress.jsonl")
for number in range(30):
    spool.append("", {"step": number})
    store.ingest_spool("w", spool.path)
    store.submit("note", {"text": "x" * 200}, key=str(number))
    sys.stderr.write("ACK %d\\n" % number)
    sys.stderr.flush()
    if number % 7 == 6:
        store._connection.execute("CHECKPOINT")
store.close()
"""


@pytest.mark.skipif(not strace_works(), reason="strace is not installed or may not trace here; only the journal was explored")
def test_disks_that_a_cut_can_leave_of_the_whole_store_keep_what_was_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = tmp_path / "live"
    live.mkdir()
    ops = traced(WRITER, live, tmp_path / "trace", ROOT)
    shutil.rmtree(live)
    first = next(number for number, op in enumerate(ops) if op.kind == "acknowledge")
    generator = random.Random(SEED)
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(IMAGES):
        end, mode = generator.randrange(first + 1, len(ops) + 1), MODES[number % len(MODES)]
        acknowledged = {str(op.offset) for op in ops[:end] if op.kind == "acknowledge"}
        image = tmp_path / f"image{number}"
        write_disk(image, live, disk_after(ops[:end], mode, generator))
        workspace = Workspace(image)
        store = open_store(workspace)
        known = keys(store)
        check_spool_goes_on(store, "w", mode)
        store.close()
        assert acknowledged <= known, (mode, end)
        assert len(known - acknowledged) <= 1
        outcomes["refilled" if list(workspace.state.glob("*aside*")) else "as it was"] += 1
        if number % 10 == 0:
            assert verify_ledger(workspace).differing == ()
        shutil.rmtree(image)
    assert sum(outcomes.values()) == IMAGES
    if IMAGES > 40:
        with capsys.disabled():
            print({"seed": SEED, "operations": len(ops), "images": IMAGES, "lost": 0, **outcomes})


def write_disk(image: Path, live: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        target = image / Path(path).relative_to(live)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
