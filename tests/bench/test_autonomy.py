"""The simulated month: what befalls whom follows from the seed, outcomes are judged rightly, and a short month goes through."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.autonomy import month
from bench.autonomy_page import PAGE, page
from bench.befalling import FAULTS, KINDS_MET, KNOWN, NOT_DRAWN, UNKNOWN, draw
from bench.outcomes import Acted, artefact, judged, summed
from engine.base.paths import Workspace
from engine.escalate.folder import write_folder
from server import client
from tests.escalate.test_folder import FILES, escalation
from tests.faults.matrix import MATRIX

ENDED = {"run_id": "iterate-1121-aaaaaa", "state": "succeeded"}
FAILED = {"run_id": "iterate-1121-bbbbbb", "state": "failed"}
AGAIN = (FAILED, ENDED)
OPENED = ("esc-0a1b2c3d4e5f",)


def acted(*runs: dict[str, Any], **more: Any) -> Acted:
    return Acted(runs=runs, befell=(True,), seconds=1.0, **more)


# ---- drawing -------------------------------------------------------------------------------------------------------------------------


def test_the_seed_says_what_befalls_whom_and_a_hundred_runs_meet_every_fault() -> None:
    drawn = draw(100, 17)
    assert drawn == draw(100, 17)
    assert drawn != draw(100, 18)
    assert drawn[:10] == draw(10, 17), "a shorter month is the beginning of a longer one"
    assert {fault.name for run in drawn for fault in run} == {fault.name for fault in FAULTS}
    assert Counter((len(run), any(not fault.known for fault in run)) for run in drawn) == {(1, False): 65, (1, True): 15, (0, False): 10, (2, False): 10}
    assert all(len({fault.name for fault in run}) == len(run) for run in drawn)


def test_every_kind_of_the_matrix_is_drawn_or_said_not_to_be() -> None:
    assert KINDS_MET.keys() | NOT_DRAWN.keys() == {fault.kind for fault in MATRIX}
    assert not KINDS_MET.keys() & NOT_DRAWN.keys()
    assert sorted(name for names in KINDS_MET.values() for name in names) == sorted(fault.name for fault in KNOWN)


# ---- judging -------------------------------------------------------------------------------------------------------------------------


def test_a_run_that_ended_as_undisturbed_needed_nobody() -> None:
    assert judged(acted(ENDED), same=True, problems=()).outcome == "alone"


@pytest.mark.parametrize(("by_person", "outcome"), [(False, "runbook"), (True, "escalated")])
def test_a_run_that_failed_is_put_down_to_whoever_helped_it(by_person: bool, outcome: str) -> None:
    assert judged(acted(*AGAIN, escalations=OPENED, by_person=by_person), same=True, problems=()).outcome == outcome


def test_what_training_does_not_move_is_escalated_once_for_each_pattern() -> None:
    assert judged(acted(ENDED, escalations=("esc-1", "esc-2")), same=True, problems=(), stuck=2).outcome == "escalated"
    assert judged(acted(ENDED, escalations=("esc-1",)), same=True, problems=(), stuck=2).outcome == "failed"


@pytest.mark.parametrize(
    ("what", "same", "problems", "why"),
    [
        (acted(ENDED), True, ("left over: python",), "left over: python"),
        (acted(ENDED), False, (), "otherwise than undisturbed"),
        (acted(ENDED, escalations=OPENED), True, (), "1 escalations, where there should be 0"),
        (acted(*AGAIN), True, (), "0 escalations, where there should be 1"),
        (acted(*AGAIN, escalations=("esc-1", "esc-2")), True, (), "2 escalations"),
        (acted(*AGAIN, escalations=OPENED, incomplete=("esc-1 lacks a question",)), True, (), "lacks a question"),
        (acted(*AGAIN, escalations=OPENED, unresolved=("esc-1 is open",)), True, (), "esc-1 is open"),
        (acted(*AGAIN, escalations=OPENED), False, (), "started again ended otherwise"),
    ],
)
def test_anything_else_is_a_failure_of_the_product_with_its_reason(what: Acted, same: bool, problems: tuple[str, ...], why: str) -> None:
    verdict = judged(what, same=same, problems=problems)
    assert verdict.outcome == "failed"
    assert why in verdict.why


def test_an_escalation_is_complete_only_with_every_part_as_it_was_written(tmp_path: Path) -> None:
    workspace, one = Workspace(tmp_path), escalation()
    folder = workspace.escalation(one.id)
    write_folder(folder, one, FILES)
    assert artefact(workspace, one.id) == ()
    (folder / "evidence" / "worker.log").write_text("something else")
    assert artefact(workspace, one.id) == (f"{one.id} lacks the files of its manifest", f"{one.id} lacks evidence by hash")
    write_folder(folder, one.model_copy(update={"evidence": (), "question": " "}), {})
    assert artefact(workspace, one.id) == (f"{one.id} lacks evidence by hash", f"{one.id} lacks a question")
    (folder / "manifest.json").unlink()
    assert "cannot be read" in artefact(workspace, one.id)[0]


# ---- counting ------------------------------------------------------------------------------------------------------------------------


def test_runs_are_counted_with_what_befell_them() -> None:
    known, unknown = KNOWN[0].name, UNKNOWN[0].name
    plain = {"attempts": 1, "by_person": False, "seconds": 9.0, "seconds_lost": 2.0, "why": "", "error": "", "run_ids": []}
    records = [
        plain | {"run": 0, "faults": [known], "befell": [known], "outcome": "alone", "attempts": 2},
        plain | {"run": 1, "faults": [known], "befell": [known], "outcome": "failed", "why": "a wrong score"},
        plain | {"run": 2, "faults": [known], "befell": [], "outcome": "alone"},
        plain | {"run": 3, "faults": [unknown], "befell": [unknown], "outcome": "escalated", "by_person": True},
    ]
    found = summed(records, FAULTS)
    assert [(found[name]["good"], found[name]["runs"]) for name in ("known", "unknown", "undisturbed")] == [(1, 2), (1, 1), (1, 1)]
    line = next(each for each in found["faults"] if each["fault"] == known)
    assert {name: line[name] for name in ("drawn", "befell", "alone", "failed", "median_seconds", "attempts")} == {
        "drawn": 3, "befell": 2, "alone": 1, "failed": 1, "median_seconds": 2.0, "attempts": 2,
    }  # fmt: skip
    shown = page({"seed": 1, "cores": 2, "left_over": [], "strays": [], "of_plays_cut_off": ["esc-1"], **found})
    assert f"- Run 1 ({known}): a wrong score" in shown
    assert "went on by itself afterwards, and opened esc-1." in shown
    assert "| known faults: no person was needed | 2 | 1 | 0 | 0 | 1 | 50.0% |" in shown


# ---- the month -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_month_of_two_runs_goes_through_and_is_not_played_again(tmp_path: Path) -> None:
    named = {fault.name: fault for fault in FAULTS}
    drawn = [(named["worker killed in any step"],), (named["exception that nobody foresaw"],)]
    started = client.daemon_command
    document = month(tmp_path, 2, 17, 2, drawn)
    assert [record["outcome"] for record in document["played"]] == ["alone", "escalated"], document["played"]
    assert [record["befell"] for record in document["played"]] == [[fault.name for fault in run] for run in drawn]
    assert (document["left_over"], document["strays"], document["failures"]) == ([], [], [])
    assert month(tmp_path, 2, 17, 2, drawn)["played"] == document["played"]
    assert client.daemon_command is started


def test_the_page_that_is_kept_has_a_goal_beside_each_share() -> None:
    kept = PAGE.read_text()
    assert kept.startswith("# Autonomy\n\nGenerated by ")
    assert "at least 95%" in kept
