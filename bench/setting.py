"""What the benches share: the cluster that is measured, ready to generate and train, and how latencies are told."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from engine.base.files import read_json, write_json
from engine.base.paths import Workspace
from engine.base.record import Record
from engine.config import Cluster, Device, ModelProfile
from engine.evaluate.compile import CompiledDomain, compile_domain, domain_digest
from engine.fleet.probe import device, probe_local
from engine.generate.prepared import find_prepared
from engine.generate.types import PreparedBase
from engine.jobs.types import RunConfig, RunKind
from engine.loading import find_workspace, load_clusters

ROOT = Path(__file__).resolve().parents[1]
WORKERS: dict[RunKind, str] = {"train": "engine.train.worker", "evaluate": "engine.evaluate.worker"}


class Setting(NamedTuple):
    """A cluster of this workspace with its prepared base and its compiled domain, on this machine."""

    workspace: Workspace
    cluster: Cluster
    profile: ModelProfile
    base: PreparedBase
    device: Device
    compiled: CompiledDomain
    seed: int


def setting_of(cluster_name: str) -> Setting:
    """The setting, or the program's end in a sentence when the cluster's model is not managed here or not prepared."""
    workspace = find_workspace(Path.cwd())
    clusters = load_clusters(workspace)
    cluster = clusters.clusters[cluster_name]
    profile = clusters.models[cluster.model]
    if not isinstance(profile, ModelProfile):
        raise SystemExit(f"model {cluster.model} is neither served nor trained here")
    base = find_prepared(workspace, cluster.model, profile)
    if base is None:
        raise SystemExit(f"the base of model {cluster.model} is not prepared: run `make setup`")
    compiled = compile_domain(workspace, cluster.domain, domain_digest(workspace, cluster.domain))
    return Setting(workspace, cluster, profile, base, device(probe_local()), compiled, clusters.defaults.seed)


def run_worker(setting: Setting, kind: RunKind, job: Record, seed: int, output: Path) -> dict[str, Any]:
    """The result of a worker, started as the supervisor starts it, without the store around it."""
    config = RunConfig(
        run_id="bench", kind=kind, cluster=None, workspace=str(setting.workspace.root), seed=seed, job=job.model_dump(mode="json")
    )
    write_json(output / "config.json", config.model_dump(mode="json"))
    with (output / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", WORKERS[kind], str(output), "1"]
        subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    result: dict[str, Any] = read_json(output / "result.json")
    if result["state"] != "succeeded":
        raise SystemExit(f"the worker failed: {json.dumps(result['error'])}")
    return result


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and worst, in milliseconds."""
    ordered = sorted(seconds)
    found = {"p50_ms": statistics.median(ordered), "p95_ms": ordered[int(len(ordered) * 0.95)], "max_ms": ordered[-1]}
    return {name: round(value * 1e3, 2) for name, value in found.items()}
