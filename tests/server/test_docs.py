"""The generated pages are those of the code."""

from __future__ import annotations

import sys

import pytest

from server.docs import DOCS, documents


@pytest.mark.parametrize("name", [name for name in documents() if not name.startswith("schema/")])
def test_the_committed_page_is_what_the_code_would_write(name: str) -> None:
    if name == "cli.md" and sys.version_info[:2] != (3, 11):
        pytest.skip("argparse lays help out differently in each version of Python; the page is written with 3.11")
    assert (DOCS / name).read_text() == documents()[name], "run `make docs`"
