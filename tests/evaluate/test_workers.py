"""The workers of measuring, in process, with the scripted double for a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.base.digests import digest_of, file_sha256
from engine.base.files import Spool, read_json, read_jsonl, read_spool, write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.errors import ArtifactCorrupt, GenerationFailed
from engine.evaluate import worker
from engine.evaluate.compile import domain_digest
from engine.evaluate.compile_worker import compile_in_worker
from engine.evaluate.floor_worker import fit_floor
from engine.evaluate.jobs import CompileJob, CompileOutput, EvaluateJob, EvaluateOutput, FloorJob, FloorOutput
from engine.evaluate.types import ItemResult
from engine.generate.types import Answer, FingerprintReport, GeneratorIdentity
from engine.jobs.types import RunConfig, RunResult
from engine.jobs.worker import Cancelled, WorkerContext
from tests.evaluate.folders import rows, write_folder


def context(workspace: Workspace, kind: str, job: object, name: str = "r1") -> WorkerContext:
    paths = workspace.run(f"{kind}-{name}")
    paths.outputs.mkdir(parents=True, exist_ok=True)
    config = RunConfig(run_id=f"{kind}-{name}", kind=kind, cluster="c", workspace=str(workspace.root), seed=17, job=job.model_dump(mode="json"))
    return WorkerContext(config, paths, 1, Spool(paths.progress))


def job(workspace: Workspace, **changes: object) -> EvaluateJob:
    return EvaluateJob.model_validate(
        {
            "domain": "tickets",
            "domain_digest": domain_digest(workspace, "tickets"),
            "model": "double",
            "profile": ScriptedProfile(base_skill=0.5).model_dump(),
            "base": None,
            "weights": None,
            "subject": "base",
            "structured": True,
            "measure_structured": True,
            "device": "cpu",
        }
        | changes
    )


def evaluated(found: dict) -> EvaluateOutput:
    return EvaluateOutput.model_validate({key: value for key, value in found.items() if key != "artifacts"})


class Flaky:
    """A generator that loses the first answer to each of some scenarios, or all of them."""

    def __init__(self, *, lose_first: int = 0, always: bool = False) -> None:
        self.identity = GeneratorIdentity(engine="flaky 1", base="b", weights="b", chat_template="", served_as="base")
        self.asked: list[str] = []
        self._lose, self._always = lose_first, always

    def prove(self) -> FingerprintReport:
        return FingerprintReport(verdict="match")

    def answer(self, requests, on_answer) -> None:
        for position, request in enumerate(requests):
            self.asked.append(request.key)
            lost = self._always or (position < self._lose and self.asked.count(request.key) == 1)
            on_answer(
                Answer(key=request.key, error="generation_failed: timed out", finish_reason="error")
                if lost
                else Answer(key=request.key, text='{"intent":"login"}')
            )

    def close(self) -> None:
        pass


def test_compiling_reports_what_was_compiled(tmp_path: Path):
    workspace = write_folder(tmp_path)
    found = compile_in_worker(context(workspace, "compile", CompileJob(domain="tickets", domain_digest=domain_digest(workspace, "tickets"))))
    output = CompileOutput.model_validate(found)
    assert (output.scenarios, output.pool) == ({"core": 24, "held_out": 24, "reserve": 12}, 60)


def test_a_measurement_leaves_results_figures_and_progress(tmp_path: Path):
    workspace = write_folder(tmp_path)
    run = context(workspace, "evaluate", job(workspace))
    found = worker.evaluate_in_worker(run)
    output = evaluated(found)
    results = [ItemResult.model_validate(row) for row in read_jsonl(run.paths.root / found["artifacts"]["results"])]
    assert {result.split for result in results} == {"core", "held_out"}
    assert len(results) == 48
    held_out = output.summary.split("held_out")
    mean = sum(result.score for result in results if result.split == "held_out") / 24
    assert held_out.score.mean == pytest.approx(mean)
    assert (held_out.score.n, held_out.errors) == (24, 0)
    assert output.summary.fingerprint["verdict"] == "match"
    assert output.structured_effect.comparison.difference.n == 24
    last = [line.data for line in read_spool(run.paths.progress) if line.data["phase"] == "generating"][-1]
    assert (last["step"], last["total"]) == (48, 48)


def test_measuring_again_generates_nothing_and_gives_the_same_figures(tmp_path: Path):
    workspace = write_folder(tmp_path)
    first = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace), "a")))
    again = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace), "b")))
    assert (first.summary.generated, again.summary.generated, again.summary.cached) == (48, 0, 48)
    assert [split.score for split in again.summary.splits] == [split.score for split in first.summary.splits]
    assert again.summary.identity == first.summary.identity
    assert again.summary.fingerprint is None


def test_an_answer_lost_once_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    workspace = write_folder(tmp_path)
    flaky = Flaky(lose_first=5)
    monkeypatch.setattr(worker, "open_generator", lambda *_, **__: flaky)
    output = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace, measure_structured=False))))
    assert sum(split.errors for split in output.summary.splits) == 0
    assert len(flaky.asked) == 48 + 5 + 24  # all, the lost ones again, and the steady sample: the whole of this small core


def test_a_failing_machine_fails_the_run_and_is_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    workspace = write_folder(tmp_path)
    monkeypatch.setattr(worker, "open_generator", lambda *_, **__: Flaky(always=True))
    with pytest.raises(GenerationFailed, match=r"48 of 48 answers were lost to infrastructure \(infrastructure:generation_failed\)"):
        worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace)))


def cancel_after(answers: int, run: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cancels the run at its `answers`-th answer; returns the scenarios whose answers were taken, as they come."""
    add, taken = worker.Tally.add, []

    def add_and_cancel(self, answer):
        add(self, answer)
        taken.append(answer.key)
        if len(taken) == answers:
            run.cancelled.set()

    monkeypatch.setattr(worker.Tally, "add", add_and_cancel)
    return taken


