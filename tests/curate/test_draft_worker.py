"""Drafts from a teacher: what goes out, what is kept, and that a changed label is caught. The worker in process, with an endpoint that rewords."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import read_jsonl
from engine.base.paths import Workspace
from engine.config import EndpointProfile, Profile, Teacher
from engine.curate.draft import rows_to_reword
from engine.curate.draft_jobs import DraftJob, DraftOutput
from engine.curate.draft_worker import draft
from engine.diagnose.patterns import diagnose
from engine.errors import GenerationFailed, LeakageFound
from engine.evaluate.compile import compile_domain, domain_digest
from engine.evaluate.proposals.types import Draft
from engine.evaluate.types import ItemResult
from engine.generate import chat
from tests import workspaces
from tests.curate.test_teach_worker import anthropic_endpoint, context, label_of

ROWS = tuple(f"r{number}" for number in range(12))


class Rewording:
    """A teacher that says each text in words of its own, and knows the label of what it said. `instead` replaces what it says of a text."""

    def __init__(self, instead: Callable[[str, str], str] = lambda _, said: said, mistaken: Callable[[str], bool] = lambda _: False) -> None:
        self.instead = instead
        self.mistaken = mistaken
        self.labels: dict[str, Any] = {}
        self.refuses = False

    def __call__(self, body: dict[str, Any]) -> Any:
        asked = body["messages"][-1]["content"]
        if self.refuses:
            return None
        if "other words" in body["system"]:
            text = json.loads(asked)["message"]
            said = self.instead(text, in_other_words(text))
            self.labels[said] = label_of({"messages": [{"content": text}]})
            return {"message": said}
        label = self.labels[asked] if asked in self.labels else label_of(body)
        return {"intent": next(name for name in workspaces.LABELS if name != label["intent"])} if self.mistaken(asked) else label


def in_other_words(text: str) -> str:
    """A text that shares nothing with `text`."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return " ".join(("please", *(digest[start : start + 6] for start in range(0, 48, 6))))


def drafted(workspace: Workspace, run: str, profile: Profile, *, earlier: tuple[str, ...] = (), count: int = 4, **terms: Any) -> DraftOutput:
    """A drafting run's output; its files are in the run directory `run`."""
    digest = domain_digest(workspace, "tickets")
    compile_domain(workspace, "tickets", digest)
    job = DraftJob(
        domain_digest=digest,
        teacher=Teacher.model_validate({"name": "sage"} | terms),
        profile=profile,
        base=None,
        rows=ROWS,
        pattern="wrong_label:refund->login",
        evaluation_id="evaluate-1",
        earlier=earlier,
        count=count,
        seed=3,
        device="cpu",
    )
    found = draft(context(workspace, "draft", run, job))
    return DraftOutput.model_validate({key: value for key, value in found.items() if key != "artifacts"})


def drafts_of(output: DraftOutput) -> list[Draft]:
    return [Draft.model_validate_json(text) for text in output.drafts]


