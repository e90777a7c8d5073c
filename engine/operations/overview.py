"""Everything at a glance. Callers ask this most often, so it takes the same few queries however many clusters and runs there are."""

from __future__ import annotations

from collections.abc import Sequence

from engine.base.paths import Workspace
from engine.config import ClustersFile, DomainFile
from engine.errors import BadInput
from engine.escalate import records as escalations
from engine.evaluate import records as measurements
from engine.fleet.machine import Machine
from engine.generate.servers import ModelServers
from engine.iterate import records as loop
from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.loading import load_clusters, load_domain
from engine.operations.promoting import Promoting
from engine.promote import records as promotions
from engine.showing.fleet import cluster_line, fleet_page, held_out_score, looks_in_words
from engine.showing.runs import run_line
from engine.store.store import Store
from engine.views import ClusterLine, FleetStatus, RunLine

MAX_ACTIVE = 1000
"""Active runs that a status looks at; it lists the latest of them."""
RECENT = 5


class Overview:
    """The operation, over one workspace."""

    def __init__(
        self, workspace: Workspace, store: Store, supervisor: Supervisor, servers: ModelServers, machine: Machine, promoting: Promoting
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.supervisor = supervisor
        self.servers = servers
        self.machine = machine
        self.promoting = promoting

    def fleet_status(self) -> FleetStatus:
        """Clusters, runs, servers and machines."""
        file = load_clusters(self.workspace)
        unfinished = self.supervisor.list(states=("queued", "running", "interrupted"), top_level=True, limit=MAX_ACTIVE)
        active = [run_line(run, self.supervisor.waits_for(run.id)) for run in unfinished]
        recent = [run_line(run) for run in self.supervisor.list(states=("succeeded", "failed", "cancelled"), top_level=True, limit=RECENT)]
        return fleet_page(
            file,
            self._cluster_lines(file, active),
            active,
            recent,
            self.promoting.pending(list(file.clusters)),
            servers=self.servers.status(),
            probe=self.machine.probe(),
            open_escalations=escalations.open_count(self.store),
            runs_total=runs.count(self.store),
            evaluations_total=measurements.count(self.store),
        )

    def _cluster_lines(self, file: ClustersFile, active: Sequence[RunLine]) -> tuple[ClusterLine, ...]:
        """Every cluster, from four queries however many there are."""
        states, newest = loop.cluster_states(self.store), measurements.latest_of_all(self.store)
        chosen = {name: states.get(name, loop.UNTOUCHED) for name in file.clusters}
        held_out = {name: state.incumbent_evaluation or newest.get((name, state.incumbent)) for name, state in chosen.items()}
        wanted = {each for name, state in chosen.items() for each in (held_out[name], state.floor_evaluation) if each is not None}
        scores = {each: held_out_score(each, summary) for each, summary in measurements.summaries(self.store, wanted).items()}
        domains = {domain: self._read_domain(domain) for domain in {entry.domain for entry in file.clusters.values()}}
        used, serving = measurements.latest_use(self.store), promotions.serving(self.store)
        running = {run.cluster: run for run in reversed(active)}
        return tuple(
            cluster_line(
                name,
                entry,
                incumbent=chosen[name].incumbent,
                held_out=scores.get(held_out[name] or ""),
                floor=scores.get(chosen[name].floor_evaluation or ""),
                serving=serving.get(name, ""),
                active_run=running.get(name),
                problem=found if isinstance(found := domains[entry.domain], str) else "",
                held_out_looks="" if isinstance(found, str) or name not in used else looks_in_words(found, used[name]),
            )
            for name, entry in file.clusters.items()
        )

    def _read_domain(self, domain: str) -> DomainFile | str:
        """A domain, or why it does not load."""
        try:
            return load_domain(self.workspace, domain)
        except BadInput as error:
            return error.message