def test_a_cancelled_measurement_ends_at_the_next_answer_and_goes_on_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    workspace = write_folder(tmp_path)
    run = context(workspace, "evaluate", job(workspace), "a")
    taken = cancel_after(10, run, monkeypatch)
    with pytest.raises(Cancelled):
        worker.evaluate_in_worker(run)
    assert len(taken) == 10
    monkeypatch.undo()
    output = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace), "b")))
    assert output.summary.cached >= 10
    assert output.summary.generated + output.summary.cached == 48


def test_the_floor_is_the_best_method_on_core_and_all_are_reported(tmp_path: Path):
    workspace = write_folder(tmp_path)
    digest = domain_digest(workspace, "tickets")
    compile_in_worker(context(workspace, "compile", CompileJob(domain="tickets", domain_digest=digest)))
    run = context(workspace, "floor", FloorJob(domain_digest=digest))
    found = fit_floor(run)
    output = FloorOutput.model_validate({key: value for key, value in found.items() if key != "artifacts"})
    lines = {line.method: line for line in output.methods}
    assert output.chosen == "bm25_nearest"
    assert output.summary.subject == "floor:bm25_nearest"
    assert not lines["tagger"].fits
    assert lines["majority"].scores["core"].mean < lines["bm25_nearest"].scores["core"].mean
    results = [ItemResult.model_validate(row) for row in read_jsonl(run.paths.root / found["artifacts"]["results"])]
    assert len(results) == 48
    assert output.summary.split("core").schema_valid == 1.0
    rows_by_point = [point.rows for point in output.curve]
    assert rows_by_point == sorted(rows_by_point)
    assert len(output.curve) > 1
    assert output.curve[-1].score == output.summary.split("core").score, "the last point is the whole pool"


