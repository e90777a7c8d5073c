"""The tool `evidence`, end to end over the scripted double: a bundle from what a real loop left in a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from engine.engine import Engine, stage_tables
from engine.errors import ArtifactCorrupt, NotFound, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import load_compiled
from engine.iterate.types import IterateOutput
from engine.promote.evidence.keys import read_public_key
from engine.promote.evidence.types import Verification
from engine.promote.evidence.verify import verify_bundle
from engine.store.events import events_of
from engine.store.rebuild import verify
from engine.views import EvidencePage
from tests.promote.evidence.forging import payload_of
from tests.promote.evidence.test_redaction import everything_in
from tests.server.test_tokens import RESULT_TOKENS, tokens
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain
from tools.evidence import EVIDENCE
from tools.tool import call

pytestmark = pytest.mark.processes
"""Two iterate runs with worker processes."""


@dataclass
class Promoted:
    engine: Engine
    first: IterateOutput
    second: IterateOutput
    page: EvidencePage

    def verified(self, page: EvidencePage) -> Verification:
        root = self.engine.workspace.root
        return verify_bundle(root / page.bundle, read_public_key(root / page.public_key))


def canaries(count: int) -> list[dict[str, Any]]:
    """Rows with another row's answer."""
    planted, others = rows(3000, count), rows(3001, count)
    return [{**row, "expected": other["expected"], "canary": True} for row, other in zip(planted, others, strict=True)]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoted]:
    """A cluster with an accepted version, a second one that was rolled back, a no-harm suite and a teacher that can be measured."""
    workspace = make_workspace(tmp_path_factory.mktemp("evidence"))
    clusters = json.loads(workspace.clusters_file.read_text())
    clusters["models"]["sage"] = {"kind": "scripted", "title": "/srv/sage", "base_skill": 0.95}
    clusters["clusters"]["sage"] = {"domain": "tickets", "model": "sage"}
    workspace.clusters_file.write_text(json.dumps(clusters))
    evaluation = domain_file()["eval"] | {"accept": {"no_harm": {"suite": "manners", "tolerance": 0.1}}}
    domain = domain_file(eval=evaluation, teachers=[{"name": "sage"}])
    write_domain(workspace, "tickets", domain, train=rows(0, 160), evaluation=[*rows(1000, 240), *canaries(4)])
    data = {"evaluation": {"path": "data/eval.jsonl"}, "splits": {"core": 0, "held_out": 1, "reserve": 0}}
    write_domain(workspace, "manners", domain_file(title="Manners", data=data), train=[], evaluation=rows(5000, 40))
    engine = Engine.open(workspace)
    runs = [finish(engine, engine.iterate("tickets").id, seconds=300) for _ in range(2)]
    first, second = (IterateOutput.model_validate(run.output) for run in runs)
    made = Promoted(engine, first, second, engine.evidence("tickets"))
    yield made
    made.engine.close()


def test_the_bundle_of_the_version_that_stands_verifies_and_says_what_the_loop_said(promoted: Promoted) -> None:
    page, found = promoted.page, promoted.verified(promoted.page)
    iteration = promoted.first.iterations[0]
    assert page.version == promoted.first.final.subject == iteration.challenger
    assert found.verified
    assert (found.evidence, found.version) == (page.evidence, page.version)
    difference = iteration.decision.against_incumbent.difference
    assert f"difference {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], n={difference.n}" in page.summary
    assert page.conditions == tuple(clause.sentence for clause in iteration.decision.clauses)
    assert "general and safety items" in page.conditions[-1]
    assert "of 4 canaries" in page.conditions[-2]
    predicate = payload_of(promoted.engine.workspace.root / page.bundle)["predicate"]
    assert predicate["lineage"]["rows"] == iteration.rows
    assert predicate["rollback"] == {"to": "base", "adapter": None, "in_registry": True, "drill": None}
    assert (promoted.engine.workspace.root / page.page).read_text().startswith("<!doctype html>")


def test_asked_again_the_same_bundle_is_found(promoted: Promoted) -> None:
    bundles = len(list(promoted.engine.workspace.artifacts.glob("*/*/statement.dsse.json")))
    answer = call(promoted.engine, EVIDENCE, {"cluster": "tickets", "version": promoted.page.version})
    assert answer == call(promoted.engine, EVIDENCE, {"cluster": "tickets"})
    assert answer["evidence"] == promoted.page.evidence
    assert tokens(answer) <= RESULT_TOKENS
    assert len(list(promoted.engine.workspace.artifacts.glob("*/*/statement.dsse.json"))) == bundles
    assert list(promoted.engine.workspace.bundles.iterdir()) == []


def test_a_version_that_was_rolled_back_and_one_that_nobody_knows_have_no_bundle(promoted: Promoted) -> None:
    rolled_back = promoted.second.iterations[0]
    assert rolled_back.decision.verdict == "roll_back"
    with pytest.raises(StateConflict, match="held-out figures are kept back"):
        promoted.engine.evidence("tickets", rolled_back.challenger)
    for cluster, version in (("tickets", "v-000000000000"), ("sage", None), ("nope", None)):
        with pytest.raises(NotFound) as refused:
            promoted.engine.evidence(cluster, version)
        assert refused.value.next_step


