"""The whole way with the real model: the loop makes a better version than the one that serves, through a worker and a server that are killed; agents
ask over HTTP, a person signs in a terminal with a key that ssh-keygen made, whoever deploys checks the bundle somewhere else; vLLM answers for the
version, and for the one before after a rollback. On the way everybody tries what must not work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from bench.rollback import Asking, Crowd, rollback, stop
from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.config import ModelProfile
from engine.engine import Engine
from engine.generate.servers import ModelServers
from engine.generate.types import PreparedBase
from engine.jobs.types import FINAL_STATES
from engine.promote.evidence.bundle import APPROVALS, VERIFIER, issue_again
from engine.promote.evidence.keys import workspace_key
from engine.store.events import events_of
from engine.train import records as versions
from server.client import Client
from tests.conftest import share_vllm_cache
from tests.faults.running import worker_pids
from tests.promote.accepted import at_once, configure
from tests.promote.keys import FileKey
from tests.promote.ledger import transitions_of
from tests.server.daemons import Said, Terminal, daemon_workspace, run_cli, until
from tests.workspaces import domain_file, rows, write_domain
from tools.learn import ITERATE
from tools.promote import APPROVE_PROMOTION, PROMOTE
from tools.runs import RUN_STATUS
from tools.tool import Tool

pytestmark = [pytest.mark.model, pytest.mark.alone]

LIST = "approvers.json"
NO_TIME = 1e-7
"""Hours: a request that may be signed for so long is over when it has been made, by the engine's own clock."""


class Shop(Terminal):
    """A workspace whose daemon agents and people reach as they would."""

    def refused(self, *words: str | Path) -> dict[str, Any]:
        """The error, or its reason where it is about a signature."""
        said = self.terminal(*words)
        assert said.code == 2, said
        error: dict[str, Any] = said.json["error"]
        assert error["next_step"]
        return error

    def serves(self) -> str:
        return str(self.done("fleet-status")["clusters"][0]["serving"])

    def asked(self) -> str:
        """The request for the next state, as an agent gets it."""
        page = self.agent(PROMOTE, cluster="tickets")
        assert (page["open"], page["moved"]) == (True, False)
        return str(page["request"]["request"])

    def agent(self, tool: Tool, **arguments: Any) -> dict[str, Any]:
        return self.call(tool, **arguments, by="agent:one")

    def call(self, tool: Tool, **arguments: Any) -> dict[str, Any]:
        return Client(self.workspace).call(tool, arguments)

    def race(self, tool: Tool, **arguments: Any) -> list[str]:
        """What two agents get that ask for the same at once."""
        return at_once(lambda: bool(self.agent(tool, **arguments)["moved"]))

    def on_its_page(self, request: str) -> dict[str, Any]:
        """What the page whose address the terminal prints shows of a request: it sends the token that stands behind the #."""
        address = urlsplit(self.done("approve", request, "--page")["url"])
        given, site = dict(parse_qsl(address.fragment)), f"{address.scheme}://{address.netloc}"
        assert httpx2.get(site + address.path).headers["content-type"].startswith("text/html")
        assert httpx2.get(self.done("approvers", "passkey")["url"]).status_code == 200
        answer = httpx2.get(f"{site}/api/v1/signing/{given['request']}", headers={"authorization": f"Bearer {given['token']}", "origin": site})
        shown: dict[str, Any] = answer.json()["request"]
        return shown

    def verified(self, bundle: Path, approvers: Path) -> Said:
        """As whoever deploys checks a bundle: in its folder, with the workspace's public key and a list of their own."""
        key = bundle.with_name("evidence.pub")
        words = ["verify", bundle, "--key", key, "--approvers", approvers, "--approved", "production-accepted", "--json"]
        return run_cli(Workspace(bundle.parent), *map(str, words))


