"""The matrix of faults names tests that exist, leaves no kind of fault and no runbook out, and its page is what it says."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import get_args

from engine.config.clusters import Host
from engine.escalate.runbooks.catalogue import catalogue
from tests.faults.matrix import MATRIX, Ending, Kind
from tests.faults.table import PAGE, page, recorded
from tools import TOOLS

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def functions_in(file: str) -> dict[str, str]:
    """The source of every test function of a file."""
    source = (ROOT / file).read_text()
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: ast.get_source_segment(source, node) or "" for node in found}


def test_every_fault_has_a_test_that_exists_and_no_two_are_the_same() -> None:
    for fault in MATRIX:
        file, _, name = fault.test.partition("::")
        assert name.partition("[")[0] in functions_in(file), fault.test
    assert len({fault.fault for fault in MATRIX}) == len({fault.test for fault in MATRIX}) == len(MATRIX)


def test_every_kind_of_fault_has_rows_and_every_row_ends_in_a_way_that_is_allowed() -> None:
    assert {fault.kind for fault in MATRIX} == set(get_args(Kind))
    assert {fault.ending for fault in MATRIX} == set(get_args(Ending))


def test_every_runbook_recovers_from_a_fault_and_only_what_one_recovered_names_it() -> None:
    assert {fault.runbook for fault in MATRIX if fault.ending == "recovered by runbook"} == catalogue().keys()
    assert {fault.runbook for fault in MATRIX if fault.ending != "recovered by runbook"} == {""}


def test_what_is_said_to_be_escalated_is_held_against_what_a_complete_escalation_is() -> None:
    """By `tests/escalate/complete.py`."""
    for fault in MATRIX:
        file, _, name = fault.test.partition("::")
        held = re.search(r"\b(escalated|escalation_of)\(", functions_in(file)[name.partition("[")[0]])
        assert bool(held) == (fault.ending == "escalated"), fault.test


def test_what_the_page_leaves_out_is_not_in_the_product() -> None:
    assert get_args(Host.model_fields["kind"].annotation) == ("local",), "a host that can be lost needs a row"
    assert not [tool.name for tool in TOOLS if "sql" in tool.arguments.model_fields], "SQL that callers write needs a row"


def test_the_page_shows_the_matrix_as_it_was_last_measured() -> None:
    assert set(recorded()) <= {fault.test for fault in MATRIX}
    assert PAGE.read_text() == page(MATRIX, recorded()), "run `python -m tests.faults.table`"


def test_a_recorded_run_that_failed_is_shown_as_failed() -> None:
    measured = {MATRIX[0].test: {"outcome": "failed", "seconds": 1.0, "attempts": 0, "at": "2026-11-21"}}
    assert f"| {MATRIX[0].ending} | failed |  |" in page(MATRIX[:1], measured)
