"""What a machine has, read from what its kernel and driver say."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.fleet.probe import device, parse_meminfo, parse_nvidia_smi, probe_local


def test_this_machine_has_cores_memory_and_disk(tmp_path: Path) -> None:
    probe = probe_local(tmp_path)
    assert probe.cores >= 1
    assert 0 < probe.memory_available_bytes <= probe.memory_bytes
    assert probe.disk_free_bytes > 0


def test_a_machine_whose_driver_does_not_answer_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, no driver'\nexit 9\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert device(probe_local()) == "cpu"
    broken.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771'\n")
    assert device(probe_local()) == "cuda"


def test_gpus_are_read_from_the_drivers_table() -> None:
    gpus = parse_nvidia_smi("NVIDIA H200, 143771\nNVIDIA GB10, [N/A]\n\nnonsense\n")
    assert [(gpu.name, gpu.memory_bytes) for gpu in gpus] == [("NVIDIA H200", 143771 * 2**20), ("NVIDIA GB10", 0)]


def test_meminfo_is_read_in_bytes() -> None:
    assert parse_meminfo("MemTotal:       100 kB\nHugePages_Total:   3\n") == {"MemTotal": 102400, "HugePages_Total": 3}
