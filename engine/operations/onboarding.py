"""A model or a domain that joins the workspace: checked, written where people write it, and tried.

Nothing of another domain's evaluation rows, and nothing of Modelsmith's state, can become a domain's rows: they would be trained on and shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.files import inside
from engine.base.paths import Workspace
from engine.config import ModelProfile, Profile
from engine.errors import BadInput, PathRefused
from engine.evaluate.scaffold import scaffold_domain
from engine.fleet.machine import Machine
from engine.generate.jobs import PrepareJob
from engine.generate.plans import derived_argv
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run
from engine.loading import domain_names, load_clusters, load_domain, parse_profile, save_model
from engine.views import NextCall, OnboardedDomain, OnboardedModel


class Onboarding:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, supervisor: Supervisor, machine: Machine) -> None:
        self.workspace = workspace
        self.supervisor = supervisor
        self.machine = machine

    def model(self, name: str, profile: dict[str, Any], smoke_test: bool, key: str | None) -> OnboardedModel:
        """Adds a profile to clusters.json, and may start a smoke test."""
        parsed = parse_profile(name, profile)
        save_model(self.workspace, name, parsed)
        command: tuple[str, ...] = ()
        if isinstance(parsed, ModelProfile):
            command = derived_argv(self.workspace, name, parsed, self.machine.device())
        run = self._smoke_test(name, parsed, profile, key) if smoke_test else None
        following = [] if run is None else [NextCall(tool="run_status", arguments={"run_id": run.id, "wait_seconds": 50}, why="the smoke test")]
        return OnboardedModel(
            summary=f"Model {name} ({parsed.title}) is in clusters.json." + ("" if run is None else f" Its smoke test is {run.id}."),
            next=tuple(following),
            model=name,
            serving=command,
            run_id=None if run is None else run.id,
        )

    def domain(self, name: str, rows_path: str) -> OnboardedDomain:
        """Scaffolds a domain, and a cluster of the same name, from labelled rows inside the workspace."""
        rows = inside(self.workspace.root, rows_path)
        self._refuse_evaluation_rows(rows, rows_path)
        made = scaffold_domain(self.workspace, name, rows)
        return OnboardedDomain(
            summary=f"domains/{name}/ holds {made.train_rows} training and {made.evaluation_rows} evaluation rows; cluster {made.cluster} uses it.",
            next=(NextCall(tool="iterate", arguments={"cluster": made.cluster}, why="specialise it, once domain.yaml reads as you mean it"),),
            domain=name,
            folder=f"domains/{name}",
            train_rows=made.train_rows,
            evaluation_rows=made.evaluation_rows,
            fields=made.fields,
            notes=made.notes,
        )

    def _smoke_test(self, name: str, parsed: Profile, profile: dict[str, Any], key: str | None) -> Run:
        """Prepares the base, starts its server and asks one question."""
        job = PrepareJob(model=name, profile=parsed, smoke_question=True, device=self.machine.device())
        seed = load_clusters(self.workspace).defaults.seed
        arguments = {"name": name, "profile": profile}
        return self.supervisor.submit("prepare", cluster=None, job=job.model_dump(mode="json"), arguments=arguments, key=key, seed=seed)

    def _refuse_evaluation_rows(self, rows: Path, given: str) -> None:
        """A domain made from another's evaluation rows would train on them and show them."""
        taught = {(self.workspace.domains / name / self._training_file(name)).resolve() for name in domain_names(self.workspace)}
        inside_a_domain = rows.is_relative_to(self.workspace.domains.resolve()) and rows not in taught
        if inside_a_domain or rows.is_relative_to(self.workspace.state.resolve()):
            raise PathRefused(
                f"{given[:120]!r} holds evaluation items or state of Modelsmith; as a domain's rows they would be trained on and shown",
                next_step="Give a file with labelled rows of your own.",
                path=given[:200],
            )

    def _training_file(self, domain: str) -> str:
        """A domain's training rows, relative to its folder; empty while it has none or does not load, so that nothing of it is taken."""
        try:
            train = load_domain(self.workspace, domain).data.train
            return "" if train is None else train.path
        except BadInput:
            return ""
