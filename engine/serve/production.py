"""The servers that answer for clusters: each request goes to the version that serves at that moment, on a server that was proved to hold it.

Which version that is stands in the store alone (`engine/promote/records.py`), and is looked up for each request. So a change of it is one command
there; here, whatever is to serve next is started and proved before. Requests that began on the server of the version before end on it.

- A server that serves is apart from the one that measurements use and change. Merged weights have one for each version: two versions are two
  processes, with the memory of both. Adapters share one, into which the next is loaded while the one before answers.
- It is held (a shared flock, `engine/generate/servers.py`) while its version serves and for the policy's time after, so that neither idleness nor
  training stops it. A held server that died is started and proved anew by the first request that needs it, which waits for it.
- A daemon that was killed leaves its servers running; the next takes up those that serve. The others stop when they have been idle.

Not here: deciding what serves, and HTTP (`server/gateway.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from engine.base.paths import Workspace
from engine.config import EndpointProfile
from engine.errors import FingerprintMismatch, ModelsmithError, NotFound, ServerFailed, StateConflict
from engine.fleet.machine import Machine
from engine.generate.open import ServingPlan, serving_plan
from engine.generate.prepared import find_prepared
from engine.generate.server_control import ServerUnwell
from engine.generate.servers import Hold, ModelServers, Session, mismatch_error
from engine.generate.types import FingerprintReport
from engine.iterate.measure import weights_of
from engine.loading import load_clusters
from engine.promote import records
from engine.promote.chains import SERVED_HERE
from engine.serve.types import Proof
from engine.store.artifacts import Artifacts
from engine.store.store import Store

LOOKS = 5
"""How often one request is looked up anew, when what it was to be answered by is gone or lost its place meanwhile."""

Key = tuple[str, str]
"""Cluster and version."""


class Answering(NamedTuple):
    """Where one request is answered. `release` when it is."""

    cluster: str
    version: str
    session: Session
    timeout_seconds: float
    release: Callable[[], None]


class _Kept(NamedTuple):
    """A server that is held for a version."""

    plan: ServingPlan
    hold: Hold
    until: float
    """Monotonic; moved on while the version serves."""


class Production:
    """The servers of one workspace that answer for its clusters. Safe to use from many threads."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, servers: ModelServers, machine: Machine) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.servers = servers
        self.machine = machine
        self._kept: dict[Key, _Kept] = {}
        self._changing = threading.Lock()
        self._starting: dict[str, threading.Lock] = {}
        """By cluster: one server is started at a time, and whoever waited finds it."""

    # ---- proving ---------------------------------------------------------------------------------------------------------------------

    def prove(self, cluster: str, version: str) -> Proof | None:
        """Starts the version's server unless it runs, proves by fingerprint that it answers with this version, and keeps it ready.

        None where nothing of the cluster is served here. FingerprintMismatch when other weights answer, ServerFailed when none do; whatever serves
        goes on serving in either case.
        """
        plan = self._plan(cluster, version)
        if plan is None:
            return None
        with self._one_at_a_time(cluster):
            report = self._prove_standing(plan)
            warm = report is not None
            if report is None:
                self._let_go((cluster, version))
                report = self._prove_started(plan)
            self._keep((cluster, version), plan)
        return Proof(report, warm)

    def _prove_standing(self, plan: ServingPlan) -> FingerprintReport | None:
        """The proof of the server that stands; None where none does, or the one that did had to be ended."""
        hold = self.servers.hold(plan.server, plan.weights)
        if hold is None:
            return None
        try:
            report = self.servers.measure(hold.session, plan.weights)
        except ServerUnwell:
            report = None
        finally:
            hold.release()
        if report is not None and report.verdict == "match":
            return report
        if report is not None and plan.server.loads_beside:  # others may answer on it
            raise _not_proved(plan, report)
        self.servers.discard(hold.session)
        return None

    def _prove_started(self, plan: ServingPlan) -> FingerprintReport:
        try:
            with self.servers.answering(plan.server, plan.weights) as session:
                report = session.report or self.servers.measure(session, plan.weights)
        except ServerUnwell as unwell:
            raise ServerFailed(f"the server of {plan.server.key} gives no log-probabilities: {unwell}", next_step="Read its log.") from unwell
        if report.verdict != "match":
            raise _not_proved(plan, report)
        return report

    # ---- answering -------------------------------------------------------------------------------------------------------------------

    def answering(self, cluster: str) -> Answering:
        """Where a request to the cluster is answered now. Waits for the server where it has to be started.

        NotFound for a cluster that is not there, StateConflict where no version serves here.
        """
        for _ in range(LOOKS):
            version = records.serving(self.store).get(cluster, "")
            kept = self._kept.get((cluster, version))
            plan = self._plan_to_answer(cluster, version) if kept is None else kept.plan
            hold = self.servers.hold(plan.server, plan.weights)
            if hold is not None:
                return Answering(cluster, version, hold.session, plan.timeout_seconds, hold.release)
            self._bring_back((cluster, version), plan)
        raise ServerFailed(f"the server of {cluster} was lost {LOOKS} times", next_step="Read its log in .modelsmith/servers/, then ask again.")

    def _bring_back(self, key: Key, plan: ServingPlan) -> None:
        with self._one_at_a_time(key[0]):
            hold = self.servers.hold(plan.server, plan.weights)
            if hold is not None:  # another request, while this one waited
                hold.release()
                return
            self._let_go(key)
            self._prove_started(plan)
            self._keep(key, plan)

    def lost(self, answering: Answering) -> None:
        """Told of a request that got no answer: a server that does not respond any more is ended, so that the next request starts another."""
        self.servers.responds(answering.session)

    def clusters(self) -> list[str]:
        """Clusters that a version serves here."""
        here = []
        for cluster, version in sorted(records.serving(self.store).items()):
            with suppress(ModelsmithError):
                if self._plan(cluster, version) is not None:
                    here.append(cluster)
        return here

    # ---- keeping ---------------------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Takes up servers that run and serve, and lets go of those whose time is over. Called every few seconds."""
        serving = records.serving(self.store)
        for key in serving.items():
            if key not in self._kept:
                with suppress(ModelsmithError):
                    plan = self._plan(*key)
                    if plan is not None:
                        self._take_up(key, plan)
        now = time.monotonic()
        for key, kept in list(self._kept.items()):
            if serving.get(key[0]) == key[1]:
                self._stay(key, kept, now + self._warm_seconds(key[0]))
            elif now > kept.until:
                self._let_go(key)

    def release(self) -> None:
        """Lets go of every server. They run on, and stop when they have been idle."""
        for key in list(self._kept):
            self._let_go(key)

    def busy(self) -> bool:
        """Whether a version that serves has a server here, which would be missed."""
        serving = records.serving(self.store)
        return any(serving.get(cluster) == version for cluster, version in list(self._kept))

    def _keep(self, key: Key, plan: ServingPlan) -> None:
        if not self._take_up(key, plan):
            raise ServerFailed(f"the server of {plan.server.key} ended as soon as it was proved", next_step="Read its log, then ask again.")

    def _take_up(self, key: Key, plan: ServingPlan) -> bool:
        """Holds the server that stands for a version, in place of what was held; whether one does."""
        hold = self.servers.hold(plan.server, plan.weights)
        if hold is None:
            return False
        self._let_go(key)
        self._put(key, _Kept(plan, hold, time.monotonic() + self._warm_seconds(key[0])))
        return True

    def _put(self, key: Key, kept: _Kept) -> None:
        with self._changing:
            self._kept[key] = kept

    def _stay(self, key: Key, kept: _Kept, until: float) -> None:
        """Moves its end on, unless another thread has let go of it meanwhile."""
        with self._changing:
            if self._kept.get(key) is kept:
                self._kept[key] = kept._replace(until=until)

    def _let_go(self, key: Key) -> None:
        with self._changing:
            kept = self._kept.pop(key, None)
        if kept is not None:
            kept.hold.release()

    def _one_at_a_time(self, cluster: str) -> threading.Lock:
        with self._changing:
            return self._starting.setdefault(cluster, threading.Lock())

    def _warm_seconds(self, cluster: str) -> float:
        """How long a version that serves no more is kept ready. A broken clusters.json must not end what answers."""
        with suppress(ModelsmithError):
            entry = load_clusters(self.workspace).clusters.get(cluster)
            if entry is not None:
                return entry.policy.warm_minutes * 60
        return 600.0

    # ---- plans -----------------------------------------------------------------------------------------------------------------------

    def _plan(self, cluster: str, version: str) -> ServingPlan | None:
        """What the version is answered from; None where it is served elsewhere, or its profile has no server."""
        file = load_clusters(self.workspace)
        entry = file.clusters.get(cluster)
        if entry is None:
            raise NotFound(f"there is no cluster {cluster[:96]!r} in clusters.json", next_step=f"Use one of: {', '.join(sorted(file.clusters))}.")
        profile = file.models[entry.model]
        chain = records.state_of(self.store, cluster, version).chain or entry.chain
        if chain not in SERVED_HERE or isinstance(profile, EndpointProfile):
            return None
        base = find_prepared(self.workspace, entry.model, profile)
        if base is None:
            raise NotFound(f"the base of model {entry.model} is not prepared", next_step=f"evaluate(cluster={cluster!r}) prepares it.")
        weights = weights_of(self.store, self.artifacts, version, base)
        return serving_plan(self.workspace, entry.model, profile, base, weights, self.machine.device())

    def _plan_to_answer(self, cluster: str, version: str) -> ServingPlan:
        if not version:
            if cluster not in load_clusters(self.workspace).clusters:
                self._plan(cluster, version)
            raise StateConflict(f"no version serves {cluster}", next_step=f"promote(cluster={cluster!r}) brings one there, with people's signatures.")
        plan = self._plan(cluster, version)
        if plan is None:
            raise StateConflict(f"{version} of {cluster} is not served on this machine", next_step="Ask where it was deployed.")
        return plan


def _not_proved(plan: ServingPlan, report: FingerprintReport) -> ModelsmithError:
    if report.verdict == "mismatch":
        return mismatch_error(plan.server.model, plan.weights, report)
    return FingerprintMismatch(
        f"nothing can prove which weights answer for {plan.weights.digest[:12]}: they have no fingerprint", next_step="Train this version again."
    )
