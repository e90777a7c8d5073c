"""An export of the embedded model, replayed by the real server. What becomes of a quantised form there is told in `docs/packages.md`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.base.digests import file_sha256, tree_sha256
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.jobs import StoredResults
from engine.evaluate.measurement import stored_results
from engine.generate.open import open_generator
from engine.generate.servers import ModelServers
from engine.generate.types import Generator, PreparedBase, Weights
from engine.promote.package.forms import likeness
from engine.promote.package.jobs import ExportJob
from engine.promote.package.parity import parity_of
from engine.promote.package.replay import opened, replay
from engine.promote.package.worker import Made, made_and_replayed
from engine.promote.types import FormName
from tests.conftest import share_vllm_cache
from tests.promote.package.test_broken_exports import break_template
from tests.train.workers import dataset, run, training_run
from tests.workspaces import domain_file, make_workspace, rows, write_domain

pytestmark = pytest.mark.model

MODEL = "smollm2-135m"


@dataclass
class RealVersion:
    workspace: Workspace
    compiled: CompiledDomain
    job: ExportJob

    def export(self, folder: Path) -> Made:
        folder.mkdir(parents=True)
        return made_and_replayed(self.job, folder, self.compiled, lambda form: self.opened(form, folder), lambda _: None)

    def opened(self, form: FormName, folder: Path) -> AbstractContextManager[Generator]:
        return opened(form, self.job, folder, self.workspace, self.compiled, lambda: None)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, real_profile: ModelProfile, prepared_base: PreparedBase) -> Iterator[RealVersion]:
    """A short training, after which answers are short and steady, and the answers of the result on 24 core items, as a measurement would ask them."""
    root = tmp_path_factory.mktemp("real")
    workspace = make_workspace(root / "w")
    workspace.state.mkdir(exist_ok=True)
    share_vllm_cache(workspace)
    write_domain(workspace, "tickets", domain_file(), train=rows(0, 16), evaluation=rows(1000, 60))
    compiled = compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))
    training = real_profile.training.model_copy(update={"batch_size": 4, "micro_batch_size": 4})
    profile = real_profile.model_copy(update={"training": training})
    trained = training_run(root / "train", profile, prepared_base, dataset(root / "rows.jsonl", 24), merge=True, epochs=6.0)
    assert run(trained)["state"] == "succeeded", trained.log.read_text()[-3000:]
    outputs = trained.outputs
    weights = Weights(
        digest=tree_sha256(outputs / "adapter"),
        adapter_dir=str(outputs / "adapter"),
        merged_dir=str(outputs / "merged"),
        merged_digest=tree_sha256(outputs / "merged"),
        fingerprint=str(outputs / "fingerprint.json"),
    )
    generator = open_generator(MODEL, profile, workspace=workspace, base=prepared_base, weights=weights, device="cpu")
    results = replay(generator, compiled, structured=False).results
    write_jsonl(root / "results.jsonl", [result.model_dump(mode="json") for result in results])
    job = ExportJob(
        cluster="tickets", version=f"v-{weights.digest[:12]}", model=MODEL, profile=profile, base=prepared_base, weights=weights, device="cpu",
        domain_digest=compiled.digest, prompt=compiled.prompt_digest, structured=False, evidence="", sources="s",
        evaluated=StoredResults(evaluation="evaluate-1", path=str(root / "results.jsonl"), digest=file_sha256(root / "results.jsonl")),
    )  # fmt: skip
    yield RealVersion(workspace, compiled, job)
    ModelServers(workspace).stop_all()


def test_every_form_answers_as_the_version_did_its_server_is_gone_afterwards_and_one_with_a_broken_chat_template_does_not(
    version: RealVersion, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    made = version.export(package)
    assert made.agrees, "; ".join(f"{form.form}: {figure.sentence}" for form in made.forms for figure in form.figures)
    assert [form.form for form in made.forms] == ["adapter", "merged"]
    assert all(form.items == 24 for form in made.forms)
    assert all("vllm" in form.loaded_in for form in made.forms)
    assert [server.base for server in ModelServers(version.workspace).status() if server.base.startswith("export-")] == []

    break_template(package)
    evaluated = stored_results(version.job.evaluated, "core")
    with version.opened("merged", package) as generator:
        replayed = replay(generator, version.compiled, structured=False)
    broken = parity_of("merged", likeness("merged", version.job.profile, "cpu"), evaluated, replayed)
    assert "answers" in {figure.name for figure in broken.figures if not figure.holds}
