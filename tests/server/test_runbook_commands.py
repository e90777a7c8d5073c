"""`modelsmith runbook`: what it shows and writes, what it would do, and when it stops. No daemon is needed for any of this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.base.paths import Workspace
from engine.escalate.runbooks.catalogue import catalogue
from server import runbook_commands
from server.failures import failure_of
from server.runbooks import as_text
from tests.server.daemons import run_cli


@pytest.fixture
def anywhere(tmp_path: Path) -> Workspace:
    (tmp_path / "clusters.json").write_text('{"models": {}, "clusters": {}}')
    return Workspace(tmp_path)


class Scripted:
    """Answers from a script; writes down what it was asked."""

    asked: list[tuple[str, dict[str, Any]]] = []
    answers: dict[str, Any] = {}

    def __init__(self, workspace: Workspace) -> None:
        Scripted.asked = []

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        Scripted.asked.append((tool, dict(arguments)))
        answer: dict[str, Any] = Scripted.answers[tool]
        return answer

    def command(self, words: tuple[str, ...]) -> dict[str, Any]:
        raise AssertionError(words)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(runbook_commands, "Surfaces", Scripted)
    Scripted.answers = {
        "fleet_status": {"clusters": [{"cluster": "travel"}]},
        "iterate": {"run_id": "iterate-1"},
        "run_status": {"run_id": "iterate-1", "state": "succeeded"},
    }
    return Scripted


def test_the_list_names_every_code_and_class(anywhere: Workspace) -> None:
    said = run_cli(anywhere, "runbook", "list", "--json")
    assert [each["runbook"] for each in said.json["runbooks"]] == list(catalogue())
    assert "leakage_found" in run_cli(anywhere, "runbook", "list").out


@pytest.mark.parametrize("name", ["leakage", "leakage_found"])
def test_a_runbook_is_shown_by_its_id_and_by_what_it_covers(anywhere: Workspace, name: str) -> None:
    assert run_cli(anywhere, "runbook", "show", name).out.strip() == as_text(catalogue()["leakage"]).strip()
    assert run_cli(anywhere, "runbook", "show", name, "--json").json["runbook"]["id"] == "leakage"


def test_an_error_in_the_terminal_names_the_command_that_shows_its_runbook(anywhere: Workspace) -> None:
    said = run_cli(anywhere, "runbook", "show", "nope", "--json")
    assert (said.code, said.json["error"]["runbook"]) == (2, "refused-request")
    assert "What to do: modelsmith runbook show refused-request" in said.err


def test_a_dry_run_fills_in_what_is_known_and_does_nothing(anywhere: Workspace, scripted: type[Scripted]) -> None:
    said = run_cli(anywhere, "runbook", "run", "leakage", "cluster=travel", "--dry-run", "--json")
    assert (said.code, said.json["outcome"], scripted.asked) == (0, "planned", [])
    steps = said.json["steps"]
    assert [(step["number"], step.get("by"), step["tool"]) for step in steps] == [(1, "agent", ""), (2, None, "iterate"), (3, None, "run_status"), (0, None, "run_status")]
    assert steps[1]["arguments"] == {"cluster": "travel", "max_iterations": 1}
    assert steps[2]["arguments"]["run_id"] == "${2.run_id}"


def test_a_dry_run_leaves_out_what_an_execution_would_leave_out(anywhere: Workspace, scripted: type[Scripted]) -> None:
    without, with_run = (run_cli(anywhere, "runbook", "run", "worker-lost", "cluster=travel", *more, "--dry-run", "--json").json for more in ((), ("run_id=train-1",)))
    assert [(step["outcome"], step["said"]) for step in without["steps"][:1]] == [("left_out", "there is no run_id")]
    assert (with_run["steps"][0]["outcome"], with_run["steps"][0]["arguments"]) == ("planned", {"run_id": "train-1"})
    assert ("2 of 4" in without["summary"], "3 of 4" in with_run["summary"], scripted.asked) == (True, True, [])


def test_it_stops_at_a_step_of_somebody_and_goes_on_when_that_is_done(anywhere: Workspace, scripted: type[Scripted]) -> None:
    said = run_cli(anywhere, "runbook", "run", "leakage_found", "cluster=travel", "--execute")
    assert (said.code, scripted.asked) == (1, [])
    assert "1  Take the named rows out of the training rows: YOURS" in said.out
    done = run_cli(anywhere, "runbook", "run", "leakage_found", "cluster=travel", "--execute", "--done", "1", "--json")
    assert (done.code, done.json["outcome"]) == (0, "verified")
    assert [tool for tool, _ in scripted.asked] == ["iterate", "run_status", "run_status"]
    assert scripted.asked[1][1] == {"run_id": "iterate-1", "wait_seconds": 50}


def test_what_came_to_something_else_is_said_with_the_error_and_nothing_more_is_done(anywhere: Workspace, scripted: type[Scripted]) -> None:
    error = {"code": "leakage_found", "message": "3 training rows are evaluation items"}
    scripted.answers["run_status"] = {"run_id": "iterate-1", "state": "failed", "error": error}
    said = run_cli(anywhere, "runbook", "run", "leakage", "cluster=travel", "--execute", "--done", "1", "--json")
    assert (said.code, said.json["outcome"]) == (1, "unexpected")
    assert "state is 'failed', expected 'succeeded' (leakage_found: 3 training rows are evaluation items)" in said.json["summary"]
    assert [tool for tool, _ in scripted.asked] == ["iterate", "run_status"], "a run that has failed is not waited for again"


def test_a_run_that_takes_long_is_waited_for_as_often_as_the_runbook_says(anywhere: Workspace, scripted: type[Scripted]) -> None:
    scripted.answers["run_status"] = {"run_id": "iterate-1", "state": "running"}
    said = run_cli(anywhere, "runbook", "run", "leakage", "cluster=travel", "--execute", "--done", "1", "--json")
    assert said.json["outcome"] == "unexpected"
    assert len(scripted.asked) == 1 + 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("leakage",), "missing: cluster"),
        (("leakage", "cluster=travel", "rows=3"), "unknown: rows"),
        (("leakage", "cluster=--workspace"), "not plain words: cluster"),
        (("leakage", "cluster=a\x1b[31m"), "not plain words: cluster"),
        (("leakage", "travel"), "'travel' is no input"),
        (("nope",), "there is no runbook 'nope'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_is_done(anywhere: Workspace, scripted: type[Scripted], words: tuple[str, ...], said: str) -> None:
    answer = run_cli(anywhere, "runbook", "run", *words, "--execute", "--json")
    assert answer.code == 2
    assert said in answer.json["error"]["message"]
    assert scripted.asked == []


def test_every_runbook_is_written_as_a_skill_that_an_agent_finds_by_its_description(anywhere: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "skills"
    assert run_cli(anywhere, "runbook", "skills", str(folder)).code == 0
    assert run_cli(anywhere, "runbook", "skills", str(folder), "--json").json["skills"] == [f"modelsmith-{name}" for name in catalogue()]
    for name, book in catalogue().items():
        _, front, text = (folder / f"modelsmith-{name}" / "SKILL.md").read_text().split("---\n", 2)
        about = yaml.safe_load(front)
        assert about.keys() == {"name", "description"}
        assert about["name"] == f"modelsmith-{name}"
        assert len(about["name"]) <= 64
        assert len(about["description"]) <= 1024
        for covered in (*book.triggers.errors, *book.triggers.classes):
            assert covered in about["description"]
        assert text.strip() == as_text(book).strip()


def test_a_broken_file_keeps_no_error_from_its_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, anywhere: Workspace) -> None:
    (tmp_path / "odd.md").write_text("not a runbook")
    monkeypatch.setattr("engine.escalate.runbooks.catalogue.RUNBOOKS", tmp_path)
    catalogue.cache_clear()
    try:
        assert failure_of(ValueError("x"), "iterate").record["runbook"] == ""
        said = run_cli(anywhere, "runbook", "show", "leakage", "--json")
        assert "odd.md: found no front matter" in json.dumps(said.json)
    finally:
        monkeypatch.undo()
        catalogue.cache_clear()
