"""Promotion with real keys: people sign with ssh-keygen what the engine asks, and what moves is what they signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import ApprovalAltered, ApprovalNeeded, ModelsmithError, SignatureRefused, StateConflict
from engine.promote import records
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.approvers_file import write_approvers
from engine.promote.approvals.roster import PersonAdded, PersonRevoked
from engine.promote.approvals.statement import statement_of
from engine.promote.approvals.verify import verify_approval
from engine.promote.types import Drill, PromotionRequest
from engine.store.events import events_of
from server import approving
from tests.promote.accepted import configure, copied
from tests.promote.keys import FileKey, after, founded_by, person, signature_over
from tests.server.daemons import run_cli
from tools.tool import Tool, check_arguments

pytestmark = pytest.mark.processes
"""An iterate run with worker processes, copied for each test."""


@pytest.fixture
def engine(accepted: Path, tmp_path: Path, approvers: Approvers) -> Iterator[Engine]:
    """With the version in shadow, a list in which Ada and Bob may approve, and canary open to two people."""
    workspace = copied(accepted, tmp_path / "w")
    text = workspace.clusters_file.read_text()
    workspace.clusters_file.write_text(text.rstrip().removesuffix("}").rstrip() + ',\n "approvers": "approvers.json"\n}\n')
    configure(workspace, policy={"signatures": {"canary": {"approvals": 2}}})
    write_approvers(workspace.root / "approvers.json", approvers)
    engine = Engine.open(workspace)
    engine.promote("tickets", by="agent:mcp")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def approvers(ada: FileKey, bob: FileKey) -> Approvers:
    return after(founded_by("ada", ada), PersonAdded(person=person("bob", bob)), ada)


def asked(engine: Engine) -> PromotionRequest:
    """The request for the next state."""
    page = engine.promote("tickets", by="agent:mcp")
    assert page.request is not None
    request = records.stored_request(engine.store, page.request.request).stored.request
    assert page.statement == statement_of(request).decode()
    assert page.how_to_sign == f"modelsmith approve {request.id} --key PATH"
    return request


def page_of(engine: Engine, request: PromotionRequest) -> Path:
    """The page of the evidence that a request names."""
    page = engine.workspace.root / str(engine.approvals(request=request.id).evidence_page)
    assert request.evidence[:8] in page.read_text()
    return page


def hand_in(engine: Engine, request: PromotionRequest, text: str) -> bool:
    """Whether the version has moved by it."""
    return engine.approve_promotion(request.id, text, by="agent:mcp").moved


def test_two_people_sign_and_the_version_goes_into_production(engine: Engine, ada: FileKey, bob: FileKey) -> None:
    canary = asked(engine)
    assert [hand_in(engine, canary, signature_over(canary, key)) for key in (ada, bob)] == [False, True]
    production = asked(engine)
    assert hand_in(engine, production, signature_over(production, bob))
    assert engine.fleet_status().clusters[0].serving == production.version
    kept = records.approvals(engine.store)
    assert [(each.approver, each.level) for each in kept] == [("ada", "ssh"), ("bob", "ssh"), ("bob", "ssh")]


def test_evidence_that_was_altered_where_it_is_kept_is_not_shown_and_the_next_request_names_another(
    engine: Engine, ada: FileKey, bob: FileKey
) -> None:
    canary = asked(engine)
    page = page_of(engine, canary)
    page.chmod(0o644)
    page.write_text(page.read_text().replace("</html>", "<p>All is well.</p></html>"))
    assert engine.approvals(request=canary.id).evidence_page is None
    for key in (ada, bob):
        hand_in(engine, canary, signature_over(canary, key))
    production = asked(engine)
    assert production.evidence != canary.evidence
    assert "ada" in page_of(engine, production).read_text(), "the approvals that it has are in it"


def test_what_people_let_serve_keeps_the_evidence_that_they_signed_until_it_is_rolled_back(engine: Engine, ada: FileKey, bob: FileKey) -> None:
    canary = asked(engine)
    for key in (ada, bob):
        hand_in(engine, canary, signature_over(canary, key))
    production = asked(engine)
    hand_in(engine, production, signature_over(production, bob))
    drill = Drill(serving=production.version, to="v-0", seconds=1.5, back_seconds=0.5, warm=True, proved=True, drilled_at="2026-11-21T12:00:00.000Z")
    records.record_drill(engine.store, "tickets", drill, actor="ada", reason="drill")
    signed = engine.evidence("tickets", production.version)
    assert signed.evidence == production.evidence
    assert "bob" in (engine.workspace.root / signed.page).read_text(), "with the signature that came last"
    assert signed.last_drill == "2026-11-21T12:00:00.000Z: v-0 for " + production.version + " in 1.50 s, and back in 0.50 s."
    engine.promote("tickets", production.version, to="rolled-back", by="agent:mcp")
    anew = engine.evidence("tickets", production.version)
    assert anew.evidence != production.evidence
    assert not any("drill" in sentence for sentence in anew.absent)


def test_no_attempt_without_the_keys_moves_anything_and_each_is_in_the_log(engine: Engine, approvers: Approvers, ada: FileKey, mallory: FileKey) -> None:
    request = asked(engine)
    good = signature_over(request, ada)
    hand_in(engine, request, good)
    other = request.model_copy(update={"nonce": "other"})
    attempts = [signature_over(request, mallory), signature_over(other, ada), signature_over(request, ada, namespace="file"), good, "yes"]
    for attempt in attempts:
        with pytest.raises((SignatureRefused, ApprovalNeeded)):
            hand_in(engine, request, attempt)
    assert [event.kind for event in events_of(engine.store, request.id)].count("approval_refused") == len(attempts)
    assert records.state_of(engine.store, "tickets", request.version).state == "shadow"


def test_an_approval_put_into_the_store_by_hand_stops_the_last_signature(engine: Engine, approvers: Approvers, ada: FileKey, bob: FileKey) -> None:
    """As if somebody had written a row: the journal takes what the engine says, so the row is put in through the same command."""
    request = asked(engine)
    approval = verify_approval(request, signature_over(request, ada), approvers, request.created_at)
    records.approve(engine.store, approval.model_copy(update={"approver": "carl"}), (), "nobody")
    with pytest.raises(ApprovalAltered, match="carl"):
        hand_in(engine, request, signature_over(request, bob))
    assert records.state_of(engine.store, "tickets", request.version).state == "shadow"


def test_a_list_that_was_changed_or_taken_away_since_closes_the_request(engine: Engine, approvers: Approvers, ada: FileKey, bob: FileKey) -> None:
    request, path = asked(engine), engine.workspace.root / "approvers.json"
    write_approvers(path, after(approvers, PersonRevoked(name="bob"), ada))
    with pytest.raises(StateConflict, match="approver list has changed"):
        hand_in(engine, request, signature_over(request, bob))
    path.unlink()
    with pytest.raises(ModelsmithError, match="there is no approver list"):
        hand_in(engine, request, signature_over(request, ada))


class InProcess:
    """A caller of the engine at hand, in place of one that goes to the daemon."""

    engine: Engine

    def __init__(self, _workspace: object) -> None:
        pass

    def call(self, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = tool.run(self.engine, check_arguments(tool, arguments)).model_dump(mode="json")
        return result


def test_approve_shows_the_waiting_request_signs_it_and_hands_it_in(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, ada: FileKey, bob: FileKey, mallory: FileKey
) -> None:
    monkeypatch.setattr(approving, "Client", InProcess)
    monkeypatch.setattr(InProcess, "engine", engine, raising=False)
    request = asked(engine)
    (engine.workspace.root / request.id).write_text("{}")  # a file of that name does not take its place
    monkeypatch.chdir(engine.workspace.root)
    said = run_cli(engine.workspace, "approve", request.id, "--key", str(ada.path))
    assert said.code == 0, said.err
    assert statement_of(request).decode() in said.err
    assert f"ada approved request {request.id}" in said.out
    assert f"read before signing: {page_of(engine, request)}" in said.err
    unknown = run_cli(engine.workspace, "approve", "promote-1121-00000000", "--key", str(ada.path), "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (2, "not_found")
    refused = run_cli(engine.workspace, "approve", request.id, "--key", str(mallory.path), "--json")
    assert (refused.code, refused.json["error"]["details"]["reason"]) == (2, "unknown_key")
    moved = run_cli(engine.workspace, "approve", request.id, "--key", str(bob.path), "--json")
    assert (moved.json["moved"], moved.json["state"]) == (True, "canary")
