"""The generated docs are current: what is committed is what the code would write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.schemas import schemas

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_committed_schemas_are_those_of_the_records(name: str) -> None:
    committed = json.loads((DOCS / "schema" / f"{name}.schema.json").read_text())
    assert committed == schemas()[name], "run `make docs`"


def test_every_field_of_the_configuration_is_described() -> None:
    silent = [
        f"{name}: {title}.{field}"
        for name in ("clusters", "domain")
        for title, record in schemas()[name]["$defs"].items()
        for field, schema in record.get("properties", {}).items()
        if "description" not in schema and "const" not in schema and "$ref" not in schema
    ]
    assert not silent, silent
