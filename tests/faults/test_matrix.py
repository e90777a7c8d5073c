"""The matrix of faults names tests that exist, and its page is what it says."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.faults.matrix import MATRIX
from tests.faults.table import PAGE, page, recorded

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_has_a_test_that_exists_and_no_two_are_the_same() -> None:
    for fault in MATRIX:
        file, _, name = fault.test.partition("::")
        functions = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in functions, fault.test
    assert len({fault.fault for fault in MATRIX}) == len({fault.test for fault in MATRIX}) == len(MATRIX)


def test_the_page_shows_the_matrix_as_it_was_last_measured() -> None:
    assert set(recorded()) <= {fault.test for fault in MATRIX}
    assert PAGE.read_text() == page(MATRIX, recorded()), "run `python -m tests.faults.table`"


def test_a_recorded_run_that_failed_is_shown_as_failed() -> None:
    measured = {MATRIX[0].test: {"outcome": "failed", "seconds": 1.0, "attempts": 0, "at": "2026-11-21"}}
    assert f"| {MATRIX[0].ending} | failed |  |" in page(MATRIX[:1], measured)
