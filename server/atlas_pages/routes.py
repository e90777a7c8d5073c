"""Where the pages about the atlas are: under /at/<code>/, the code being the daemon's, made anew at each start and kept in memory alone.

They show what the workspace added to the atlas, so not everybody may read them. A browser sends no token, and a cookie would go to every port of
127.0.0.1; so the address itself is what opens a page, and all links in it are relative. The guard compares the code before a request comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from engine.config import NumberType
from server.atlas_pages.asking import AtlasPages, Drawn, Query
from server.atlas_pages.drawing import drawn
from server.atlas_pages.history import history_page, kept
from server.atlas_pages.lab import figures_page, lab_page
from server.atlas_pages.models import models_page, sheets_page
from server.atlas_pages.places import AT, PLACES, address
from server.atlas_pages.plan import plan_file, plan_page
from server.atlas_pages.triage import triage_page
from server.pages import OWN, failed

HEADERS = {
    **OWN,
    "content-security-policy": OWN["content-security-policy"].replace("form-action 'none'", "form-action 'self'"),
    "referrer-policy": "same-origin",
}
"""Those of our other pages; these have forms, which are sent to themselves. Under `no-referrer` a browser would send them without their origin, which
the guard asks for; other sites hear of the address as little."""

NUMBER_TYPES = get_args(NumberType)

def atlas_routes(pages: AtlasPages, port: int) -> list[Route]:
    """All pages, and where a caller with the token learns their address."""

    async def told(_request: Request) -> Response:
        places = {place.name: address(port, pages.code, place.name) for place in PLACES}
        return JSONResponse({"summary": "Whoever has these addresses can read the pages.", "url": address(port, pages.code), "pages": places})

    def start(_query: Query) -> Drawn:
        return Drawn(drawn("start.html", "", {}))

    def accelerators(_query: Query) -> Drawn:
        return Drawn(drawn("accelerators.html", "accelerators", {"page": pages.accelerators(), "types": NUMBER_TYPES}))

    own: dict[str, Callable[[Query], Drawn]] = {
        "": start,
        "accelerators": accelerators,
        "atlas": partial(models_page, pages),
        "models": partial(sheets_page, pages),
        "plan": partial(plan_page, pages),
        "lab": partial(lab_page, pages),
        "lab/figures": partial(figures_page, pages),
        "triage": partial(triage_page, pages),
        "history": partial(history_page, pages),
    }
    return [Route("/api/v1/pages", told, methods=["POST"]), _file(pages), _keep(pages), *(_page(name, draw) for name, draw in own.items())]


def _page(name: str, draw: Callable[[Query], Drawn]) -> Route:
    async def answer(request: Request) -> Response:
        try:
            page = await anyio.to_thread.run_sync(draw, _query(request))
        except Exception as error:
            return failed(error, f"the page {name or 'start'}")
        return HTMLResponse(page.html, status_code=page.status, headers=HEADERS)

    return Route(f"{AT}{{code}}/{name}", answer, methods=["GET"])


def _file(pages: AtlasPages) -> Route:
    """An exported file, to be saved."""

    async def answer(request: Request) -> Response:
        try:
            name, text = await anyio.to_thread.run_sync(plan_file, pages, _query(request))
        except Exception as error:
            return failed(error, "the exported file")
        return Response(text, media_type="text/plain", headers={**HEADERS, "content-disposition": f'attachment; filename="{name}"'})

    return Route(f"{AT}{{code}}/plan/file", answer, methods=["GET"])


def _keep(pages: AtlasPages) -> Route:
    """Takes in what to keep, and shows it."""

    async def answer(request: Request) -> Response:
        try:
            where = await anyio.to_thread.run_sync(kept, pages, await request.body())
        except Exception as error:
            return failed(error, "the decision history")
        return RedirectResponse(where, status_code=303, headers=HEADERS)

    return Route(f"{AT}{{code}}/keep", answer, methods=["POST"])


def _query(request: Request) -> dict[str, list[str]]:
    return {key: request.query_params.getlist(key) for key in request.query_params}
