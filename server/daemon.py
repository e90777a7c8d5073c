"""The daemon: owns the workspace's store, moves its runs, and serves every surface. `python -m server.daemon --workspace DIR`.

Whoever opens the store is the daemon; a second one leaves at once. It listens on loopback, writes daemon.json when it can be called, and ticks
the engine ten times a second. It may be killed at any instant: runs go on in their workers, and the next daemon adopts them. It ends by itself
when nobody has called for a while, nothing runs and no version in production has a server here (then it also stops the model servers), on SIGTERM
(servers and workers go on), and at once when the store does not know whether a write happened.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from engine.base.clock import utc_now
from engine.base.paths import Workspace
from engine.base.processes import identity_of
from engine.engine import Engine
from engine.errors import ModelsmithError, RunActive, StoreFailed, StoreOwned
from engine.loading import find_workspace
from server.app import Operations, build_app
from server.atlas_pages.asking import AtlasPages
from server.client import FATAL
from server.daemon_file import DaemonRecord, read_daemon_file, write_daemon_file
from server.failures import EXIT_DONE, failure_of
from server.guard import Activity
from server.version import code_version
from tools.tool import Tool, call

TICK_SECONDS = 0.1
HOUSEKEEPING_SECONDS = 5.0
"""Between two looks at idle model servers and at our own idleness."""
ESCALATION_SECONDS = 10.0
"""For a look into what failed that is under way when the daemon stops; the next start looks again."""
STORE_FAILED_EXIT = 70
GRACE_SECONDS = 3
"""For requests that are being answered when the daemon stops."""
PORTS_TRIED = 20
"""Of those that the system names, each free on 127.0.0.1, until one is free on [::1] too."""
NO_SUCH_LOOPBACK = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""What a machine without IPv6 answers, on which nobody else can listen there either."""
QUIET_SECONDS = 60.0
"""Between two reports of a tick that keeps failing the same way."""

log = logging.getLogger("modelsmith")


class Daemon:
    """One daemon's life: the engine, who uses it, and when it ends."""

    def __init__(self, engine: Engine, idle_seconds: float) -> None:
        self.engine = engine
        self.idle_seconds = idle_seconds
        self.activity = Activity()
        self.stopping = threading.Event()
        self.stop_servers = False
        self._failed_at: dict[str, float] = {}
        self._escalating: threading.Thread | None = None

    def operations(self) -> Operations:
        """What the app may do."""
        engine = self.engine
        return Operations(
            call=self.call,
            report=self.report,
            signing=lambda request: engine.signing_page(request).model_dump(mode="json"),
            evidence=engine.evidence_page,
            drain=self.drain,
            stop=self.stop,
        )

    def call(self, tool: Tool, arguments: object) -> dict[str, object]:
        """Runs a tool on the engine."""
        try:
            return call(self.engine, tool, arguments)  # type: ignore[arg-type]
        except StoreFailed:
            self._fail_stop()
            raise

    def report(self, evaluation_id: str) -> str:
        """A measurement's page."""
        return self.engine.report(evaluation_id)

    def active_runs(self) -> list[str]:
        """Runs that have not ended."""
        return [run.id for run in self.engine.supervisor.list(states=("queued", "running", "interrupted"), top_level=True)]

    def drain(self) -> bool:
        """Stops if nothing is going on. The request that asks is itself the one in flight."""
        if self.active_runs() or self.activity.in_flight() > 1:
            return False
        self.stopping.set()
        return True

    def stop(self, servers: bool) -> None:
        """Stops. With `servers`, the model servers too, which runs that are under way would miss."""
        if servers and (active := self.active_runs()):
            raise RunActive(
                f"{len(active)} runs are under way: {', '.join(active[:5])}",
                next_step="Cancel them first, or stop only the daemon with `modelsmith daemon stop`; its runs go on and are adopted later.",
                runs=active,
            )
        self.stop_servers = servers
        self.stopping.set()

    def run_ticks(self) -> None:
        """Moves runs until the daemon stops. A tick that fails is reported and tried again; one that cannot trust the store ends the process."""
        looked_around = 0.0
        while not self.stopping.wait(TICK_SECONDS):
            try:
                self.engine.tick()
                if time.monotonic() - looked_around > min(HOUSEKEEPING_SECONDS, self.idle_seconds):
                    looked_around = time.monotonic()
                    self._keep_house()
            except StoreFailed:
                self._fail_stop()
            except Exception as error:
                self._report(error)
        if self._escalating is not None:
            self._escalating.join(ESCALATION_SECONDS)

    def _keep_house(self) -> None:
        self.engine.production.keep()
        self.engine.servers.stop_idle(utc_now())
        self._escalate()
        if self.activity.idle_seconds() > self.idle_seconds and not self.active_runs() and not self.engine.production.busy():
            log.info("nothing to do for %.0f s: stopping", self.idle_seconds)
            self.stop_servers = True
            self.stopping.set()

    def _escalate(self) -> None:
        """Looks into what failed, beside the ticks: a diagnosis takes seconds. What is not looked into before the end, the next start looks into."""
        if self._escalating is None or not self._escalating.is_alive():
            self._escalating = threading.Thread(target=self._look_into_failures, name="escalations", daemon=True)
            self._escalating.start()

    def _look_into_failures(self) -> None:
        try:
            self.engine.escalate_what_failed()
        except StoreFailed:
            if not self.stopping.is_set():
                self._fail_stop()
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        kind = f"{type(error).__name__}: {error}"
        if time.monotonic() - self._failed_at.get(kind, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._failed_at[kind] = time.monotonic()
            log.error("a tick failed: %s", kind, exc_info=error)

    def _fail_stop(self) -> None:
        """Leaves without another write: the next start finds out what is on disk."""
        log.critical("the store failed; stopping at once")
        logging.shutdown()
        os._exit(STORE_FAILED_EXIT)


class HttpServer(uvicorn.Server):
    """uvicorn that says when it listens, and stops when told to."""

    def __init__(self, config: uvicorn.Config, daemon: Daemon, announce: DaemonRecord) -> None:
        super().__init__(config)
        self._daemon = daemon
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the daemon; uvicorn would raise them again afterwards, before the store is closed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._daemon.stopping.set())
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        write_daemon_file(self._daemon.engine.workspace, self._announce)
        log.info("serving %s at %s", self._daemon.engine.workspace.root, self._announce.url)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._daemon.stopping.is_set()


