"""clusters.json: specialisation paths, what each may spend, and on which machines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config.models import Profile
from engine.config.values import Identifier, Share


class Budget(Record):
    """What one iterate run may spend."""

    max_iterations: int = Field(default=3, ge=1, le=100)
    """Training rounds."""
    max_minutes: float = Field(default=60.0, gt=0)
    """Wall time; checked between steps."""
    stall_iterations: int = Field(default=2, ge=1, le=100)
    """Stop after this many rounds in a row without an accepted version."""


class Cluster(Record):
    """One specialisation path: a domain, a model profile, targets and a budget."""

    domain: Identifier
    """A folder in `domains/`."""
    model: Identifier
    """A key of `models`."""
    targets: dict[Literal["score", "pass_rate"], Share] = {}
    """Held-out means at which an iterate run is done."""
    budget: str = "default"
    """A key of `budgets`."""
    hosts: tuple[Identifier, ...] = ("local",)
    """Keys of `hosts`, best first."""


class Host(Record):
    """A machine that may run workers. Only this machine so far."""

    kind: Literal["local"] = "local"


class Defaults(Record):
    """What holds for every cluster."""

    seed: int = Field(default=17, ge=0, lt=2**31)
    """Seed of every random choice."""
    daemon_idle_minutes: float = Field(default=30.0, gt=0)
    """The daemon goes away after this long without a request or a run."""


class ClustersFile(Record):
    """The whole of clusters.json."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    models: dict[Identifier, Profile]
    """Model profiles by name."""
    clusters: dict[Identifier, Cluster]
    """Clusters by name."""
    hosts: dict[Identifier, Host] = {"local": Host()}
    """Machines by name."""
    budgets: dict[str, Budget] = {"default": Budget()}
    """Budgets by name."""
    defaults: Defaults = Defaults()
