"""An export end to end over the scripted double: the run, the gate it opens, and the folder that is handed over."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine, stage_tables
from engine.errors import ArgumentInvalid, NotFound, StateConflict
from engine.evaluate import records as measurements
from engine.evaluate.compile import load_compiled
from engine.promote.evidence.keys import read_public_key
from engine.promote.package import records
from engine.promote.package.verify import verify_package
from engine.promote.types import PromotionRequest
from engine.store.events import events_of
from engine.store.rebuild import verify
from server.cli import hand_out
from tests.promote.accepted import configure, copied
from tests.promote.notary import Notary
from tests.workspaces import finish

pytestmark = pytest.mark.processes
"""Runs with worker processes."""

AGENT = "agent:mcp"


class Office:
    """An engine over a cluster on the customer's chain."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.version = engine.fleet_status().clusters[0].incumbent

    def promote(self) -> Any:
        return self.engine.promote("tickets", by=AGENT)

    def export(self) -> dict[str, Any]:
        run = finish(self.engine, self.engine.export("tickets").id)
        assert run.state == "succeeded", run.error
        return dict(run.output or {})

    def exports(self) -> int:
        return len(self.engine.supervisor.list(kinds=("export",)))

    def package(self) -> Path:
        found = records.newest(self.engine.store, "tickets", self.version)
        assert found is not None
        assert found.package is not None
        return self.engine.artifacts.path(found.package)


@pytest.fixture
def office(accepted: Path, tmp_path: Path) -> Iterator[Office]:
    workspace = copied(accepted, tmp_path / "w")
    configure(workspace, chain="customer")
    engine = Engine.open(workspace, signing=Notary())
    yield Office(engine)
    engine.close()


def everything_in(folder: Path) -> bytes:
    """Every byte of a package, signed ones as what was signed."""
    said = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    signed = [folder / "manifest.dsse.json", folder / "evidence/manifest.dsse.json", folder / "evidence/statement.dsse.json"]
    return b"\n".join([*said, *(base64.b64decode(json.loads(path.read_bytes())["payload"]) for path in signed)])


def test_promoting_to_the_exported_state_makes_the_package_first_and_once(office: Office) -> None:
    page = office.promote()
    assert (page.moved, page.open, page.state) == (False, False, "eval-accepted")
    assert [line.check for line in page.checks if not line.passed] == ["export_parity"]
    assert [call.tool for call in page.next] == ["run_status", "promote"]
    run_id = page.next[0].arguments["run_id"]
    assert run_id in page.summary
    assert office.promote().next[0].arguments["run_id"] == run_id, "asked again while it goes on, the same"
    assert finish(office.engine, run_id).state == "succeeded"
    assert "answers as it was evaluated" in office.engine.run_status(run_id).summary

    moved = office.promote()
    assert (moved.moved, moved.state) == (True, "artifact-exported")
    assert {line.check: line.figure for line in moved.checks}["export_parity"] == 1.0
    assert office.exports() == 1


def test_another_closed_gate_is_opened_before_minutes_are_spent_on_a_package(office: Office) -> None:
    configure(office.engine.workspace, policy={"evidence_days": 1e-9})
    page = office.promote()
    assert {line.check for line in page.checks if not line.passed} == {"freshness", "export_parity"}
    assert office.exports() == 0


def test_the_package_verifies_and_holds_nothing_that_evidence_would_not(office: Office) -> None:
    output = office.export()
    folder = office.package()
    found = verify_package(folder, read_public_key(office.engine.workspace.evidence_public_key))
    assert found.verified
    assert (found.version, found.evidence) == (office.version, output["evidence"])
    assert {path.name for path in folder.iterdir()} == {"README.md", "adapter", "evidence", "manifest.dsse.json", "model.sig", "model.sig.pub"}
    said = everything_in(folder)
    evaluation_id = measurements.measurements_of(office.engine.store, "tickets", office.version)[0].evaluation_id
    compiled = load_compiled(office.engine.workspace, measurements.domain_digest_of(office.engine.store, evaluation_id))
    hidden = [word for each in compiled.of_split("held_out", "core", "reserve") for word in (each.id, each.input["message"])]
    assert [word for word in hidden if word.encode() in said] == []
    assert str(office.engine.workspace.root).encode() not in said


