"""Pages for people: a waiting promotion request that a passkey signs, the making of a passkey, and the evidence that a request names.

None of them asks for the token, for a browser sends none. The first two hold nothing secret: the token comes to `/approve` behind the # of the
address, which stays in the browser, and the page sends it with each call. `/evidence/<digest>` is answered to whoever knows the digest, which
is as long as a key, over a salt that is kept nowhere; what it shows was made to leave the workspace (`docs/evidence.md`).

Everything is ours and lies in `static/`: nothing inline, nothing from elsewhere, and the policy sent along forbids it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from engine.errors import ModelsmithError
from server.failures import failure_of

STATIC = Path(__file__).parent / "static"
FILES: Mapping[str, tuple[str, str]] = {
    "/approve": ("approve.html", "text/html"),
    "/passkey": ("passkey.html", "text/html"),
    "/static/approve.js": ("approve.js", "text/javascript"),
    "/static/passkey.js": ("passkey.js", "text/javascript"),
    "/static/signing.js": ("signing.js", "text/javascript"),
    "/static/lab.js": ("lab.js", "text/javascript"),
    "/static/pages.css": ("pages.css", "text/css"),
    "/static/atlas.css": ("atlas.css", "text/css"),
}
"""What is answered without a token: the file and its kind, by path."""
NOSNIFF = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
HARMLESS = {**NOSNIFF, "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"}
"""Headers of a page that runs nothing and loads nothing."""
OWN = {
    **NOSNIFF,
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "cache-control": "no-store",
}
"""Headers of a page that runs our own scripts, calls this daemon, and is framed by nobody."""


def page_routes(evidence: Callable[[str], str]) -> list[Route]:
    """The pages; `evidence` answers the page of a digest."""

    async def own_file(request: Request) -> Response:
        name, kind = FILES[request.url.path]
        return Response((STATIC / name).read_bytes(), media_type=kind, headers=OWN)

    async def evidence_page(request: Request) -> Response:
        try:
            page = await anyio.to_thread.run_sync(evidence, request.path_params["digest"])
        except Exception as error:
            return failed(error, "evidence")
        return HTMLResponse(page, headers=HARMLESS)

    return [*(Route(path, own_file, methods=["GET"]) for path in FILES), Route("/evidence/{digest}", evidence_page, methods=["GET"])]


def failed(error: Exception, during: str) -> Response:
    """An error as every surface shows it."""
    failure = failure_of(error, during)
    retry = {"retry-after": "1"} if failure.status == 503 and isinstance(error, ModelsmithError) else {}
    body = json.dumps(failure.body, ensure_ascii=False, default=str)
    return Response(body, status_code=failure.status, media_type="application/json", headers=retry)
