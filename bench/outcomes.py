"""What came of a run that met faults, judged from outside: from what a caller was told, from files that lie there for everybody, and from processes.

Each run comes to one of four outcomes. All but `failed` ask that nothing was lost, nothing was left over and no score was wrong:

    alone       it ended as it does undisturbed, and nobody did anything
    runbook     it failed; an agent executed the runbook that its error names, and the run, started again, ended as it does undisturbed
    escalated   it failed, or left behind what training does not move; there is exactly one complete escalation for each such failure, and a run
                that is asked for again when the cause is gone ends as undisturbed and closes it
    failed      anything else
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal, NamedTuple

from jsonschema import Draft202012Validator

from bench.befalling import Fault
from engine.base.digests import sha256_hex
from engine.base.files import read_json, read_jsonl
from engine.base.paths import Workspace
from engine.diagnose.gains import wilson
from tools import TOOLS

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schema" / "escalation.schema.json"
Outcome = Literal["alone", "runbook", "escalated", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("alone", "runbook", "escalated", "failed")
TOLD_OF_A_FAILURE = ("run", "faults", "why", "error", "run_ids")


class Acted(NamedTuple):
    """What happened to a run, and what was done about it."""

    runs: tuple[dict[str, Any], ...]
    """Status of the run, and of those that were asked for because it failed."""
    befell: tuple[bool, ...]
    """Of each fault, whether it befell the run."""
    seconds: float
    error: str = ""
    runbook: str = ""
    """What came of the runbook that an agent executed; empty where none was."""
    escalations: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    """What these lack."""
    unresolved: tuple[str, ...] = ()
    """Those whose check does not pass now that the cause is gone."""
    by_person: bool = False
    """The bench did something as a person."""

    @property
    def succeeded(self) -> bool:
        """Whether one of the runs did."""
        return any(status["state"] == "succeeded" for status in self.runs)


class Verdict(NamedTuple):
    """How a run is counted, and why where it is a failure."""

    outcome: Outcome
    why: str = ""


def judged(acted: Acted, *, same: bool, problems: Sequence[str], stuck: int = 0) -> Verdict:
    """The outcome of a run. `same`: it came to what the undisturbed run came to. `problems`: what must never be. `stuck`: patterns that it left
    behind and nobody can explain or move, each of which is a failure of its own."""
    if problems:
        return Verdict("failed", "; ".join(problems))
    failed = acted.runs[0]["state"] != "succeeded"
    wanted = 1 if failed else stuck
    if len(acted.escalations) != wanted:
        return Verdict("failed", f"{len(acted.escalations)} escalations, where there should be {wanted}")
    if acted.incomplete:
        return Verdict("failed", "; ".join(acted.incomplete))
    if not failed:
        return Verdict("escalated") if stuck else Verdict("alone") if same else Verdict("failed", "it ended otherwise than undisturbed")
    if acted.unresolved or not same:
        return Verdict("failed", "; ".join(acted.unresolved) or "the run that was started again ended otherwise than undisturbed")
    return Verdict("escalated" if acted.by_person else "runbook")


# ---- looking -------------------------------------------------------------------------------------------------------------------------


def artefact(workspace: Workspace, name: str) -> tuple[str, ...]:
    """What the folder of an escalation lacks; nothing when it is complete."""
    folder = workspace.escalation(name)
    try:
        record, manifest = read_json(folder / "escalation.json"), read_json(folder / "manifest.json")
        digests = {file: sha256_hex((folder / file).read_bytes()) for file in manifest["files"]}
        evidence = {each["name"]: sha256_hex((folder / "evidence" / each["name"]).read_bytes()) for each in record["evidence"]}
    except (OSError, ValueError, KeyError) as error:
        return (f"{name} cannot be read: {error!r}",)
    holds = {
        "the files of its manifest": digests == manifest["files"] and {"escalation.json", "REPORT.md"} <= digests.keys(),
        "the shape of its schema": escalation_schema().is_valid(record),
        "a report": len((folder / "REPORT.md").read_text()) > 0,
        "evidence by hash": bool(evidence) and evidence == {each["name"]: each["sha256"] for each in record["evidence"]},
        "a command that shows it again": record["reproduction"].startswith("modelsmith "),
        "a check that can be made": record["check"]["tool"] in {tool.name for tool in TOOLS} and bool(record["check"]["expected"]),
        "a question": bool(record["question"].strip()),
    }
    return tuple(f"{name} lacks {what}" for what, there in holds.items() if not there)


@cache
def escalation_schema() -> Draft202012Validator:
    """What escalation.json has to look like."""
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def same_results(came: tuple[Workspace, Mapping[str, Any]], plain: tuple[Workspace, Mapping[str, Any]], *, weights: bool) -> tuple[str, ...]:
    """In what the items and, with `weights`, what answered them differ in the last measurement between a run and the undisturbed one."""
    (items, identity), (plain_items, plain_identity) = (_measured(workspace, status) for workspace, status in (came, plain))
    differ = [name for name in items.keys() | plain_items.keys() if items.get(name) != plain_items.get(name)]
    wrong = [f"{len(differ)} items have another score than undisturbed"] if differ else []
    return tuple([*wrong, *([f"{identity} was measured, undisturbed {plain_identity}"] if weights and identity != plain_identity else [])])


def _measured(workspace: Workspace, status: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Each item's outcome and score, and what made the answers, of a run's last measurement."""
    run = workspace.run(status["output"]["final"]["evaluation_id"])
    results = read_jsonl(run.outputs / "results.jsonl")
    items = {each["scenario_id"]: (each["outcome"], each["score"], each["passed"]) for each in results}
    return items, read_json(run.result)["output"]["summary"]["identity"]


