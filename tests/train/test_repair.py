"""Merged weights are made again from an intact adapter and base, to the byte; from anything else they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.base.digests import tree_sha256
from engine.base.files import Spool
from engine.base.paths import RunPaths
from engine.errors import ArtifactCorrupt
from engine.generate.types import PreparedBase
from engine.jobs.types import RunConfig
from engine.jobs.worker import WorkerContext
from engine.train.jobs import RepairJob
from engine.train.repair_worker import repair

pytestmark = pytest.mark.model  # torch merges


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> RepairJob:
    """A matrix with an adapter of rank 1, and the two merged."""
    import torch
    from safetensors.torch import save_file

    from engine.train.weights import merge

    root = tmp_path_factory.mktemp("kept")
    for name in ("base", "adapter"):
        (root / name).mkdir()
    save_file({"layer.q.weight": torch.eye(4, dtype=torch.bfloat16)}, root / "base/model.safetensors")
    factors = {"base_model.model.layer.q.lora_A.weight": torch.ones(1, 4), "base_model.model.layer.q.lora_B.weight": torch.full((4, 1), 0.5)}
    save_file(factors, root / "adapter/adapter_model.safetensors")
    (root / "adapter/adapter_config.json").write_text(json.dumps({"lora_alpha": 2, "r": 1}))
    merge(root / "base", root / "adapter", root / "merged")
    base = PreparedBase(directory=str(root / "base"), digest=tree_sha256(root / "base"), chat_template="")
    adapter = root / "adapter"
    return RepairJob(base=base, adapter=str(adapter), adapter_digest=tree_sha256(adapter), merged_digest=tree_sha256(root / "merged"))


def repaired(job: RepairJob, root: Path) -> Path:
    config = RunConfig(run_id="r", kind="repair", cluster=None, workspace=str(root), seed=1, job=job.model_dump(mode="json"))
    paths = RunPaths(root)
    output = repair(WorkerContext(config, paths, 1, Spool(paths.progress)))
    return root / str(output["artifacts"]["merged"])


def test_from_what_is_whole_the_same_bytes_come_out(kept: RepairJob, tmp_path: Path) -> None:
    assert tree_sha256(repaired(kept, tmp_path)) == kept.merged_digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"adapter_digest": "0" * 64}, "adapter 000000000000 .* bytes have changed"), ({"merged_digest": "1" * 64}, "instead of 111111111111")],
)
def test_from_an_altered_adapter_or_to_other_bytes_nothing_is_made(kept: RepairJob, tmp_path: Path, changes: dict[str, str], said: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=said):
        repaired(kept.model_copy(update=changes), tmp_path)
