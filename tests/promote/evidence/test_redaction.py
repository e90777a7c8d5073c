"""The redaction boundary: what an item, a machine or a person said stays in the workspace, whatever it looks like."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.verify_bundle import synthetic_inputs
from engine.evaluate.types import CheckResult, ItemResult, Stability
from engine.iterate.decide import decide
from engine.promote.evidence.bundle import make_bundle
from engine.promote.evidence.redaction import Redaction
from engine.promote.evidence.types import BundleInputs, MeasuredSubject
from engine.promote.evidence.verify import verify_bundle
from tests.promote.evidence.forging import ITEMS, payload_of

KEY = Ed25519PrivateKey.generate()
words = st.text("bcdfghjklmnpqrtvwxz", min_size=12, max_size=20)
"""Such as no file of ours holds by chance."""
SHAPES = (
    "/home/{}/notes.txt",
    "../../{}/etc",
    "C:\\Users\\{}",
    "{}.internal.example.com",
    "https://{}:8080/v1",
    "{}@example.com",
    "please cancel the order of {} and pay her back",
    "<script>{}</script>",
    "{}\n\x1b[31m",
    "\u202e{}",
    "{}" * 5,
)


def everything_in(bundle: Path) -> bytes:
    """Every file; of an envelope, what it holds."""
    files = [path.read_bytes() for path in sorted(bundle.iterdir()) if not path.name.endswith(".dsse.json")]
    payloads = [base64.b64decode(json.loads(path.read_bytes())["payload"]) for path in sorted(bundle.glob("*.dsse.json"))]
    return b"\n".join([*files, *payloads])


def judged_again(inputs: BundleInputs, subjects: tuple[MeasuredSubject, ...], slices: tuple[str, ...]) -> BundleInputs:
    """Inputs whose ledger judged these results."""
    acceptance = inputs.acceptance.model_copy(update={"no_harm": None})
    held_out = {subject.role: [result for result in subject.results if result.split == "held_out"] for subject in subjects}
    decision = decide(
        acceptance, slices=slices, incumbent=held_out["incumbent"], challenger=held_out["challenger"], floor=held_out["floor"],
        seed=inputs.seed, attempt=inputs.attempt, stability=inputs.stability,
    )  # fmt: skip
    return replace(inputs, subjects=subjects, slices=slices, acceptance=acceptance, recorded=decision, guard=None)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words, words, words, words, words, st.sampled_from(SHAPES))
def test_no_text_of_an_item_a_machine_or_a_user_is_in_any_file(
    tmp_path: Path, item: str, source: str, answer: str, host: str, user: str, shape: str
) -> None:
    def spoken(word: str) -> str:
        return shape.format(*[word] * 5)

    def hostile(result: ItemResult) -> ItemResult:
        number = int(result.scenario_id[1:])
        return result.model_copy(
            update={
                "scenario_id": f"{spoken(item)} {number}",
                "source": f"{spoken(source)} {number // 4}",
                "answer": spoken(answer),
                "observations": (f"wrong_label:{spoken(answer)}->{spoken(answer)}",),
                "checks": (CheckResult(name=spoken(answer), value=0.5, observation=spoken(answer)),),
                "breached": (spoken(answer),) if number % 9 == 0 else (),
                "tags": {"channel": f"{spoken(host)} {number // 2 % 2}", spoken(user): spoken(answer), "unguarded": spoken(answer)},
            }
        )

    plain = synthetic_inputs(160)
    subjects = tuple(
        subject._replace(
            name=spoken(host),
            summary=subject.summary.model_copy(
                update={
                    "subject": spoken(host),
                    "identity": subject.summary.identity.model_copy(update={"base": spoken(host)}),
                    "fingerprint": {"verdict": spoken(host)},
                    "stability": Stability(items=9, flipped=1, flipped_items=(spoken(item),)),
                }
            ),
            results=tuple(hostile(result) for result in subject.results),
        )
        for subject in plain.subjects
    )
    inputs = replace(
        judged_again(plain, subjects, ("channel", spoken(user))),
        private_words=(host, user),
        stability=Stability(items=9, flipped=1, flipped_items=(spoken(item),)),
    )
    inputs = judged_again(inputs, subjects, inputs.slices)
    inputs = replace(inputs, lineage=inputs.lineage.model_copy(update={"model": spoken(user), "licence": spoken(host)}), salt=b"\0" * 32)
    bundle = make_bundle(inputs, KEY, tmp_path)
    try:
        found = everything_in(bundle)
        assert verify_bundle(bundle, KEY.public_key()).verified
        assert not [word for word in (item, source, answer, host, user) if word.encode() in found]
    finally:
        shutil.rmtree(bundle)


def hashes_in(bundle: Path) -> set[str]:
    rows = [json.loads(line) for line in (bundle / ITEMS).read_bytes().splitlines()]
    return {row["item"] for row in rows} | {row["source"] for row in rows}


def test_an_item_is_not_found_from_its_hash_and_not_across_bundles(bundle: Path, inputs: BundleInputs, tmp_path: Path) -> None:
    again = make_bundle(replace(inputs, salt=b"another salt"), KEY, tmp_path)
    assert not hashes_in(bundle) & hashes_in(again)
    salt = inputs.salt
    for found in (everything_in(bundle), everything_in(again)):
        assert not [spelling for spelling in (salt, salt.hex().encode(), base64.b64encode(salt)) if spelling in found]


def test_a_row_says_nothing_of_its_item_but_results_slices_and_hashes_in_an_order_that_says_nothing(bundle: Path) -> None:
    rows = [json.loads(line) for line in (bundle / ITEMS).read_bytes().splitlines()]
    assert all(row.keys() == {"item", "suite", "split", "source", "slices", "answers"} for row in rows)
    assert {name for row in rows for answer in row["answers"].values() for name in answer} == {"score", "passed", "valid", "breached"}
    assert rows == sorted(rows, key=lambda row: (row["suite"], row["split"], row["item"]))


def test_tags_stay_for_guarded_slices_alone(inputs: BundleInputs, tmp_path: Path) -> None:
    def tagged(result: ItemResult) -> ItemResult:
        number = int(result.scenario_id[1:])
        return result.model_copy(update={"tags": {"channel": "rare" if number < 30 else "mail", "customer": "C-17", "label": "refund"}})

    subjects = tuple(subject._replace(results=tuple(map(tagged, subject.results))) for subject in inputs.subjects)
    bundle = make_bundle(judged_again(inputs, subjects, ("channel", "label")), KEY, tmp_path)
    slices = [json.loads(line)["slices"] for line in (bundle / ITEMS).read_bytes().splitlines()]
    assert {tuple(sorted(each.items())) for each in slices} == {(("label", "refund"),), (("channel", "mail"), ("label", "refund"))}
    assert {each["slice"] for each in payload_of(bundle)["predicate"]["found"]["slices"]} == {"channel=mail", "label=refund"}


@pytest.mark.parametrize(
    "name",
    ["mail", "card_arrival", "SmolLM2-135M-Instruct", "Apache-2.0", "CC BY-SA 4.0", "floor:tfidf_logistic", "v-0123456789ab", "Größe", "रसीद", "Qwen2.5-7B", "wire (foreign), urgent"],
)
def test_a_name_stays_a_name(name: str) -> None:
    assert Redaction(b"salt", ("build-7", "ada")).label(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "mail ", "I have lost my card", "x" * 49, "a/b", "~ada", "C:\\x", "who?", "one\ntwo", "<b>", "user@host", "db01.corp.example.com", "notes.txt",
        "10.0.0.7", "ada", "Ada's", "queue build-7", "BUILD-7", "\u200bmail", "mail\u202e",
    ],
)  # fmt: skip
def test_a_text_that_is_no_name_or_names_the_machine_is_hashed(text: str) -> None:
    shown = Redaction(b"salt", ("build-7", "ada")).label(text)
    assert shown.startswith("label-")
    assert shown == Redaction(b"salt", ("build-7", "ada")).label(text), "the same everywhere in one bundle"


def test_a_word_that_only_holds_a_private_one_is_none() -> None:
    assert Redaction(b"salt", ("ada",)).label("adapter") == "adapter"


def ids_of(inputs: BundleInputs) -> Iterable[str]:
    return {result.scenario_id for subject in inputs.subjects for result in subject.results}


def test_no_item_is_named_anywhere_not_even_those_that_the_ledger_lists(bundle: Path, inputs: BundleInputs) -> None:
    assert inputs.recorded.regressions
    assert inputs.stability is not None
    assert inputs.stability.flipped_items
    found = everything_in(bundle)
    assert not [name for name in ids_of(inputs) if name.encode() in found]
