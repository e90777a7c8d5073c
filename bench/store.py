"""How fast the store answers and rebuilds. Prints figures for people as it goes, and one JSON document last.

    python -m bench.store [--seconds 4] [--threads 1,4,8]

A command here writes one run event of about 200 bytes; it is acknowledged when journal and database are synced. `journal alone` is the floor:
the same lines appended and synced with nothing else, so the ratio says what the database costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import duckdb

from bench.setting import quantiles
from engine.base.files import Spool
from engine.base.paths import Workspace
from engine.store.events import append_event
from engine.store.journal import Journal
from engine.store.rebuild import rebuild, verify
from engine.store.store import Cursor, StageTables, Store


def _note(cursor: Cursor, arguments: dict[str, Any], at: str, seq: int) -> dict[str, Any]:
    append_event(cursor, seq=seq, at=at, kind="bench", subject=arguments["subject"], actor="bench", data=arguments)
    return {"seq": seq}


TABLES = StageTables((), {"note": _note})


def commands(store: Store, threads: int, seconds: float) -> dict[str, Any]:
    """Acknowledged commands a second from `threads` clients, with a reader beside them."""
    latencies: list[float] = []
    reads: list[float] = []
    end = time.monotonic() + seconds

    def write(name: str) -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            before = time.perf_counter()
            store.submit("note", {"subject": name, "text": "x" * 120}, key=f"{threads}-{name}-{number}")
            latencies.append(time.perf_counter() - before)

    def read() -> None:
        while time.monotonic() < end:
            before = time.perf_counter()
            store.read("SELECT count(*) FROM event WHERE subject = 'w0'")
            reads.append(time.perf_counter() - before)
            time.sleep(0.05)

    workers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(threads)] + [threading.Thread(target=read)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"threads": threads, "acknowledged_per_second": round(len(latencies) / seconds), **quantiles(latencies), "read": quantiles(reads)}


def journal_alone(folder: Path, count: int) -> dict[str, Any]:
    """The same lines appended and synced, nothing else."""
    journal = Journal.open(folder / "journal.jsonl")
    seconds = []
    for number in range(count):
        before = time.perf_counter()
        arguments = {"subject": "w0", "text": "x" * 120}
        journal.append(journal.line(at="2026-11-21T00:00:00.000Z", key=str(number), op="note", identity="0" * 64, arguments=arguments))
        seconds.append(time.perf_counter() - before)
    journal.close()
    return {"lines_per_second": round(count / sum(seconds)), **quantiles(seconds)}


def spools(store: Store, lines: int) -> dict[str, Any]:
    """Telemetry lines taken in a second."""
    path = store.workspace.runs / "bench" / "progress.jsonl"
    spool = Spool(path)
    for number in range(lines):
        spool.append("2026-11-21T00:00:00.000Z", {"phase": "training", "step": number, "loss": 1.0})
    spool.close()
    before = time.perf_counter()
    while store.ingest_spool("bench", path):
        continue
    return {"lines_per_second": round(lines / (time.perf_counter() - before))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", default="1,4,8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        workspace = Workspace(Path(folder))
        store = Store.open(workspace, (TABLES,))
        results = []
        for threads in (int(each) for each in options.threads.split(",")):
            results.append(commands(store, threads, options.seconds))
            print(results[-1], flush=True)
        taken_in = spools(store, 20_000)
        store.close()
        before = time.perf_counter()
        Store.open(workspace, (TABLES,)).close()
        opened = round(time.perf_counter() - before, 3)
        rebuilt = rebuild(workspace, (TABLES,))
        checked = verify(workspace, (TABLES,))
        (Path(folder) / "alone").mkdir()
        alone = journal_alone(Path(folder) / "alone", 2000)
    document = {
        "bench": "store",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__}",
        "commands": results,
        "journal_alone": alone,
        "spool": taken_in,
        "open_and_close_seconds": opened,
        "rebuild": {"commands": rebuilt.commands, "seconds": rebuilt.seconds, "commands_per_second": round(rebuilt.commands / rebuilt.seconds)},
        "rebuilt_equals_live": not checked.differing,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