def test_no_held_out_item_is_in_the_bundle_or_in_the_answer(promoted: Promoted) -> None:
    engine = promoted.engine
    evaluation_id = promoted.first.iterations[0].challenger_evaluation
    compiled = load_compiled(engine.workspace, measurements.domain_digest_of(engine.store, evaluation_id))
    said = everything_in(engine.workspace.root / promoted.page.bundle) + promoted.page.model_dump_json().encode()
    assert len(compiled.canaries) == 4
    hidden = [word for each in compiled.kept_apart for word in (each.id, each.input["message"])]
    assert len(hidden) > 400
    assert [word for word in hidden if word.encode() in said] == []
    for place in (str(engine.workspace.root), "/srv/sage"):
        assert place.encode() not in said


def test_a_teacher_that_is_measured_later_becomes_the_ceiling_of_a_new_bundle(promoted: Promoted) -> None:
    engine = promoted.engine
    assert any("ceiling" in sentence for sentence in promoted.page.absent)
    finish(engine, engine.evaluate("sage", "base").id)
    page = engine.evidence("tickets")
    assert page.evidence != promoted.page.evidence
    assert not any("ceiling" in sentence for sentence in page.absent)
    predicate = payload_of(engine.workspace.root / page.bundle)["predicate"]
    assert [subject["name"] for subject in predicate["subjects"] if subject["role"] == "ceiling"] == ["sage"]
    assert promoted.verified(page).verified
    assert promoted.verified(promoted.page).verified, "the earlier one, which people may be signing, stays"


def test_the_measurement_gives_capacity_and_seconds_and_a_price_gives_money_in_a_new_bundle(promoted: Promoted) -> None:
    engine, iteration = promoted.engine, promoted.first.iterations[0]
    measured = measurements.summary(engine.store, iteration.challenger_evaluation)
    unpriced = payload_of(engine.workspace.root / engine.evidence("tickets").bundle)["predicate"]
    challenger = next(subject for subject in unpriced["subjects"] if subject["role"] == "challenger")
    assert challenger["latency_p95_seconds"] == measured.split("held_out").latency_p95_seconds is not None
    assert challenger["answers_per_second"] == pytest.approx(measured.generated / measured.seconds)
    against_floor = next(moved for moved in unpriced["found"]["movement"] if moved["role"] == "floor")["comparison"]["difference"]
    assert against_floor["low"] < against_floor["mean"] < against_floor["high"]
    assert unpriced["operations"]["cost_per_decision"] is None
    clusters = engine.workspace.clusters_file.read_text()
    price = {"amount": 7.2, "currency": "CHF", "as_of": "2026-11-21"}
    engine.workspace.clusters_file.write_text(json.dumps(json.loads(clusters) | {"hosts": {"local": {"hourly_price": price}}}))
    page = engine.evidence("tickets")
    engine.workspace.clusters_file.write_text(clusters)
    operations = payload_of(engine.workspace.root / page.bundle)["predicate"]["operations"]
    assert operations["hourly_price"] == price
    assert operations["cost_per_decision"] == pytest.approx(operations["machine_seconds_per_decision"] * 0.002)
    assert not any("price" in sentence for sentence in page.absent)
    assert promoted.verified(page).verified


def test_a_bundle_that_is_gone_is_made_again(promoted: Promoted) -> None:
    engine = promoted.engine
    before = engine.evidence("tickets")
    folder = engine.workspace.root / before.bundle
    folder.rename(folder.with_name("taken-away"))
    after = engine.evidence("tickets")
    assert after.bundle != before.bundle
    assert promoted.verified(after).verified
    folder.with_name("taken-away").rename(folder)


def test_results_that_changed_on_disk_make_no_bundle(promoted: Promoted) -> None:
    engine = promoted.engine
    made_of = engine.artifacts.path(measurements.results_digest(engine.store, promoted.first.iterations[0].incumbent_evaluation))
    whole = made_of.read_bytes()
    made_of.chmod(0o644)
    made_of.write_bytes(whole.replace(b'"score":0.0', b'"score":1.0', 1))
    bundles = engine.workspace.root / engine.evidence("tickets").bundle
    bundles.rename(bundles.with_name("put-aside"))
    try:
        with pytest.raises(ArtifactCorrupt):
            engine.evidence("tickets")
    finally:
        made_of.write_bytes(whole)
        bundles.with_name("put-aside").rename(bundles)
    assert list(engine.workspace.bundles.iterdir()) == []


def test_making_it_is_an_event_and_a_rebuilt_store_knows_it(promoted: Promoted) -> None:
    made = [event for event in events_of(promoted.engine.store, promoted.page.version) if event.kind == "evidence_made"]
    assert made[0].data == {"evidence": promoted.page.evidence}
    promoted.engine.close()
    found = verify(promoted.engine.workspace, stage_tables(promoted.engine.workspace))
    (promoted.engine.workspace.bundles / ".incoming-half").mkdir()
    promoted.engine = Engine.open(promoted.engine.workspace)
    assert not promoted.engine.workspace.bundles.exists(), "what a crash left is gone"
    assert not found.differing
    assert found.tables["evidence"] == len(made)
