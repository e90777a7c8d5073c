"""What a caller names, found: a cluster of clusters.json, and what stands in it."""

from __future__ import annotations

from engine.config import Cluster, ClustersFile
from engine.errors import NotFound
from engine.evaluate import records as measurements
from engine.iterate import records as loop
from engine.store.store import Store


def named_cluster(file: ClustersFile, name: str) -> Cluster:
    """The cluster of that name. NotFound lists those there are."""
    if name not in file.clusters:
        names = ", ".join(sorted(file.clusters)) or "none yet"
        raise NotFound(
            f"there is no cluster {name[:96]!r} in clusters.json", next_step=f"Use one of: {names}.", known=sorted(file.clusters)
        )
    return file.clusters[name]


def why_the_base(store: Store, cluster: str) -> str:
    """Why no version stands in a cluster, in words: none was accepted, or what was accepted was taken back."""
    return loop.cluster_state(store, cluster).because.rstrip(".") or f"no version of {cluster} has been accepted yet"


def latest_of_incumbent(store: Store, cluster: str) -> str:
    """The newest measurement of what stands. NotFound when there is none."""
    subject = loop.cluster_state(store, cluster).incumbent
    evaluation_id = measurements.latest(store, cluster, subject)
    if evaluation_id is None:
        raise NotFound(
            f"{subject} of cluster {cluster} has not been measured yet", next_step=f"Call evaluate(cluster={cluster!r}) first.", cluster=cluster
        )
    return evaluation_id
