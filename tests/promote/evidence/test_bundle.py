"""A bundle: whoever holds it and the public key finds its verdict again, and no byte of it can change unseen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.verify_bundle import synthetic_inputs
from engine.config import ClustersFile, HourlyPrice
from engine.errors import EvidenceRefused, PathRefused, StateConflict, VerdictDiffers
from engine.evaluate.types import Canaries
from engine.iterate.clauses import canaries_clause
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.roster import PersonAdded, PersonRevoked
from engine.promote.approvals.verify import verify_approval
from engine.promote.evidence import bundle as bundles
from engine.promote.evidence.bundle import APPROVALS, FILES, MANIFEST, PAGE, STATEMENT, VERIFIER, issue_again, make_bundle, read_bundle
from engine.promote.evidence.gathering import ceilings_of
from engine.promote.evidence.standalone import verify_bundle as standalone
from engine.promote.evidence.types import ApprovedRequest, BundleInputs, MeasuredSubject
from engine.promote.evidence.verify import against, verify_bundle
from tests.promote.evidence.forging import ITEMS, approved, asked, forged, payload_of
from tests.promote.keys import FileKey, after, founded_by, person, signature_over


def test_a_bundle_verifies_and_says_what_it_found_and_what_it_took_as_signed(bundle: Path, key: Ed25519PrivateKey, inputs: BundleInputs) -> None:
    found = verify_bundle(bundle, key.public_key())
    assert found.verified
    assert (found.verdict, found.version, found.adapter) == ("accept", inputs.version, inputs.lineage.adapter)
    assert any("follow from the 260 items" in sentence for sentence in found.held)
    assert any("latency" in sentence for sentence in found.unchecked)
    assert any("no approval" in sentence for sentence in found.unchecked)


def test_the_statement_is_in_toto_about_the_adapter_and_says_what_the_ledger_says(bundle: Path, inputs: BundleInputs) -> None:
    statement = payload_of(bundle)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == ["adapter", ITEMS]
    predicate = statement["predicate"]
    recorded = inputs.recorded
    assert predicate["found"]["decision"]["clauses"] == [clause.model_dump(mode="json") for clause in recorded.clauses]
    assert predicate["found"]["decision"]["against_floor"] == (recorded.against_floor and recorded.against_floor.model_dump(mode="json"))
    assert {subject["role"] for subject in predicate["subjects"]} == {"base", "floor", "ceiling", "incumbent", "challenger"}
    assert [moved["role"] for moved in predicate["found"]["movement"]] == ["base", "floor", "ceiling", "incumbent"]
    assert [each["split"] for each in predicate["found"]["regressions"]] == ["held_out", "core"]
    assert len(predicate["found"]["slices"]) == 3


def test_what_the_measurement_took_is_said_and_money_only_where_somebody_gave_a_price(
    inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    challenger = inputs.subject("challenger")
    assert challenger is not None
    made, tokens = challenger.summary.generated, challenger.summary.completion_tokens
    price = HourlyPrice(amount=3.6, currency="EUR", as_of="2026-11-01")
    for hourly, cost in ((None, None), (price, pytest.approx(60 / made * 0.001))):
        priced = replace(inputs, operations=inputs.operations.model_copy(update={"hourly_price": hourly, "in_flight": 32}))
        bundle = make_bundle(priced, key, tmp_path)
        predicate = payload_of(bundle)["predicate"]
        subjects = {subject["role"]: subject for subject in predicate["subjects"]}
        assert subjects["challenger"]["answers_per_second"] == pytest.approx(made / 60)
        assert subjects["challenger"]["tokens_per_second"] == pytest.approx(tokens / 60)
        assert subjects["floor"]["answers_per_second"] is None
        assert predicate["operations"]["machine_seconds_per_decision"] == pytest.approx(60 / made)
        assert predicate["operations"]["cost_per_decision"] == cost
        assert any("No price given" in sentence for sentence in predicate["absent"]) == (hourly is None)
        page = " ".join((bundle / PAGE).read_text().split())
        assert "with 32 requests in flight" in page
        said = "0.0003 EUR, at 3.6 EUR an hour, the price given for 2026-11-01." if hourly else "A decision of this version takes 0.3 seconds of the machine; no price given."
        assert said in page
        assert verify_bundle(bundle, key.public_key()).verified


def test_what_the_cache_answered_is_no_capacity(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    challenger = inputs.subject("challenger")
    assert challenger is not None
    mostly_cached = challenger._replace(summary=challenger.summary.model_copy(update={"generated": 100, "cached": 100}))
    subjects = tuple(mostly_cached if subject.role == "challenger" else subject for subject in inputs.subjects)
    predicate = payload_of(make_bundle(replace(inputs, subjects=subjects), key, tmp_path))["predicate"]
    assert next(each for each in predicate["subjects"] if each["role"] == "challenger")["answers_per_second"] is None
    assert predicate["operations"]["machine_seconds_per_decision"] is None
    assert "Capacity and cost per decision were not measured: answers came from the cache." in predicate["absent"]


def test_the_ceiling_is_looked_for_among_teachers_endpoints_and_larger_models() -> None:
    def managed(billions: float) -> dict[str, Any]:
        weights = {"kind": "directory", "path": "weights"}
        return {"title": "m", "license": "MIT", "parameters_billion": billions, "weights": weights, "inference": {"max_model_len": 512}} | {"kind": "managed"}

    models = {
        "small": managed(0.1), "same": managed(0.1), "large": managed(8.0), "sage": {"kind": "scripted"}, "double": {"kind": "scripted"},
        "cloud": {"kind": "endpoint", "title": "c", "base_url": "https://example.com/v1", "model": "c"},
    }  # fmt: skip
    file = ClustersFile.model_validate({"models": models, "clusters": {name: {"domain": "tickets", "model": name} for name in models}})
    assert ceilings_of(file, {"sage"}, file.models["small"]) == {"large", "sage", "cloud"}
    assert ceilings_of(file, (), file.models["double"]) == {"cloud"}, "of the double nobody knows the size"


# ---- altered ---------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*FILES, MANIFEST]), st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_anywhere_in_any_file_is_refused_by_both_verifiers(
    copied: Callable[[], Path], key: Ed25519PrivateKey, public_key_file: Path, name: str, position: int, flip: int
) -> None:
    folder = copied()
    content = bytearray((folder / name).read_bytes())
    content[position % len(content)] ^= flip
    (folder / name).write_bytes(bytes(content))
    try:
        with pytest.raises(EvidenceRefused):
            verify_bundle(folder, key.public_key())
        assert standalone.main([str(folder), str(public_key_file)]) == 2
    finally:
        shutil.rmtree(folder)


def _remove(folder: Path) -> None:
    (folder / PAGE).unlink()


def _add(folder: Path) -> None:
    (folder / "README.md").write_text("approved, really")


def _lengthen(folder: Path) -> None:
    (folder / ITEMS).write_bytes((folder / ITEMS).read_bytes() + b"\n")


def _shorten(folder: Path) -> None:
    (folder / ITEMS).write_bytes((folder / ITEMS).read_bytes()[:-1])


def _empty(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


def _link(folder: Path) -> None:
    (folder / PAGE).rename(folder.parent / f"{folder.name}.page")
    (folder / PAGE).symlink_to(folder.parent / f"{folder.name}.page")


def _pipe(folder: Path) -> None:
    (folder / PAGE).unlink()
    os.mkfifo(folder / PAGE)


def _folder(folder: Path) -> None:
    (folder / APPROVALS).unlink()
    (folder / APPROVALS).mkdir()


def _swap(folder: Path) -> None:
    """Both are signed by the key; they are not what they are called."""
    (folder / MANIFEST).write_bytes((folder / STATEMENT).read_bytes())


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("spoil", [_remove, _add, _lengthen, _shorten, _empty, _link, _pipe, _folder, _swap, _gone])
def test_a_bundle_that_is_not_whole_or_not_plain_files_is_refused(
    copied: Callable[[], Path], key: Ed25519PrivateKey, public_key_file: Path, spoil: Callable[[Path], None]
) -> None:
    folder = copied()
    spoil(folder)
    with pytest.raises(EvidenceRefused) as refused:
        verify_bundle(folder, key.public_key())
    assert refused.value.next_step
    assert standalone.main([str(folder), str(public_key_file)]) == 2


def test_a_bundle_that_another_key_signed_is_refused_against_the_named_one(bundle: Path, key: Ed25519PrivateKey, public_key_file: Path, tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate()
    again = forged(bundle, tmp_path / "again", other)
    assert verify_bundle(again, other.public_key()).verified
    with pytest.raises(EvidenceRefused, match="the named key is"):
        verify_bundle(again, key.public_key())
    assert standalone.main([str(again), str(public_key_file)]) == 2


def test_parts_of_two_bundles_of_one_key_do_not_make_a_third(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, copied: Callable[[], Path]) -> None:
    other = make_bundle(synthetic_inputs(200, channels=3, seed=18), key, tmp_path)
    for name in (STATEMENT, ITEMS, MANIFEST):
        folder = copied()
        shutil.copy(other / name, folder / name)
        with pytest.raises(EvidenceRefused):
            verify_bundle(folder, key.public_key())


# ---- altered and signed again ------------------------------------------------------------------------------------------------------------


def at(*path: Any) -> Callable[[Any, Any], None]:
    """Puts a value at a place in the predicate."""

    def put(predicate: Any, value: Any) -> None:
        for step in path[:-1]:
            predicate = predicate[step]
        predicate[path[-1]] = value(predicate[path[-1]]) if callable(value) else value

    return put


LIES: list[tuple[str, Callable[[Any, Any], None], Any]] = [
    ("the verdict", at("found", "decision", "verdict"), "roll_back"),
    ("a condition", at("found", "decision", "clauses", 3, "passed"), False),
    ("a condition's sentence", at("found", "decision", "clauses", 1, "sentence"), "Much better."),
    ("a condition left out", at("found", "decision", "clauses"), lambda clauses: clauses[:-1]),
    ("the mean", at("found", "decision", "against_incumbent", "after", "mean"), 0.99),
    ("an end of an interval", at("found", "decision", "against_incumbent", "difference", "low"), 0.4),
    ("a p-value", at("found", "decision", "against_incumbent", "p_value"), 1e-9),
    ("the number of items", at("found", "decision", "against_floor", "difference", "n"), 9999),
    ("a split's score", at("found", "measured", 4, "splits", 1, "score", "mean"), 0.99),
    ("a slice", at("found", "slices", 0, "after"), 1.0),
    ("a slice left out", at("found", "slices"), lambda slices: slices[1:]),
    ("lost items", at("found", "regressions", 1, "lost"), 0),
    ("the comparison with the ceiling", at("found", "movement", 2, "comparison", "difference", "mean"), 0.5),
    ("a subject left out", at("found", "measured"), lambda measured: measured[1:]),
    ("the seed", at("rules", "seed"), 18),
    ("the attempt", at("rules", "attempt"), 1),
    ("the version's name", at("version"), "v-000000000000"),
]


@pytest.mark.parametrize(("what", "put", "value"), LIES, ids=[lie[0] for lie in LIES])
def test_a_lie_that_the_right_key_signed_does_not_follow_from_the_items(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, what: str, put: Callable[[Any, Any], None], value: Any
) -> None:
    lie = forged(bundle, tmp_path / "lie", key, state=lambda predicate: put(predicate, value))
    found = verify_bundle(lie, key.public_key())
    assert not found.verified
    assert found.differences
    assert not any("follow" in sentence for sentence in found.held)


def _flip(rows: list[Any]) -> None:
    row = next(row for row in rows if row["split"] == "held_out" and not row["answers"]["challenger"]["passed"])
    row["answers"]["challenger"] |= {"score": 1.0, "passed": True}


def _drop(rows: list[Any]) -> None:
    rows.remove(next(row for row in rows if row["split"] == "held_out" and not row["answers"]["challenger"]["passed"]))


def _lose(rows: list[Any]) -> None:
    next(row for row in rows if row["split"] == "held_out")["answers"]["challenger"] = None


def _forget(rows: list[Any]) -> None:
    del next(row for row in rows if row["split"] == "held_out")["answers"]["incumbent"]


def _repeat(rows: list[Any]) -> None:
    rows.append(dict(next(row for row in rows if row["split"] == "held_out" and row["answers"]["challenger"]["passed"])))


def _unsource(rows: list[Any]) -> None:
    for row in rows:
        row["source"] = ""


@pytest.mark.parametrize("change", [_flip, _drop, _lose, _forget, _repeat, _unsource])
def test_items_that_were_changed_and_signed_again_do_not_give_the_verdict(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, change: Callable[[list[Any]], None]
) -> None:
    assert not verify_bundle(forged(bundle, tmp_path / "lie", key, items=change), key.public_key()).verified


def test_a_page_that_shows_something_else_is_refused_even_when_it_is_signed(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    page = (bundle / PAGE).read_bytes().replace(b"0.", b"1.", 1)
    with pytest.raises(EvidenceRefused, match=r"page\.html does not show"):
        verify_bundle(forged(bundle, tmp_path / "lie", key, files={PAGE: page}), key.public_key())


def test_a_page_drawn_by_other_code_is_said_to_prove_nothing(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    other = forged(bundle, tmp_path / "other", key, state=lambda predicate: at("made_with", "page")(predicate, "0" * 64), files={PAGE: b"<p>fine</p>"})
    found = verify_bundle(other, key.public_key())
    assert found.verified
    assert any("was not compared" in sentence for sentence in found.unchecked)


@pytest.mark.parametrize(
    "state",
    [
        lambda predicate: predicate.pop("found"),
        lambda predicate: predicate["lineage"].pop("adapter"),
        lambda predicate: predicate.update(surplus=1),
        lambda predicate: predicate.update(rules=None),
    ],
)
def test_a_signed_statement_that_is_none_is_refused(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, state: Callable[[Any], Any]) -> None:
    from engine.base.digests import canonical_json
    from engine.promote.evidence.dsse import sign

    statement = payload_of(bundle)
    state(statement["predicate"])
    with pytest.raises(EvidenceRefused):
        verify_bundle(forged(bundle, tmp_path / "odd", key, files={STATEMENT: sign(canonical_json(statement), key)}), key.public_key())


@pytest.mark.parametrize("line", [b"{}", b"[]", b"nonsense", b'{"item":"x"}', b"\xff"])
def test_signed_items_that_are_none_are_refused(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, line: bytes) -> None:
    odd = forged(bundle, tmp_path / "odd", key)
    files = {name: (odd / name).read_bytes() for name in FILES} | {ITEMS: line + b"\n"}
    shutil.rmtree(odd)
    with pytest.raises(EvidenceRefused):
        verify_bundle(forged(bundle, odd, key, files=files), key.public_key())


# ---- canaries --------------------------------------------------------------------------------------------------------------------------


def with_canaries(inputs: BundleInputs, found: Canaries | None, planted: int = 8) -> BundleInputs:
    """As if the domain had canaries, and the loop had judged by what the challenger makes of them."""
    subjects = tuple(
        each._replace(summary=each.summary.model_copy(update={"canaries": found})) if each.role == "challenger" else each for each in inputs.subjects
    )
    *before, guard = inputs.recorded.clauses
    clauses = (*before, canaries_clause(planted, found), guard)
    return replace(inputs, subjects=subjects, planted=planted, recorded=inputs.recorded.model_copy(update={"clauses": clauses}))


def test_a_verdict_that_rests_on_canaries_is_found_again_from_their_counts(
    inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    few = Canaries(asked=8, hits=1, controls=100, control_hits=6, chance=0.4)
    bundle = make_bundle(with_canaries(inputs, few), key, tmp_path)
    assert verify_bundle(bundle, key.public_key()).verified
    assert [clause["name"] for clause in payload_of(bundle)["predicate"]["found"]["decision"]["clauses"]][-2:] == ["canaries", "no_harm"]
    assert "nothing taught from the evaluation file" in (bundle / PAGE).read_text()
    for number, change in enumerate(({"hits": 8, "chance": 1e-9}, {"asked": 7})):
        lie = forged(bundle, tmp_path / f"lie-{number}", key, state=lambda predicate, change=change: predicate["rules"]["canaries"].update(change))
        assert not verify_bundle(lie, key.public_key()).verified
    with pytest.raises(VerdictDiffers):
        make_bundle(with_canaries(inputs, few.model_copy(update={"hits": 8, "chance": 1e-9})), key, tmp_path)


# ---- approvals -------------------------------------------------------------------------------------------------------------------------


def test_a_bundle_issued_again_with_approvals_is_the_same_evidence(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, approvals: tuple[ApprovedRequest, ...]
) -> None:
    again = issue_again(bundle, approvals, key, tmp_path)
    assert read_bundle(again, key.public_key()).evidence == read_bundle(bundle, key.public_key()).evidence
    for name in (STATEMENT, ITEMS, VERIFIER):
        assert (again / name).read_bytes() == (bundle / name).read_bytes()
    assert json.loads((again / APPROVALS).read_bytes())[0]["approvals"][0]["signature"].startswith("-----BEGIN SSH SIGNATURE")
    assert "Ada" in (again / PAGE).read_text()
    found = verify_bundle(again, key.public_key())
    assert found.verified
    assert "The 1 approvals in the bundle were not checked." in found.unchecked
    assert any("promote-1121-a1b2c3d4" in sentence for sentence in found.unchecked), "it was given for other evidence"


def test_approvals_are_checked_by_the_function_that_is_given_for_it(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, approvals: tuple[ApprovedRequest, ...]
) -> None:
    again = issue_again(bundle, approvals, key, tmp_path)
    seen: list[ApprovedRequest] = []
    found = verify_bundle(again, key.public_key(), seen.append)
    assert found.verified
    assert tuple(seen) == approvals
    assert any("1 approvals verify" in sentence for sentence in found.held)

    def refuse(_: ApprovedRequest) -> None:
        raise StateConflict("this key is nobody's")

    refused = verify_bundle(again, key.public_key(), refuse)
    assert not refused.verified
    assert refused.differences[0].found == "this key is nobody's"


@pytest.mark.parametrize(
    "approvals",
    [
        (ApprovedRequest(request=asked(adapter="f" * 64), approvals=()),),
        (ApprovedRequest(request=asked(cluster="other"), approvals=()),),
        (ApprovedRequest(request=asked(), approvals=(approved(request="promote-1121-00000000"),)),),
    ],
)
def test_approvals_of_something_else_are_told_apart(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, approvals: tuple[ApprovedRequest, ...]
) -> None:
    assert not verify_bundle(issue_again(bundle, approvals, key, tmp_path), key.public_key()).verified


def signed_by(ada: FileKey, approvers: Approvers, **changes: Any) -> ApprovedRequest:
    """A request about the bundle, approved by Ada with a key file."""
    request = asked(**{"level": "ssh", "approvers_head": approvers.head} | changes)
    return ApprovedRequest(request=request, approvals=(verify_approval(request, signature_over(request, ada), approvers, request.created_at),))


def test_an_approval_is_believed_for_its_signature_by_the_list_as_it_stood_and_for_nothing_else(
    bundle: Path, key: Ed25519PrivateKey, tmp_path: Path, ada: FileKey, bob: FileKey
) -> None:
    approvers = after(founded_by("ada", ada), PersonAdded(person=person("bob", bob)), ada)
    evidence = read_bundle(bundle, key.public_key()).evidence
    sound = signed_by(ada, approvers, evidence=evidence)
    (approval,) = sound.approvals

    def refusals(given: ApprovedRequest, by: Approvers = approvers) -> list[str]:
        """What is found, in a bundle that must be approved for production."""
        folder = issue_again(bundle, (given,), key, tmp_path)
        found = verify_bundle(folder, key.public_key(), against(by), "production-accepted")
        assert found.verified == (not found.differences)
        assert ("canary to production-accepted was approved by ada (ssh)." in found.held) == found.verified
        return [each.found for each in found.differences]

    assert refusals(sound) == []
    assert refusals(sound, after(approvers, PersonRevoked(name="ada"), bob)) == [], "she was in the list when it was asked"
    for flawed, said in (
        (sound.model_copy(update={"approvals": (approval.model_copy(update={"level": "webauthn"}),)}), "is not what its signature is worth"),
        (sound.model_copy(update={"request": sound.request.model_copy(update={"nonce": "0" * 32})}), "over something else"),
        (sound.model_copy(update={"approvals": ()}), "has 0 of 1 approvals"),
        (signed_by(ada, approvers, evidence=evidence, approvals=2), "has 1 of 2 approvals"),
        (signed_by(ada, approvers, evidence=evidence, proposed_by="Ada"), "whoever asks does not approve"),
        (signed_by(ada, approvers, evidence=evidence, target="canary"), "no request for it"),
        (signed_by(ada, approvers), "no request for it that names this evidence"),
    ):
        (found,) = refusals(flawed)
        assert said in found
    (found,) = refusals(sound, founded_by("ada", bob))
    assert "it was cut, or it is another list" in found


# ---- making ----------------------------------------------------------------------------------------------------------------------------


def test_results_that_do_not_give_the_recorded_verdict_make_no_bundle(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    rolled_back = inputs.recorded.model_copy(update={"verdict": "roll_back"})
    without_guard = inputs.recorded.model_copy(update={"clauses": inputs.recorded.clauses[:-1]})
    paired = inputs.recorded.against_incumbent
    other_figures = inputs.recorded.model_copy(update={"against_incumbent": paired.model_copy(update={"better": paired.better + 1})})
    for recorded in (rolled_back, without_guard, other_figures, inputs.recorded.model_copy(update={"against_floor": None})):
        with pytest.raises(VerdictDiffers):
            make_bundle(replace(inputs, recorded=recorded), key, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_results_that_do_not_give_a_measurements_means_make_no_bundle(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    def with_another_answer(subject: MeasuredSubject) -> MeasuredSubject:
        number = next(number for number, result in enumerate(subject.results) if result.split == "core" and not result.passed)
        results = [*subject.results]
        results[number] = results[number].model_copy(update={"score": 1.0, "passed": True})
        return subject._replace(results=tuple(results))

    changed = tuple(with_another_answer(each) if each.role == "ceiling" else each for each in inputs.subjects)
    with pytest.raises(VerdictDiffers, match="core results of the ceiling"):
        make_bundle(replace(inputs, subjects=changed), key, tmp_path)


@pytest.mark.parametrize("field", ["cluster", "domain", "version"])
def test_a_name_that_is_no_identifier_makes_no_bundle(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path, field: str) -> None:
    with pytest.raises(PathRefused):
        make_bundle(replace(inputs, **{field: "../<script>"}), key, tmp_path)


def test_a_bundle_is_there_whole_or_not_at_all(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write of each file in turn fails; whoever looks meanwhile sees no bundle, and afterwards nothing is left."""
    write, written, room = bundles.write_atomic, list[str](), 0

    def into_little_room(path: Path, content: bytes) -> None:
        assert [each for each in tmp_path.iterdir() if not each.name.startswith(".incoming-")] == []
        if len(written) == room:
            raise OSError("no space left on device")
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(bundles, "write_atomic", into_little_room)
    while room <= len(FILES):
        written.clear()
        with pytest.raises(OSError, match="no space"):
            make_bundle(inputs, key, tmp_path)
        assert list(tmp_path.iterdir()) == []
        room += 1
    written.clear()
    make_bundle(inputs, key, tmp_path)
    assert written == [*FILES, MANIFEST], "the manifest comes last"


def test_text_output_without_floor_guard_or_ceiling_makes_a_bundle_that_says_what_is_not_there(key: Ed25519PrivateKey, tmp_path: Path) -> None:
    from engine.config import Acceptance
    from engine.iterate.decide import decide

    full = synthetic_inputs(200, channels=3)
    subjects = tuple(subject for subject in full.subjects if subject.role in ("incumbent", "challenger"))
    acceptance = Acceptance(metric="pass_rate")
    held_out = {subject.role: [result for result in subject.results if result.split == "held_out"] for subject in subjects}
    decision = decide(
        acceptance, slices=(), incumbent=held_out["incumbent"], challenger=held_out["challenger"], floor=None, seed=17, attempt=1
    )
    bare = replace(
        full, acceptance=acceptance, slices=(), json_output=False, subjects=subjects, guard=None, recorded=decision, attempt=1, stability=None
    )
    bundle = make_bundle(bare, key, tmp_path)
    assert verify_bundle(bundle, key.public_key()).verified
    absent = " ".join(payload_of(bundle)["predicate"]["absent"])
    for word in ("ceiling", "floor", "no-harm", "price", "drill", "steady"):
        assert word in absent, word
    assert "Slices of held-out" not in (bundle / PAGE).read_text()