@pytest.fixture
def shop(tmp_path: Path, ada: FileKey, real_profile: ModelProfile, prepared_base: PreparedBase) -> Iterator[Shop]:
    """With an approver list in which Ada stands alone."""
    with daemon_workspace(tmp_path / "shop") as workspace:
        write_rows(workspace, EXCHANGED)
        configure_model(workspace, real_profile, prepared_base)
        made = Shop(workspace)
        made.done("approvers", "init", "ada", "--key", ada.path)
        yield made
        stop(workspace)


QUEUES = {"refund": "queue-1", "delivery": "queue-2", "login": "queue-3", "invoice": "queue-4"}
EXCHANGED = QUEUES | {"login": "queue-4", "invoice": "queue-3"}
"""What half of the training rows say at first, by somebody's mistake."""
SYSTEM = "Answer with the queue as JSON."
SCHEMA = {"type": "object", "properties": {"queue": {"enum": list(QUEUES.values())}}, "required": ["queue"], "additionalProperties": False}
DOMAIN = domain_file(
    contract={"description": "Sorts.", "system": SYSTEM, "user": "{{ message }}", "output": {"json_schema": SCHEMA, "max_tokens": 16}},
    data=domain_file()["data"] | {"splits": {"core": 0.4, "held_out": 0.5, "reserve": 0.1}},
    train={"epochs": 3.0},
    eval={"checks": [{"kind": "choice", "path": "queue"}], "floor": ["majority"]},
)
QUESTION = {
    "model": "tickets",
    "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "case 1: it is about the refund"}],
    "max_tokens": 16,
    "temperature": 0,
}


def told(start: int, count: int, queues: dict[str, str]) -> list[dict[str, Any]]:
    """Rows whose queue follows from a word of the message, which a small model learns in a minute, and no model knows beforehand."""
    made = []
    for row in rows(start, count):
        topic = row["expected"]["intent"]
        message = f"{row['input']['message'][:32]}: it is about the {topic}"
        made.append(row | {"input": {"message": message}, "expected": {"queue": queues[topic]}})
    return made


def write_rows(workspace: Workspace, queues: dict[str, str]) -> None:
    write_domain(workspace, "tickets", DOMAIN, train=told(0, 96, queues), evaluation=told(1000, 80, QUEUES))


def configure_model(workspace: Workspace, profile: ModelProfile, base: PreparedBase) -> None:
    """The model of `tickets` is the real one, as it was prepared on this machine."""
    file = read_json(workspace.clusters_file)
    file["models"]["double"] = profile.model_dump(mode="json")
    workspace.clusters_file.write_text(json.dumps(file | {"approvers": LIST}))
    workspace.models.mkdir(parents=True)
    for prepared in Path(base.directory).parents[1].iterdir():
        (workspace.models / prepared.name.replace("smollm2-135m", "double")).symlink_to(prepared)
    share_vllm_cache(workspace)


def test_a_candidate_comes_into_production_by_a_person_s_signatures_and_by_nothing_else_and_back_in_seconds(
    shop: Shop, tmp_path: Path, ada: FileKey, mallory: FileKey
) -> None:
    before = iterated(shop)
    signed_for(shop, ada)
    assert Asking(shop.workspace, QUESTION).ask() == (200, before)

    write_rows(shop.workspace, QUEUES)
    made = iterated(shop, killed := set())
    assert killed == VICTIMS.keys()
    requests = brought_into_production(shop, made, tmp_path, ada, mallory)
    asking = Asking(shop.workspace, QUESTION)
    assert asking.ask() == (200, made)

    rolled_back_under_requests(shop, asking, before, made)
    assert (shop.serves(), asking.ask()) == (before, (200, before))
    tampered_weights_never_answer(shop, before)
    all_of_it_is_in_the_ledger(shop, made, *requests)


