"""What costs processes is made once: a workspace with one version in production and one before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.generate.servers import ModelServers
from engine.promote import records
from tests.promote.accepted import copied
from tests.serve.produced import Caller, produce


@pytest.fixture(scope="session")
def produced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return produce(tmp_path_factory.mktemp("produced"))


@pytest.fixture
def caller(produced: Path, tmp_path: Path) -> Iterator[Caller]:
    workspace = copied(produced, tmp_path / "w")
    engine = Engine.open(workspace)
    (before,) = records.served_before(engine.store, "tickets")
    caller = Caller(workspace, before.version, records.serving(engine.store)["tickets"])
    engine.close()
    yield caller
    caller.stop_daemon(servers=True)
    ModelServers(workspace).stop_all()
