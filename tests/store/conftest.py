"""Workspaces for the store's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.paths import Workspace
from engine.store.store import Store

from .ledger import open_store


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def store(workspace: Workspace) -> Iterator[Store]:
    """A store that is open while the test runs."""
    opened = open_store(workspace)
    yield opened
    opened.close()
