"""What ships is sound and says where it comes from; a workspace adds its own, and is told what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.atlas.catalogue import catalogue
from engine.atlas.identity import MOST_KEPT, KeptByIdentity
from engine.base.paths import Workspace
from engine.errors import ConfigInvalid, NotFound

OWN = {
    "name": "Tiny",
    "family": "House",
    "architecture": "dense",
    "parameters_billion": 0.1,
    "layers": 4,
    "hidden_size": 256,
    "attention": {"kind": "gqa", "cached": [{"layers": 4, "kv_heads": 2, "head_dim": 64}]},
    "source": "our own training",
    "confidence": "high",
}


def with_atlas(root: Path, **content: object) -> Workspace:
    (root / "atlas.json").write_text(json.dumps(content))
    return Workspace(root)


def test_every_entry_that_ships_says_where_it_comes_from() -> None:
    atlas = catalogue()
    assert len(atlas.models) >= 150
    assert len(atlas.accelerators) >= 50
    assert all(entry.source for entry in (*atlas.models.values(), *atlas.accelerators.values()))
    assert all(price.source and price.as_of for card in atlas.accelerators.values() for price in card.prices)


def test_layers_that_attend_are_never_more_than_there_are() -> None:
    for name, model in catalogue().models.items():
        if model.layers is not None:
            assert sum(each.layers for each in model.attention.cached) <= model.layers, name


def test_parameters_that_a_token_meets_are_never_more_than_all() -> None:
    for name, model in catalogue().models.items():
        if model.parameters_billion and model.active_parameters_billion:
            assert model.active_parameters_billion <= model.parameters_billion, name


@pytest.mark.parametrize("spelled", ["Qwen/Qwen3-4B", "qwen/qwen3-4b", "Qwen3 4B"])
def test_a_model_is_found_by_its_hub_name_or_its_usual_one_in_any_case(spelled: str) -> None:
    assert catalogue().model(spelled)[0] == "Qwen/Qwen3-4B"


def test_an_accelerator_is_found_by_the_words_that_only_it_has() -> None:
    assert catalogue().accelerator("l4")[0] == "L4 24GB"
    assert catalogue().accelerator("H100 SXM")[0] == "H100 SXM 80GB"


def test_a_name_that_several_hold_is_refused_with_them() -> None:
    with pytest.raises(NotFound) as refused:
        catalogue().accelerator("H100")
    assert refused.value.details["near"] == ["H100 NVL 94GB", "H100 PCIe 80GB", "H100 SXM 80GB"]


def test_a_usual_name_that_two_models_share_is_refused_and_a_hub_name_never(tmp_path: Path) -> None:
    atlas = catalogue(with_atlas(tmp_path, models={"one/tiny": OWN, "two/tiny": OWN}))
    assert atlas.model("two/tiny")[0] == "two/tiny"
    with pytest.raises(NotFound):
        atlas.model("Tiny")


def test_a_card_that_computes_less_than_nothing_is_refused(tmp_path: Path) -> None:
    card = {"vendor": "nvidia", "memory_gib": 24, "bandwidth_gb_s": 300, "tflops": {"bf16": -5.0}, "source": "us", "confidence": "high"}
    with pytest.raises(ConfigInvalid, match="tflops"):
        catalogue(with_atlas(tmp_path, accelerators={"House 1": card}))


def test_a_misspelled_name_is_refused_with_those_that_come_near() -> None:
    with pytest.raises(NotFound) as refused:
        catalogue().model("Qwen/Qwen3-4")
    assert "Qwen/Qwen3-4B" in refused.value.details["near"]
    assert "atlas.json" in refused.value.next_step


def test_an_entry_of_the_workspace_joins_those_that_ship_and_stands_before_one_of_its_name(tmp_path: Path) -> None:
    atlas = catalogue(with_atlas(tmp_path, models={"house/tiny": OWN, "Qwen/Qwen3-4B": OWN}))
    assert len(atlas.models) == len(catalogue().models) + 1
    assert atlas.models["house/tiny"].name == atlas.models["Qwen/Qwen3-4B"].name == "Tiny"


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        ({"layers": 0}, "models.house/tiny.layers", "greater than or equal to 1"),
        ({"colour": "blue"}, "models.house/tiny.colour", "one of: "),
        ({"parameters_billion": "7B"}, "models.house/tiny.parameters_billion", "valid number"),
        ({"attention": {"kind": "gqa", "cached": [{"layers": 4}]}}, "models.house/tiny.attention.cached[0]", "either a latent, or keys and values"),
        ({"source": None}, "models.house/tiny.source", "valid string"),
        ({"layers": 10**30}, "models.house/tiny.layers", "less than or equal to"),
        ({"parameters_billion": 1e300}, "models.house/tiny.parameters_billion", "less than or equal to"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_path_and_what_was_expected(tmp_path: Path, change: dict[str, object], path: str, expected: str) -> None:
    workspace = with_atlas(tmp_path, models={"house/tiny": OWN | change})
    with pytest.raises(ConfigInvalid) as refused:
        catalogue(workspace)
    problem = refused.value.details["problems"][0]
    assert problem["path"] == path
    assert expected in problem["expected"]
    assert "docs/schema/atlas.schema.json" in refused.value.next_step


@pytest.mark.parametrize("text", ['{"models": {}', '{"models": {}, "models": {}}', "[]", '{"schema_version": 2}'])
def test_a_file_that_is_no_atlas_is_refused_as_such(tmp_path: Path, text: str) -> None:
    (tmp_path / "atlas.json").write_text(text)
    with pytest.raises(ConfigInvalid) as refused:
        catalogue(Workspace(tmp_path))
    assert "atlas.json" in refused.value.message


def test_what_is_made_of_the_same_objects_is_made_once_and_of_equal_ones_anew() -> None:
    kept: KeptByIdentity[list[int]] = KeptByIdentity()
    sources = [[number] for number in range(MOST_KEPT + 1)]
    first = kept.made((sources[0],), lambda: [0])
    assert kept.made((sources[0],), lambda: [1]) is first
    assert kept.made(([0],), lambda: [2]) == [2]
    for source in sources[1:]:
        kept.made((source,), lambda: [3])
    assert kept.made((sources[0],), lambda: [4]) == [4], "only the latest are kept"
