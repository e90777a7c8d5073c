"""Asking a teacher: what goes out, what is kept, and when it stops. The worker in process, with the double and an endpoint of Anthropic messages."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import Spool, read_jsonl
from engine.base.paths import Workspace
from engine.config import EndpointProfile, Profile, ScriptedProfile, Teacher
from engine.curate.jobs import CurateJob
from engine.curate.teach_jobs import FloorBar, TeachJob, TeachOutput
from engine.curate.teach_worker import teach
from engine.curate.types import TaughtRows
from engine.curate.worker import curate
from engine.errors import GenerationFailed, LeakageFound
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.types import Interval
from engine.generate import chat
from engine.jobs.types import RunConfig
from engine.jobs.worker import WorkerContext
from engine.train.rows import read_dataset
from tests import workspaces

GOOD = ScriptedProfile(base_skill=0.9)


def context(workspace: Workspace, kind: Any, name: str, job: Any) -> WorkerContext:
    paths = workspace.run(name)
    paths.outputs.mkdir(parents=True, exist_ok=True)
    config = RunConfig(run_id=name, kind=kind, cluster="tickets", workspace=str(workspace.root), seed=3, job=job.model_dump(mode="json"))
    return WorkerContext(config, paths, 1, Spool(paths.progress))


def bar(workspace: Workspace, mean: float) -> FloorBar:
    digest = domain_digest(workspace, "tickets")
    compiled = compile_domain(workspace, "tickets", digest)
    figure = Interval(mean=mean, low=0.0, high=1.0, n=96, clusters=96)
    return FloorBar(
        evaluation_id="floor-1",
        subject="floor:majority",
        suite=compiled.suite_digest,
        grading=compiled.grading_digest,
        score=figure,
        pass_rate=figure,
    )


def asked(workspace: Workspace, run: str, profile: Profile | None, *, floor: float = 0.3, **terms: Any) -> TeachOutput:
    """A teaching run's output; its files are in the run directory `run`."""
    digest = domain_digest(workspace, "tickets")
    teacher = Teacher.model_validate({"name": "sage", "max_answers": 60} | terms)
    above = bar(workspace, floor)
    job = TeachJob(domain="tickets", domain_digest=digest, teacher=teacher, profile=profile, base=None, floor=above, seed=3, device="cpu")
    found = teach(context(workspace, "teach", run, job))
    return TeachOutput.model_validate({key: value for key, value in found.items() if key != "artifacts"})


def label_of(body: dict[str, Any]) -> Any:
    """The label of the training row that is asked about."""
    asked = body["messages"][-1]["content"]
    return next(row["expected"] for row in workspaces.rows(0, 160) if row["input"]["message"] == asked)


