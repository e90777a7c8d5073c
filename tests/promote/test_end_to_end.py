"""From a candidate into production through the daemon: agents ask over HTTP, a person signs in a terminal with a key that ssh-keygen made, and
whoever deploys checks the bundle somewhere else. On the way everybody tries what must not work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.promote.evidence.bundle import APPROVALS, VERIFIER, issue_again
from engine.promote.evidence.keys import workspace_key
from engine.store.events import events_of
from server.client import Client
from tests.promote.accepted import at_once, configure
from tests.promote.keys import FileKey
from tests.promote.ledger import transitions_of
from tests.server.daemons import Said, Terminal, daemon_workspace, run_cli
from tools.promote import APPROVE_PROMOTION, PROMOTE
from tools.tool import Tool

pytestmark = pytest.mark.processes
"""A daemon, and an iterate run with worker processes."""

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

    def asked(self) -> str:
        """The request for the next state, as an agent gets it."""
        page = self.agent(PROMOTE, cluster="tickets")
        assert (page["open"], page["moved"]) == (True, False)
        return str(page["request"]["request"])

    def agent(self, tool: Tool, **arguments: Any) -> dict[str, Any]:
        return Client(self.workspace).call(tool, {**arguments, "by": "agent:one"})

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
def shop(tmp_path: Path, ada: FileKey) -> Iterator[Shop]:
    """With an approver list in which Ada stands alone, and a version that the loop has accepted."""
    with daemon_workspace(tmp_path / "shop", targets={"score": 0.5}) as workspace:
        text = workspace.clusters_file.read_text()
        workspace.clusters_file.write_text(text.rstrip().removesuffix("}").rstrip() + f',\n "approvers": "{LIST}"\n}}\n')
        made = Shop(workspace)
        made.done("approvers", "init", "ada", "--key", ada.path)
        made.done("iterate", "tickets")
        yield made


def test_a_candidate_comes_into_production_by_a_person_s_signatures_and_by_nothing_else(
    shop: Shop, tmp_path: Path, ada: FileKey, mallory: FileKey
) -> None:
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
    serving = shop.done("fleet-status")["clusters"][0]["serving"]

    evidence = shop.done("evidence", "tickets")
    statement = shop.done("approvals", "--request", production)["document"]
    assert (statement["version"], statement["evidence"]) == (serving, evidence["evidence"])
    its_way_is_checked_elsewhere(shop, shop.workspace.root / evidence["bundle"], tmp_path, mallory)

    assert shop.done("store", "verify")["differing"] == []
    engine = Engine.open(shop.workspace)
    try:
        refusals = {each: [event.data["code"] for event in events_of(engine.store, each) if event.kind == "approval_refused"] for each in (expired, canary, production)}
        taken = [(each.source, each.target, each.actor) for each in transitions_of(engine.store, serving, "tickets")]
    finally:
        engine.close()
    assert refusals == {expired: ["request_spent"], canary: ["signature_refused", "request_spent", "request_spent"], production: ["signature_refused"]}
    run = taken[0][2]
    assert taken == [
        ("candidate", "eval-accepted", run),
        ("eval-accepted", "shadow", "agent:one"),
        ("shadow", "canary", "ada"),
        ("canary", "production-accepted", "ada"),
    ]


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