@pytest.mark.parametrize("module", ["engine.evaluate.compile_worker", "engine.evaluate.worker"])
def test_a_worker_started_as_a_process_writes_its_result(tmp_path: Path, module: str):
    workspace = write_folder(tmp_path)
    kind = "compile" if "compile" in module else "evaluate"
    named = CompileJob(domain="tickets", domain_digest=domain_digest(workspace, "tickets"))
    run = context(workspace, kind, named if kind == "compile" else job(workspace, measure_structured=False))
    write_json(run.paths.config, run.config.model_dump(mode="json"))
    done = subprocess.run([sys.executable, "-m", module, str(run.paths.root), "1"], capture_output=True, timeout=60, check=False)
    result = RunResult.model_validate(read_json(run.paths.result))
    assert (done.returncode, result.state, result.error) == (0, "succeeded", None)


def test_a_floor_and_a_model_are_measured_on_the_same_scenarios_and_rubric(tmp_path: Path):
    workspace = write_folder(tmp_path)
    model = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", job(workspace))))
    floor = fit_floor(context(workspace, "floor", FloorJob(domain_digest=model.domain_digest)))
    identity = floor["summary"]["identity"]
    assert (identity["suite"], identity["grading"]) == (model.summary.identity.suite, model.summary.identity.grading)
    assert identity["settings"] == digest_of(None)


# ---- stopping early ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def contest(tmp_path: Path):
    """A workspace with 144 held-out items, and the job of a challenger that is far below a measured incumbent."""
    workspace = write_folder(tmp_path, evaluation=rows(360, start=1000))
    run = context(workspace, "evaluate", job(workspace, profile=ScriptedProfile(base_skill=0.8).model_dump()), "incumbent")
    path = run.paths.root / worker.evaluate_in_worker(run)["artifacts"]["results"]
    stored = {"evaluation": "evaluate-incumbent", "path": str(path), "digest": file_sha256(path)}
    worse = {"profile": ScriptedProfile(base_skill=0.3).model_dump(), "subject": "v1", "early_stop": {"incumbent": stored, "confidence": 0.95}}
    return workspace, job(workspace, **worse)


def test_a_worse_challenger_is_asked_core_and_as_much_of_held_out_as_makes_its_refusal_certain(contest):
    workspace, worse = contest
    run = context(workspace, "evaluate", worse, "a")
    found = worker.evaluate_in_worker(run)
    output = evaluated(found)
    stopped = output.summary.stopped_early
    assert (stopped.asked, stopped.of, stopped.saved, stopped.against) == (64, 144, 80, "evaluate-incumbent")
    results = [ItemResult.model_validate(row) for row in read_jsonl(run.paths.root / found["artifacts"]["results"])]
    assert [sum(result.split == split for result in results) for split in ("core", "held_out")] == [144, 64]
    assert output.summary.generated == 144 + 64
    assert not output.standard
    assert output.structured_effect is None
    said = "".join(str(line.data) for line in read_spool(run.paths.progress))
    assert "Its refusal was certain after 64 of 144 held-out items" in said
    assert not [result.scenario_id for result in results if result.split == "held_out" and f"'{result.scenario_id}'" in said]


def test_a_challengers_measurement_that_was_killed_stops_at_the_same_item_with_the_answers_it_has(contest, monkeypatch: pytest.MonkeyPatch):
    workspace, worse = contest
    run = context(workspace, "evaluate", worse, "a")
    cancel_after(150, run, monkeypatch)
    with pytest.raises(Cancelled):
        worker.evaluate_in_worker(run)
    monkeypatch.undo()
    second = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", worse, "b"))).summary
    third = evaluated(worker.evaluate_in_worker(context(workspace, "evaluate", worse, "c"))).summary
    assert second.stopped_early == third.stopped_early
    assert second.split("core").score == third.split("core").score
    assert second.cached >= 150
    assert third.generated == 0
    assert third.fingerprint is None, "what is not asked is no reason to load a model"


def test_results_to_be_judged_against_that_are_not_the_ones_named_are_not_used(contest):
    workspace, worse = contest
    path = Path(worse.early_stop.incumbent.path)
    path.write_bytes(path.read_bytes().replace(b'"score":1.0', b'"score":0.0'))
    with pytest.raises(ArtifactCorrupt, match="the results of evaluate-incumbent"):
        worker.evaluate_in_worker(context(workspace, "evaluate", worse, "a"))
