"""Teachers in the loop: which of a domain's teachers a run may ask, with which job, and what is taken of the first that is usable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.base.paths import Workspace
from engine.config import Device, DomainFile, ModelProfile, Profile, Teacher
from engine.curate.teach_jobs import ORACLE, FloorBar, TeachJob
from engine.curate.types import KnownTeacher, TaughtRows
from engine.errors import NotFound
from engine.evaluate.types import EvaluationSummary
from engine.generate.prepared import find_prepared
from engine.store.artifacts import Artifacts


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
