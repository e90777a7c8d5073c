"""This machine, looked at every few seconds however often somebody asks: a look starts a process where there is a GPU driver."""

from __future__ import annotations

import time
from pathlib import Path

from engine.config import Device
from engine.fleet.probe import HostProbe, device, probe_local

PROBE_SECONDS = 5.0
"""How long a look at the machine stays good."""


class Machine:
    """The machine that holds `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._probe: tuple[float, HostProbe] | None = None

    def probe(self) -> HostProbe:
        """What the machine has, at most `PROBE_SECONDS` ago."""
        now = time.monotonic()
        if self._probe is None or now - self._probe[0] > PROBE_SECONDS:
            self._probe = (now, probe_local(self._folder))
        return self._probe[1]

    def device(self) -> Device:
        """Where models run here."""
        return device(self.probe())
