"""`search_models`, as its callers see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, NotFound
from tests.atlas.test_catalogue import OWN
from tests.workspaces import make_workspace
from tools.atlas import SEARCH_MODELS
from tools.tool import call


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path))
    yield opened
    opened.close()


def search(engine: Engine, **arguments: Any) -> dict[str, Any]:
    return call(engine, SEARCH_MODELS, {"limit": 20} | arguments)


def names(page: dict[str, Any]) -> list[str]:
    return [line["model"] for line in page["models"]]


def test_filters_leave_those_that_are_all_of_it(engine: Engine) -> None:
    page = search(engine, text="qwen 4b", licence="permissive", architecture="dense", min_parameters_billion=3, max_parameters_billion=5)
    assert names(page) == ["Qwen/Qwen3-4B"]
    assert all("code" in line["tasks"] for line in search(engine, task="code")["models"])
    assert all(line["context_tokens"] >= 200_000 for line in search(engine, min_context_tokens=200_000)["models"])


def test_the_smallest_the_newest_or_the_longest_context_comes_first(engine: Engine) -> None:
    sizes = [line["parameters_billion"] for line in search(engine)["models"]]
    assert sizes == sorted(sizes)
    releases = [line["release"] for line in search(engine, order="release")["models"]]
    assert releases == sorted(releases, reverse=True)


def test_pages_follow_one_another_without_gap_or_repetition(engine: Engine) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = search(engine, text="qwen", limit=7, **({"cursor": cursor} if cursor else {}))
        seen += names(page)
        if (cursor := page.get("next_cursor")) is None:
            break
    assert len(seen) == len(set(seen)) == page["total"]


def test_without_hardware_nothing_is_said_about_speed_and_the_next_call_names_some(engine: Engine) -> None:
    page = search(engine, text="qwen3-4b")
    assert "tokens_per_second" not in page["models"][0]
    assert page["next"][0]["arguments"] == {"compare": ["Qwen/Qwen3-4B"], "accelerator": "L4 24GB"}


def test_on_hardware_each_line_says_what_fits_and_how_fast_it_answers_with_its_interval(engine: Engine) -> None:
    page = search(engine, text="qwen3-4b", accelerator="l4", quantisation="int4")
    line = page["models"][0]
    assert line["sequences"] > 8
    speed = line["tokens_per_second"]
    assert 0 < speed["low"] < speed["value"] < speed["high"]
    assert "1 x L4 24GB in int4" in page["summary"]
    assert line["known_from"] == "new_accelerator"
    assert page["assumptions"][-1].startswith("new_accelerator: foretold: nothing was measured there; of ")


def test_each_line_says_how_near_it_lies_to_what_was_measured(engine: Engine) -> None:
    page = search(engine, text="llama 3", accelerator="H100 SXM", quantisation="fp8", count=4)
    standings = {line["model"]: line.get("known_from") for line in page["models"]}
    assert standings["meta-llama/Llama-3.1-70B-Instruct"] == "measured_setting"
    assert standings["meta-llama/Llama-3.2-1B-Instruct"] == "new_model"
    compared = search(engine, compare=["meta-llama/Llama-3.1-70B-Instruct"], accelerator="H100 SXM", quantisation="fp8", count=4)
    assert any(words.startswith("measured_setting: ") for words in compared["assumptions"])


def test_a_load_that_cannot_run_has_no_speed(engine: Engine) -> None:
    crowded = search(engine, text="Llama-3.1-70B", accelerator="H100 SXM", quantisation="int4", prompt_tokens=30_000, concurrency=256)["models"][0]
    assert 0 < crowded["sequences"] < 256
    assert "tokens_per_second" not in crowded
    long = search(engine, text="phi-3-mini-4k", accelerator="H100 SXM", prompt_tokens=50_000)
    assert "tokens_per_second" not in long["models"][0]
    assert search(engine, text="phi-3-mini-4k", accelerator="H100 SXM", prompt_tokens=50_000, fits=True)["total"] == 0


def test_only_what_fits_is_listed_where_that_is_asked(engine: Engine) -> None:
    everything, fitting = (search(engine, accelerator="RTX 4090", quantisation="int4", fits=fits) for fits in (False, True))
    assert 0 < fitting["total"] < everything["total"]
    assert all(line["sequences"] >= 8 for line in fitting["models"])


def test_models_are_set_side_by_side_with_the_same_figures_and_their_sources(engine: Engine) -> None:
    page = search(engine, compare=["Qwen3 4B", "openai/gpt-oss-20b"])
    assert "models" not in page or page["models"] == []
    first, second = page["compared"]
    assert first.keys() - second.keys() <= {"experts"}
    assert "the last 128 tokens" in second["attention"]
    assert second["experts"] == "4 of 32 in 24 layers"
    assert first["source"]
    assert first["weights_gib_by_quantisation"]["int4"]["value"] < first["weights_gib_by_quantisation"]["bf16"]["value"]


def test_beside_a_model_stand_the_textbook_and_what_training_an_adapter_takes(engine: Engine) -> None:
    sheet = search(engine, compare=["meta-llama/Llama-3.1-8B-Instruct"], accelerator="A100 SXM 80GB")["compared"][0]
    assert sheet["textbook"]["weights_gib"] == pytest.approx(1.2 * 8.03e9 * 2 / 2**30, rel=0.01)
    assert sheet["textbook"]["tpot_ms"] < sheet["tpot_ms"]["low"]
    assert sheet["weights_gib"] < sheet["lora_peak_gib"]["value"] < 2 * sheet["weights_gib"]
    assert sheet["qlora_peak_gib"]["high"] < sheet["lora_peak_gib"]["value"]
    assert sheet["lora_peak_gib"]["low"] < sheet["lora_peak_gib"]["value"] < sheet["lora_peak_gib"]["high"]


def test_a_model_of_the_workspace_is_found_like_any_other(engine: Engine) -> None:
    (engine.workspace.root / "atlas.json").write_text(json.dumps({"models": {"house/tiny": OWN}}))
    assert names(search(engine, text="tiny house")) == ["house/tiny"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"quantisation": "q4_k_m"}, ArgumentInvalid, "is no quantisation of the atlas"),
        ({"fits": True}, ArgumentInvalid, "no accelerator is named"),
        ({"accelerator": "H100"}, NotFound, "3 whose names hold that"),
        ({"compare": ["nobody/knows"]}, NotFound, "has no model"),
        ({"cursor": "next"}, ArgumentInvalid, "is not a cursor"),
        ({"concurrency": 0}, ArgumentInvalid, "concurrency"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(engine: Engine, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        search(engine, **arguments)
    assert refused.value.next_step  # type: ignore[attr-defined]
