"""What proves and what names weights: fingerprints, checkpoints, prepared bases. Without a model."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.paths import Workspace
from engine.config import DirectoryWeights, Inference, ModelProfile, PackageWeights
from engine.errors import ArtifactCorrupt, ConfigInvalid, DependencyMissing, NotFound
from engine.generate.checkpoint import checkpoint_problem
from engine.generate.fingerprint import LIMIT, compare, fingerprint_probe_texts, load_fingerprint
from engine.generate.prepared import find_prepared, kept_files
from engine.generate.types import Fingerprint, FingerprintProbe
from tests.traps import grow, pickle_trap, zip_bomb

numbers = st.floats(min_value=-30, max_value=0)


def fingerprint(*rows: list[float]) -> Fingerprint:
    return Fingerprint(weights="w", probes=tuple(FingerprintProbe(token_ids=tuple(range(len(row) + 1)), logprobs=tuple(row)) for row in rows))


@given(st.lists(st.lists(numbers, min_size=1, max_size=8), min_size=1, max_size=4), st.floats(min_value=-0.09, max_value=0.09))
def test_rounding_is_a_match_and_a_shift_is_not(rows: list[list[float]], noise: float) -> None:
    expected = fingerprint(*rows)
    assert compare(expected, [[value + noise for value in row] for row in rows]).verdict == "match"
    assert compare(expected, [[value - LIMIT * 1.1 for value in row] for row in rows]).verdict == "mismatch"


@pytest.mark.parametrize("measured", [[], [[-1.0]], [[-1.0, -2.0], [-1.0]], [[-1.0, math.nan]], [[-1.0, -math.inf]]])
def test_anything_missing_or_not_finite_is_a_mismatch(measured: list[list[float]]) -> None:
    assert compare(fingerprint([-1.0, -2.0]), measured).verdict == "mismatch"


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.randoms())
def test_probe_texts_do_not_depend_on_the_order_of_rows(texts: list[str], source: object) -> None:
    shuffled = list(texts)
    source.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fingerprint_probe_texts(texts) == fingerprint_probe_texts(shuffled)


def test_a_fingerprint_file_that_does_not_parse_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('{"weights": "w", "probes": []}')
    for name in ("f.json", "gone.json"):
        with pytest.raises(ArtifactCorrupt):
            load_fingerprint(str(tmp_path / name))


def checkpoint(directory: Path, tensors: dict[str, tuple[str, list[int], int]], *, cut: int = 0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    data = len(head).to_bytes(8, "little") + head + b"\1" * end
    (directory / "model.safetensors").write_bytes(data[: len(data) - cut])
    return directory


def test_a_checkpoint_is_taken_only_when_whole_and_of_the_base_s_shape(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", {"a": ("BF16", [2, 2], 8), "b": ("BF16", [1], 2)})
    assert checkpoint_problem(checkpoint(tmp_path / "same", {"b": ("BF16", [1], 2), "a": ("BF16", [2, 2], 8)}), like=base) == ""
    bad = {
        "torn": checkpoint(tmp_path / "torn", {"a": ("BF16", [2, 2], 8), "b": ("BF16", [1], 2)}, cut=1),
        "shape": checkpoint(tmp_path / "shape", {"a": ("BF16", [4], 8), "b": ("BF16", [1], 2)}),
        "dtype": checkpoint(tmp_path / "dtype", {"a": ("F16", [2, 2], 8), "b": ("BF16", [1], 2)}),
        "fewer": checkpoint(tmp_path / "fewer", {"a": ("BF16", [2, 2], 8)}),
        "gone": tmp_path / "gone",
    }
    (tmp_path / "junk").mkdir()
    for content in (b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x08\0\0\0\0\0\0\0" + b'{"a": 1}'):
        (tmp_path / "junk" / "x.safetensors").write_bytes(content)
        assert checkpoint_problem(tmp_path / "junk", like=None)
    assert {name: bool(checkpoint_problem(directory, like=base)) for name, directory in bad.items()} == dict.fromkeys(bad, True)


def profile(weights: PackageWeights | DirectoryWeights) -> ModelProfile:
    return ModelProfile(title="t", license="l", parameters_billion=0.1, weights=weights, inference=Inference(max_model_len=512))


def prepared(workspace: Workspace, source: dict[str, object], name: str = "m") -> Path:
    """A directory as a preparation leaves it."""
    directory = workspace.models / f"{name}-{'d' * 12}"
    checkpoint(directory / "weights", {"a": ("BF16", [1], 2)})
    files = {path.name: path.stat().st_size for path in (directory / "weights").iterdir()}
    manifest = {"source": source, "digest": "d" * 64, "chat_template": "", "fingerprint": False, "files": files, "made_with": {}}
    (directory / "prepared.json").write_text(json.dumps(manifest))
    return directory


def test_a_prepared_base_is_found_only_complete_and_for_its_own_source(tmp_path: Path) -> None:
    from engine.generate.prepared import weights_source

    workspace = Workspace(tmp_path)
    source = checkpoint(tmp_path / "source", {"a": ("BF16", [1], 2)})
    entry = profile(DirectoryWeights(path="source"))
    assert find_prepared(workspace, "m", entry) is None
    directory = prepared(workspace, weights_source(workspace, "m", entry))
    found = find_prepared(workspace, "m", entry)
    assert found is not None
    assert (found.digest, found.directory, found.weights_bytes > 0) == ("d" * 64, str(directory / "weights"), True)
    checkpoint(source, {"a": ("BF16", [2], 4)})
    assert find_prepared(workspace, "m", entry) is None
    directory = prepared(workspace, weights_source(workspace, "m", entry))
    checkpoint(directory / "weights", {"a": ("BF16", [1], 2)}, cut=1)
    assert find_prepared(workspace, "m", entry) is None
    shutil.rmtree(directory / "weights")
    assert find_prepared(workspace, "m", entry) is None


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.pth", "model.safetensors.zip"])
def test_pickled_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_bytes(pickle_trap(tmp_path / "sprung"))
    with pytest.raises(ConfigInvalid, match="safetensors"):
        find_prepared(Workspace(tmp_path), "m", profile(DirectoryWeights(path="source")))
    assert not (tmp_path / "sprung").exists()


def test_of_a_checkpoint_neither_pickles_nor_code_nor_archives_are_taken_over(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", {"a": ("BF16", [2, 2], 8)})
    for name in ("training_args.bin", "scheduler.pt", "rng_state.pth", "modeling_m.py", "tokenizer.pkl"):
        (source / name).write_bytes(pickle_trap(tmp_path / "sprung"))
    (source / "weights.zip").write_bytes(zip_bomb(tmp_path / "sprung"))
    assert [path.name for path in kept_files(source)] == ["model.safetensors"]
    (source / "model.safetensors").write_bytes(pickle_trap(tmp_path / "sprung"))
    assert "model.safetensors is not a safetensors file" in checkpoint_problem(source, like=None)
    grow(source / "model.safetensors")
    assert "model.safetensors is not a safetensors file" in checkpoint_problem(source, like=None)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        (DirectoryWeights(path="nowhere"), NotFound),
        (PackageWeights(package="no_such_package_here", file="x.gguf"), DependencyMissing),
        (PackageWeights(package="json", file="x.gguf"), DependencyMissing),
        (PackageWeights(package="json", file="../../etc/passwd"), ConfigInvalid),
        (PackageWeights(package="os.path", file="x.gguf"), ConfigInvalid),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path: Path, weights: PackageWeights | DirectoryWeights, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_prepared(Workspace(tmp_path), "m", profile(weights))