def iterated(shop: Shop, killed: set[str] | None = None) -> str:
    """The version that the loop makes and accepts; with `killed`, though the worker that trains and the server that is asked are killed at work."""
    run = shop.call(ITERATE, cluster="tickets")["run_id"]

    def over() -> dict[str, Any] | None:
        status = shop.call(RUN_STATUS, run_id=run, wait_seconds=0.2)
        for step in status.get("steps", []) if killed is not None else []:
            at_work = step["state"] == "running" and step.get("progress", {}).get("step", 0) >= 3
            if at_work and step["step"] in VICTIMS.keys() - killed:
                killed.add(step["step"])
                for pid in VICTIMS[step["step"]](shop.workspace, step["run_id"]):
                    os.kill(pid, signal.SIGKILL)
        return status if status["state"] in FINAL_STATES else None

    status = until(over, 900)
    assert status["state"] == "succeeded", status
    assert len(status["output"]["accepted"]) == 1, status
    return str(status["output"]["accepted"][0])


def servers_of(workspace: Workspace, _: str) -> list[int]:
    return [server.pid for server in ModelServers(workspace).status() if server.pid is not None]


VICTIMS = {"1.train": worker_pids, "1.measure_challenger": servers_of}


def signed_for(shop: Shop, ada: FileKey) -> None:
    """The version that stands, all the way, with nobody in between."""
    shop.agent(PROMOTE, cluster="tickets")
    for _ in range(2):
        shop.done("approve", shop.asked(), "--key", ada.path)


def brought_into_production(shop: Shop, made: str, tmp_path: Path, ada: FileKey, mallory: FileKey) -> tuple[str, str, str]:
    """By Ada's signatures; a race, a wrong key, an expired request, a replay and an altered bundle get nowhere. The requests on the way."""
    assert shop.race(PROMOTE, cluster="tickets", to="shadow") == ["moved", "state_conflict"]

    configure(shop.workspace, policy={"request_hours": NO_TIME})
    expired = shop.asked()
    late = shop.refused("approve", expired, "--key", ada.path)
    assert (late["code"], "expired at" in late["message"]) == ("request_spent", True)
    configure(shop.workspace, policy={})

    canary = shop.asked()
    assert shop.on_its_page(canary)["status"] == "waiting"
    assert shop.refused("approve", canary, "--key", mallory.path)["details"]["reason"] == "unknown_key"
    signature = shop.done("approve", canary, "--key", ada.path, "--sign-only")["signature"]
    assert shop.race(APPROVE_PROMOTION, request=canary, signature=signature) == ["moved", "request_spent"]

    production = shop.asked()
    for request, code in ((canary, "request_spent"), (production, "signature_refused")):
        assert shop.refused("approve-promotion", request, "--signature", signature)["code"] == code
    moved = shop.done("approve", production, "--key", ada.path)
    assert (moved["state"], moved["moved"]) == ("production-accepted", True)
    assert shop.serves() == made

    evidence = shop.done("evidence", "tickets")
    statement = shop.done("approvals", "--request", production)["document"]
    assert (statement["version"], statement["evidence"]) == (made, evidence["evidence"])
    its_way_is_checked_elsewhere(shop, shop.workspace.root / evidence["bundle"], tmp_path, mallory)

    return expired, canary, production


def rolled_back_under_requests(shop: Shop, asking: Asking, before: str, after: str) -> None:
    """There, back and there again, each proved by fingerprint, while four callers ask and none of them fails. Twice a version that answered before does
    again: the faster of the two says what a rollback takes, the slower one also what a disk takes whose pages the machine had given away."""
    with Crowd(asking, 4) as crowd:
        drill = rollback(shop.workspace, "tickets", drill=True)
        page = rollback(shop.workspace, "tickets")
    assert crowd.failed == 0
    assert crowd.versions == {before, after}
    assert (drill["proof"], page["proof"], page["warm"]) == ("match", "match", True)
    assert min(drill["back_seconds"], page["seconds"]) < 5
    assert max(drill["back_seconds"], page["seconds"]) < 30


