"""No test of a fault may leave a process behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.leftovers import nothing_left


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """Set up before the test's own fixtures, and so taken down after them."""
    yield
    nothing_left(tmp_path)
