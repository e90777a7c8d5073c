"""The command line: what it prints where, its exit codes, watching and letting go."""

from __future__ import annotations

import io
import json
import os
import pty
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Workspace
from engine.jobs.types import FINAL_STATES
from server import cli
from server.client import Client
from server.progress import duration, progress_line
from server.render import command, iterate_summary, plain, render
from server.watch import Display
from tests.server.daemons import COMMAND, ENVIRONMENT, daemon_workspace, run_cli, until
from tests.workspaces import make_workspace
from tools import TOOLS
from tools.runs import RUN_STATUS
from tools.tool import Tool, check_arguments, find_tool


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with daemon_workspace(tmp_path_factory.mktemp("cli"), targets={"score": 0.5}) as made:
        yield made


def test_a_watched_iterate_ends_with_a_summary_a_person_understands(workspace: Workspace) -> None:
    said = run_cli(workspace, "iterate", "tickets", "--max-iterations", "1", "--watch")
    assert said.code == 0, said
    assert said.out.startswith("tickets: 1 version accepted; targets (score 0.5) met.")
    for part in ("  base  ", "  floor  ", "  specialist  ", "against the base", "against the floor", "n=120", "Learnt:", "time: ", "train", ".modelsmith/runs/iterate-", "modelsmith report evaluate-", "next:"):
        assert part in said.out, part
    assert "goes on in the background" in said.err
    assert "succeeded" in said.err


def test_below_its_target_a_run_is_done_and_exits_with_1(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, targets={"score": 0.99}, profile={"trained_skill": 0.2}) as workspace:
        said = run_cli(workspace, "iterate", "tickets", "--json")
        assert said.code == 1
        assert said.json["state"] == "succeeded"
        assert said.json["output"]["targets_met"] is False
        assert run_cli(workspace, "evaluate", "tickets", "--json").code == 1
        text = run_cli(workspace, "run-status", said.json["run_id"], "--watch").out
        assert "no challenger was accepted" in text
        assert "best challenger" in text


def test_with_json_stdout_ends_with_one_document_and_progress_goes_to_stderr(workspace: Workspace) -> None:
    said = run_cli(workspace, "evaluate", "tickets", "--json")
    assert said.code == 0
    assert len(said.out.splitlines()) == 1
    assert said.json["state"] in FINAL_STATES
    assert said.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["iterate"], "argument_invalid", "cluster"),
        (["iterate", "tickets", "--rounds", "3"], "argument_invalid", "--rounds"),
        (["iterate", "tickets", "--max-iterations", "many"], "argument_invalid", "valid integer"),
        (["iterate", "tickets", "--watch", "--no-wait"], "argument_invalid", "not allowed"),
        (["dance"], "argument_invalid", "invalid choice"),
        ([], "argument_invalid", "COMMAND"),
        (["model", "add", "m", "--from", "nothing.json"], "not_found", "nothing.json"),
    ],
)
def test_bad_requests_exit_with_2_and_say_what_to_do(workspace: Workspace, words: list[str], code: str, said: str) -> None:
    answer = run_cli(workspace, *words, "--json")
    assert answer.code == 2
    assert answer.json["error"]["code"] == code
    assert said in answer.json["error"]["message"]
    assert answer.json["error"]["next_step"] in answer.err


def test_a_folder_that_is_no_workspace_is_named(tmp_path: Path) -> None:
    answer = run_cli(Workspace(tmp_path), "fleet-status", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (2, "not_found")
    assert str(tmp_path) in answer.json["error"]["message"]


def test_a_daemon_that_cannot_be_started_is_infrastructure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clusters.json").write_text('{"models": {}, "clusters": {}}')
    monkeypatch.setattr("server.client.daemon_command", lambda workspace: ["/bin/sh", "-c", "echo 'Traceback: no luck' >&2; exit 1"])
    answer = run_cli(Workspace(tmp_path), "fleet-status", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (3, "daemon_unavailable")


def test_underscores_and_dashes_name_the_same_command(workspace: Workspace) -> None:
    assert run_cli(workspace, "fleet_status", "--json").json.keys() == run_cli(workspace, "fleet-status", "--json").json.keys()


def test_every_tool_is_a_command_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    for tool in TOOLS:
        with pytest.raises(SystemExit) as left:
            cli.main([cli.command_name(tool), "--help"])
        assert left.value.code == 0
        text = capsys.readouterr().out
        for name in tool.arguments.model_fields:
            assert (name if name in tool.positional else f"--{name.replace('_', '-')}") in text


def test_a_domain_is_made_from_rows_named_as_seen_from_the_callers_folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace.root / "data"
    folder.mkdir()
    rows = [{"id": f"q{number}", "message": f"question {number} about {word}", "label": word} for number in range(60) for word in ("cards", "loans")]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row | {"id": f"{row['id']}-{row['label']}"}) + "\n" for row in rows))
    monkeypatch.chdir(folder)
    said = run_cli(workspace, "domain", "new", "questions", "--from", "rows.jsonl", "--json")
    assert said.code == 0, said
    assert (workspace.domain("questions") / "domain.yaml").is_file()
    before = (workspace.domain("questions") / "domain.yaml").read_bytes()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row | {"id": f"z{number}"}) + "\n" for number, row in enumerate(rows)))
    again = run_cli(workspace, "domain", "new", "questions", "--from", "rows.jsonl", "--json")
    assert again.code == 2
    assert (workspace.domain("questions") / "domain.yaml").read_bytes() == before


