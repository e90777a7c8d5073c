"""What costs processes is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.escalate.failed import fail_one
from tests.promote.keys import FileKey


@pytest.fixture(scope="session")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fail_one(tmp_path_factory.mktemp("failed"))


@pytest.fixture(scope="session")
def ada(tmp_path_factory: pytest.TempPathFactory) -> FileKey:
    return FileKey(tmp_path_factory.mktemp("ada"), "ada")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> FileKey:
    """A key that no list holds."""
    return FileKey(tmp_path_factory.mktemp("mallory"), "mallory")
