"""Following a run from a terminal: one line that changes on a screen, plain lines every few seconds elsewhere.

Watching holds nothing: Ctrl-C lets go, and the run goes on.
"""

from __future__ import annotations

import shutil
import time
from typing import Any, TextIO

from engine.jobs.types import FINAL_STATES
from server.client import Client
from server.progress import progress_line
from server.render import plain
from tools.runs import RUN_STATUS

POLL_SECONDS = 1.0
QUIET_SECONDS = 5.0
"""Between two plain lines of the same phase."""


class Display:
    """Where progress goes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.screen = stream.isatty()
        self._started = time.monotonic()
        self._said_at = -QUIET_SECONDS
        self._said = ""
        self._phase = ""

    def show(self, status: dict[str, Any]) -> None:
        """Shows where the run stands, if that is news."""
        line = plain(progress_line(status))
        phase = str((status.get("progress") or {}).get("phase", status["state"]))
        now = time.monotonic()
        if self.screen:
            text = f"{now - self._started:>5.0f} s  {line}"[: shutil.get_terminal_size().columns - 1]
            if self._phase and phase != self._phase:
                self.stream.write("\n")
            self.stream.write(f"\r\x1b[K{text}")
        elif line != self._said and (phase != self._phase or now - self._said_at >= QUIET_SECONDS):
            self.stream.write(f"{now - self._started:>5.0f} s  {line}\n")
            self._said, self._said_at = line, now
        self._phase = phase
        self.stream.flush()

    def close(self) -> None:
        """Ends the line that changes."""
        if self.screen and self._phase:
            self.stream.write("\n")
            self.stream.flush()


def watch(client: Client, run_id: str, display: Display) -> dict[str, Any]:
    """Follows a run to its end and answers its last status."""
    try:
        while True:
            status = client.call(RUN_STATUS, {"run_id": run_id, "wait_seconds": POLL_SECONDS})
            display.show(status)
            if status["state"] in FINAL_STATES:
                return status
    finally:
        display.close()
