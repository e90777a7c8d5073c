"""An export of the embedded model, replayed by the real server: every form agrees, and a broken chat template does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.base.digests import file_sha256, tree_sha256
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.evaluate.jobs import StoredResults
from engine.generate.open import open_generator
from engine.generate.servers import ModelServers
from engine.generate.types import PreparedBase, Weights
from engine.promote.package.jobs import ExportJob
from engine.promote.package.replay import opened, replay
from engine.promote.package.worker import Made, made_and_replayed
from engine.promote.types import FormName
from tests.promote.package.test_broken_exports import break_template, failing
from tests.train.workers import dataset, run, training_run
from tests.workspaces import domain_file, make_workspace, rows, write_domain

pytestmark = pytest.mark.model

MODEL = "smollm2-135m"


@dataclass
class RealVersion:
    workspace: Workspace
    compiled: CompiledDomain
    job: ExportJob

    def export(self, folder: Path, *, broken: bool = False) -> Made:
        folder.mkdir(parents=True)

        def open_form(form: FormName):
            if broken and form == "merged":
                break_template(folder)
            return opened(form, self.job, folder, self.workspace, self.compiled, lambda: None)

        return made_and_replayed(self.job, folder, self.compiled, open_form, lambda _: None)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, real_profile: ModelProfile, prepared_base: PreparedBase) -> Iterator[RealVersion]:
    """A short training, after which answers are short and steady, and the answers of the result on 24 core items, as a measurement would ask them."""
    root = tmp_path_factory.mktemp("real")
    workspace = make_workspace(root / "w")
    write_domain(workspace, "tickets", domain_file(), train=rows(0, 16), evaluation=rows(1000, 60))
    compiled = compile_domain(workspace, "tickets", domain_digest(workspace, "tickets"))
    training = real_profile.training.model_copy(update={"batch_size": 4, "micro_batch_size": 4})
    profile = real_profile.model_copy(update={"quantised_export": "int8", "training": training})
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


def test_every_form_that_is_in_the_package_answers_as_the_version_did_and_its_server_is_gone_afterwards(version: RealVersion, tmp_path: Path) -> None:
    made = version.export(tmp_path / "package")
    assert made.agrees, "; ".join(f"{form.form}: {figure.sentence}" for form in made.forms for figure in form.figures)
    assert {"adapter", "merged"} <= {form.form for form in made.forms}
    assert "int8" in {form.form for form in made.forms} or any("int8" in sentence for sentence in made.absent)
    assert all(form.items == 24 for form in made.forms)
    assert all("vllm" in form.loaded_in for form in made.forms)
    assert [server.base for server in ModelServers(version.workspace).status() if server.base.startswith("export-")] == []


def test_the_server_takes_the_package_s_own_chat_template(version: RealVersion, tmp_path: Path) -> None:
    made = version.export(tmp_path / "package", broken=True)
    assert not made.agrees
    assert "answers" in failing(made, "merged")
