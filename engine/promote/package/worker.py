"""Exports a version: makes its forms, replays each, and seals those that agree into a package.

    outputs/package/     the package (`folder.py`); an artefact only where every form that is required agrees with what was evaluated

Where one does not, nothing is handed over: the figures are the result. An export that was killed begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.base.digests import tree_sha256
from engine.base.files import write_atomic
from engine.base.paths import Workspace
from engine.base.sources import VERSION, engine_digest
from engine.config import ModelProfile
from engine.errors import ServerFailed
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.measurement import stored_results
from engine.generate.host_facts import installed_vllm
from engine.generate.types import Generator
from engine.jobs.types import Progress
from engine.jobs.worker import WorkerContext, run_worker
from engine.promote.evidence.bundle import read_bundle
from engine.promote.evidence.keys import workspace_key
from engine.promote.package.card import CARD, model_card
from engine.promote.package.folder import ADAPTER, EVIDENCE, read_package, seal
from engine.promote.package.forms import OPTIONAL, handed_over_as, likeness, wanted_forms
from engine.promote.package.jobs import ExportJob, ExportOutput
from engine.promote.package.making import make_form
from engine.promote.package.parity import parity_of
from engine.promote.package.replay import opened, replay
from engine.promote.package.serving import COMPOSE, SCRIPT, base_repository, compose_file, serving_script
from engine.promote.package.types import PackageStatement
from engine.promote.types import FormName, FormParity

PACKAGE = "outputs/package"

Opener = Callable[[FormName], AbstractContextManager[Generator]]
"""Loads a form of the package."""


def export(context: WorkerContext) -> dict[str, Any]:
    """The body of an export."""
    job = ExportJob.model_validate(context.config.job)
    workspace = Workspace(Path(context.config.workspace))
    folder = context.paths.root / PACKAGE
    shutil.rmtree(context.paths.outputs, ignore_errors=True)
    folder.mkdir(parents=True)
    compiled = load_compiled(workspace, job.domain_digest)

    def open_form(form: FormName) -> AbstractContextManager[Generator]:
        return opened(form, job, folder, workspace, compiled, context.check_cancelled)

    found = made_and_replayed(job, folder, compiled, open_form, context.report)
    evidence = ""
    if found.agrees:
        context.report(Progress(phase="sealing", message="Writing the card, and signing every file."))
        evidence = complete(job, folder, found, workspace_key(workspace))
    output = ExportOutput(
        version=job.version,
        evaluation_id=job.evaluated.evaluation,
        prompt=job.prompt,
        sources=job.sources,
        agrees=found.agrees,
        forms=found.forms,
        absent=found.absent,
        evidence=evidence,
        artifacts={"package": PACKAGE} if found.agrees else {},
    )
    return output.model_dump(mode="json")


# ---- forms -----------------------------------------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """The forms in a package's folder, with what their replay found."""

    forms: tuple[FormParity, ...]
    absent: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the folder may be handed over."""
        return bool(self.forms) and all(form.agrees for form in self.forms)


def made_and_replayed(
    job: ExportJob, folder: Path, compiled: CompiledDomain, open_form: Opener, report: Callable[[Progress], None]
) -> Made:
    """Makes every form that the profile asks for and replays it. An optional one that does not load or agree is taken out again and said."""
    wanted = wanted_forms(job.profile)
    evaluated = stored_results(job.evaluated, "core")
    found: list[FormParity] = []
    absent = list(wanted.absent)
    for form in wanted.forms:
        report(Progress(phase="making", message=f"Making the form {form}."))
        make_form(form, job, folder)
        report(Progress(phase="replaying", message=f"Loading {form} as it will be served, and asking {len(evaluated)} core items again."))
        why = ""
        try:
            with open_form(form) as generator:
                parity = parity_of(form, likeness(form, job.profile, job.device), evaluated, replay(generator, compiled, structured=job.structured))
        except ServerFailed as failure:
            if form not in OPTIONAL:
                raise
            why = f"it could not be loaded here ({failure.message[:200]})."
        else:
            if parity.agrees or form not in OPTIONAL:
                found.append(parity)
            else:
                why = " ".join(["it does not answer as the version does.", *(figure.sentence for figure in parity.figures if not figure.holds)])
        if why:
            absent.append(f"The form {form}, which the profile asks for: {why}")
            shutil.rmtree(folder / form)
    return Made(tuple(found), tuple(absent))


# ---- the package -----------------------------------------------------------------------------------------------------------------------


def complete(job: ExportJob, folder: Path, found: Made, key: Ed25519PrivateKey) -> str:
    """Puts evidence, card and serving files beside the forms, and signs all of it. Returns the digest of the evidence statement."""
    shutil.copytree(job.evidence, folder / EVIDENCE)
    evidence = read_bundle(folder / EVIDENCE, key.public_key())
    served = _put_serving_files(job, folder, [form.form for form in found.forms])
    card = model_card(
        evidence.predicate, evidence.evidence, found.forms, found.absent, base_repository=base_repository(job.profile), served=served
    )
    write_atomic(folder / CARD, card.encode())
    stated = PackageStatement(
        cluster=job.cluster,
        version=job.version,
        adapter=tree_sha256(folder / ADAPTER),
        evidence=evidence.evidence,
        forms=found.forms,
        absent=found.absent,
        modelsmith=VERSION,
        code=engine_digest(),
    )
    seal(folder, stated, key)
    read_package(folder, key.public_key())  # what would be refused elsewhere is not handed over
    return evidence.evidence


def _put_serving_files(job: ExportJob, folder: Path, forms: Sequence[FormName]) -> bool:
    """Script and compose file; whether there are any."""
    if not isinstance(job.profile, ModelProfile):
        return False
    form = handed_over_as(forms)
    _, version = installed_vllm()
    write_atomic(folder / SCRIPT, serving_script(job.profile, job.device, form, job.cluster).encode())
    write_atomic(folder / COMPOSE, compose_file(job.profile, job.device, form, job.cluster, version).encode())
    return True


if __name__ == "__main__":
    run_worker(export)
