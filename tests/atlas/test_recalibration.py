"""Measurements of one's own correct the estimates of their setting, and of no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, ConfigInvalid, NotFound
from tests.workspaces import make_workspace
from tools.atlas import RECORD_MEASUREMENT, SEARCH_MODELS
from tools.tool import call

MEASURED = {
    "model": "Qwen/Qwen3-4B",
    "accelerator": "L4 24GB",
    "quantisation": "bf16",
    "prompt_tokens": 1024,
    "answer_tokens": 256,
    "concurrency": 8,
    "tpot_ms": 90.0,
    "ttft_ms": 900.0,
    "as_of": "2026-11-20",
    "source": "our own load test",
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path))
    yield opened
    opened.close()


def record(engine: Engine, **changes: Any) -> dict[str, Any]:
    return call(engine, RECORD_MEASUREMENT, MEASURED | changes)


def speed(engine: Engine, text: str = "qwen3-4b", **arguments: Any) -> dict[str, float]:
    page = call(engine, SEARCH_MODELS, {"text": text, "accelerator": "L4", "limit": 1} | arguments)
    found: dict[str, float] = page["models"][0]["tokens_per_second"]
    return found


def test_one_measurement_moves_an_estimate_towards_itself_and_many_nearly_all_the_way(engine: Engine) -> None:
    first = record(engine)
    assert first["foretold_before_ms"] < first["foretold_now_ms"] < first["tpot_ms"]
    for concurrency in (1, 2, 4, 16, 24, 32):
        last = record(engine, concurrency=concurrency)
    assert last["measurements"] == 7
    again = record(engine, answer_tokens=250)
    assert again["foretold_now_ms"] == pytest.approx(90, rel=0.1)


def test_the_interval_grows_narrower_only_when_there_are_enough(engine: Engine) -> None:
    def width() -> float:
        found = speed(engine)
        return found["high"] / found["low"]

    before = width()
    for number in range(5):
        record(engine, concurrency=8 + number)
    assert width() == pytest.approx(before, rel=0.15)
    record(engine, concurrency=20)
    assert width() < 0.8 * before


def test_a_time_that_nobody_measured_is_no_surer_for_it(engine: Engine) -> None:
    def first() -> dict[str, float]:
        page = call(engine, SEARCH_MODELS, {"compare": ["Qwen/Qwen3-4B"], "accelerator": "L4"})
        found: dict[str, float] = page["compared"][0]["ttft_ms"]
        return found

    before = first()
    for concurrency in (1, 2, 4, 8, 16, 32):
        record(engine, concurrency=concurrency, ttft_ms=None)
    assert first() == before


def test_other_settings_stay_as_they_were(engine: Engine) -> None:
    others = ({"quantisation": "fp8"}, {"text": "qwen3-8b"}, {"accelerator": "RTX 4090"})
    before = [speed(engine, **each) for each in others]
    for concurrency in (1, 2, 4, 8, 16, 32):
        record(engine, concurrency=concurrency)
    assert [speed(engine, **each) for each in others] == before


def test_the_same_measurement_again_counts_once(engine: Engine) -> None:
    record(engine)
    assert record(engine, model="qwen/qwen3-4b", accelerator="l4")["measurements"] == 1
    kept = json.loads((engine.workspace.root / "atlas.json").read_text())["measurements"]
    assert [each["accelerator"] for each in kept.values()] == ["L4 24GB"]


def test_what_nothing_is_foretold_of_is_kept_and_said(engine: Engine) -> None:
    said = record(engine, accelerator="Apple M4 Max")
    assert "No time is foretold" in said["summary"]
    assert "foretold_now_ms" not in said


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "nobody/knows"}, NotFound),
        ({"accelerator": "abacus"}, NotFound),
        ({"quantisation": "q4_k_m"}, ArgumentInvalid),
        ({"tpot_ms": -1}, ArgumentInvalid),
        ({"as_of": "yesterday"}, ArgumentInvalid),
    ],
)
def test_what_cannot_be_held_against_an_estimate_is_refused_and_not_written(engine: Engine, changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        record(engine, **changes)
    assert not (engine.workspace.root / "atlas.json").exists()


def test_a_measurement_that_somebody_wrote_wrongly_is_named(engine: Engine) -> None:
    (engine.workspace.root / "atlas.json").write_text(json.dumps({"measurements": {"mine": MEASURED | {"tpot_ms": "fast"}}}))
    with pytest.raises(ConfigInvalid, match=r"measurements\.mine\.tpot_ms"):
        speed(engine)
