"""Measures the rows of the matrix while their tests run: `pytest -p tests.faults.recorder TESTS` adds to `docs/faults.json`.

Of each test: how it came out, its seconds, and the highest attempt of a worker that a supervisor in this process started (0: it started none; a
daemon that the test starts counts for itself and is not seen). A test with parameters of its own counts as its slowest case. A test that leaves a
process behind has failed, whatever else it showed: one whose command line names the test's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.clock import utc_now
from engine.base.files import write_json
from engine.jobs.workers import Workers
from tests.faults.leftovers import nothing_left
from tests.faults.matrix import MATRIX

RECORDED = Path(__file__).resolve().parents[2] / "docs" / "faults.json"
ROWS = {row.test for row in MATRIX}
ATTEMPTS = {"highest": 0}


@pytest.fixture(autouse=True)
def attempts_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Set up before the test's own fixtures and so taken down after them, when all that they started has to be gone."""
    spawn = Workers.spawn

    def counted(self: Workers, kind: Any, paths: Any, epoch: int) -> Any:
        ATTEMPTS["highest"] = max(ATTEMPTS["highest"], epoch)
        return spawn(self, kind, paths, epoch)

    ATTEMPTS["highest"] = 0
    monkeypatch.setattr(Workers, "spawn", counted)
    yield
    nothing_left(tmp_path)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps what a test of the matrix showed."""
    named = [row for row in ROWS if report.nodeid == row or report.nodeid.startswith(f"{row}[")]
    if not named or (report.when != "call" and report.passed):
        return
    known = {test: shown for test, shown in json.loads(RECORDED.read_text()).items() if test in ROWS} if RECORDED.exists() else {}
    seconds = round(report.duration, 1)
    for test in named:
        earlier = known.get(test)
        if earlier is None or report.failed or report.nodeid == test or earlier["seconds"] <= seconds:
            known[test] = {"outcome": report.outcome, "seconds": seconds, "attempts": ATTEMPTS["highest"], "at": utc_now()[:10]}
    write_json(RECORDED, dict(sorted(known.items())))
