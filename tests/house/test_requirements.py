"""The manifest of promises and the tests agree, both ways."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.requirements import PROMISES

ROOT = Path(__file__).resolve().parents[2]


def functions_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.id)
def test_every_promise_has_tests_and_each_exists(promise) -> None:
    assert promise.tests, f"nothing tests: {promise.text}"
    for test in promise.tests:
        file, _, function = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not function or function in functions_in(ROOT / file), test


def test_every_test_file_stands_behind_a_promise() -> None:
    named = {test.partition("::")[0] for promise in PROMISES for test in promise.tests}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    unnamed = sorted(files - named)
    assert not unnamed, "name these in tests/requirements.py"


def test_no_two_promises_share_a_name() -> None:
    assert len({promise.id for promise in PROMISES}) == len(PROMISES)
