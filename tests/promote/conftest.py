"""What costs processes is made once: key pairs, and a workspace with an accepted version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promote.accepted import accept_one
from tests.promote.keys import FileKey


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def ada(key_folder: Path) -> FileKey:
    return FileKey(key_folder, "ada")


@pytest.fixture(scope="session")
def bob(key_folder: Path) -> FileKey:
    return FileKey(key_folder, "bob")


@pytest.fixture(scope="session")
def mallory(key_folder: Path) -> FileKey:
    """A key that no list holds."""
    return FileKey(key_folder, "mallory")


@pytest.fixture(scope="session")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an accepted version; tests work on copies of it."""
    return accept_one(tmp_path_factory.mktemp("accepted"))
