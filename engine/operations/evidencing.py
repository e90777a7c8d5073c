"""Evidence about a version as an operation: made once from what the store holds, kept as an artefact, found again.

Once people have moved the version, its bundle is issued again with their approvals: the statement, which is what they signed the digest of, stays
to the last byte while its sources do. The one that people let the version serve on stays whatever is measured later (a drill, a ceiling), until the
version is rolled back: what answers is what was signed.

One bundle is made at a time, in this call: a second or two for a few hundred items. If the power goes before its row is written, its artefact
belongs to nobody, and the next call makes another. What was half made is removed when the engine is opened.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.base.clock import Clock
from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.errors import ArtifactCorrupt, EvidenceRefused, NotFound
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.loading import load_clusters
from engine.operations.named import named_cluster, why_the_base
from engine.promote import records as promotions
from engine.promote.chains import DEPRECATED, serves
from engine.promote.evidence import records
from engine.promote.evidence.bundle import PAGE, issue_again, make_bundle, read_bundle
from engine.promote.evidence.dsse import fingerprint
from engine.promote.evidence.gathering import Sources, find_sources, gather
from engine.promote.evidence.keys import workspace_key
from engine.promote.evidence.types import ApprovedRequest, EvidencePredicate
from engine.promote.requests import takes_over
from engine.promote.types import Evidence
from engine.showing.evidence import evidence_page
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views import EvidencePage

Approved = tuple[ApprovedRequest, ...]


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
        return evidence_page(
            cluster,
            found,
            promotions.last_drill(self.store, cluster),
            bundle=folder.as_posix(),
            page=(folder / PAGE).as_posix(),
            public_key=public_key.as_posix(),
        )

    def of(self, cluster: str, version: str) -> Evidence:
        """The evidence about an accepted version, with the approvals that have moved it: found when it is kept as things stand, else made now."""
        with self._making:
            sources = find_sources(self.store, self.artifacts, self.workspace, cluster, version)
            approved = _approved(self.store, cluster, version)
            signed = _signed_sources(self.store, cluster, version)
            kept = None if signed is None else self._kept_or_issued(sources, signed, approved)
            return kept or self._kept_or_issued(sources, sources.digest(), approved) or self._made(sources, approved)

    def page(self, evidence: str) -> str:
        """The page of the evidence with this digest. NotFound where it is not kept here as it was made."""
        found = page_of(self.workspace, self.store, evidence)
        if found is None:
            raise NotFound(
                f"evidence {evidence[:8]} is not kept here as it was made", next_step="Ask for the promotion again; its request names what is."
            )
        return (self.workspace.root / found).read_text()

    def _standing(self, cluster: str) -> str:
        incumbent = loop.cluster_state(self.store, cluster).incumbent
        if incumbent == BASE:
            raise NotFound(
                why_the_base(self.store, cluster), next_step=f"Name a version, or call iterate(cluster={cluster!r})."
            )
        return incumbent

    def _kept_or_issued(self, about: Sources, sources: str, approved: Approved) -> Evidence | None:
        """The bundle from the sources of this digest with these approvals, when it or its statement is still there as it was made."""
        found = records.with_approvals(self.store, sources, _digest(approved))
        if found is not None:
            with contextlib.suppress(NotFound, ArtifactCorrupt):
                self.artifacts.verify(found.artifact)
                return found
        key = workspace_key(self.workspace)
        bundle = self._issued_again(sources, approved, key)
        return None if bundle is None else self._recorded(about, sources, approved, bundle, key)

    def _issued_again(self, sources: str, approved: Approved, key: Ed25519PrivateKey) -> Path | None:
        """The statement that these sources gave before, with other approvals; null where it is gone, was altered, or another key signed it."""
        earlier = records.of_sources(self.store, sources)
        if earlier is not None:
            with contextlib.suppress(NotFound, EvidenceRefused):
                return issue_again(self.artifacts.path(earlier.artifact), approved, key, self.workspace.bundles)
        return None

    def _made(self, sources: Sources, approved: Approved) -> Evidence:
        """A bundle made from the measurements as they are stored."""
        key = workspace_key(self.workspace)
        inputs = gather(self.store, self.artifacts, sources, made_at=self._clock(), salt=secrets.token_bytes(32), approvals=approved)
        return self._recorded(sources, sources.digest(), approved, make_bundle(inputs, key, self.workspace.bundles), key)

    def _recorded(self, about: Sources, sources: str, approved: Approved, bundle: Path, key: Ed25519PrivateKey) -> Evidence:
        """A bundle that was just put together, as an artefact with its row."""
        try:
            read = read_bundle(bundle, key.public_key())
            made = Evidence(
                digest=read.evidence,
                artifact=self.artifacts.put_directory(bundle),
                summary=summary_of(read.predicate, fingerprint(key.public_key())),
            )
        finally:
            shutil.rmtree(bundle)
        records.record(
            self.store, cluster=about.cluster, version=about.version, sources=sources, approvals=_digest(approved), evidence=made
        )
        return made


def page_of(workspace: Workspace, store: Store, evidence: str) -> str | None:
    """Where the page of the evidence with this digest lies, relative to the workspace; null where it is not kept here as it was made."""
    found, artifacts = records.of_digest(store, evidence), Artifacts(workspace.artifacts)
    if found is not None:
        with contextlib.suppress(NotFound, ArtifactCorrupt):
            artifacts.verify(found.artifact)
            return (artifacts.path(found.artifact) / PAGE).relative_to(workspace.root).as_posix()
    return None


def _approved(store: Store, cluster: str, version: str) -> Approved:
    """The requests by which people have moved the version, oldest first."""
    used = promotions.used_requests(store, cluster, version)
    return tuple(ApprovedRequest(request=each.request, approvals=each.approvals) for each in used)


def _signed_sources(store: Store, cluster: str, version: str) -> str | None:
    """Digest of the sources of the evidence that people let a version serve on; null where it has not come to serve, or was taken back since."""
    standing = promotions.state_of(store, cluster, version)
    if not serves(standing.chain, standing.state) and standing.state != DEPRECATED:
        return None
    signed = [each.request.evidence for each in promotions.used_requests(store, cluster, version) if takes_over(each.request)]
    return records.sources_of(store, signed[-1]) if signed else None


def _digest(approved: Approved) -> str:
    return digest_of([each.request.id for each in approved])


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
