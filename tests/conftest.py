"""What tests of several parts share. The real model is prepared once a machine, as set-up does it, never once a test."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.generate.types import PreparedBase
from engine.loading import load_clusters

REPOSITORY = Workspace(Path(__file__).resolve().parents[1])
MODEL = "smollm2-135m"

PROCESSES = ("escalate/test_executions.py", "faults/", "generate/test_servers.py", "iterate/test_iterate_run.py", "jobs/", "promote/test_records.py", "server/test_cli.py", "server/test_daemon.py", "server/test_surfaces.py", "store/", "train/test_scripted_training.py")
"""Tests that start, kill and wait for real processes, again and again: minutes, not milliseconds."""

TOGETHER = ("promote/", "serve/")
"""Tests that share a workspace which takes a while to make: one test process runs them all. Otherwise one runs all tests of a file."""
APART = ("config/", "evaluate/", "house/", "iterate/test_campaigns.py", "iterate/test_decide.py", "store/")
"""Tests that share nothing, many or long: any process runs any of them."""

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# A shell without job control starts what it puts into the background with Ctrl-C ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of PROCESSES, so that `make check` stays under 90 seconds. `make test` runs them all."""
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root).as_posix().startswith(PROCESSES):
            item.add_marker("processes")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several test processes, one runs what shares a workspace. (xdist's own groups are a suffix of a test's id, which pytest 9.2 does not let
    it set.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.removeprefix("tests/").partition("::")[0]
            return nodeid if file.startswith(APART) else next((part for part in TOGETHER if file.startswith(part)), file)

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


def share_vllm_cache(workspace: Workspace) -> None:
    """What vLLM once found out about the model's class, at the price of an import, it finds again in every workspace of the tests."""
    shared = REPOSITORY.state / "vllm-cache"
    shared.mkdir(parents=True, exist_ok=True)
    (workspace.state / "vllm-cache").symlink_to(shared)


@pytest.fixture(scope="session")
def real_profile() -> ModelProfile:
    """The embedded model's profile, as the repository ships it."""
    profile = load_clusters(REPOSITORY).models[MODEL]
    assert isinstance(profile, ModelProfile)
    return profile


@pytest.fixture(scope="session")
def prepared_base(real_profile: ModelProfile) -> PreparedBase:
    """The embedded model, ready to be trained."""
    from engine.generate.prepare_worker import prepare_base

    base, _ = prepare_base(REPOSITORY, MODEL, real_profile, "cpu", lambda _: None, lambda: None)
    return base
