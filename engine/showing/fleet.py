"""The fleet at a glance: clusters with their held-out figures, model servers and machines."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config import Cluster, ClustersFile, DomainFile, EndpointProfile
from engine.evaluate.holdout import state_of
from engine.evaluate.records import Use
from engine.evaluate.types import EvaluationSummary
from engine.fleet.probe import HostProbe
from engine.generate.types import ServerStatus
from engine.iterate.measure import targets_of
from engine.views import ClusterLine, FleetStatus, HostLine, NextCall, RequestLine, RunLine, Score, ServerLine

LISTED_ACTIVE = 20
LISTED_REQUESTS = 5


def fleet_page(
    file: ClustersFile,
    lines: tuple[ClusterLine, ...],
    active: Sequence[RunLine],
    recent: Sequence[RunLine],
    pending: Sequence[RequestLine],
    *,
    servers: Sequence[ServerStatus],
    probe: HostProbe,
    open_escalations: int,
    runs_total: int,
    evaluations_total: int,
) -> FleetStatus:
    """Everything at a glance, with the active run to follow and the first cluster that an iterate run would serve."""
    met = sum(line.targets_met is True for line in lines)
    first = next((line for line in lines if wants_iterate(file, line)), None)
    following = [NextCall(tool="run_status", arguments={"run_id": active[0].run_id}, why="follow the active run")] if active else []
    if first is not None:
        following.append(NextCall(tool="iterate", arguments={"cluster": first.cluster}, why="specialise this cluster"))
    if pending:
        following.append(NextCall(tool="approvals", arguments={"request": pending[0].request}, why="what a person is asked to sign"))
    if open_escalations:
        following.append(NextCall(tool="escalations", arguments={}, why="failures that no rule mended"))
    waiting = f"; {len(pending)} promotion requests wait for signatures" if pending else ""
    escalated = f"; {open_escalations} escalations are open" if open_escalations else ""
    return FleetStatus(
        summary=f"{len(lines)} clusters, {met} at their targets; {len(active)} active runs{waiting}{escalated}.",
        next=tuple(following),
        clusters=lines,
        pending_approvals=tuple(pending[:LISTED_REQUESTS]),
        active_runs=tuple(active[:LISTED_ACTIVE]),
        recent_runs=tuple(recent),
        open_escalations=open_escalations,
        servers=tuple(server_line(server) for server in servers),
        hosts=(host_line("local", probe),),
        runs_total=runs_total,
        evaluations_total=evaluations_total,
    )


def wants_iterate(file: ClustersFile, line: ClusterLine) -> bool:
    """Whether an iterate run of this cluster could start now and has something to reach."""
    trainable = not isinstance(file.models[file.clusters[line.cluster].model], EndpointProfile)
    return trainable and not (line.active_run or line.problem or line.targets_met)


def cluster_line(
    name: str,
    entry: Cluster,
    *,
    incumbent: str,
    held_out: Score | None,
    floor: Score | None,
    serving: str,
    active_run: RunLine | None,
    problem: str,
    held_out_looks: str = "",
) -> ClusterLine:
    """A cluster in a list."""
    means = {} if held_out is None else {"score": held_out.score.mean, "pass_rate": held_out.pass_rate.mean}
    targets = targets_of(entry)
    return ClusterLine(
        cluster=name,
        domain=entry.domain,
        model=entry.model,
        incumbent=incumbent,
        held_out=held_out,
        floor=floor,
        serving=serving,
        targets=targets,
        targets_met=all(means[metric] >= value for metric, value in targets.items()) if targets and means else None,
        active_run=active_run,
        problem=problem,
        held_out_looks=held_out_looks,
    )


def looks_in_words(domain: DomainFile, use: Use) -> str:
    """`5 of 26 used`, with the generation after a rotation."""
    state = state_of(
        domain.data.splits, generation=use.generation, sources=use.sources, looks=use.looks, exposed=use.exposed, reserve=0
    )
    rotated = f", generation {use.generation}" if use.generation else ""
    return f"{use.looks} of {state.budget} used{rotated}{': spent' if state.spent else ''}"


def held_out_score(evaluation_id: str, summary: EvaluationSummary) -> Score | None:
    """A measurement's held-out figures, if it has any."""
    held_out = next((split for split in summary.splits if split.split == "held_out"), None)
    if held_out is None:
        return None
    return Score(subject=summary.subject, evaluation_id=evaluation_id, score=held_out.score, pass_rate=held_out.pass_rate)


def server_line(server: ServerStatus) -> ServerLine:
    """A model server in a list."""
    return ServerLine.model_validate(server.model_dump() | {"answers_as": server.answers_as[:12]})


def host_line(name: str, probe: HostProbe) -> HostLine:
    """A machine in a list."""
    return HostLine(
        host=name,
        cores=probe.cores,
        memory_bytes=probe.memory_bytes,
        memory_available_bytes=probe.memory_available_bytes,
        disk_free_bytes=probe.disk_free_bytes,
        gpus=tuple(f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in probe.gpus),
    )
