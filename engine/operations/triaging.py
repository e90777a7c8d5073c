"""Should you train? Read from what was measured of a cluster, or answered from what is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.atlas.learning_curve import Curves, Point, curves_through, foretold, rows_needed
from engine.atlas.triage import Measured, Tried, advised, framework, judged
from engine.atlas.types import Approach, Situation
from engine.base.paths import Workspace
from engine.config import Cluster, ClustersFile, DomainFile, HourlyPrice
from engine.diagnose.jobs import TryCheapOutput
from engine.diagnose.types import CheapTrial
from engine.evaluate import records as measurements
from engine.evaluate.compile import CompiledDomain, load_compiled
from engine.evaluate.jobs import FloorOutput
from engine.evaluate.statistics import Metric, compare, shown_above_zero
from engine.evaluate.types import EvaluationSummary, Interval, PairedComparison
from engine.iterate import records as loop
from engine.iterate.measure import BASE
from engine.iterate.records import RecordedRound
from engine.jobs import records as runs
from engine.jobs.supervisor import Supervisor
from engine.jobs.types import Run, RunKind
from engine.loading import load_clusters, load_domain
from engine.operations.named import named_cluster
from engine.promote.cost import hourly_price
from engine.promote.evidence.gathering import ceilings_of
from engine.showing.triage import (
    advice_page,
    curve_points,
    data_needed,
    floor_option,
    measured_page,
    model_option,
    trial_option,
    unmeasured,
    version_option,
)
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.views.atlas import CurvePoint, TriageOption, TriagePage

CONFIDENCE = 0.95
NORMAL = 1.96
"""Standard errors of a mean that half of its 95% interval spans."""
LOOKED_THROUGH = 20
"""Newest runs of a kind among which that of the domain as it is now is looked for."""


class Known(NamedTuple):
    """What a cluster's measurements of one suite are read with."""

    cluster: str
    metric: Metric
    price: HourlyPrice | None
    seed: int
    subjects: Mapping[str, str]
    """Newest standard measurement of each subject of the cluster on the suite."""
    summaries: Mapping[str, EvaluationSummary]
    """Of these and of other clusters' bases, by evaluation."""


