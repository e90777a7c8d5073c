"""The standalone verifier: a short file that needs Python and `cryptography`, and agrees with ours as far as it goes."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.promote.evidence.bundle import PAGE, VERIFIER
from engine.promote.evidence.standalone import verify_bundle as standalone
from tests.promote.evidence.forging import forged
from tests.promote.evidence.test_bundle import LIES

SOURCE = Path(str(standalone.__file__))
BEYOND = ("a condition's sentence", "an end of an interval", "a p-value", "a slice", "a slice left out", "lost items", "a subject left out", "the seed", "the attempt", "the version's name", "a condition left out")
"""Lies that rest on intervals or on what it does not look at; `modelsmith verify` finds them."""


def run_alone(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In an empty folder, isolated from every package path but the interpreter's own."""
    return subprocess.run([sys.executable, "-I", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_it_is_under_two_hundred_lines_and_imports_only_the_standard_library_and_cryptography() -> None:
    assert len(SOURCE.read_text().splitlines()) < 200
    imported = {alias.name for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names | {"cryptography"}


def test_it_ships_in_every_bundle_and_runs_there_alone(bundle: Path, public_key_file: Path, tmp_path: Path) -> None:
    assert (bundle / VERIFIER).read_bytes() == SOURCE.read_bytes()
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copy(public_key_file, tmp_path / "evidence.pub")
    empty = tmp_path / "empty"
    empty.mkdir()
    said = run_alone(empty, "../bundle/verify_bundle.py", "../bundle", "../evidence.pub")
    assert said.returncode == 0, said
    assert "accept" in said.stdout
    assert "Left to `modelsmith verify`: intervals" in said.stdout
    assert list(empty.iterdir()) == []


def test_it_says_what_is_wrong_and_exits_as_ours_does(
    bundle: Path, public_key_file: Path, key: Ed25519PrivateKey, copied: Callable[[], Path], tmp_path: Path
) -> None:
    altered = copied()
    (altered / PAGE).write_bytes((altered / PAGE).read_bytes() + b" ")
    refused = run_alone(tmp_path, str(SOURCE), str(altered), str(public_key_file))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "page.html was altered" in refused.stderr
    lie = forged(bundle, tmp_path / "lie", key, state=lambda predicate: predicate["found"]["decision"].update(verdict="roll_back"))
    told = run_alone(tmp_path, str(SOURCE), str(lie), str(public_key_file))
    assert told.returncode == 1
    assert "DOES NOT FOLLOW: verdict" in told.stdout
    assert run_alone(tmp_path, str(SOURCE)).returncode == 2
    assert run_alone(tmp_path, str(SOURCE), str(bundle), "no-key").returncode == 2


@pytest.mark.parametrize(("what", "put", "value"), LIES, ids=[lie[0] for lie in LIES])
def test_it_finds_every_lie_about_means_rates_counts_and_differences(
    bundle: Path, public_key_file: Path, key: Ed25519PrivateKey, tmp_path: Path, what: str, put, value
) -> None:
    lie = forged(bundle, tmp_path / "lie", key, state=lambda predicate: put(predicate, value))
    assert standalone.main([str(lie), str(public_key_file)]) == (0 if what in BEYOND else 1)
