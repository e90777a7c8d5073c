"""Workspaces whose model servers are gone when a test ends, and proof that nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.paths import Workspace
from engine.generate.servers import SERVER_TAG, ModelServers


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    place = Workspace(tmp_path)
    yield place
    ModelServers(place).stop_all()
    assert not tagged_processes(place)


def tagged_processes(workspace: Workspace) -> list[int]:
    """Live processes that were started as a server of this workspace."""
    tag = f"{SERVER_TAG}={workspace.servers.resolve()}/".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if tag in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
