"""The journal by itself: what is written comes back, a torn end is cut, anything else is refused with its line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import StoreDamaged, TooLarge
from engine.store.journal import MAX_LINE_BYTES, Journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), min_size=1, max_size=6)


@contextmanager
def journal_with(arguments: list[dict[str, Any]]) -> Iterator[Path]:
    """A closed journal with one command for each of `arguments`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        journal = Journal.open(path)
        for number, each in enumerate(arguments, 1):
            journal.append(journal.line(at="2026-11-21T00:00:00.000Z", key=f"k{number}", op="note", identity="i", arguments=each))
        journal.close()
        yield path


def read(path: Path) -> list[dict[str, Any]]:
    journal = Journal.open(path)
    try:
        return [entry.arguments for entry in journal.entries()]
    finally:
        journal.close()


@given(ARGUMENTS)
@settings(max_examples=60)
def test_every_command_comes_back_as_it_was(arguments: list[dict[str, Any]]) -> None:
    with journal_with(arguments) as path:
        assert read(path) == arguments


@given(ARGUMENTS, st.data())
@settings(max_examples=60)
def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_the_cut_off_rest(arguments: list[dict[str, Any]], data: st.DataObject) -> None:
    with journal_with(arguments) as path:
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        torn = data.draw(st.sampled_from([b"", b"\0" * 40, b"\xff\n\xfe", b"00000000 {}\n"]))
        path.write_bytes(whole[:cut] + torn)
        complete = whole[:cut].count(b"\n")
        assert read(path) == arguments[:complete]
        end = sum(len(line) for line in whole.splitlines(keepends=True)[:complete])
        kept = [each.read_bytes() for each in path.parent.glob("journal.jsonl.torn-*")]
        rest = (whole[:cut] + torn)[end:]
        assert kept == ([rest] if rest else [])
        assert read(path) == arguments[:complete]


@given(ARGUMENTS.filter(lambda arguments: len(arguments) > 1), st.data())
@settings(max_examples=60)
def test_a_changed_byte_before_the_last_line_is_refused_with_its_number(arguments: list[dict[str, Any]], data: st.DataObject) -> None:
    with journal_with(arguments) as path:
        whole = bytearray(path.read_bytes())
        last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
        position = data.draw(st.integers(0, last - 1))
        whole[position] ^= data.draw(st.sampled_from([1, 8, 128]))
        path.write_bytes(whole)
        line = sum(each <= position for each in _starts(arguments))
        with pytest.raises(StoreDamaged) as caught:
            read(path)
        assert caught.value.details["line"] == line
        assert path.read_bytes() == bytes(whole)


def test_a_damaged_newline_that_joins_the_last_two_lines_is_no_torn_end() -> None:
    with journal_with([{"n": number} for number in range(3)]) as path:
        whole = bytearray(path.read_bytes())
        whole[whole.rindex(b"\n", 0, len(whole) - 1)] ^= 8
        path.write_bytes(whole)
        with pytest.raises(StoreDamaged, match="line 2 "):
            read(path)


def _starts(arguments: list[dict[str, Any]]) -> list[int]:
    with journal_with(arguments) as path:
        lines = path.read_bytes().splitlines(keepends=True)
    return [sum(len(line) for line in lines[:number]) for number in range(len(lines))]


def test_a_missing_a_swapped_and_a_foreign_line_are_refused() -> None:
    notes = [{"n": number} for number in range(4)]
    with journal_with(notes) as path, journal_with([{"n": 9}] * 4) as other:
        lines, foreign = path.read_bytes().splitlines(keepends=True), other.read_bytes().splitlines(keepends=True)
        for broken, line in (([0, 2, 3], 2), ([0, 2, 1, 3], 2), ([1, 2, 3], 1), ([0, 1, 1, 2], 3)):
            path.write_bytes(b"".join(lines[number] for number in broken))
            with pytest.raises(StoreDamaged, match=f"line {line} "):
                read(path)
        path.write_bytes(b"".join(lines[:3]) + foreign[3])
        with pytest.raises(StoreDamaged, match="line 4 "):
            read(path)


def test_entries_start_after_a_number() -> None:
    with journal_with([{"n": number} for number in range(5)]) as path:
        journal = Journal.open(path)
        assert [entry.seq for entry in journal.entries(after=3)] == [4, 5]
        journal.close()


def test_a_command_over_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.jsonl")
    with pytest.raises(TooLarge):
        journal.line(at="", key="k", op="note", identity="", arguments={"text": "x" * MAX_LINE_BYTES})
    journal.close()
    assert os.path.getsize(tmp_path / "journal.jsonl") == 0