def test_answers_that_are_not_those_that_were_evaluated_make_no_package_and_keep_the_gate_closed(office: Office) -> None:
    """Weights whose bytes changed in the store: another model under the same name. Its log-probabilities tell before anything is asked."""
    engine = office.engine
    adapter = engine.artifacts.path(engine.store.read("SELECT adapter FROM version WHERE id = ?", [office.version])[0][0])
    weights = json.loads((adapter / "scripted.json").read_bytes())
    (adapter / "scripted.json").unlink()  # the copy's own name for bytes that other copies share
    (adapter / "scripted.json").write_text(json.dumps(weights | {"skill": 0.4}))
    output = office.export()
    assert output["agrees"] is False
    assert output["artifacts"] == {}
    assert "does NOT answer as it was evaluated" in engine.run_status(engine.supervisor.list(kinds=("export",))[0].id).summary
    page = office.promote()
    line = next(line for line in page.checks if line.check == "export_parity")
    assert not line.passed
    assert line.figure is not None
    assert line.limit is not None
    assert line.figure > line.limit
    assert "other weights" in str(line.found)
    assert office.exports() == 1, "what could only be found again is not looked for again"
    assert events_of(engine.store, office.version)[-1].kind == "export_disagrees"
    assert not [run for run in engine.workspace.runs.iterdir() if (run / "outputs/package/manifest.dsse.json").exists()]


def test_approvals_that_were_given_travel_in_the_next_package(office: Office) -> None:
    office.export()
    assert office.promote().moved
    desk = office.engine
    page = office.promote()
    request = desk.approvals(request=page.request.request)
    assert request.document is not None
    asked = PromotionRequest.model_validate(request.document)
    desk.approve_promotion(asked.id, Notary().sign(asked, "Ada", None), by="cli")
    office.export()
    approvals = json.loads((office.package() / "evidence/approvals.json").read_bytes())
    assert [each["request"]["id"] for each in approvals] == [asked.id]
    assert verify_package(office.package(), read_public_key(desk.workspace.evidence_public_key)).verified


def test_what_cannot_be_exported_says_why(office: Office) -> None:
    with pytest.raises(StateConflict, match="no version of other has been accepted"):
        office.engine.export("other")
    with pytest.raises(NotFound):
        office.engine.export("tickets", "v-000000000000")
    clusters = json.loads(office.engine.workspace.clusters_file.read_text())
    clusters["models"]["far"] = {"kind": "endpoint", "title": "Far", "base_url": "https://example.org/v1", "model": "far"}
    clusters["clusters"]["tickets"]["model"] = "far"
    office.engine.workspace.clusters_file.write_text(json.dumps(clusters))
    with pytest.raises(ArgumentInvalid, match="has no prepared base"):
        office.engine.export("tickets")


def test_an_export_is_the_same_in_a_database_that_is_made_again(office: Office) -> None:
    office.export()
    workspace = office.engine.workspace
    office.engine.close()
    found = verify(workspace, stage_tables(workspace))
    assert set(found.differing) <= {"progress", "spool"}
    assert found.tables["package"] == 1
    office.engine = Engine.open(workspace)
    assert records.newest(office.engine.store, "tickets", office.version) is not None


def test_a_package_that_is_handed_out_verifies_there_and_takes_no_other_folder_s_place(office: Office, tmp_path: Path) -> None:
    status = {"output": office.export()}
    hand_out(status, tmp_path / "away", office.engine.workspace)
    key = shutil.copy(office.engine.workspace.evidence_public_key, tmp_path / "evidence.pub")
    assert verify_package(tmp_path / "away", read_public_key(Path(key))).verified
    with pytest.raises(ArgumentInvalid, match="is there already"):
        hand_out(status, tmp_path / "away", office.engine.workspace)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "evidence.pub", "w"]
