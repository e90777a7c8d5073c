"""Exports of a real model, whole and broken: whatever of it is not what was evaluated, the replay finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.verify_bundle import synthetic_inputs
from engine.base.digests import tree_sha256
from engine.errors import ServerFailed
from engine.promote.evidence.bundle import make_bundle
from engine.promote.package.verify import verify_package
from engine.promote.package.worker import Made, complete, made_and_replayed
from engine.promote.types import FormName
from tests.promote.package.tiny_export import TinyVersion, tiny_version

pytestmark = pytest.mark.model

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> TinyVersion:
    return tiny_version(tmp_path_factory.mktemp("tiny"))


def failing(made: Made, form: FormName) -> set[str]:
    return {figure.name for each in made.forms if each.form == form for figure in each.figures if not figure.holds}


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """A file with other text under its name; what else is linked to it stays."""
    text = path.read_text()
    path.unlink()
    changed = change(text)
    assert changed != text
    path.write_text(changed)


# ---- what breaks ------------------------------------------------------------------------------------------------------------------------


def break_template(folder: Path) -> None:
    """The generation prompt is left out: the model is not told that it is its turn."""
    rewrite(folder / "merged/chat_template.jinja", lambda text: text[: text.index("{% if add_generation_prompt %}")] + " ")


def break_tokenizer(folder: Path) -> None:
    """Two letters change places in the vocabulary."""

    def swapped(text: str) -> str:
        tokenizer = json.loads(text)
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["e"], vocabulary["q"] = vocabulary["q"], vocabulary["e"]
        return json.dumps(tokenizer)

    rewrite(folder / "merged/tokenizer.json", swapped)


def break_scaling(folder: Path) -> None:
    """The adapter counts twice."""
    rewrite(folder / "adapter/adapter_config.json", lambda text: json.dumps(json.loads(text) | {"lora_alpha": 16}))


def break_tensor(where: str, name: str) -> Callable[[Path], None]:
    """One matrix of zeros."""

    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        (path,) = (folder / where).glob("*.safetensors")
        tensors = load_file(path)
        key = next(key for key in tensors if name in key)
        tensors[key].zero_()
        path.unlink()
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def test_what_is_what_was_evaluated_agrees_in_every_form(version: TinyVersion, tmp_path: Path) -> None:
    made = version.export(tmp_path / "package", profile=with_int8(version))
    assert [form.form for form in made.forms] == ["adapter", "merged", "int8"]
    assert made.agrees
    merged = next(form for form in made.forms if form.form == "merged")
    assert {figure.name: figure.figure for figure in merged.figures} == {"answers": 1.0, "lost": 0, "score": 0.0, "logprobs": 0.0}
    answers = [row["answer"] for row in map(json.loads, Path(version.job.evaluated.path).read_text().splitlines())]
    assert len(set(answers)) > len(answers) / 3, "a model that says one thing whatever it is asked could hide any fault"


@pytest.mark.parametrize(
    ("spoil", "form"),
    [
        (break_template, "merged"),
        (break_tokenizer, "merged"),
        (break_scaling, "adapter"),
        (break_tensor("adapter", "layers.1.self_attn.v_proj.lora_B"), "adapter"),
        (break_tensor("merged", "layers.0.self_attn.v_proj"), "merged"),
    ],
    ids=["template", "tokenizer", "scaling", "adapter's tensor", "merged tensor"],
)
def test_a_form_with_one_part_broken_is_caught_and_no_other_is(
    version: TinyVersion, tmp_path: Path, spoil: Callable[[Path], None], form: FormName
) -> None:
    made = version.export(tmp_path / "package", spoil, form)
    assert not made.agrees
    assert "answers" in failing(made, form)
    assert all(each.agrees for each in made.forms if each.form != form)
    if spoil in (break_template, break_tokenizer):
        assert "logprobs" not in failing(made, form), "given tokens say nothing of how text becomes tokens; answers do"


def test_a_merge_with_another_scale_is_caught_though_every_file_is_as_it_was_made(version: TinyVersion, tmp_path: Path) -> None:
    """The fault is in how it was made: no hash could tell."""
    from engine.train.weights import merge

    wrong = Path(shutil.copytree(str(version.job.weights.adapter_dir), tmp_path / "adapter"))
    rewrite(wrong / "adapter_config.json", lambda text: json.dumps(json.loads(text) | {"lora_alpha": 12}))
    merge(Path(version.job.base.directory), wrong, tmp_path / "merged")
    weights = version.job.weights.model_copy(update={"merged_dir": str(tmp_path / "merged"), "merged_digest": tree_sha256(tmp_path / "merged")})
    made = replace(version, job=version.job.model_copy(update={"weights": weights})).export(tmp_path / "package")
    assert "answers" in failing(made, "merged")
    assert failing(made, "adapter") == set()


def test_weights_that_were_never_merged_are_merged_for_the_package(version: TinyVersion, tmp_path: Path) -> None:
    weights = version.job.weights.model_copy(update={"merged_dir": None, "merged_digest": None})
    made = replace(version, job=version.job.model_copy(update={"weights": weights})).export(tmp_path / "package")
    assert made.agrees
    assert tree_sha256(tmp_path / "package/merged") == version.job.weights.merged_digest


# ---- the quantised form -----------------------------------------------------------------------------------------------------------------


def with_int8(version: TinyVersion):
    return version.job.profile.model_copy(update={"quantised_export": "int8"})


def test_eight_bits_are_held_as_integers_with_a_scale_a_row(version: TinyVersion, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    version.export(tmp_path / "package", profile=with_int8(version))
    whole, eight = (load_file(tmp_path / "package" / form / "model.safetensors") for form in ("merged", "int8"))
    name = "model.layers.0.self_attn.q_proj"
    assert eight[f"{name}.weight"].dtype == torch.int8
    back = eight[f"{name}.weight"].float() * eight[f"{name}.weight_scale"].float()
    assert (back - whole[f"{name}.weight"].float()).abs().max() <= eight[f"{name}.weight_scale"].float().max() * 0.51
    assert torch.equal(eight["lm_head.weight"], whole["lm_head.weight"])
    assert not [key for key in eight if key.endswith("_scale") and "proj" not in key]


def test_a_quantised_form_that_does_not_agree_or_load_stays_out_and_is_said(version: TinyVersion, tmp_path: Path) -> None:
    made = version.export(tmp_path / "broken", break_tensor("int8", "layers.0.self_attn.v_proj.weight_scale"), "int8", with_int8(version))
    assert made.agrees
    assert [form.form for form in made.forms] == ["adapter", "merged"]
    assert "does not answer as the version does" in made.absent[-1]
    assert not (tmp_path / "broken/int8").exists()

    folder = tmp_path / "refused"
    folder.mkdir()
    opener = version.opener(folder)

    def refuses(form: FormName):
        if form == refused:
            raise ServerFailed("the server failed 3 times: no kernel", next_step="Read its log.")
        return opener(form)

    job = version.job.model_copy(update={"profile": with_int8(version)})
    refused: FormName = "int8"
    made = made_and_replayed(job, folder, version.compiled, refuses, lambda _: None)
    assert made.agrees
    assert "could not be loaded here (the server failed 3 times: no kernel)" in made.absent[-1]
    refused = "merged"
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ServerFailed):  # says something of the machine, nothing of the version
        made_and_replayed(job, folder, version.compiled, refuses, lambda _: None)


# ---- the package ------------------------------------------------------------------------------------------------------------------------


def test_the_package_of_a_real_model_verifies_and_says_how_it_is_served(version: TinyVersion, tmp_path: Path) -> None:
    digest = version.job.weights.digest
    inputs = synthetic_inputs(160, channels=3)
    inputs = replace(inputs, version=version.job.version, lineage=inputs.lineage.model_copy(update={"adapter": digest}))
    job = version.job.model_copy(update={"evidence": str(make_bundle(inputs, KEY, tmp_path))})
    folder = tmp_path / "package"
    made = replace(version, job=job).export(folder)
    complete(job, folder, made, KEY)
    found = verify_package(folder, KEY.public_key())
    assert found.verified, found.problems
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "adapter", "merged", "serve.sh", "compose.yaml", "evidence", "model.sig", "model.sig.pub", "manifest.dsse.json",
    }  # fmt: skip
    assert "--model ./merged" in (folder / "serve.sh").read_text()
    assert "A quantised form: the profile asks for none." in (folder / "README.md").read_text()
