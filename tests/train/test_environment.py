"""What a training process is started with."""

from __future__ import annotations

from pathlib import Path

from engine.train.environment import find_tcmalloc, training_environment


def test_the_first_allocator_found_is_preloaded_on_a_cpu(tmp_path: Path) -> None:
    nowhere, here = tmp_path / "nowhere", tmp_path / "here"
    here.mkdir()
    (here / "libtcmalloc_minimal.so.4").write_bytes(b"")
    assert training_environment("cpu", [nowhere, here])["LD_PRELOAD"] == str(here / "libtcmalloc_minimal.so.4")
    assert find_tcmalloc([nowhere]) is None


def test_a_machine_without_one_trains_all_the_same(tmp_path: Path) -> None:
    variables = training_environment("cpu", [tmp_path])
    assert "LD_PRELOAD" not in variables
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"


def test_on_a_gpu_sums_are_taken_in_a_fixed_order(tmp_path: Path) -> None:
    assert training_environment("cuda", [tmp_path])["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
