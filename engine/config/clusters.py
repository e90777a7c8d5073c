"""clusters.json: specialisation paths, what each may spend, and on which machines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.base.record import Record
from engine.config.models import Profile
from engine.config.money import Money
from engine.config.values import Identifier, Share, SignatureLevel, SignedState


class Budget(Record):
    """What one iterate run may spend."""

    max_iterations: int = Field(default=3, ge=0, le=100)
    """Training rounds; 0 measures what there is and trains nothing."""
    max_minutes: float = Field(default=60.0, gt=0)
    """Wall time; checked between steps."""
    stall_iterations: int = Field(default=2, ge=1, le=100)
    """Stop after this many rounds in a row without an accepted version."""

SIGNED_STATES: dict[str, tuple[SignedState, ...]] = {
    "standard": ("canary", "production-accepted"),
    "customer": ("customer-deployed", "production-validated"),
}
"""By chain, the states that a version enters by people's signatures (`engine/promote/chains.py`)."""


class Signatures(Record):
    """Who must sign before a version enters a state."""

    approvals: int = Field(default=1, ge=1, le=5)
    """Different people; there is no way to ask for none."""
    level: SignatureLevel = "ssh"
    """The weakest signature that counts. `ssh` proves that a key file was used; `ssh-sk` and `webauthn` that a person touched a device."""
    role: Identifier = "approver"
    """The role that each of them has in the approver list."""


class PromotionPolicy(Record):
    """What it takes to bring a version of this cluster into use."""

    signatures: dict[SignedState, Signatures] = {}
    """By the state that is entered; one that is not named takes a single approval by any key."""
    separate_duties: bool = True
    """Whoever asked for a transition does not count among those who approve it."""
    request_hours: float = Field(default=72.0, gt=0, le=2160)
    """How long a request may be signed."""
    evidence_days: float = Field(default=30.0, gt=0)
    """How old the measurement may be on which a version is moved."""
    rollback_on_regression: bool = False
    """Roll back without being asked when a new measurement of the version that serves shows it worse than the evidence it was promoted on. Nothing
    promotes without being asked."""
    warm_minutes: float = Field(default=60.0, ge=0, le=43_200)
    """How long the server of the version before is kept ready for a rollback, at the price of its memory."""


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
    chain: Literal["standard", "customer"] = "standard"
    """States from candidate to production. `standard` goes over shadow and canary here, `customer` over an export to where it is deployed."""
    policy: PromotionPolicy = PromotionPolicy()


class HourlyPrice(Money):
    """What an hour of a machine costs. Nothing else says what an answer costs in money: without it, cost is said in seconds alone."""

    as_of: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    """The day on which that was the price."""


class Host(Record):
    """A machine that may run workers. Only this machine so far."""

    kind: Literal["local"] = "local"
    hourly_price: HourlyPrice | None = None
    """With it, evidence says what a decision costs."""


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
    approvers: str | None = None
    """File with the approver list, absolute or relative to the workspace; `/etc/modelsmith/approvers.json` is recommended (`docs/approvals.md`)."""
    defaults: Defaults = Defaults()
