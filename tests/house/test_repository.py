"""What is in the repository: nothing of the machine it was written on, no large files, data with its notice, configuration with its reason."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
# Spelled in parts, so that this file does not find itself.
FOREIGN = re.compile(
    "|".join(
        [
            r"/wor" + r"k/(main|shared|\.library|\.mirror)",
            r"/tm" + r"p/ms\b",
            r"\.\./sha" + r"red\b",
            r"/ro" + r"ot/",
            r"/hom" + r"e/[a-z]",
            r"py" + r"pi\.org",
            r"pythonho" + r"sted\.org",
            r"download\.pyt" + r"orch\.org",
            r"registry\.npm" + r"js\.org",
            r"/op" + r"t/(pypi|wheels)",
        ]
    )
)
LARGEST_BYTES = 2 << 20


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_names_a_place_on_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if path.suffix != ".jsonl" and FOREIGN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_no_tracked_file_is_large_or_holds_weights() -> None:
    weights = (".safetensors", ".gguf", ".whl", ".pt")
    wrong = [path for path in tracked() if path.stat().st_size > LARGEST_BYTES or path.suffix in weights]
    assert not wrong


def test_no_property_fails_because_the_machine_is_busy() -> None:
    own = [path.name for path in (ROOT / "tests").rglob("test_*.py") if re.search(r"@settings\([^)\n]*dead" + "line", path.read_text())]
    assert settings().deadline is None
    assert not own, "the profile in tests/conftest.py says it for all"


@pytest.mark.parametrize("name", ["travel", "support"])
def test_a_shipped_domain_says_where_its_rows_come_from_and_they_are_those_rows(name: str) -> None:
    data = ROOT / "domains" / name / "data"
    provenance = json.loads((data / "PROVENANCE.json").read_text())
    assert provenance["licence"].startswith("CC BY")
    assert "creativecommons.org/licenses/" in (data / "NOTICE.txt").read_text()
    for file, digest in provenance["files"].items():
        assert hashlib.sha256((data / file).read_bytes()).hexdigest() == digest, file


def test_the_makefile_offers_what_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text() + (ROOT / "AGENTS.md").read_text()))
    assert named <= targets
    assert {"setup", "demo", "test", "check", "docs", "clean"} <= targets


def test_agents_md_stays_under_a_page() -> None:
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= 60


def test_every_exact_pin_has_its_reason() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        lines = path.read_text().splitlines()
        pins = [number for number, line in enumerate(lines) if "==" in line and not line.startswith("#")]
        assert not pins or any(line.startswith("#") for line in lines[: pins[0]]), path.name
