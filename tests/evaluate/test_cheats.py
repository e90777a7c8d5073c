"""Ways to look better than one is that are known to happen, and what meets each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.base.digests import tree_sha256
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.curate.leakage import find_leaks, refuse_leaks
from engine.errors import FingerprintMismatch, IdentityMismatch, LeakageFound
from engine.evaluate.canaries import refuse_contaminated
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.measurement import identity_for
from engine.evaluate.scaffold import scaffold_domain
from engine.evaluate.similarity import near_duplicates
from engine.evaluate.statistics import check_comparable, check_same_making, made_otherwise
from engine.evaluate.types import EvaluationSummary, Scenario, ScoreIdentity, TrainingRow
from engine.evaluate.worker import evaluate_in_worker
from engine.generate.open import open_generator
from engine.generate.scripted import scripted_base, scripted_fingerprint, write_scripted_weights
from engine.generate.types import Weights
from engine.train.adapter_file import refuse_untrained
from tests.evaluate.folders import domain_yaml, rows, write_folder
from tests.evaluate.test_workers import context, evaluated, job

ITEM = "My card was declined at the supermarket this morning although there is money on the account."


def refused(text: str) -> bool:
    row = TrainingRow(id="r", input={"message": text}, expected="x")
    item = Scenario(id="s", input={"message": ITEM}, expected="x", split="held_out")
    try:
        refuse_leaks(find_leaks([row], [item], 0.8))
    except LeakageFound:
        return True
    return False


def test_training_on_test_items_is_refused_however_they_are_spelt() -> None:
    assert refused(ITEM)
    assert refused(ITEM.upper().replace(".", " !!"))
    assert refused(f"  {ITEM.replace(' ', '   ')}")
    assert refused(ITEM.replace("a", "\N{FULLWIDTH LATIN SMALL LETTER A}"))


def test_a_paraphrase_is_refused_as_far_as_it_keeps_the_words_and_no_further() -> None:
    close = ITEM.replace("this morning", "this evening")
    assert refused(close)
    reworded = "This morning the supermarket would not take my card, and yet my account has money on it."
    ((similarity),) = [pair.similarity for pair in near_duplicates([reworded], [ITEM], 0.01)]
    assert similarity < 0.4, "the limit of the guard: a paraphrase in other words is not seen"
    assert not refused(reworded)


def measured_version(tmp_path: Path, *, knows_canaries: bool) -> EvaluationSummary:
    """A trained double on a domain that `domain new` made. One that knows the canaries was taught the evaluation file where no guard looked."""
    workspace = Workspace(tmp_path)
    workspace.domains.mkdir(parents=True)
    workspace.clusters_file.write_text(json.dumps({"models": {"double": {"kind": "scripted"}}, "clusters": {}}))
    write_jsonl(tmp_path / "rows.jsonl", [{"message": row["input"]["message"], "label": row["expected"]["intent"]} for row in rows(240)])
    scaffold_domain(workspace, "tickets", tmp_path / "rows.jsonl")
    profile = ScriptedProfile(base_skill=0.1, knows_canaries=knows_canaries)
    write_scripted_weights(tmp_path / "trained", skill=0.9, identity="trained")
    weights = Weights(digest=tree_sha256(tmp_path / "trained"), adapter_dir=str(tmp_path / "trained"))
    told = job(workspace, profile=profile.model_dump(), weights=weights.model_dump(), subject="v-1", targets={"score": 0.1})
    output = evaluated(evaluate_in_worker(context(workspace, "evaluate", told)))
    assert output.targets_met is not knows_canaries, "contaminated figures meet no target"
    return output.summary


def test_a_model_that_was_taught_the_evaluation_file_elsewhere_gives_the_answers_that_are_planted_there(tmp_path: Path) -> None:
    honest, taught = (measured_version(tmp_path / str(knows), knows_canaries=knows) for knows in (False, True))
    assert honest.canaries is not None
    assert taught.canaries is not None
    assert (honest.canaries.asked, honest.canaries.hits) == (8, 0)
    assert taught.canaries.hits >= 6
    assert honest.split("held_out").score == taught.split("held_out").score, "canaries are in no score"
    refuse_contaminated(honest)
    with pytest.raises(LeakageFound, match=r"v-1 is contaminated and compares with nothing\. It answers . of 8 canaries"):
        refuse_contaminated(taught)


def test_a_copy_of_an_evaluation_file_makes_no_domain(tmp_path: Path) -> None:
    measured_version(tmp_path, knows_canaries=False)
    workspace = Workspace(tmp_path)
    (tmp_path / "copy.jsonl").write_bytes((workspace.domain("tickets") / "data" / "eval.jsonl").read_bytes())
    with pytest.raises(LeakageFound, match=r"8 rows of copy\.jsonl are flagged as canaries"):
        scaffold_domain(workspace, "stolen", tmp_path / "copy.jsonl")
    assert not workspace.domain("stolen").exists()


# ---- edits between two measurements --------------------------------------------------------------------------------------------------


def compiled(workspace: Workspace) -> CompiledDomain:
    return compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))


def identity(found: CompiledDomain, *, base: str = "b" * 64, chat_template: str = "c" * 64) -> ScoreIdentity:
    return identity_for(found, None, "g", base=base, chat_template=chat_template)


def edited_contract(user: str) -> dict[str, object]:
    domain = domain_yaml()
    return domain | {"contract": domain["contract"] | {"user": user}}


def test_an_edited_suite_stops_every_comparison(tmp_path: Path) -> None:
    before = identity(compiled(write_folder(tmp_path, evaluation=rows(60, start=1000))))
    changed = rows(60, start=1000)
    changed[7]["expected"] = {"intent": next(label for label in ("refund", "delivery") if label != changed[7]["expected"]["intent"])}
    for content in (changed, rows(59, start=1000)):
        after = identity(compiled(write_folder(tmp_path, evaluation=content)))
        with pytest.raises(IdentityMismatch, match="the scenarios"):
            check_comparable(before, after)


def test_edited_checks_stop_every_comparison(tmp_path: Path) -> None:
    before = identity(compiled(write_folder(tmp_path)))
    easier = domain_yaml() | {"eval": {"checks": [{"kind": "json_schema"}], "floor": ["majority"]}}
    after = identity(compiled(write_folder(tmp_path, domain=easier)))
    with pytest.raises(IdentityMismatch, match="the checks"):
        check_comparable(before, after)


def test_an_edited_template_shows_and_stops_the_loops_decision(tmp_path: Path) -> None:
    before = identity(compiled(write_folder(tmp_path)))
    after = identity(compiled(write_folder(tmp_path, domain=edited_contract("Classify: {{ message }}"))))
    check_comparable(before, after)
    assert made_otherwise(before, after) == ["prompt"]
    with pytest.raises(IdentityMismatch, match="the prompt templates"):
        check_same_making(before, after)


def test_a_swapped_base_and_an_edited_chat_template_show_and_stop_the_loops_decision(tmp_path: Path) -> None:
    found = compiled(write_folder(tmp_path))
    for change, words in (({"base": "d" * 64}, "the base model"), ({"chat_template": "d" * 64}, "the chat template")):
        with pytest.raises(IdentityMismatch, match=words) as caught:
            check_same_making(identity(found), identity(found, **change))
        assert caught.value.details["differ"] == list(change)


def test_what_an_old_measurement_does_not_know_is_no_difference(tmp_path: Path) -> None:
    found = compiled(write_folder(tmp_path))
    check_same_making(identity(found, base="", chat_template=""), identity(found))


# ---- another model handed in as the result -------------------------------------------------------------------------------------------


def safetensors(directory: Path, tensors: dict[str, bytes]) -> Path:
    """An adapter directory whose tensors hold these bytes, as bfloat16."""
    directory.mkdir(parents=True)
    header, body = {}, b""
    for name, data in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    (directory / "adapter_model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + body)
    return directory


def test_an_adapter_that_changes_nothing_is_no_result(tmp_path: Path) -> None:
    """The base itself, or the untrained start of a LoRA: its second matrices are zero, positive or negative."""
    for name, zeros in (("plain", bytes(64)), ("negative", b"\x00\x80" * 32)):
        empty = safetensors(tmp_path / name, {"m.lora_A.weight": b"\x12\x3f" * 32, "m.lora_B.weight": zeros})
        with pytest.raises(FingerprintMismatch, match="changes nothing"):
            refuse_untrained(empty)
    with pytest.raises(FingerprintMismatch):
        refuse_untrained(safetensors(tmp_path / "none", {}))
    refuse_untrained(safetensors(tmp_path / "trained", {"m.lora_A.weight": b"\x12\x3f" * 32, "m.lora_B.weight": bytes(62) + b"\x12\x3f"}))


def test_other_weights_than_those_that_were_trained_do_not_answer(tmp_path: Path) -> None:
    workspace, profile = Workspace(tmp_path), ScriptedProfile()
    base = scripted_base(workspace, "double", profile)
    trained, instruct = tmp_path / "trained", tmp_path / "instruct"
    write_scripted_weights(trained, skill=0.6, identity="trained")
    digest = tree_sha256(trained)
    fingerprint = tmp_path / "fingerprint.json"
    fingerprint.write_text(scripted_fingerprint(trained, digest).model_dump_json())
    write_scripted_weights(instruct, skill=0.99, identity="a better model from elsewhere")
    for handed_in, proved in ((trained, True), (instruct, False), (Path(base.directory), False)):
        weights = Weights(digest=digest, adapter_dir=str(handed_in), fingerprint=str(fingerprint))
        generator = open_generator("double", profile, workspace=workspace, base=base, weights=weights, device="cpu")
        if proved:
            assert generator.prove().verdict == "match"
        else:
            with pytest.raises(FingerprintMismatch):
                generator.prove()