@contextmanager
def anthropic_endpoint(
    answer_to: Callable[[dict[str, Any]], Any] = label_of, **profile: Any
) -> Iterator[tuple[EndpointProfile, list[dict[str, Any]]]]:
    """An endpoint that answers as it is told (a question that it is told nothing for is refused), and what it was asked for."""
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append({**body, "path": self.path, "version": self.headers["anthropic-version"]})
            answer = answer_to(body)
            if "tools" in body:
                content = {"type": "tool_use", "id": "t", "name": "answer", "input": answer}
            else:
                content = {"type": "text", "text": json.dumps(answer)}
            reply = json.dumps({"content": [content], "stop_reason": "end_turn", "usage": {"input_tokens": 30, "output_tokens": 10}}).encode()
            self.send_response(400 if answer is None else 200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        yield EndpointProfile(title="sage", base_url=url, model="m", dialect="anthropic", concurrency=2, **profile), bodies
    finally:
        server.shutdown()
        server.server_close()


def test_a_teacher_s_agreeing_answers_become_rows_for_training(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    output = asked(workspace, "teach-one", GOOD)
    assert (output.usable, output.asked, output.structured) == (True, 60, "schema")
    assert output.rows == round(output.agreement.mean * 60) < 60
    assert output.left_out.disagrees + output.left_out.form == 60 - output.rows
    assert output.agreement.low < output.agreement.mean < output.agreement.high
    rows = read_dataset(workspace.run("teach-one").outputs / "dataset.jsonl", str(output.dataset))
    labels = {row["id"]: row["expected"] for row in workspaces.rows(0, 160)}
    assert len(rows) == output.rows
    assert all(json.loads(row.completion) == labels[row.id] for row in rows)
    assert "budget of 60 answers" in output.stopped


def test_a_teacher_below_the_floor_leaves_figures_and_no_rows(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    output = asked(workspace, "teach-low", ScriptedProfile(base_skill=0.1), floor=0.5)
    assert (output.usable, output.rows, output.dataset) == (False, 0, None)
    assert "below the floor" in output.reason
    assert output.left_out.disagrees + output.left_out.form == 60 - round(output.agreement.mean * 60)
    assert not (workspace.run("teach-low").outputs / "dataset.jsonl").exists()
    assert len(read_jsonl(workspace.run("teach-low").outputs / "results.jsonl")) == 60


def test_what_was_answered_once_is_not_asked_again(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    first, second = asked(workspace, "teach-1", GOOD), asked(workspace, "teach-2", GOOD)
    assert (first.generated, first.cached) == (60, 0)
    assert (second.generated, second.cached) == (0, 60)
    assert second.dataset == first.dataset
    assert second.tokens == first.tokens


def test_an_anthropic_endpoint_is_asked_for_training_rows_alone_and_stops_at_its_budget(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint() as (profile, bodies):
        output = asked(workspace, "teach-far", profile, max_answers=160, max_tokens=1000)
    assert (output.asked, output.tokens, output.usable, output.rows) == (25, 1000, True, 25)
    assert "1000 of the 1000 tokens" in output.stopped
    training = {row["input"]["message"] for row in workspaces.rows(0, 160)}
    assert {body["messages"][-1]["content"] for body in bodies} <= training
    assert {(body["path"], body["version"], body["tool_choice"]["name"]) for body in bodies} == {("/v1/messages", "2023-06-01", "answer")}


def test_an_endpoint_without_schemas_is_told_the_form_and_what_is_taught_is_the_domain_s_own_prompt(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint(structured_output=False) as (profile, bodies):
        output = asked(workspace, "teach-words", profile, max_answers=12)
    assert output.structured == "words"
    assert "JSON Schema" in bodies[0]["system"]
    assert "tools" not in bodies[0]
    assert "JSON Schema" not in (workspace.run("teach-words").outputs / "dataset.jsonl").read_text()


def test_a_teacher_that_cannot_be_reached_is_an_infrastructure_failure_and_no_low_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.001)
    workspace = workspaces.make_workspace(tmp_path)
    with pytest.raises(GenerationFailed):
        asked(workspace, "teach-gone", EndpointProfile(title="x", base_url="http://127.0.0.1:9/v1", model="m"))


def test_a_training_row_that_is_an_evaluation_item_is_never_sent_to_a_teacher(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    leaked = {**workspaces.rows(1000, 1)[0], "id": "copied"}
    train = [*workspaces.rows(0, 40), leaked]
    workspaces.write_domain(workspace, "tickets", workspaces.domain_file(), train=train, evaluation=workspaces.rows(1000, 240))
    with anthropic_endpoint() as (profile, bodies), pytest.raises(LeakageFound):
        asked(workspace, "teach-leak", profile)
    assert bodies == []


def test_the_oracle_answers_with_the_labels_and_spends_nothing(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    output = asked(workspace, "teach-oracle", None, name="oracle", max_answers=20)
    assert (output.usable, output.rows, output.generated, output.tokens, output.agreement.mean) == (True, 20, 0, 0, 1.0)


@pytest.mark.parametrize("trust", ["labels", "teacher", "both"])
def test_curation_teaches_what_the_teacher_s_trust_says(tmp_path: Path, trust: Any) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    output = asked(workspace, "teach-t", ScriptedProfile(base_skill=0.6), trust=trust)
    dataset = workspace.run("teach-t").outputs / "dataset.jsonl"
    answers = {row["id"]: row["completion"] for row in read_jsonl(dataset)}
    assert len(answers) == output.rows
    taught = TaughtRows(teacher="sage", trust=trust, dataset=str(dataset), dataset_digest=str(output.dataset))
    job = CurateJob(domain_digest=output.domain, patterns=(), max_rows=200, replay_share=0.5, seed=3, taught=taught)
    found = curate(context(workspace, "curate", "curate-t", job))
    trained = {row["id"]: row["completion"] for row in read_jsonl(workspace.run("curate-t").outputs / "dataset.jsonl")}
    assert set(trained) == ({f"r{number}" for number in range(160)} if trust == "labels" else set(answers))
    assert all(trained[name] == text for name, text in answers.items())
    assert (found["taught"], found["answers"]) == (len(answers), output.dataset)
