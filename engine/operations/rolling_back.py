"""Rolling back as an operation: the version that served before answers again, proved before it does.

The order is what makes it safe. The target's server is started and proved while the version that serves answers; then one command changes which
version serves (`engine/promote/records.py`), and every request after it is answered by the target. A crash in between leaves the version before;
requests that had begun end where they began. Nobody's approval is needed, because people signed for the target when it came to serve; by the same
rule it cannot bring back what never did.

A drill does it and goes back again, and leaves both versions where they can be rolled back to. Between its two flips the version before answers.
How long both ways took is kept once both are done; one that a crash cuts off leaves its flips in the log and no seconds.

By a cluster's policy a rollback also happens by itself, after a measurement that shows the version worse than its evidence
(`engine/promote/regression.py`). Each new measurement is looked at once; what keeps the rollback from happening then is logged, not tried again.
"""

from __future__ import annotations

import logging
import threading
import time

from engine.base.clock import Clock
from engine.base.paths import Workspace
from engine.errors import ModelsmithError, StateConflict
from engine.evaluate import records as measurements
from engine.iterate import records as loop
from engine.loading import load_clusters, load_domain
from engine.operations.named import named_cluster
from engine.promote import records
from engine.promote.regression import Seen, regression
from engine.promote.types import Drill, VersionState
from engine.serve.production import Production
from engine.serve.types import Flip
from engine.showing.rollbacks import drilled_page, rolled_back_page
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views import RollbackPage

POLICY = "policy"
"""Who rolls back where nobody asked for it, in the log."""

logger = logging.getLogger(__name__)


class RollingBack:
    """The operation, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, production: Production, clock: Clock) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.production = production
        self.clock = clock
        self._measured = -1
        """Measurements that the policy has looked at."""

    def rollback(self, cluster: str, to: str | None, *, drill: bool, by: str, reason: str) -> RollbackPage:
        """Lets `to`, or the version that served before, answer again; a drill goes back at once."""
        named_cluster(load_clusters(self.workspace), cluster)
        serving = records.serving(self.store).get(cluster, "")
        if drill and not serving:
            raise StateConflict(f"no version serves {cluster}, so there is nothing to go back to after a drill", next_step="Name no drill.")
        there = self._flip(cluster, serving, self._target(cluster, serving, to), drill=drill, by=by, reason=reason)
        if not drill:
            return rolled_back_page(cluster, there)
        back = self._flip(cluster, there.after, self._target(cluster, there.after, serving), drill=True, by=by, reason=reason)
        records.record_drill(self.store, cluster, _drill(there, back, self.clock()), actor=by, reason=reason or "drill")
        return drilled_page(cluster, there, back)

    def _flip(self, cluster: str, serving: str, target: VersionState, *, drill: bool, by: str, reason: str) -> Flip:
        began = time.perf_counter()
        proof = self.production.prove(cluster, target.version)
        proved = time.perf_counter()
        report = None if proof is None else proof.report
        records.roll_back(self.store, serving, target, report, drill=drill, actor=by, reason=reason or ("drill" if drill else ""))
        ended = time.perf_counter()
        return Flip(serving, target.version, proof, round(ended - began, 3), round(ended - proved, 4))

    def _target(self, cluster: str, serving: str, to: str | None) -> VersionState:
        """The version to go back to, among those that have served."""
        there = records.served_before(self.store, cluster)
        found = next((each for each in there if to in (None, each.version)), None)
        if found is not None:
            return found
        why = f"no version served {cluster} before" if to is None else f"{to} is not among the versions that served {cluster} before"
        next_step = "promote brings a version into service."
        if there:
            next_step = f"There are: {', '.join(each.version for each in there)}."
        elif serving:
            next_step = f"promote(cluster={cluster!r}, version={serving!r}, to='rolled-back') takes it out of service; then nothing answers."
        raise StateConflict(why, next_step=next_step)

    # ---- by policy -------------------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Rolls back what new measurements show worse than its evidence, where the policy says so. Called with every tick; waits for no server."""
        measured = measurements.count(self.store)
        if measured == self._measured:
            return
        self._measured = measured
        for cluster, version in records.serving(self.store).items():
            try:
                found = self._regressed(cluster, version)
            except ModelsmithError as error:
                logger.error("whether %s of %s became worse cannot be told: %s", version, cluster, error)
                continue
            if found:
                threading.Thread(target=self._roll_back_alone, args=(cluster, version, found), name=f"rollback-{cluster}", daemon=True).start()

    def _regressed(self, cluster: str, version: str) -> str:
        """Why the version should not go on serving; empty where nothing shows it, or the policy does not ask."""
        file = load_clusters(self.workspace)
        entry = file.clusters.get(cluster)
        judged = loop.accepting_round(self.store, cluster, version)
        if entry is None or judged is None or not entry.policy.rollback_on_regression:
            return ""
        since = records.serving_since(self.store, cluster, version)
        newer = [each for each in measurements.measurements_of(self.store, cluster, version) if each.recorded_at > since]
        if not newer:
            return ""
        acceptance = load_domain(self.workspace, entry.domain).eval.accept
        evidence, now = self._seen(judged.iteration.challenger_evaluation), self._seen(newer[0].evaluation_id)
        return regression(evidence, now, acceptance=acceptance, looks=len(newer), seed=file.defaults.seed)

    def _seen(self, evaluation_id: str) -> Seen:
        results = measurements.item_results(self.store, self.artifacts, evaluation_id, "held_out")
        return Seen(evaluation_id, measurements.summary(self.store, evaluation_id).identity, results)

    def _roll_back_alone(self, cluster: str, version: str, reason: str) -> None:
        """Takes this version out of service and no other: somebody may have moved on meanwhile."""
        try:
            self._flip(cluster, version, self._target(cluster, version, None), drill=False, by=POLICY, reason=reason)
        except ModelsmithError as error:
            logger.error("%s could not be rolled back by its policy (%s): %s", cluster, reason, error)


def _drill(there: Flip, back: Flip, at: str) -> Drill:
    return Drill(
        serving=back.after,
        to=there.after,
        seconds=there.seconds,
        back_seconds=back.seconds,
        warm=there.proof is not None and there.proof.warm,
        proved=there.proof is not None and back.proof is not None,
        drilled_at=at,
    )
