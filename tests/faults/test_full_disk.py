"""The disk fills while a worker writes: the run stands, says so, outlives the daemon, and goes on by itself when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.paths import Workspace
from tests.jobs.conftest import Daemon

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace on a disk of 32 MiB; mounting one takes the rights of root."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(tmp_path)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield Workspace(tmp_path)
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_run_stopped_by_a_full_disk_goes_on_when_there_is_room(small_disk: Workspace) -> None:
    ballast = small_disk.root / "ballast"
    ballast.write_bytes(bytes(16 * MIB))
    daemon = Daemon(small_disk, (), {}, disk_reserve_bytes=4 * MIB)
    run = daemon.submit(job={"bytes": 20 * MIB})
    daemon.tick_until(lambda: daemon.supervisor.waits_for(run.id))
    daemon.restart()
    daemon.tick_until(lambda: daemon.supervisor.waits_for(run.id))
    assert daemon.supervisor.waits_for(run.id).startswith("waits for disk: ")
    assert daemon.supervisor.get(run.id).state == "running"
    assert daemon.supervisor.get(run.id).epoch == 1
    ballast.unlink()
    done = daemon.until_final(run)
    assert (done.state, done.epoch) == ("succeeded", 2)
    assert daemon.supervisor.waits_for(run.id) == ""
    daemon.store.close()