def serve(engine: Engine, *, port: int = 0, idle_seconds: float) -> None:
    """Serves until the daemon stops."""
    daemon = Daemon(engine, idle_seconds)
    before = read_daemon_file(engine.workspace)
    listeners = _listen(port or (before.port if before else 0), fixed=bool(port))
    own = identity_of(os.getpid())
    if own is None:
        raise RuntimeError("a process that runs has an identity")
    record = DaemonRecord(
        pid=own.pid,
        start_ticks=own.start_ticks,
        port=listeners[0].getsockname()[1],
        token=before.token if before else secrets.token_urlsafe(32),
        version=code_version(),
        started_at=utc_now(),
    )
    app = build_app(
        daemon.operations(),
        port=record.port,
        token=record.token,
        version=record.version,
        activity=daemon.activity,
        answers=engine.production,
        atlas=AtlasPages(secrets.token_urlsafe(32), daemon.call, engine.accelerators, engine.atlas_choices, engine.atlas_exercises),
    )
    config = uvicorn.Config(
        app, http="h11", loop="asyncio", ws="none", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    ticks = threading.Thread(target=daemon.run_ticks, name="ticks", daemon=True)
    ticks.start()
    try:
        HttpServer(config, daemon, record).run(sockets=listeners)
    finally:
        daemon.stopping.set()
        ticks.join()
        if daemon.stop_servers:
            engine.servers.stop_all()
        for listener in listeners:
            listener.close()


def _listen(port: int, *, fixed: bool) -> list[socket.socket]:
    """Sockets that listen on loopback: on `port` if it is free, on any other if that does not matter."""
    for wanted in (port, *(0 for _ in range(0 if fixed else PORTS_TRIED))):
        try:
            return _both_loopbacks(wanted)
        except OSError as error:
            refused = error
    raise refused


def _both_loopbacks(port: int) -> list[socket.socket]:
    """127.0.0.1 and, where the machine has it, [::1], on one port.

    Browsers ask [::1] first when they are told `localhost`. Were it left free, another account of this machine could answer there with a page in
    the daemon's name, and would be handed its token.
    """
    first = _listener(socket.AF_INET, "127.0.0.1", port)
    try:
        return [first, _listener(socket.AF_INET6, "::1", first.getsockname()[1])]
    except OSError as error:
        if error.errno in NO_SUCH_LOOPBACK:
            return [first]
        first.close()
        raise


def _listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's delay off only where it is: 40 ms an answer otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(False)
    return listener


def run_daemon(workspace: Workspace, port: int = 0) -> int:
    """Opens the workspace and serves it; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("mcp", "uvicorn", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        engine = Engine.open(workspace)
    except StoreOwned as error:
        log.info("%s: leaving it to that one", error)
        return EXIT_DONE
    except ModelsmithError as error:
        print(FATAL + json.dumps(failure_of(error, "start").record), file=sys.stderr, flush=True)
        return error.exit_code
    try:
        serve(engine, port=port, idle_seconds=_idle_seconds(engine))
    finally:
        engine.close()
        log.info("stopped")
    return EXIT_DONE


def _idle_seconds(engine: Engine) -> float:
    """How long to stay without a caller. A broken clusters.json must not keep the daemon from saying so."""
    try:
        return engine.clusters().defaults.daemon_idle_minutes * 60
    except ModelsmithError as error:
        log.warning("%s", error)
        return 1800.0


def main() -> int:
    """The command line of the daemon itself; people use `modelsmith daemon`."""
    parser = argparse.ArgumentParser(prog="server.daemon", description="Serve one workspace in the foreground.")
    parser.add_argument("--workspace", type=Path, default=Path.cwd(), help="a folder with clusters.json (default: this one or above it)")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: the one used before, or any free one)")
    arguments = parser.parse_args()
    return run_daemon(find_workspace(arguments.workspace), arguments.port)


if __name__ == "__main__":
    sys.exit(main())