def test_an_endpoint_is_added_from_a_file(workspace: Workspace, tmp_path: Path) -> None:
    profile = tmp_path / "endpoint.json"
    profile.write_text(json.dumps({"kind": "endpoint", "title": "Local", "base_url": "http://127.0.0.1:9/v1", "model": "m"}))
    said = run_cli(workspace, "model", "add", "local-endpoint", "--from", str(profile), "--no-smoke-test", "--json")
    assert said.code == 0, said
    assert "local-endpoint" in json.loads(workspace.clusters_file.read_text())["models"]


def answered_with(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every call of the command line gets this answer and no daemon; the calls."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Answering:
        def __init__(self, _: Workspace) -> None: ...

        def call(self, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
            asked.append((tool.name, arguments))
            return answer

    monkeypatch.setattr(cli, "Client", Answering)
    return asked


@pytest.mark.parametrize(("opened", "code"), [(True, 0), (False, 1)])
def test_a_closed_gate_is_done_and_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool, code: int) -> None:
    workspace = make_workspace(tmp_path)
    asked = answered_with(monkeypatch, {"summary": "It stays shadow.", "open": opened, "moved": False, "next": []})
    words = command("promote", {"cluster": "tickets", "version": "v-0123456789ab"}).split()[1:]
    assert cli.main([*words, "--to", "canary", "--workspace", str(workspace.root)]) == code
    assert asked == [("promote", {"cluster": "tickets", "version": "v-0123456789ab", "to": "canary"})]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("onboard_domain", {"name": "desk", "rows_path": "rows.jsonl"}),
        ("iterate", {"cluster": "tickets", "max_iterations": 0}),
        ("search_models", {"compare": ["a/b", "c/d"], "accelerator": "L4 24GB"}),
        ("search_models", {"text": "qwen", "accelerator": "L4 24GB", "fits": True}),
        ("compare", {"before_evaluation": "evaluate-1-a", "after_evaluation": "evaluate-1-b"}),
    ],
)
def test_a_suggested_call_is_a_command_that_makes_that_call(
    tool: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path)
    asked = answered_with(monkeypatch, {"summary": "", "next": []})
    cli.main([*shlex.split(command(tool, arguments))[1:], "--workspace", str(workspace.root)])
    assert [(name, check_arguments(find_tool(TOOLS, name), made)) for name, made in asked] == [(tool, check_arguments(find_tool(TOOLS, tool), arguments))]


def test_ctrl_c_stops_watching_and_never_the_run(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path, profile={"delay_seconds": 0.05}) as workspace:
        words = [*COMMAND, "iterate", "tickets", "--json", "--workspace", str(workspace.root)]
        watcher = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watcher.stderr is not None
        started = watcher.stderr.readline()
        watcher.stderr.readline()  # the first sign of progress: it is watching
        watcher.send_signal(signal.SIGINT)
        out, err = watcher.communicate(timeout=30)
        assert watcher.returncode == 130
        run_id = json.loads(out.splitlines()[-1])["run_id"]
        assert run_id in started
        assert f"modelsmith run-status {run_id} --watch" in err
        assert f"modelsmith cancel {run_id}" in err
        client = Client(workspace)
        assert client.call(RUN_STATUS, {"run_id": run_id})["state"] == "running"
        assert run_cli(workspace, "cancel", run_id).code == 0
        until(lambda: client.call(RUN_STATUS, {"run_id": run_id})["state"] == "cancelled")
        assert run_cli(workspace, "run-status", run_id, "--watch").code == 1


# ---- what is printed ------------------------------------------------------------------------------------------------------------------


def status(**progress: Any) -> dict[str, Any]:
    return {"state": "running", "progress": progress}


def test_progress_in_words() -> None:
    assert progress_line(status(phase="1.train: training", step=12, total=50, loss=0.41349, eta_seconds=130)) == "1.train: training 12/50, loss 0.413, about 2 min left"
    assert progress_line(status(phase="loading", message="Starting the server.")) == "loading, Starting the server."
    assert progress_line({"state": "queued"}) == "queued"
    assert [duration(seconds) for seconds in (0.12, 45, 200, 9000)] == ["0.1 s", "45 s", "3 min", "2.5 h"]


def test_without_a_screen_a_line_is_written_for_each_phase_and_not_for_each_step() -> None:
    stream = io.StringIO()
    display = Display(stream)
    for step in range(100):
        display.show(status(phase="training", step=step, total=100))
    display.show(status(phase="measuring", step=1, total=2))
    display.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "measuring 1/2" in lines[1]


def test_on_a_screen_one_line_changes() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        display = Display(stream)
        for step in range(5):
            display.show(status(phase="training", step=step, total=5))
        display.close()
        text = ""
        while not text.endswith("\n"):
            text += os.read(leader, 10_000).decode()
    os.close(leader)
    assert text.count("\r\x1b[K") == 5
    assert text.count("\n") == 1


def test_texts_of_strangers_cannot_move_the_cursor() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07ok\u202eko\u200b\r"
    for text in (plain(hostile), render({"summary": hostile, "examples": [{"answer": hostile, "input": {"message": hostile}}], "next": []})):
        assert not {"\x1b", "\x07", "\r", "\u202e", "\u200b"} & set(text)
    assert ";" in command("diagnose", {"cluster": "x; rm -rf /"})
    assert command("diagnose", {"cluster": "x; rm -rf /"}) == "modelsmith diagnose 'x; rm -rf /'"


def test_a_failed_run_is_told_as_it_is() -> None:
    failed = {"summary": "iterate-1 failed: no memory", "run_id": "iterate-1", "kind": "iterate", "state": "failed", "error": {"code": "resource_exhausted", "message": "no memory"}, "next": []}
    text = iterate_summary(failed)
    assert "no memory" in text
    assert "resource_exhausted" in text
