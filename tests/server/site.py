"""A workspace with an accepted version, served over real sockets to whatever asks: an HTTP client, or a browser."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import uvicorn

from engine.base.paths import Workspace
from engine.engine import Engine
from engine.promote.approvals.approvers_file import write_approvers
from engine.promote.approvals.roster import Person, PersonAdded
from engine.promote.types import PromotionRequest
from server.app import Operations, build_app
from server.guard import Activity
from tests.promote.accepted import configure
from tests.promote.keys import SoftSecurityKey, after, founded_by, signature_over
from tools.tool import call

TOKEN = "t" * 43
LIST = "approvers.json"


class Site(NamedTuple):
    """The version stands in shadow; Carol has founded the approver list with a security key."""

    engine: Engine
    http: httpx2.Client
    origin: str
    """By name, as passkeys know it."""
    founder: SoftSecurityKey

    def enrol(self, who: Person) -> None:
        """A list in which Carol vouches for one more person."""
        write_approvers(self.engine.workspace.root / LIST, after(founded_by("carol", self.founder), PersonAdded(person=who), self.founder))

    def tool(self, name: str, **arguments: object) -> httpx2.Response:
        return self.http.post(f"/api/v1/tools/{name}", json=arguments, headers={"authorization": f"Bearer {TOKEN}"})

    def asked(self) -> PromotionRequest:
        """The request that waits for the next state."""
        page = self.tool("promote", cluster="tickets", by="agent:mcp").json()
        return PromotionRequest.model_validate(self.approvals(page["request"]["request"])["document"])

    def approvals(self, request: str) -> dict[str, Any]:
        """What is known of a request."""
        known: dict[str, Any] = self.tool("approvals", request=request).json()
        return known

    def founder_signs(self, request: PromotionRequest) -> None:
        """Carol approves in a terminal, and the version moves."""
        moved = self.tool("approve_promotion", request=request.id, signature=signature_over(request, self.founder), by="cli").json()
        assert moved["moved"], moved


@contextlib.contextmanager
def serving(root: Path, signatures: Mapping[str, Any]) -> Iterator[Site]:
    """Serves a workspace in which the loop has accepted a version; `signatures` is the policy, by state."""
    listener, founder = socket.create_server(("127.0.0.1", 0)), SoftSecurityKey()
    port = listener.getsockname()[1]
    text = (root / "clusters.json").read_text()
    (root / "clusters.json").write_text(text.rstrip().removesuffix("}").rstrip() + f',\n "approvers": "{LIST}"\n}}\n')
    configure(Workspace(root), policy={"signatures": dict(signatures)})
    write_approvers(root / LIST, founded_by("carol", founder))
    engine = Engine.open(Workspace(root))
    engine.promote("tickets", by="agent:mcp")
    operations = Operations(
        call=partial(call, engine),
        report=engine.report,
        signing=lambda request: engine.signing_page(request).model_dump(mode="json"),
        evidence=engine.evidence_page,
        drain=lambda: False,
        stop=lambda servers: None,
    )
    app = build_app(operations, port=port, token=TOKEN, version="test", activity=Activity())
    server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    origin = f"http://localhost:{port}"
    with httpx2.Client(base_url=origin, timeout=60) as http:
        yield Site(engine, http, origin, founder)
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    engine.close()
