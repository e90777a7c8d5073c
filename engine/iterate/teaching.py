"""Teachers in the loop: which of a domain's teachers a run may ask, with which job, and what is taken of the first that is usable. The same teachers
draft scenarios, once a teaching run has found them usable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.paths import Workspace
from engine.config import Device, DomainFile, ModelProfile, Profile, Teacher
from engine.curate.draft import ROWS_A_DRAFT, rows_to_reword
from engine.curate.draft_jobs import DraftJob
from engine.curate.teach_jobs import ORACLE, FloorBar, TeachJob
from engine.curate.types import KnownTeacher, TaughtRows
from engine.diagnose.types import FailurePattern
from engine.errors import NotFound
from engine.evaluate.compile import CompiledDomain
from engine.evaluate.proposals import records as proposals
from engine.evaluate.proposals.types import Dropped
from engine.evaluate.types import EvaluationSummary
from engine.generate.prepared import find_prepared
from engine.jobs import records as runs
from engine.store.artifacts import Artifacts
from engine.store.store import Store


def known_teacher(models: Mapping[str, Profile], teacher: Teacher) -> KnownTeacher:
    """A teacher with its profile. NotFound when clusters.json has no such model."""
    if teacher.name == ORACLE:
        return KnownTeacher(teacher=teacher, profile=None)
    if teacher.name not in models:
        names = ", ".join(sorted(models)) or "none yet"
        raise NotFound(
            f"the domain names the teacher {teacher.name!r}, and there is no such model in clusters.json",
            next_step=f"Use one of: {names}, or `{ORACLE}`; or add the model.",
            known=sorted(models),
        )
    return KnownTeacher(teacher=teacher, profile=models[teacher.name])


def teachers_to_ask(models: Mapping[str, Profile], domain: DomainFile) -> tuple[KnownTeacher, ...]:
    """The teachers that an iterate run of this domain tries; none where it teaches the labels."""
    return tuple(known_teacher(models, teacher) for teacher in domain.teachers) if domain.train.source == "teacher" else ()


def named_teacher(models: Mapping[str, Profile], domain: DomainFile, name: str) -> KnownTeacher:
    """The domain's teacher of that name. NotFound lists those there are."""
    for teacher in domain.teachers:
        if teacher.name == name:
            return known_teacher(models, teacher)
    names = [teacher.name for teacher in domain.teachers]
    raise NotFound(
        f"the domain has no teacher {name[:96]!r}",
        next_step=f"Use one of: {', '.join(names)}." if names else "Name it in the domain's `teachers` first.",
        teachers=names,
    )


def floor_bar(evaluation_id: str, summary: EvaluationSummary) -> FloorBar:
    """What a teacher may not be below: the floor's core figures."""
    core = summary.split("core")
    return FloorBar(
        evaluation_id=evaluation_id,
        subject=summary.subject,
        suite=summary.identity.suite,
        grading=summary.identity.grading,
        score=core.score,
        pass_rate=core.pass_rate,
    )


def teach_job(
    workspace: Workspace,
    known: KnownTeacher,
    *,
    domain: str,
    domain_digest: str,
    floor: FloorBar | None,
    no_floor: str = "",
    seed: int,
    device: Device,
) -> TeachJob:
    """The job that asks a teacher."""
    profile = known.profile
    return TeachJob(
        domain=domain,
        domain_digest=domain_digest,
        teacher=known.teacher,
        profile=profile,
        base=find_prepared(workspace, known.teacher.name, profile) if isinstance(profile, ModelProfile) else None,
        floor=floor,
        no_floor=no_floor,
        seed=seed,
        device=device,
    )


def drafters(models: Mapping[str, Profile], domain: DomainFile) -> tuple[KnownTeacher, ...]:
    """The domain's teachers that could reword something: the oracle has no words, and one without a model in clusters.json none here."""
    return tuple(known_teacher(models, teacher) for teacher in domain.teachers if teacher.name in models)


def usable_drafter(store: Store, known: Sequence[KnownTeacher], compiled: CompiledDomain) -> KnownTeacher | None:
    """The first of these teachers whose latest teaching run for this domain and rubric, with the model profile as it is, found it usable."""
    latest: dict[str, tuple[str, bool]] = {}
    for run in runs.latest(store, kinds=("teach",), states=("succeeded",), limit=runs.LISTED_AT_MOST):
        output = run.output or {}
        if (output["domain_name"], output["grading"]) == (compiled.name, compiled.grading_digest):
            latest.setdefault(output["teacher"], (run.id, output["usable"]))
    for each in known:
        run_id, usable = latest.get(each.teacher.name, ("", False))
        if usable and each.profile is not None and runs.launch_of(store, run_id).job["profile"] == each.profile.model_dump(mode="json"):
            return each
    return None


def draft_job(
    workspace: Workspace,
    store: Store,
    known: Sequence[KnownTeacher],
    compiled: CompiledDomain,
    pattern: FailurePattern,
    *,
    evaluation_id: str,
    count: int,
    seed: int,
    device: Device,
) -> DraftJob | None:
    """The job that has the first usable teacher reword training rows about a pattern, each row two questions of its budget; None when there is no
    such teacher, or nothing to reword."""
    drafter = usable_drafter(store, known, compiled)
    if drafter is None or drafter.profile is None or count < 1:
        return None
    teacher, profile = drafter.teacher, drafter.profile
    earlier = [proposal.draft for proposal in proposals.proposals(store, compiled.name)]
    most = min(ROWS_A_DRAFT * count, teacher.max_answers // 2)
    rows = rows_to_reword(compiled, pattern, earlier, teacher=teacher.name, most=most, seed=seed)
    if not rows:
        return None
    return DraftJob(
        domain_digest=compiled.digest,
        teacher=teacher,
        profile=profile,
        base=find_prepared(workspace, teacher.name, profile) if isinstance(profile, ModelProfile) else None,
        rows=tuple(rows),
        pattern=pattern.pattern,
        evaluation_id=evaluation_id,
        earlier=tuple(draft.model_dump_json() for draft in earlier),
        count=count,
        seed=seed,
        device=device,
    )


def draft_note(output: Mapping[str, Any]) -> str:
    """A finished drafting run in a sentence or two."""
    dropped = Dropped.model_validate(output["dropped"])
    reasons = (
        (dropped.invalid, "not in form"),
        (dropped.duplicates, "too near what is there already"),
        (dropped.kept_back, "near an item that is not shown"),
        (dropped.label_changed, "answered otherwise than the label"),
        (dropped.left_over, "more than were wanted"),
    )
    left = ", ".join(f"{count} {why}" for count, why in reasons if count)
    return (
        f"Teacher {output['teacher']} reworded {output['rows']} training rows about {output['pattern']}: {len(output['drafts'])} drafts wait for a "
        f"decision{f'; dropped: {left}' if left else ''}."
    )


def taught_rows(artifacts: Artifacts, output: Mapping[str, Any]) -> TaughtRows | None:
    """What curation takes of a finished teaching run; None when its teacher is not usable."""
    if not output["usable"]:
        return None
    digest = str(output["artifacts"]["dataset"])
    return TaughtRows(teacher=output["teacher"], trust=output["trust"], dataset=str(artifacts.path(digest)), dataset_digest=digest)


def teacher_note(output: Mapping[str, Any]) -> str:
    """A finished teaching run in a sentence or two."""
    taken = f"{output['rows']} of its {output['asked']} answers can be taught" if output["usable"] else "None of its answers is taught"
    return f"Teacher {output['reason']} {taken}.{' ' + output['stopped'] if output['stopped'] else ''}"
