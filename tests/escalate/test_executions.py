"""Each runbook carried out against the fault that it is for: the fault names it, it stops where somebody has to act, and then its verification passes.

Through the command line and a real daemon over the scripted double, but for a training that diverges, which needs a worker of its own.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.base.processes import find_processes
from engine.engine import Engine
from engine.escalate.runbooks.catalogue import catalogue, runbook
from engine.escalate.runbooks.execution import execute
from engine.jobs.types import FINAL_STATES
from engine.jobs.workers import WORKER_MODULES
from server import client as reaching
from server.client import Client, ensure_daemon
from tests.promote.accepted import configure
from tests.promote.keys import FileKey
from tests.server.daemons import Terminal, daemon_workspace, kill_daemon, until
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain
from tools import TOOLS
from tools.tool import call, find_tool

TRIED: set[str] = set()
"""Runbooks whose verification has passed here."""


class Place(Terminal):
    """A workspace as an agent and a person at its terminal reach it."""

    def agent(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return Client(self.workspace).call(find_tool(TOOLS, tool), arguments)

    def ended(self, run_id: str) -> dict[str, Any]:
        return dict(until(lambda: (status := self.agent("run_status", run_id=run_id, wait_seconds=10))["state"] in FINAL_STATES and status, 300))

    def measured(self, cluster: str) -> str:
        """The base of a cluster, measured; whether it meets targets is not asked."""
        status = self.terminal("evaluate", cluster, "--subject", "base").json
        assert status["state"] == "succeeded", status
        return str(status["run_id"])

    def refusal(self, name: str, *words: str | Path) -> dict[str, Any]:
        """The error of a command, which names this runbook."""
        error: dict[str, Any] = self.terminal(*words).json["error"]
        assert error["runbook"] == name, error
        return error

    def failure(self, name: str, run_id: str) -> dict[str, Any]:
        """The error of a run that failed, which names this runbook."""
        error: dict[str, Any] = self.ended(run_id)["error"]
        assert error["runbook"] == name, error
        return error

    def carry_out(self, name: str, *words: str) -> tuple[str, str]:
        """The outcome and, of the last step that was come to, its title."""
        said = self.terminal("runbook", "run", name, *words, "--execute")
        made = said.json
        assert "outcome" in made, made
        assert (said.code == 0) == (made["outcome"] == "verified"), made
        if made["outcome"] == "verified":
            TRIED.add(made["runbook"])
        return made["outcome"], made["steps"][-1]["title"] if made["outcome"] != "unexpected" else made["summary"]

    def add_cluster(self, name: str, domain: dict[str, Any], *, train: list[dict[str, Any]], evaluation: list[dict[str, Any]], model: str = "double") -> None:
        write_domain(self.workspace, name, domain, train=train, evaluation=evaluation)
        configure(self.workspace, clusters={name: {"domain": name, "model": model}})


VERIFIED = ("verified", "Verification")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with daemon_workspace(tmp_path_factory.mktemp("runbooks"), targets={"score": 0.5}) as workspace:
        file = json.loads(workspace.clusters_file.read_text())
        file["models"]["dunce"] = {"kind": "scripted", "base_skill": 0}
        file["approvers"] = "approvers.json"
        workspace.clusters_file.write_text(json.dumps(file))
        yield Place(workspace)


@pytest.fixture(scope="module")
def accepted(place: Place) -> tuple[str, str]:
    """What came of the runbook that aims a round at failure patterns; the cluster `tickets` has an accepted version afterwards."""
    place.measured("tickets")
    return place.carry_out("label_confusion", "cluster=tickets")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[FileKey, FileKey]:
    folder = tmp_path_factory.mktemp("keys")
    return FileKey(folder, "ada"), FileKey(folder, "mallory")


def test_failures_that_training_mends_get_a_round_of_their_own(place: Place, accepted: tuple[str, str]) -> None:
    assert accepted == VERIFIED
    assert place.agent("fleet_status")["clusters"][0]["incumbent"] != "base"


def test_a_refused_request_is_sent_again_with_a_name_that_is_there(place: Place) -> None:
    place.refusal("refused-request", "evaluate", "tickest", "--no-wait")
    outcome, why = place.carry_out("not_found", "cluster=tickest")
    assert (outcome, "not_found" in why) == ("unexpected", True)
    assert place.carry_out("not_found", "cluster=tickets") == VERIFIED


def test_a_broken_template_is_mended_by_hand_and_then_every_row_is_read(place: Place) -> None:
    domain = domain_file()
    broken = {**domain, "contract": domain["contract"] | {"user": "{{ message "}}
    place.add_cluster("template", broken, train=rows(0, 20), evaluation=rows(1000, 20))
    place.refusal("refused-configuration", "evaluate", "template", "--no-wait")
    assert place.carry_out("domain_invalid", "cluster=template") == ("waits", "Mend the file at the place that the error names")
    write_domain(place.workspace, "template", domain, train=rows(0, 20), evaluation=rows(1000, 20))
    assert place.carry_out("domain_invalid", "cluster=template") == VERIFIED


def test_a_run_that_is_in_the_way_is_waited_for(place: Place) -> None:
    place.add_cluster("busy", domain_file(), train=rows(0, 40), evaluation=rows(1000, 40))
    place.done("evaluate", "busy", "--subject", "base", "--no-wait")
    error = place.refusal("state-changed", "iterate", "busy", "--no-wait")
    assert place.carry_out("run_active", "cluster=busy", f"run_id={error['details']['run_id']}") == VERIFIED


def test_measurements_that_were_made_differently_are_made_again_and_compared(place: Place) -> None:
    place.add_cluster("moved", domain_file(), train=rows(0, 40), evaluation=rows(1000, 40))
    first = place.measured("moved")
    domain = domain_file()
    changed = {**domain, "contract": domain["contract"] | {"system": "Answer with the intent, as JSON."}}
    write_domain(place.workspace, "moved", changed, train=rows(0, 40), evaluation=rows(1000, 40)[:-4])
    second = place.measured("moved")
    place.refusal("state-changed", "compare", first, second, "--split", "core")
    assert place.carry_out("identity_mismatch", "cluster=moved", "before=base", "after=base") == VERIFIED


def test_people_sign_what_an_agent_asks_for(place: Place, accepted: tuple[str, str], keys: tuple[FileKey, FileKey]) -> None:
    ada, mallory = keys
    place.done("approvers", "init", "ada", "--key", ada.path)
    assert place.agent("promote", cluster="tickets")["state"] == "shadow"
    inputs = ("cluster=tickets", "to=canary")
    assert place.carry_out("approval_needed", *inputs) == ("waits", "Ask, if nobody has asked or the request is over")
    request = place.agent("promote", cluster="tickets", to="canary")["request"]["request"]
    place.refusal("approval-needed", "approve", request, "--key", mallory.path)
    assert place.carry_out("signature_refused", *inputs) == ("waits", "Let the people sign whose signatures it needs")
    place.done("approve", request, "--key", ada.path)
    assert place.carry_out("signature_refused", *inputs) == VERIFIED


def test_a_signing_key_that_others_can_read_signs_nothing_until_a_person_has_seen_to_it(place: Place, accepted: tuple[str, str]) -> None:
    shutil.rmtree(place.workspace.root / place.done("evidence", "tickets")["bundle"])  # so that the next one has to be signed
    key = place.workspace.evidence_key
    key.chmod(0o644)
    try:
        place.refusal("evidence-refused", "evidence", "tickets")
        assert place.carry_out("signing_key_unsafe", "cluster=tickets") == ("waits", "Settle what the error names")
    finally:
        key.chmod(0o600)
    assert place.carry_out("signing_key_unsafe", "cluster=tickets") == VERIFIED


def test_leaked_rows_are_taken_out_of_the_training_rows(place: Place) -> None:
    evaluation = rows(1000, 40)
    place.add_cluster("leaky", domain_file(), train=[*rows(0, 40), {**evaluation[3], "id": "copied"}], evaluation=evaluation)
    run = place.agent("iterate", cluster="leaky", max_iterations=1)["run_id"]
    place.failure("leakage", run)
    assert place.carry_out("leakage_found", "cluster=leaky") == ("waits", "Take the named rows out of the training rows")
    outcome, why = place.carry_out("leakage_found", "cluster=leaky", "--done", "1")
    assert (outcome, "leakage_found" in why) == ("unexpected", True), "it was said to be done, and is not"
    write_domain(place.workspace, "leaky", domain_file(), train=rows(0, 40), evaluation=evaluation)
    assert place.carry_out("leakage_found", "cluster=leaky", "--done", "1") == VERIFIED


def test_a_version_whose_bytes_changed_is_not_used_until_sound_ones_are_back(place: Place, accepted: tuple[str, str]) -> None:
    files = {path: path.read_bytes() for path in place.workspace.artifacts.glob("*/*/scripted.json")}
    assert files
    try:
        for path, content in files.items():
            path.chmod(0o600)
            path.write_bytes(content.replace(b'"identity": "', b'"identity": "another ', 1))
        shutil.rmtree(place.workspace.answers)  # what is in the cache is asked of no weights
        run = place.agent("evaluate", cluster="tickets", splits=["core"])["run_id"]
        error = place.failure("wrong-weights", run)
        assert place.carry_out(error["code"], "cluster=tickets") == ("waits", "Put sound bytes in their place, if they are not")
    finally:
        for path, content in files.items():
            path.write_bytes(content)
    assert place.carry_out(error["code"], "cluster=tickets") == VERIFIED


def test_contradictory_labels_go_to_a_person_and_are_measured_anew(place: Place) -> None:
    evaluation = rows(1000, 60)
    twins = [{**row, "id": f"{row['id']}-twin", "expected": {"intent": "login" if row["expected"]["intent"] != "login" else "refund"}} for row in evaluation[:20]]
    place.add_cluster("twins", domain_file(), train=rows(0, 40), evaluation=[*evaluation, *twins], model="dunce")
    place.measured("twins")
    patterns = place.agent("diagnose", cluster="twins")["patterns"]
    assert {line["failure_class"]: line["pattern"] for line in patterns}["unlearnable"] == "unlearnable"
    inputs = ("unlearnable", "cluster=twins", "pattern=unlearnable")
    assert place.carry_out(*inputs) == ("waits", "Let the person decide, and write down what they decided")
    write_domain(place.workspace, "twins", domain_file(), train=rows(0, 40), evaluation=evaluation)
    assert place.carry_out(*inputs, "--done", "3") == VERIFIED
    assert "unlearnable" not in [line["failure_class"] for line in place.agent("diagnose", cluster="twins")["patterns"]]


@contextmanager
def endpoint(port: int) -> Iterator[int]:
    """An endpoint that answers each question with one label."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            reply = json.dumps({"choices": [{"message": {"content": '{"intent": "refund"}'}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_an_endpoint_that_was_down_is_asked_again_when_it_is_up(place: Place) -> None:
    with endpoint(0) as port:
        pass
    file = json.loads(place.workspace.clusters_file.read_text())
    file["models"]["far"] = {"kind": "endpoint", "title": "Far", "base_url": f"http://127.0.0.1:{port}/v1", "model": "m", "request_timeout_seconds": 5}
    place.workspace.clusters_file.write_text(json.dumps(file))
    place.add_cluster("far", domain_file(), train=rows(0, 40), evaluation=rows(1000, 40), model="far")
    run = place.agent("evaluate", cluster="far", subject="base", splits=["core"])["run_id"]
    place.failure("server-failed", run)
    with endpoint(port):
        assert place.carry_out("generation_failed", "cluster=far") == VERIFIED