def test_training_rows_come_back_in_other_words_with_their_label_and_nothing_of_an_evaluation_item_goes_out(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint(Rewording()) as (profile, bodies):
        output = drafted(workspace, "draft-one", profile)
    rows = {row["id"]: row for row in workspaces.rows(0, 160)}
    drafts = drafts_of(output)
    assert len(drafts) == 4
    assert output.dropped.left_over == len(ROWS) - 4
    for each in drafts:
        row = rows[each.parent]
        assert (each.origin, each.source, each.pattern) == ("teacher:sage", row["id"], "wrong_label:refund->login")
        assert (each.expected, each.tags) == (row["expected"], row["tags"])
        assert each.input == {"message": in_other_words(row["input"]["message"])}
    sent = json.dumps(bodies)
    assert len(bodies) == len(ROWS) + 4
    assert not [row["id"] for row in workspaces.rows(1000, 240) if row["input"]["message"] in sent]
    assert [Draft.model_validate(row) for row in read_jsonl(workspace.run("draft-one").outputs / "drafts.jsonl")] == drafts


def test_a_rewording_that_the_teacher_itself_would_label_otherwise_is_dropped_and_counted(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    wrong = {in_other_words(row["input"]["message"]) for row in workspaces.rows(0, 8)}
    with anthropic_endpoint(Rewording(mistaken=lambda asked: asked in wrong)) as (profile, _):
        output = drafted(workspace, "draft-changed", profile, count=10)
    assert {each.parent for each in drafts_of(output)} == set(ROWS[8:])
    assert (output.dropped.label_changed, output.dropped.left_over) == (8, 0)


def test_a_rewording_near_an_item_that_is_kept_back_is_dropped_and_nothing_more_is_asked_about_it(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    compiled = compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))
    secret = compiled.of_split("held_out")[0].input["message"]
    first = workspaces.rows(0, 1)[0]["input"]["message"]
    with anthropic_endpoint(Rewording(lambda text, said: f"{secret}!" if text == first else said)) as (profile, bodies):
        output = drafted(workspace, "draft-near", profile, count=12)
    assert output.dropped.kept_back == 1
    assert len(output.drafts) == 11
    assert secret not in json.dumps(bodies)


def test_what_is_not_in_form_or_hardly_other_words_is_dropped(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    texts = [row["input"]["message"] for row in workspaces.rows(0, 12)]
    instead = {texts[0]: " ", texts[1]: texts[1].upper(), texts[2]: in_other_words(texts[6])}  # the third and the seventh have one label
    with anthropic_endpoint(Rewording(lambda text, said: instead.get(text, said))) as (profile, _):
        output = drafted(workspace, "draft-form", profile, count=12)
    assert (output.dropped.invalid, output.dropped.duplicates, len(output.drafts)) == (1, 2, 9)


def test_what_was_drafted_before_is_not_drafted_again_and_its_answers_come_from_the_cache(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint(Rewording()) as (profile, bodies):
        first = drafted(workspace, "draft-1", profile, count=4)
        asked = len(bodies)
        again = drafted(workspace, "draft-2", profile, count=4)
        others = drafted(workspace, "draft-3", profile, count=4, earlier=first.drafts)
    assert again.drafts == first.drafts
    assert (again.generated, again.cached) == (0, asked)
    assert not set(others.drafts) & set(first.drafts)
    assert others.dropped.duplicates == 4


def test_rewording_and_checking_share_the_teacher_s_budget(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint(Rewording()) as (profile, bodies):
        output = drafted(workspace, "draft-budget", profile, count=12, max_tokens=560)
    assert (len(bodies), output.tokens) == (14, 560)  # forty tokens each: twelve rewordings, and two answers to them
    assert (len(output.drafts), output.dropped.label_changed) == (2, 10)


def test_a_training_row_that_is_an_evaluation_item_is_never_sent_out(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    leaked = {**workspaces.rows(1000, 1)[0], "id": "r0"}
    train = [leaked, *workspaces.rows(1, 40)]
    workspaces.write_domain(workspace, "tickets", workspaces.domain_file(), train=train, evaluation=workspaces.rows(1000, 240))
    with anthropic_endpoint(Rewording()) as (profile, bodies), pytest.raises(LeakageFound):
        drafted(workspace, "draft-leak", profile)
    assert bodies == []


def test_a_teacher_that_cannot_be_reached_is_an_infrastructure_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.001)
    workspace = workspaces.make_workspace(tmp_path)
    with pytest.raises(GenerationFailed, match="none of 12 questions"):
        drafted(workspace, "draft-gone", EndpointProfile(title="x", base_url="http://127.0.0.1:9/v1", model="m"))


def test_an_endpoint_without_schemas_is_told_the_form_in_words(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    with anthropic_endpoint(Rewording(), structured_output=False) as (profile, bodies):
        output = drafted(workspace, "draft-words", profile)
    assert len(output.drafts) == 4
    assert all("JSON Schema" in body["system"] and "tools" not in body for body in bodies)


def test_rows_about_the_pattern_are_reworded_once_by_each_teacher_and_none_for_what_no_data_would_mend(tmp_path: Path) -> None:
    workspace = workspaces.make_workspace(tmp_path)
    compiled = compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))

    def pattern(observation: str) -> Any:
        failed = [
            ItemResult(scenario_id=f"s{number}", split="core", outcome="graded", score=0.0, passed=False, observations=(observation,))
            for number in range(3)
        ]
        return diagnose(failed).patterns[0]

    confused = pattern("wrong_label:refund->login")
    chosen = rows_to_reword(compiled, confused, (), teacher="sage", most=10, seed=3)
    labels = {row.id: row.expected["intent"] for row in compiled.pool}
    assert len(chosen) == 10
    assert {labels[name] for name in chosen} == {"refund", "login"}
    before = [
        Draft(id="x-1", origin=f"teacher:{name}", parent=parent, pattern="p", input={}, expected="", source=parent)
        for name, parent in (("sage", chosen[0]), ("other", chosen[1]))
    ]
    again = rows_to_reword(compiled, confused, before, teacher="sage", most=1000, seed=3)
    assert chosen[0] not in again
    assert chosen[1] in again
    assert rows_to_reword(compiled, pattern("truncated"), (), teacher="sage", most=10, seed=3) == []
