"""Importing a surface loads no heavy library: a command answers at once, and a daemon stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.test_imports import ALL, HEAVY, MODULES

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after importing these modules."""
    script = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_server_the_tools_and_the_engine_loads_nothing_heavy() -> None:
    heavy = {one.file.removesuffix(".py").replace("/", ".") for one in ALL if one.at_top and one.target.split(".")[0] in HEAVY}
    light = sorted(name for name in MODULES - heavy if not name.endswith("__main__"))
    assert not loaded_by(*light) & HEAVY


@pytest.mark.skipif("server.cli" not in MODULES, reason="the command line is not in this build")
def test_the_command_line_starts_without_mcp_the_database_and_the_heavy_libraries() -> None:
    assert not loaded_by("server.cli") & (HEAVY | {"mcp", "duckdb", "starlette", "uvicorn"})


def test_the_daemon_starts_without_the_sdk_of_mcp() -> None:
    assert "mcp" not in loaded_by("server.daemon")


def test_the_packages_that_are_imported_are_ours() -> None:
    """`server`, `tools` and `engine` are common names; an installed package of that name must not win."""
    for name in ("engine", "tools", "server"):
        module = __import__(name)
        assert Path(str(module.__file__)).parent == ROOT / name
