"""The pages about the atlas, served over real sockets from a small workspace to an HTTP client or a browser.

`python -m tests.server.atlas_site DIR` serves them from a process of its own, as the daemon does, until its standard input ends: for what is timed.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2
import uvicorn

from engine.engine import Engine
from server.app import Operations, build_app
from server.atlas_pages.asking import AtlasPages
from server.guard import Activity
from tests.workspaces import make_workspace
from tools.tool import call

TOKEN = "t" * 43
CODE = "Right-code_" + "c" * 32
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


class AtlasSite(NamedTuple):
    """The pages, and the engine behind them."""

    engine: Engine
    http: httpx2.Client
    origin: str

    def address(self, page: str, **query: Any) -> str:
        """Where a page is for whoever has the code."""
        return f"{self.origin}/at/{CODE}/{page}" + (f"?{urlencode(query, doseq=True)}" if query else "")

    def get(self, page: str, **query: Any) -> httpx2.Response:
        return self.http.get(self.address(page, **query))

    def read(self, page: str, **query: Any) -> Read:
        """A page that is there, as its parts."""
        response = self.get(page, **query)
        assert response.status_code == 200, response.text
        return Read.of(response.text)


class Read(HTMLParser):
    """A page's elements, and its text as one reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    @classmethod
    def of(cls, html: str) -> Read:
        page = cls()
        page.feed(html)
        page.text = re.sub(r"\s+", " ", page.text)
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *tags: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of all elements of these kinds that have the wanted ones."""
        return [attrs for tag, attrs in self.elements if tag in tags and all(attrs.get(name.rstrip("_")) == value for name, value in wanted.items())]


def add_hostile_model(root: Path) -> None:
    """A workspace's own model whose every word tries to become part of the page."""
    attention = {"kind": "gqa", "cached": [{"layers": 4, "kv_heads": 2, "head_dim": 8}], "note": HOSTILE}
    model = {
        "name": HOSTILE, "family": HOSTILE[:100], "architecture": "dense", "parameters_billion": 0.001, "layers": 4, "hidden_size": 64, "vocabulary": 100,
        "attention": attention, "context_tokens": 4096, "licence": HOSTILE, "tasks": [HOSTILE], "languages": [HOSTILE], "source": HOSTILE,
        "sources": {HOSTILE: HOSTILE}, "confidence": "low", "note": HOSTILE,
    }  # fmt: skip
    card = {
        "vendor": "nvidia", "memory_gib": 24, "bandwidth_gb_s": 300, "tflops": {"bf16": 100}, "source": HOSTILE, "confidence": "low", "note": HOSTILE,
        "prices": [{"provider": HOSTILE, "instance": HOSTILE, "usd_per_hour": 1, "kind": HOSTILE, "as_of": HOSTILE, "source": HOSTILE, "confidence": "low"}],
    }  # fmt: skip
    (root / "atlas.json").write_text(json.dumps({"schema_version": 1, "models": {"house/hostile": model}, "accelerators": {"House 1": card}}))


@contextlib.contextmanager
def serving_atlas(root: Path) -> Iterator[AtlasSite]:
    """Serves a workspace with a hostile model and card of its own beside what ships."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    engine = Engine.open(make_workspace(root))
    add_hostile_model(root)
    operations = Operations(
        call=partial(call, engine),
        report=engine.report,
        signing=lambda request: {"request": request},
        evidence=engine.evidence_page,
        drain=lambda: False,
        stop=lambda servers: None,
    )
    pages = AtlasPages(CODE, operations.call, engine.accelerators, engine.atlas_choices, engine.atlas_exercises)
    app = build_app(operations, port=port, token=TOKEN, version="test", activity=Activity(), atlas=pages)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    origin = f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=origin, timeout=60) as http:
        yield AtlasSite(engine, http, origin)
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    engine.close()


def main() -> None:
    with serving_atlas(Path(sys.argv[1])) as site:
        print(site.address("lab"), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