def test_a_worker_that_is_killed_again_and_again_fails_its_run_and_the_next_one_works(place: Place) -> None:
    place.add_cluster("killed", domain_file(), train=rows(0, 40), evaluation=rows(1000, 40))
    run = place.agent("evaluate", cluster="killed", subject="base", splits=["core"])["run_id"]

    def killed() -> bool:
        for identity, _ in find_processes(str(place.workspace.runs / run)):
            os.kill(identity.pid, signal.SIGKILL)
        return place.agent("run_status", run_id=run)["state"] in FINAL_STATES

    until(killed, 120)
    place.failure("worker-lost", run)
    assert place.carry_out("worker_lost", "cluster=killed", f"run_id={run}") == VERIFIED


def test_a_daemon_that_cannot_be_started_is_started_when_its_way_is_free(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_daemon(place.workspace)
    kill_daemon(place.workspace)
    with monkeypatch.context() as hindered:
        hindered.setattr(reaching, "daemon_command", lambda workspace: [sys.executable, "-c", "import time; time.sleep(2)"])
        hindered.setattr(reaching, "START_SECONDS", 1.0)
        place.refusal("daemon-silent", "fleet-status")
    assert place.carry_out("daemon_unavailable") == VERIFIED


def test_a_journal_that_is_broken_inside_is_put_back_by_a_person_and_the_database_made_again(place: Place) -> None:
    check = {"tool": "fleet_status", "arguments": {}, "expected": [{"path": "runs_total", "comparison": "at_least", "value": 1}]}
    for number in range(3):  # something that is acknowledged, and costs no process
        place.agent("escalate", problem=f"Something looks wrong, {number}.", check=check)
    place.done("daemon", "stop")
    journal = place.workspace.journal
    kept = journal.read_bytes()
    try:
        inside = kept.index(b"\n") + 40  # of the second line: the last one would be taken for torn
        journal.write_bytes(kept[:inside] + bytes([kept[inside] ^ 1]) + kept[inside + 1 :])
        place.refusal("store-damaged", "fleet-status")
        outcome, why = place.carry_out("store_damaged")
        assert (outcome, "of journal.jsonl" in why) == ("unexpected", True)
    finally:
        journal.write_bytes(kept)
    assert place.carry_out("store_damaged") == VERIFIED


class InProcess:
    """Performs acts on an engine of this process, which moves only when it is asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if tool == "run_status":
            finish(self.engine, arguments["run_id"])
        return call(self.engine, find_tool(TOOLS, tool), {name: value for name, value in arguments.items() if name != "wait_seconds"})

    def command(self, words: tuple[str, ...]) -> dict[str, Any]:
        raise AssertionError(words)


def test_a_training_that_diverged_is_begun_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVERGES_ABOVE", "0.0003")
    engine = Engine.open(make_workspace(tmp_path))
    engine.supervisor.workers.modules = {**WORKER_MODULES, "train": "tests.iterate.diverging_worker"}
    performs = InProcess(engine)
    try:
        run = engine.iterate("tickets").id
        error = performs.call("run_status", {"run_id": run})["error"]
        assert (error["code"], error["runbook"]) == ("training_diverged", "training-failed")
        made = execute(runbook(error["runbook"]), {"cluster": "tickets", "run_id": run}, performs)
        assert made.outcome == "verified", made
        TRIED.add(made.runbook)
    finally:
        engine.close()


def test_every_runbook_has_been_carried_out_here(request: pytest.FixtureRequest) -> None:
    """The last test of the file; it has nothing to say when only some of the others were run."""
    others = {item.name for item in request.session.items if item.path == request.path}
    if len(others) < len([name for name in globals() if name.startswith("test_")]):
        pytest.skip("only some of the tests of this file are run")
    assert catalogue().keys() == TRIED
