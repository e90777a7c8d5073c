"""Cheap remedies are measured on core before the first training, and the ledger says what each bought."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import Spool, read_jsonl
from engine.base.paths import Workspace
from engine.config import ModelProfile, ScriptedProfile
from engine.diagnose import worker
from engine.diagnose.jobs import TryCheapJob, TryCheapOutput
from engine.diagnose.try_cheap import plan_trials
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.prompts import render_messages, render_target, render_with_examples
from engine.generate.types import Answer, FingerprintReport, GeneratorIdentity, Request
from engine.jobs.types import RunConfig
from engine.jobs.worker import WorkerContext
from tests.workspaces import domain_file, make_workspace, rows, write_domain

TRYING = {"try_cheap": True, "trial_items": 24, "examples": 2}


def prepared(root: Path, **changes: Any) -> tuple[Workspace, CompiledDomain]:
    workspace = make_workspace(root)
    write_domain(workspace, "tickets", domain_file(**{"diagnose": TRYING} | changes), train=rows(0, 60), evaluation=rows(1000, 120))
    return workspace, compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))


def planned(compiled: CompiledDomain, **changes: Any) -> TryCheapJob | None:
    plan = {"model": "double", "profile": ScriptedProfile(base_skill=0.5), "base": None, "device": "cpu", "schema_effect_known": False} | changes
    return plan_trials(compiled, **plan)


class Imitator:
    """Answers as expected only where the conversation shows how, and under the schema gives an answer that satisfies it."""

    def __init__(self, compiled: CompiledDomain) -> None:
        self.identity = GeneratorIdentity(engine="imitator 1", base="b", weights="b", chat_template="", served_as="base")
        self.asked: list[Request] = []
        self._expected = {each.id: render_target(compiled.domain.contract, each.expected) for each in compiled.scenarios}

    def prove(self) -> FingerprintReport:
        return FingerprintReport(verdict="match")

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        for request in requests:
            self.asked.append(request)
            shown = any(message.role == "assistant" for message in request.messages)
            held = request.settings.json_schema is not None
            on_answer(Answer(key=request.key, text=self._expected[request.key] if shown else '{"intent":"none"}' if held else "sure!"))

    def close(self) -> None:
        pass


def context(workspace: Workspace, job: TryCheapJob) -> WorkerContext:
    paths = workspace.run("try_cheap-1")
    paths.outputs.mkdir(parents=True, exist_ok=True)
    dumped = job.model_dump(mode="json")
    config = RunConfig(run_id="try_cheap-1", kind="try_cheap", cluster="c", workspace=str(workspace.root), seed=17, job=dumped)
    return WorkerContext(config, paths, 1, Spool(paths.progress))


def test_each_trial_is_paired_on_one_core_sample_and_counts_what_it_fixed_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, compiled = prepared(tmp_path)
    job = planned(compiled)
    assert job is not None
    imitator = Imitator(compiled)
    monkeypatch.setattr(worker, "open_generator", lambda *_args, **_more: imitator)
    found = worker.try_cheap(context(workspace, job))
    few_shot, schema = TryCheapOutput.model_validate({name: found[name] for name in ("trials", "domain_digest")}).trials
    assert (few_shot.comparison.before.mean, few_shot.comparison.after.mean, few_shot.comparison.difference.n) == (0.0, 1.0, 24)
    assert (few_shot.examples, few_shot.generated) == (tuple(example.row for example in job.examples), 24)
    assert (few_shot.words, few_shot.golden) == ("2 worked examples in the prompt", None)
    assert sum(count.fixed for count in few_shot.fixed) == 24
    assert (schema.remedy, schema.comparison.difference.mean, schema.fixed[0].failure_class) == ("constrain_decoding", 0.0, "format")
    core = {each.id for each in compiled.of_split("core")}
    asked = read_jsonl(workspace.run("try_cheap-1").root / found["artifacts"]["trials"])
    assert {row["result"]["scenario_id"] for row in asked} <= core
    assert len(imitator.asked) == 3 * 24


def test_examples_are_earlier_turns_from_the_training_pool_and_the_same_each_time(tmp_path: Path) -> None:
    _, compiled = prepared(tmp_path)
    job, again = planned(compiled), planned(compiled)
    assert job == again
    assert job is not None
    pool = {row.id: row for row in compiled.pool}
    assert [json.loads(example.answer) for example in job.examples] == [pool[example.row].expected for example in job.examples]
    shown = [(pool[example.row].input, example.answer) for example in job.examples]
    assert len({answer for _, answer in shown}) == 2
    contract, question = compiled.domain.contract, compiled.of_split("core")[0].input
    messages = render_with_examples(contract, shown, question)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[0] == render_messages(contract, question)[0]
    assert messages[2].content == shown[0][1]


def test_golden_answers_are_shown_before_rows_of_the_pool_and_the_trial_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, compiled = prepared(tmp_path, diagnose=TRYING | {"examples": 3})
    golden = [compiled.pool[7], compiled.pool[3]]
    job = planned(compiled, golden=golden, golden_version="v1")
    assert job is not None
    assert [(example.row, example.golden) for example in job.examples[:2]] == [(row.id, True) for row in golden]
    assert not job.examples[2].golden
    monkeypatch.setattr(worker, "open_generator", lambda *_args, **_more: Imitator(compiled))
    trial = worker.try_cheap(context(workspace, job))["trials"][0]
    assert (trial["words"], trial["golden"]) == ("3 worked examples in the prompt (2 of them golden answers)", "v1")


def test_nothing_is_tried_where_it_is_switched_off_or_everything_is_known(tmp_path: Path) -> None:
    _, compiled = prepared(tmp_path / "a", diagnose={"try_cheap": False})
    assert planned(compiled) is None
    _, compiled = prepared(tmp_path / "b", diagnose=TRYING | {"examples": 0})
    assert planned(compiled, schema_effect_known=True) is None
    only_schema = planned(compiled)
    assert only_schema is not None
    assert (only_schema.examples, only_schema.switch_schema) == ((), True)


def test_examples_that_would_not_fit_into_the_context_are_left_out(tmp_path: Path) -> None:
    _, compiled = prepared(tmp_path)
    profile = {
        "title": "t", "license": "l", "parameters_billion": 0.1, "weights": {"kind": "directory", "path": "x"}, "inference": {"max_model_len": 130}
    }  # fmt: skip
    small = planned(compiled, profile=ModelProfile.model_validate(profile))
    assert small is not None
    assert small.examples == ()
    roomy = planned(compiled, profile=ModelProfile.model_validate(profile | {"inference": {"max_model_len": 1024}}))
    assert roomy is not None
    assert len(roomy.examples) == 2