# ---- counting ------------------------------------------------------------------------------------------------------------------------


def summed(records: Sequence[Mapping[str, Any]], faults: Sequence[Fault]) -> dict[str, Any]:
    """The figures of a month: of each fault, and over all."""
    known = {fault.name: fault.known for fault in faults}
    with_unknown = [record for record in records if any(not known[name] for name in record["befell"])]
    with_known = [record for record in records if record["befell"] and record not in with_unknown]
    without = [record for record in records if not record["befell"]]
    return {
        "runs": len(records),
        "known": share(with_known, ("alone", "runbook")),
        "unknown": share(with_unknown, ("escalated",)),
        "undisturbed": share(without, ("alone",)),
        "needed_a_person": sum(record["by_person"] for record in records),
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "load": round(mean(loads), 1) if (loads := [record["load"] for record in records if "load" in record]) else None,
        "faults": [_line(fault, records) for fault in faults],
        "failures": [{name: record[name] for name in TOLD_OF_A_FAILURE} for record in records if record["outcome"] == "failed"],
    }


def share(records: Sequence[Mapping[str, Any]], good: Sequence[Outcome]) -> dict[str, Any]:
    """How many of them came out so, and the interval of their share."""
    count = sum(record["outcome"] in good for record in records)
    low, high = (round(end, 4) for end in wilson(count, len(records)))
    return {"runs": len(records), **counts(records), "good": count, "low": low, "high": high}


def counts(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many came to each outcome."""
    return {outcome: sum(record["outcome"] == outcome for record in records) for outcome in OUTCOMES}


def _line(fault: Fault, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drawn = [record for record in records if fault.name in record["faults"]]
    met = [record for record in drawn if fault.name in record["befell"]]
    single = [record["seconds_lost"] for record in met if len(record["befell"]) == 1 and record["outcome"] in ("alone", "runbook")]
    return {
        "fault": fault.name,
        "known": fault.known,
        "injected": fault.injected,
        "drawn": len(drawn),
        "befell": len(met),
        **counts(met),
        "median_seconds": round(median(single), 1) if single else None,
        "attempts": max((record["attempts"] for record in met), default=0),
    }
