"""The product's app with a double of the engine and no token, for clients that cannot send one: `python -m tests.server.open_server PORT`.

Same factory, same guard (Host, Origin, size), same MCP server as the daemon's. Not part of the product: nothing there turns the token off.
"""

from __future__ import annotations

import sys
from functools import partial

import uvicorn

from server.app import Operations, build_app
from server.guard import Activity
from tests.server.double import EngineDouble
from tools.tool import call


def main() -> None:
    port = int(sys.argv[1])
    operations = Operations(
        call=partial(call, EngineDouble()),  # type: ignore[arg-type]
        report=lambda evaluation_id: evaluation_id,
        signing=lambda request: {"request": request},
        evidence=lambda digest: f"<h1>{digest}</h1>",
        drain=lambda: False,
        stop=lambda servers: None,
    )
    app = build_app(operations, port=port, token=None, version="test", activity=Activity())
    uvicorn.run(app, host="127.0.0.1", port=port, http="h11", log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
