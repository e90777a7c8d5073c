"""Evidence about a version as an operation: made once from what the store holds, kept as an artefact, found again.

One bundle is made at a time, in this call: a second or two for a few hundred items. If the power goes before its row is written, its artefact
belongs to nobody, and the next call makes another. What was half made is removed when the engine is opened.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from typing import Any

from engine.base.clock import Clock
from engine.base.paths import Workspace
from engine.errors import NotFound
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.loading import load_clusters
from engine.operations.named import named_cluster
from engine.promote.evidence import records
from engine.promote.evidence.bundle import PAGE, make_bundle, read_bundle
from engine.promote.evidence.dsse import fingerprint
from engine.promote.evidence.gathering import Sources, find_sources, gather
from engine.promote.evidence.keys import workspace_key
from engine.promote.evidence.types import EvidencePredicate
from engine.promote.types import Evidence
from engine.showing.evidence import evidence_page
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views import EvidencePage


class Evidencing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, clock: Clock) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self._clock = clock
        self._making = threading.Lock()
        shutil.rmtree(workspace.bundles, ignore_errors=True)  # what a crash left half put together

    def evidence(self, cluster: str, version: str | None) -> EvidencePage:
        """The bundle of a version; of the one that stands when none is named."""
        named_cluster(load_clusters(self.workspace), cluster)
        found = self.of(cluster, version or self._standing(cluster))
        folder = self.artifacts.path(found.artifact).relative_to(self.workspace.root)
        public_key = self.workspace.evidence_public_key.relative_to(self.workspace.root)
        return evidence_page(cluster, found, bundle=folder.as_posix(), page=(folder / PAGE).as_posix(), public_key=public_key.as_posix())

    def of(self, cluster: str, version: str) -> Evidence:
        """The evidence about an accepted version as it stands: found when it was made from the same sources, else made now."""
        with self._making:
            sources = find_sources(self.store, self.artifacts, self.workspace, cluster, version)
            return self._kept(sources) or self._make(sources)

    def _standing(self, cluster: str) -> str:
        incumbent = loop.cluster_state(self.store, cluster).incumbent
        if incumbent == BASE:
            raise NotFound(
                f"cluster {cluster} has accepted no version yet, so there is nothing to promote", next_step=f"Call iterate(cluster={cluster!r})."
            )
        return incumbent

    def _kept(self, sources: Sources) -> Evidence | None:
        """The bundle from these sources, when its artefact is still there."""
        found = records.of_sources(self.store, sources.digest())
        if found is not None:
            with contextlib.suppress(NotFound):
                self.artifacts.path(found.artifact)
                return found
        return None

    def _make(self, sources: Sources) -> Evidence:
        key = workspace_key(self.workspace)
        inputs = gather(self.store, self.artifacts, sources, made_at=self._clock(), salt=secrets.token_bytes(32))
        bundle = make_bundle(inputs, key, self.workspace.bundles)
        try:
            read = read_bundle(bundle, key.public_key())
            made = Evidence(
                digest=read.evidence,
                artifact=self.artifacts.put_directory(bundle),
                summary=summary_of(read.predicate, fingerprint(key.public_key())),
            )
        finally:
            shutil.rmtree(bundle)
        records.record(self.store, cluster=sources.cluster, version=sources.version, sources=sources.digest(), evidence=made)
        return made


def summary_of(stated: EvidencePredicate, key: str) -> dict[str, Any]:
    """What a list or an answer shows of a bundle without opening it."""
    paired = stated.found.decision.against_incumbent
    return {
        "version": stated.version,
        "made_at": stated.made_at,
        "key": key,
        "verdict": stated.found.decision.verdict,
        "metric": paired.metric,
        "before": paired.before.mean,
        "after": paired.after.mean,
        "difference": paired.difference.model_dump(mode="json"),
        "conditions": [clause.sentence for clause in stated.found.decision.clauses],
        "absent": list(stated.absent),
    }
