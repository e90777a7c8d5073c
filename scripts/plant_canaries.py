"""Plants the canaries of domains that are already there: the last rows of their evaluation file, in place of those from before.

    .venv/bin/python scripts/plant_canaries.py travel support

The other rows stay byte for byte as they are, and so do their splits. Canaries make another suite: what was measured before compares with no
measurement after. Where PROVENANCE.json has hashes of the files, they are written anew. Deterministic. What a canary is: engine/evaluate/canaries.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from engine.base.digests import file_sha256
from engine.base.files import write_atomic
from engine.base.paths import Workspace
from engine.config import Rows
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.planting import plant
from engine.evaluate.rows import CANARY
from engine.evaluate.similarity import input_text
from engine.loading import find_workspace, load_domain


def main() -> None:
    """Plants them and says how many."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("domains", nargs="+")
    workspace = find_workspace(Path.cwd())
    for name in parser.parse_args().domains:
        print(f"{name}: {replant(workspace, name)} canaries")


def replant(workspace: Workspace, name: str) -> int:
    """Writes a domain's canaries and answers how many there are."""
    rows = load_domain(workspace, name).data.evaluation
    if rows != Rows(path=rows.path):
        raise SystemExit(f"the evaluation rows of {name} have fields of their own; write its canaries by hand, as rows with `{CANARY}: true`")
    compiled = compile_domain(workspace, name, domain_digest(workspace, name))
    governed = [scenario for scenario in compiled.scenarios if scenario.layer == "governed"]
    canaries = plant(compiled.domain, governed, [input_text(row.input) for row in compiled.pool])
    file = workspace.domain(name) / rows.path
    kept = [line for line in file.read_bytes().split(b"\n") if line.strip() and not json.loads(line).get(CANARY, False)]
    write_atomic(file, b"".join(line + b"\n" for line in [*kept, *(json.dumps(row, ensure_ascii=False).encode() for row in canaries)]))
    note_provenance(file.with_name("PROVENANCE.json"), len(canaries))
    return len(canaries)


def note_provenance(file: Path, canaries: int) -> None:
    """Brings the hashes of a PROVENANCE.json up to date; does nothing where it has none."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "files" not in document:
        return
    hashes = {name: file_sha256(file.with_name(name)) for name in document.pop("files")}
    document |= {"canaries": {"rows": canaries, "processing": "scripts/plant_canaries.py; see its first lines and NOTICE.txt"}, "files": hashes}
    write_atomic(file, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