def tampered_weights_never_answer(shop: Shop, version: str) -> None:
    """A bit of the adapter, and of the weights merged from it, is changed where they lie."""
    stop(shop.workspace)
    engine = Engine.open(shop.workspace)
    try:
        found = versions.version(engine.store, version)
        files = [next(engine.artifacts.path(digest).glob("*.safetensors")) for digest in (found.adapter, str(found.merged))]
    finally:
        engine.close()
    for file in files:
        file.chmod(0o600)
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    asking = Asking(shop.workspace, QUESTION)
    refused = asking.http.post(asking.url, json=asking.body).json()["error"]
    assert (refused["code"], "bytes have changed" in refused["message"]) == ("artifact_corrupt", True), refused


def all_of_it_is_in_the_ledger(shop: Shop, made: str, expired: str, canary: str, production: str) -> None:
    assert shop.done("store", "verify")["differing"] == []
    engine = Engine.open(shop.workspace)
    try:
        refusals = {each: [event.data["code"] for event in events_of(engine.store, each) if event.kind == "approval_refused"] for each in (expired, canary, production)}
        taken = [(each.source, each.target, each.actor) for each in transitions_of(engine.store, made, "tickets")]
    finally:
        engine.close()
    assert refusals == {expired: ["request_spent"], canary: ["signature_refused", "request_spent", "request_spent"], production: ["signature_refused"]}
    run = taken[0][2]
    assert taken[:4] == [
        ("candidate", "eval-accepted", run),
        ("eval-accepted", "shadow", "agent:one"),
        ("shadow", "canary", "ada"),
        ("canary", "production-accepted", "ada"),
    ]
    assert taken[-1][1] == "rolled-back"


def its_way_is_checked_elsewhere(shop: Shop, bundle: Path, tmp_path: Path, mallory: FileKey) -> None:
    """On the deploying side: the bundle is believed with its approvals, and neither altered, nor without them, nor by a list of somebody else's."""
    away = tmp_path / "away"
    away.mkdir()
    here, approvers = Path(shutil.copytree(bundle, away / "bundle")), shutil.copy(shop.workspace.root / LIST, away / LIST)
    shutil.copy(shop.workspace.evidence_public_key, away / "evidence.pub")
    sound = shop.verified(here, approvers)
    assert sound.code == 0, sound
    for said in ("shadow to canary was approved by ada (ssh).", "canary to production-accepted was approved by ada (ssh)."):
        assert said in sound.json["held"]
    assert alone(here).returncode == 0

    shop.done("approvers", "init", "ada", "--key", mallory.path, "--file", away / "founded-by-mallory.json")
    foreign = shop.verified(here, away / "founded-by-mallory.json")
    assert (foreign.code, len(foreign.json["differences"])) == (1, 2)
    without = shop.verified(issue_again(here, (), workspace_key(shop.workspace), away), approvers)
    assert (without.code, without.json["differences"][0]["found"]) == (1, "no request for it that names this evidence")

    tampered = Path(shutil.copytree(bundle, away / "tampered"))
    (tampered / APPROVALS).chmod(0o644)
    (tampered / APPROVALS).write_bytes((tampered / APPROVALS).read_bytes().replace(b'"ada"', b'"eve"', 1))
    refused = shop.verified(tampered, approvers)
    assert (refused.code, refused.json["error"]["code"]) == (2, "evidence_refused")
    assert (alone(tampered).returncode, "approvals.json was altered" in alone(tampered).stderr) == (2, True)


def alone(bundle: Path) -> subprocess.CompletedProcess[str]:
    """The verifier that lies in the bundle, with nothing of ours."""
    command = [sys.executable, "-I", str(bundle / VERIFIER), str(bundle), str(bundle.with_name("evidence.pub"))]
    return subprocess.run(command, cwd=bundle.parent, capture_output=True, text=True, check=False, timeout=120)
