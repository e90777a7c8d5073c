"""A workspace in which people brought one version into production and then a better one: made once, copied for each test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.generate.servers import ModelServers
from engine.promote import records
from server.client import Client, ensure_daemon, running_daemon, wait_until_gone
from tests.promote.notary import Clerk, Notary
from tests.workspaces import finish, make_workspace
from tools import TOOLS
from tools.tool import find_tool

PROFILE = {"server": True, "training_steps": 4}
SKILLS = (0.6, 0.95)
VERSION_HEADER = "x-modelsmith-version"


def produce(root: Path) -> Path:
    """The workspace: the version of the lower skill has served, the other one serves. Its servers are stopped."""
    workspace = make_workspace(root, profile=PROFILE)
    for skill in SKILLS:
        change_model(workspace, trained_skill=skill)
        notary = Notary()
        engine = Engine.open(workspace, signing=notary, evidence=Clerk())
        try:
            run = finish(engine, engine.iterate("tickets").id, seconds=600)
            assert run.state == "succeeded", run.error
            assert run.output is not None
            assert run.output["accepted"], run.output["iterations"][0]["decision"]
            bring_into_production(engine, notary)
        finally:
            engine.close()
            ModelServers(workspace).stop_all()
    return root


def bring_into_production(engine: Engine, notary: Notary) -> None:
    """The accepted version, as far as an agent may and with Ada's signatures for the rest."""
    engine.promote("tickets", by="agent:mcp")
    for _ in range(2):
        page = engine.promote("tickets", by="agent:mcp")
        assert page.request is not None
        request = records.stored_request(engine.store, page.request.request).stored.request
        engine.approve_promotion(request.id, notary.sign(request, "Ada"), by="cli")


def change_model(workspace: Workspace, **changes: Any) -> None:
    """Fields of the model's profile."""
    file = json.loads(workspace.clusters_file.read_text())
    file["models"]["double"].update(changes)
    workspace.clusters_file.write_text(json.dumps(file))


class Reply(NamedTuple):
    """One answer of the gateway."""

    status: int
    version: str
    text: str


class Caller:
    """The workspace's daemon as its users see it: tools, and answers of clusters. `before` has served, `serving` serves."""

    def __init__(self, workspace: Workspace, before: str, serving: str) -> None:
        self.workspace, self.before, self.serving = workspace, before, serving
        self.client = Client(workspace)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.client.call(find_tool(TOOLS, name), arguments)

    def stop_daemon(self, *, servers: bool) -> None:
        """Ends the daemon, if there is one, and with `servers` those that it keeps."""
        if (daemon := running_daemon(self.workspace)) is not None:
            self.client.stop_daemon(daemon, servers=servers)
            assert wait_until_gone(daemon.identity, 60)

    def serves(self) -> str:
        return str(self.call("fleet_status")["clusters"][0]["serving"])

    def ask(self, question: str = "case 1", http: httpx2.Client | None = None, **fields: Any) -> Reply:
        daemon = ensure_daemon(self.workspace)
        messages = [{"role": "system", "content": "Answer with the intent as JSON."}, {"role": "user", "content": question}]
        response = (http or httpx2).post(
            f"{daemon.url}/v1/chat/completions",
            json={"model": "tickets", "messages": messages} | fields,
            headers={"authorization": f"Bearer {daemon.token}"},
            timeout=120,
        )
        return Reply(response.status_code, response.headers.get(VERSION_HEADER, ""), response.text)


class Crowd:
    """Callers that ask without a pause until they are told to stop, or the block is left."""

    def __init__(self, caller: Caller, size: int = 4) -> None:
        self.caller = caller
        self.replies: list[Reply] = []
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(size)
        self._callers: list[Future[None]] = [self._pool.submit(self._ask) for _ in range(size)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        with httpx2.Client() as http:
            while not self._over.is_set():
                reply = self.caller.ask(http=http)
                with self._changed:
                    self.replies.append(reply)
                    self._changed.notify_all()

    def until(self, condition: Callable[[list[Reply]], bool]) -> None:
        """Waits for replies of which this holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.replies), timeout=300), self.replies[-5:]

    def stop(self) -> list[Reply]:
        """All replies; a caller that failed fails here."""
        self._over.set()
        for each in self._callers:
            each.result(300)
        self._pool.shutdown()
        return self.replies
