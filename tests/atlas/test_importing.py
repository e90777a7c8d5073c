"""A model's own files as an entry of the atlas."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.atlas.catalogue import catalogue
from engine.atlas.importing import entry_from
from engine.engine import Engine
from engine.errors import ArgumentInvalid, DuplicateId, NotFound, PathRefused, TooLarge
from tests.workspaces import make_workspace
from tools.atlas import IMPORT_MODEL, SEARCH_MODELS
from tools.tool import call

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}
LATENT = LLAMA | {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "n_routed_experts": 256, "num_experts_per_tok": 8,
                  "moe_intermediate_size": 2048, "first_k_dense_replace": 3, "n_shared_experts": 1}  # fmt: skip
LINEAR = LLAMA | {"num_hidden_layers": 4, "layer_types": ["linear_attention"] * 3 + ["full_attention"], "linear_num_value_heads": 48,
                  "linear_key_head_dim": 128, "linear_value_head_dim": 128}  # fmt: skip
WINDOWED = LLAMA | {"sliding_window": 512, "sliding_window_pattern": 4}


def entry(config: dict[str, Any], **more: Any) -> Any:
    return entry_from(config, name="acme/desk", **({"total": None, "card": {}, "source": "here"} | more))


@pytest.mark.parametrize(
    ("config", "kept", "kind"),
    [
        (LLAMA, [(65536, None)], "gqa"),
        ({"text_config": LLAMA, "vision_config": {}}, [(65536, None)], "gqa"),
        (LLAMA | {"num_key_value_heads": None, "multi_query": True}, [(32 * 2 * 128, None)], "mqa"),
        (LLAMA | {"num_key_value_heads": 32}, [(32 * 2 * 32 * 128, None)], "mha"),
        (LATENT, [(61 * 576, None)], "mla"),
        (WINDOWED, [(8 * 2048, None), (24 * 2048, 512)], "gqa"),
        (LLAMA | {"sliding_window": 4096, "use_sliding_window": False}, [(65536, None)], "gqa"),
        (LLAMA | {"sliding_window": 1024, "model_type": "gemma3_text"}, [], "unknown"),
        (LLAMA | {"sliding_window": 4096, "model_type": "mistral"}, [(65536, 4096)], "gqa"),
        (LLAMA | {"sliding_window": 4096, "model_type": "mistral", "max_window_layers": 20}, [], "unknown"),
        (LLAMA | {"multi_query": True}, [(65536, None)], "gqa"),
        (LATENT | {"linear_attn_config": {"kda_layers": [1]}}, [], "unknown"),
        (LLAMA | {"full_attention_interval": 4}, [], "unknown"),
        (LINEAR, [(2048, None)], "hybrid"),
        (LLAMA | {"mamba_d_state": 128}, [], "unknown"),
        (LLAMA | {"layer_types": ["full_attention", "something_new"] * 16}, [], "unknown"),
    ],
)
def test_what_is_kept_of_a_context_follows_from_the_kind_of_each_layer(config: dict[str, Any], kept: list[tuple[int, int | None]], kind: str) -> None:
    attention = entry(config).attention
    assert [(each.elements_per_token, each.window) for each in attention.cached] == kept
    assert attention.kind == kind


def test_experts_a_state_and_the_rest_are_read_as_they_stand() -> None:
    latent = entry(LATENT)
    assert (latent.architecture, latent.experts.experts, latent.experts.moe_layers, latent.experts.shared_size) == ("moe", 256, 58, 2048)
    assert entry(LINEAR).attention.state_elements == 3 * 48 * 128 * 128
    assert entry({"text_config": LLAMA, "vision_config": {}}).vision


def test_parameters_are_counted_or_else_computed_and_said_to_be() -> None:
    computed, counted = entry(LLAMA), entry(LLAMA, total=8_030_261_248)
    assert computed.parameters_billion == pytest.approx(8.03, rel=0.001)
    assert "computed" in computed.sources["parameters_billion"]
    assert (counted.parameters_billion, counted.confidence, counted.sources) == (8.0303, "high", {})


def test_the_dimensions_of_a_model_that_ships_come_out_as_they_ship() -> None:
    known, read = catalogue().models["meta-llama/Llama-3.1-8B-Instruct"], entry(LLAMA)
    for field in ("layers", "hidden_size", "attention_heads", "intermediate_size", "vocabulary", "tied_embeddings", "attention", "context_tokens"):
        assert getattr(read, field) == getattr(known, field), field


# ---- through the tool ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path / "workspace"))
    yield opened
    opened.close()


def put_model(engine: Engine, config: Any = LLAMA, card: str = "", tensors: dict[str, list[int]] | None = None) -> Path:
    folder = engine.workspace.root / "models" / "desk"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (folder / "README.md").write_text(card)
    if tensors is not None:
        head = json.dumps({"__metadata__": {}, **{name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()}})
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head.encode())
    return folder


def imported(engine: Engine, path: str = "models/desk", name: str = "acme/desk") -> dict[str, Any]:
    return call(engine, IMPORT_MODEL, {"name": name, "path": path})


def test_an_imported_model_is_found_compared_and_kept_with_what_its_card_says(engine: Engine) -> None:
    put_model(engine, card="---\nlicense: mit\nlanguage: [en, de]\n---\n# Desk\n", tensors={"a": [1000, 2000], "b": [500_000_000]})
    sheet = imported(engine)["imported"]
    assert (sheet["parameters_billion"], sheet["licence"], sheet["languages"]) == (0.502, "mit", ["en", "de"])
    found = call(engine, SEARCH_MODELS, {"language": "de", "licence": "permissive", "accelerator": "L4"})
    assert [line["model"] for line in found["models"]] == ["acme/desk"]
    assert found["models"][0]["sequences"] > 0


def test_importing_again_changes_nothing_and_another_model_of_that_name_is_refused(engine: Engine) -> None:
    folder = put_model(engine)
    imported(engine, "models/desk/config.json")
    written = engine.workspace.atlas_file.read_bytes()
    imported(engine)
    assert engine.workspace.atlas_file.read_bytes() == written
    (folder / "config.json").write_text(json.dumps(LLAMA | {"num_hidden_layers": 16}))
    with pytest.raises(DuplicateId):
        imported(engine)


def test_what_somebody_wrote_into_the_file_stays_as_it_was(engine: Engine) -> None:
    put_model(engine)
    engine.workspace.atlas_file.write_text('{ "accelerators": {} ,\n\n  "schema_version":   1 }\n')
    imported(engine)
    text = engine.workspace.atlas_file.read_text()
    assert '"accelerators": {} ,\n\n  "schema_version":   1 }\n' in text
    assert list(json.loads(text)["models"]) == ["acme/desk"]


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ("{", ArgumentInvalid, "config.json"),
        ("[]", ArgumentInvalid, "no JSON object"),
        ({"model_type": "resnet"}, ArgumentInvalid, "no num_hidden_layers"),
        (LLAMA | {"num_hidden_layers": -3}, ArgumentInvalid, "no num_hidden_layers"),
    ],
)
def test_a_file_of_no_language_model_is_refused_and_nothing_is_written(engine: Engine, config: Any, error: type[Exception], words: str) -> None:
    put_model(engine, config)
    with pytest.raises(error, match=words):
        imported(engine)
    assert not engine.workspace.atlas_file.exists()


def test_nothing_is_read_outside_of_the_workspace(engine: Engine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text(json.dumps(LLAMA))
    (engine.workspace.root / "link").symlink_to(outside)
    for path in ("../outside", str(outside), "link"):
        with pytest.raises(PathRefused):
            imported(engine, path)
    with pytest.raises(NotFound):
        imported(engine, "models/absent")


def test_a_second_copy_of_the_weights_is_not_counted_and_a_missing_part_is_said(engine: Engine) -> None:
    folder = put_model(engine, tensors={"a": [1000, 1000]})
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert imported(engine, name="acme/once")["imported"]["parameters_billion"] == 0.001
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))
    sheet = imported(engine, name="acme/part")["imported"]
    assert "computed" in sheet["sources"]["parameters_billion"]


@pytest.mark.parametrize(
    ("config", "card"),
    [
        (LLAMA, "---\nlanguage:\n---\n"),
        (LLAMA, "---\nlanguage: [no, en]\nlicense: 7\n---\n"),
        (LATENT | {"mlp_only_layers": 5}, ""),
        (LLAMA | {"vocab_size": 10**400}, ""),
        (LLAMA | {"quantization_config": "by hand"}, ""),
    ],
)
def test_odd_fields_say_nothing_and_stop_nothing(engine: Engine, config: dict[str, Any], card: str) -> None:
    put_model(engine, config, card)
    sheet = imported(engine)["imported"]
    assert sheet["layers"]
    assert "False" not in sheet.get("languages", [])


def test_heads_of_files_that_are_none_are_passed_over(engine: Engine) -> None:
    folder = put_model(engine)
    (folder / "m.safetensors").mkdir()
    deep = b"[" * 200_000
    (folder / "n.safetensors").write_bytes(struct.pack("<Q", len(deep)) + deep)
    assert imported(engine)["imported"]["parameters_billion"] == pytest.approx(8.03, rel=0.001)


def test_line_ends_and_links_stay_as_they_were(engine: Engine, tmp_path: Path) -> None:
    put_model(engine)
    real = engine.workspace.root / "shared-atlas.json"
    real.write_bytes(b'{"accelerators": {},\r\n "schema_version": 1}\r\n')
    engine.workspace.atlas_file.symlink_to(real.name)
    imported(engine)
    assert engine.workspace.atlas_file.is_symlink()
    assert b'"accelerators": {},\r\n "schema_version": 1}\r\n' in real.read_bytes()


def test_an_entry_that_would_make_the_file_too_large_is_refused_and_the_file_stays(engine: Engine) -> None:
    put_model(engine)
    engine.workspace.atlas_file.write_text('{"schema_version": 1' + " " * ((4 << 20) - 22) + "}")
    before = engine.workspace.atlas_file.read_bytes()
    with pytest.raises(TooLarge):
        imported(engine)
    assert engine.workspace.atlas_file.read_bytes() == before


def test_broken_weights_and_a_broken_card_say_nothing_and_stop_nothing(engine: Engine) -> None:
    folder = put_model(engine, card="---\n: [\n---\n")
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    sheet = imported(engine)["imported"]
    assert sheet["parameters_billion"] == pytest.approx(8.03, rel=0.001)
    assert "licence" not in sheet
