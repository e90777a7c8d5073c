"""How long a rollback takes with the real model: with a target whose server runs, and with one that has to be started. JSON last.

    python -m bench.rollback [--drills 10] [--callers 4]

Needs a prepared base (`make setup`) and a quiet machine; takes a few minutes. In a workspace of its own, two versions of `travel` are made by a few
steps of real training each and brought into production by a verdict and signatures that are written for the bench: how good they are plays no part.
The rest is as users have it: the daemon, its gateway, vLLM, and callers that ask without a pause through every flip.

`cold` includes the start of the target's server; `warm` proves the server that runs, by fingerprint, and flips; `flip` is the command alone, synced
to disk. `back` is a drill's way back. The longest answers beside the median say what callers notice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2

from bench.setting import Setting, quantiles, setting_of
from engine.base.digests import file_sha256
from engine.base.files import write_jsonl
from engine.base.paths import Workspace
from engine.curate.worker import rendered_row
from engine.engine import Engine
from engine.evaluate.prompts import render_messages
from engine.generate.open import served_as
from engine.generate.servers import ModelServers
from engine.jobs.types import FINAL_STATES
from engine.train import records as versions
from engine.train.jobs import TrainJob
from engine.train.plan import plan_training
from server.client import Client, ensure_daemon, running_daemon, wait_until_gone
from tests.promote.ledger import promoted
from tools import TOOLS
from tools.tool import find_tool

CLUSTER = "travel"
ROWS = 48
"""Training rows of each version: six steps."""


class Produced(NamedTuple):
    """A workspace with two versions that people let serve."""

    workspace: Workspace
    before: str
    serving: str
    request: dict[str, Any]
    """A question to the cluster, as its users ask it."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Rollback, cold and warm, under requests.")
    parser.add_argument("--drills", type=int, default=10)
    parser.add_argument("--callers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = produce(Path(place))
        try:
            document = measured(made, options.drills, options.callers)
        finally:
            stop(made.workspace)
    print(json.dumps({"bench": "rollback", "cluster": CLUSTER, "cores": os.cpu_count(), **document}))


def measured(made: Produced, drills: int, callers: int) -> dict[str, Any]:
    """The figures."""
    asking = Asking(made.workspace, made.request)
    began = time.perf_counter()
    asking.ask()
    start_seconds = time.perf_counter() - began
    say(f"the version that serves answers after {start_seconds:.1f} s")
    with Crowd(asking, callers) as crowd:
        cold = rollback(made.workspace, drill=True)
        say(cold["summary"])
        warm = [rollback(made.workspace, drill=True) for _ in range(drills)]
        last = rollback(made.workspace)
        say(last["summary"])
    return {
        "start_seconds": round(start_seconds, 2),
        "cold_seconds": cold["seconds"],
        "warm": quantiles([each["seconds"] for each in warm] + [last["seconds"]]),
        "back": quantiles([each["back_seconds"] for each in [cold, *warm]]),
        "flip": quantiles([each["flip_seconds"] for each in [cold, *warm, last]]),
        "flips": 2 * (drills + 1) + 1,
        "requests": len(crowd.seconds),
        "failed": crowd.failed,
        "answers": quantiles(crowd.seconds),
        "answers_p50_seconds": round(statistics.median(crowd.seconds), 3),
        "versions_seen": sorted(crowd.versions),
    }


def rollback(workspace: Workspace, cluster: str = CLUSTER, *, drill: bool = False) -> dict[str, Any]:
    """One rollback, by the tool."""
    return Client(workspace).call(find_tool(TOOLS, "rollback"), {"cluster": cluster, "drill": drill, "by": "bench"})


class Asking:
    """A caller of the gateway with one question."""

    def __init__(self, workspace: Workspace, request: dict[str, Any]) -> None:
        daemon = ensure_daemon(workspace)
        self.url = f"{daemon.url}/v1/chat/completions"
        self.body = request
        self.http = httpx2.Client(headers={"authorization": f"Bearer {daemon.token}"}, timeout=300)

    def ask(self) -> tuple[int, str]:
        """Status, and the version that answered."""
        response = self.http.post(self.url, json=self.body)
        return response.status_code, response.headers.get("x-modelsmith-version", "")


class Crowd:
    """Callers that ask without a pause, until its block is left, however it is left."""

    def __init__(self, asking: Asking, size: int) -> None:
        self.asking, self.failed = asking, 0
        self.seconds: list[float] = []
        self.versions: set[str] = set()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(size)
        self._callers = [self._pool.submit(self._ask) for _ in range(size)]

    def _ask(self) -> None:
        last = False
        while not last:
            last = self._over.is_set()  # one more request begins after that, on what serves then
            began = time.perf_counter()
            try:
                status, version = self.asking.ask()
            except httpx2.HTTPError as error:
                say(f"no answer: {error!r}")
                status, version = 0, ""
            self.seconds.append(time.perf_counter() - began)
            self.versions.add(version)
            self.failed += status != 200

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Waits for the last answers."""
        self._over.set()
        for each in self._callers:
            each.result()
        self._pool.shutdown()


# ---- the workspace ---------------------------------------------------------------------------------------------------------------------


def produce(root: Path) -> Produced:
    """Two versions, trained here, that have come into production one after the other."""
    setting = setting_of(CLUSTER)
    workspace = Workspace(root)
    shutil.copy(setting.workspace.clusters_file, workspace.clusters_file)
    shutil.copytree(setting.workspace.domains, workspace.domains)
    workspace.state.mkdir(mode=0o700)
    workspace.models.symlink_to(setting.workspace.models.resolve())
    engine = Engine.open(workspace)
    try:
        names = [trained(engine, setting, number) for number in (1, 2)]
        for name in names:
            promoted(engine.store, name)
    finally:
        engine.close()
    contract = setting.compiled.domain.contract
    messages = [message.model_dump() for message in render_messages(contract, setting.compiled.pool[0].input)]
    request = {"model": CLUSTER, "messages": messages, "max_tokens": contract.output.max_tokens, "temperature": 0}
    return Produced(workspace, names[0], names[1], request)


def trained(engine: Engine, setting: Setting, number: int) -> str:
    """A version that a few steps on other rows made."""
    began = time.perf_counter()
    rows = engine.workspace.root / f"rows-{number}.jsonl"
    write_jsonl(rows, [rendered_row(setting.compiled, row) for row in setting.compiled.pool[(number - 1) * ROWS : number * ROWS]])
    merge = served_as(setting.profile, setting.device) == "merged"
    plan = plan_training(
        setting.profile, setting.compiled.domain.train, rows=ROWS, device=setting.device, seed=number, merge=merge
    ).model_copy(update={"epochs": 1.0})
    job = TrainJob(
        model=setting.cluster.model,
        profile=setting.profile,
        base=setting.base,
        dataset=str(rows),
        dataset_digest=file_sha256(rows),
        plan=plan,
        device=setting.device,
    )
    run = engine.supervisor.submit("train", cluster=CLUSTER, job=job.model_dump(mode="json"), arguments={"number": number}, seed=number)
    while (run := engine.supervisor.get(run.id)).state not in FINAL_STATES:
        engine.tick()
        time.sleep(0.1)
    if run.state != "succeeded":
        raise SystemExit(f"the training failed: {run.error}")
    version = versions.version_of_run(engine.store, run.id).id
    say(f"{version} trained in {time.perf_counter() - began:.0f} s")
    return version


def stop(workspace: Workspace) -> None:
    """Ends the daemon and its servers."""
    daemon = running_daemon(workspace)
    if daemon is not None:
        Client(workspace).stop_daemon(daemon, servers=True)
        wait_until_gone(daemon.identity, 30)
    ModelServers(workspace).stop_all()


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
