"""What a complete escalation is, as whoever answers it needs it: looked for in the folder that it leaves."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from engine.base.digests import file_sha256
from engine.base.paths import Workspace
from engine.engine import Engine
from engine.escalate.folder import EVIDENCE, RECORD, REPORT
from engine.escalate.runbooks.catalogue import runbook_for
from engine.escalate.types import Escalation
from engine.schemas import schemas
from tools import TOOLS
from tools.tool import check_arguments, find_tool


def escalated(engine: Engine, run_id: str) -> Escalation:
    """The escalation of a run that failed for good, made by this engine and found to be complete."""
    engine.escalate_what_failed()
    return escalation_of(engine.workspace, run_id)


def escalation_of(workspace: Workspace, run_id: str) -> Escalation:
    """The escalation that a run gave rise to, after it was found to be complete."""
    folders = [place for place in workspace.escalations.iterdir() if f'"{run_id}"' in (place / RECORD).read_text()]
    assert len(folders) == 1, f"{len(folders)} escalations say that they are of {run_id}"
    record = json.loads((folders[0] / RECORD).read_bytes())
    Draft202012Validator(schemas()["escalation"]).validate(record)
    found = Escalation.model_validate(record)
    assert (found.state, found.latest[-1].source) == ("open", run_id)
    told = (found.title, found.why_unmatched, found.blast_radius, found.tried, found.allowed_actions, found.question, found.failure.words)
    assert all(told), "nothing of it is left out"
    assert runbook_for(found.failure.code), f"no runbook covers {found.failure.code}"
    assert found.reproduction.startswith("modelsmith ")
    check_arguments(find_tool(TOOLS, found.check.tool), found.check.arguments)
    assert found.evidence
    assert {each.name: file_sha256(folders[0] / EVIDENCE / each.name) for each in found.evidence} == {each.name: each.sha256 for each in found.evidence}
    report = (folders[0] / REPORT).read_text()
    assert found.id in report
    assert found.reproduction in report
    return found


def outside_fences(page: str) -> str:
    """What a reader of a page takes for the page's own words: all but what stands in fences, every one of which is closed."""
    outside, fence = [], ""
    for line in page.splitlines():
        if not fence and line.startswith("```"):
            fence = line.removesuffix("text")
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    return "\n".join(outside)