class Triaging:
    """The operation, over one workspace."""

    def __init__(self, workspace: Workspace, store: Store, artifacts: Artifacts, supervisor: Supervisor) -> None:
        self.workspace = workspace
        self.store = store
        self.artifacts = artifacts
        self.supervisor = supervisor

    def triage(self, cluster: str | None, situation: Situation) -> TriagePage:
        """What is known of a cluster; without one, what to try first in such a situation."""
        if cluster is None:
            return advice_page(framework(situation), advised(situation), situation)
        file = load_clusters(self.workspace)
        entry = named_cluster(file, cluster)
        domain = load_domain(self.workspace, entry.domain)
        anchor = self._anchor(cluster)
        if anchor is None:
            return self._nothing_measured(cluster, domain, entry, situation)
        return self._measured(file, cluster, entry, anchor)

    def _anchor(self, cluster: str) -> str | None:
        """The measurement whose suite the others are held against: of what stands, else of the base."""
        incumbent = loop.cluster_state(self.store, cluster).incumbent
        return measurements.latest(self.store, cluster, incumbent) or measurements.latest(self.store, cluster, BASE)

    def _nothing_measured(self, cluster: str, domain: DomainFile, entry: Cluster, situation: Situation) -> TriagePage:
        options = tuple(unmeasured(name, domain) for name in ("floor", "prompt", "constrain_decoding", "few_shot", "larger_model", "lora"))
        metric = metric_of(entry, domain)
        trainable = domain.data.train is not None
        return measured_page(cluster, framework(situation._replace(labelled_rows=None)), options, metric, _target(entry, metric), trainable=trainable)

    def _measured(self, file: ClustersFile, cluster: str, entry: Cluster, anchor: str) -> TriagePage:
        digest = measurements.domain_digest_of(self.store, anchor)
        compiled = load_compiled(self.workspace, digest)
        metric = metric_of(entry, compiled.domain)
        known, larger = self._known(file, cluster, entry, anchor, compiled, metric)
        floor = self._output(cluster, "floor", digest)
        fitted = None if floor is None else FloorOutput.model_validate(_plain(floor))
        options, beats_base, beats_floor = self._options(known, larger, fitted, compiled, digest)
        target, rows = _target(entry, metric), len(compiled.pool)
        points, curves = self._curve(known, fitted, compiled)
        judgement = judged(
            Measured(
                tried=[Tried(each.approach, each.quality) for each in options if each.when != "not_here"],
                target=target,
                metric=metric,
                rows=rows,
                above_floor=beats_floor,
                above_base=beats_base,
                refused=self._refused(cluster),
                needed=None if curves is None or target is None else rows_needed(curves, target),
            )
        )
        needed = None
        if curves is not None and target is not None:
            needed = data_needed(target, rows, rows_needed(curves, target), foretold(curves, 2 * rows))
        currency = None if known.price is None else known.price.currency
        return measured_page(cluster, judgement, options, metric, target, currency=currency, curve=points, needed=needed, trainable=rows > 0)

    def _known(
        self, file: ClustersFile, cluster: str, entry: Cluster, anchor: str, compiled: CompiledDomain, metric: Metric
    ) -> tuple[Known, str | None]:
        """What was measured on the anchor's suite; and the best other model's base there, where one was."""
        identity = measurements.summary(self.store, anchor).identity
        alike = measurements.newest_on(self.store, identity.suite, identity.grading)
        summaries = measurements.summaries(self.store, [each.evaluation_id for each in alike])
        whole = {name: each for name, each in summaries.items() if any(split.split == "held_out" for split in each.splits)}
        teachers = {teacher.name for teacher in compiled.domain.teachers}
        others = ceilings_of(file, teachers, file.models[entry.model]) - {cluster}
        rivals = [each.evaluation_id for each in alike if each.cluster in others and each.subject == BASE and each.evaluation_id in whole]
        best = max(rivals, key=lambda each: getattr(whole[each].split("held_out"), metric).mean, default=None)
        subjects = {each.subject: each.evaluation_id for each in alike if each.cluster == cluster and each.evaluation_id in whole}
        return Known(cluster, metric, hourly_price(file, cluster), file.defaults.seed, subjects, whole), best

    def _options(
        self, known: Known, larger: str | None, fitted: FloorOutput | None, compiled: CompiledDomain, digest: str
    ) -> tuple[tuple[TriageOption, ...], bool | None, bool | None]:
        """Each way with what is known of it; and whether the version that stands is shown to lie above base and floor."""
        base = known.subjects.get(BASE)
        floor = next((each for subject, each in known.subjects.items() if subject.startswith("floor:")), None)
        incumbent = loop.cluster_state(self.store, known.cluster).incumbent
        version = known.subjects.get(incumbent) if incumbent != BASE else None
        over_base, over_floor = self._paired(base, version, known), self._paired(floor, version, known)
        tried = self._trials(known.cluster, digest)
        options: dict[Approach, TriageOption] = {}
        if floor is not None:
            options["floor"] = floor_option(known.summaries[floor], floor, fitted, len(compiled.pool), known.metric, self._paired(base, floor, known))
        if base is not None:
            options["prompt"] = model_option("prompt", known.summaries[base], base, known.metric, known.price, None)
        for trial in tried:
            options[trial.remedy] = trial_option(trial, known.price)
        if larger is not None:
            options["larger_model"] = model_option(
                "larger_model", known.summaries[larger], larger, known.metric, None, self._paired(base, larger, known)
            )
        if version is not None:
            option = model_option("lora", known.summaries[version], version, known.metric, known.price, over_base)
            accepted = loop.accepting_round(self.store, known.cluster, incumbent)
            options["lora"] = version_option(option, incumbent, accepted, self._rows_of(accepted))
        order: tuple[Approach, ...] = ("floor", "prompt", "constrain_decoding", "few_shot", "larger_model", "lora")
        through = self._went_through(known.cluster, digest)
        shown = tuple(options.get(name) or unmeasured(name, compiled.domain, tried=through) for name in order)
        return shown, _above(over_base), _above(over_floor)

    def _paired(self, before: str | None, after: str | None, known: Known) -> PairedComparison | None:
        """On held-out. Base, floors and accepted versions alone come here, whose figures the ladder says."""
        if before is None or after is None:
            return None
        results = [measurements.item_results(self.store, self.artifacts, each, "held_out") for each in (before, after)]
        return compare(*results, split="held_out", metric=known.metric, confidence=CONFIDENCE, seed=known.seed)

    def _trials(self, cluster: str, digest: str) -> tuple[CheapTrial, ...]:
        found = self._output(cluster, "try_cheap", digest)
        return () if found is None else TryCheapOutput.model_validate(_plain(found)).trials

    def _output(self, cluster: str, kind: RunKind, digest: str) -> dict[str, Any] | None:
        """What the newest run of a kind answered of this very domain."""
        newest = self.supervisor.list(cluster=cluster, kinds=(kind,), states=("succeeded",), limit=LOOKED_THROUGH)
        return next((_output_of(run) for run in newest if _output_of(run).get("domain_digest") == digest), None)

    def _went_through(self, cluster: str, digest: str) -> bool:
        """Whether an iterate run over this very domain came to its end: what it has not measured it could not, or the domain wants none of it."""
        finished = self.supervisor.list(cluster=cluster, kinds=("iterate",), states=("succeeded",), limit=LOOKED_THROUGH)
        floors = (child for run in finished for child in runs.children(self.store, run.id) if child.kind == "floor")
        return any(_output_of(floor).get("domain_digest") == digest for floor in floors)

    def _refused(self, cluster: str) -> int:
        """Challengers since the last one that was accepted."""
        verdicts = [each.iteration.decision.verdict for each in loop.rounds_of(self.store, cluster)]
        return next((back for back, verdict in enumerate(reversed(verdicts)) if verdict == "accept"), len(verdicts))

    def _rows_of(self, played: RecordedRound | None) -> int:
        """Different rows that a round trained on."""
        steps = {} if played is None else {child.step: _output_of(child) for child in runs.children(self.store, played.run_id)}
        return 0 if played is None else int(steps[f"{played.iteration.iteration}.curate"]["distinct_rows"])

    def _curve(self, known: Known, fitted: FloorOutput | None, compiled: CompiledDomain) -> tuple[tuple[CurvePoint, ...], Curves | None]:
        """The floor's points with the curves through them, and those of the rounds on the same suite."""
        rounds = [each for each in loop.rounds_of(self.store, known.cluster) if each.iteration.suite == compiled.suite_digest]
        summaries = measurements.summaries(self.store, [each.iteration.challenger_evaluation for each in rounds])
        trained = [(each.iteration.challenger, self._rows_of(each), summaries[each.iteration.challenger_evaluation]) for each in rounds]
        if fitted is None or fitted.chosen is None:
            return curve_points(None, (), trained, known.metric), None
        points = [_point(each.rows, getattr(each, known.metric)) for each in fitted.curve]
        return curve_points(fitted.chosen, fitted.curve, trained, known.metric), curves_through(points, known.seed)


def metric_of(entry: Cluster, domain: DomainFile) -> Metric:
    """What the cluster's target is of; without one, what challengers are accepted on."""
    accepted = domain.eval.accept.metric
    return next((metric for metric in entry.targets if metric == accepted), next(iter(entry.targets), accepted))


def _target(entry: Cluster, metric: Metric) -> float | None:
    return entry.targets.get(metric)


def _above(paired: PairedComparison | None) -> bool | None:
    return None if paired is None else shown_above_zero(paired)


def _point(rows: int, figure: Interval) -> Point:
    return Point(rows, figure.mean, (figure.high - figure.low) / 2 / NORMAL)


def _output_of(run: Run) -> dict[str, Any]:
    return run.output or {}


def _plain(output: dict[str, Any]) -> dict[str, Any]:
    """Without what every worker's output has besides its record."""
    return {name: value for name, value in output.items() if name != "artifacts"}
