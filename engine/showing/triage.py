"""Whether to train, as people and agents read it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.atlas.learning_curve import Foretold, RowsNeeded
from engine.atlas.triage import CHEAP, Advice, Judgement
from engine.atlas.types import Approach, Situation
from engine.config import DomainFile, HourlyPrice
from engine.diagnose.types import CheapTrial
from engine.evaluate import jobs
from engine.evaluate.statistics import Metric
from engine.evaluate.types import EvaluationSummary, PairedComparison
from engine.iterate.records import RecordedRound
from engine.promote.cost import cost_per_decision, seconds_per_decision
from engine.showing.atlas import digits
from engine.views import NextCall
from engine.views.atlas import CurvePoint, DataNeeded, Expected, TriageOption, TriagePage

VERDICTS = {
    "do_not_train": "Do not train",
    "measure_first": "Measure first",
    "label_first": "Label more rows first",
    "train": "Train",
}
RESTS_ON = (
    "Floor, base, other models and the accepted version on held-out; examples and the schema on a sample of core, in pairs with the base.",
    "Machine time for an answer is a measurement's wall time over its answers, at the concurrency that it kept.",
)
CURVE_RESTS_ON = (
    "Rows needed: a power law through the floor's figures on core, fitted on parts of the training rows; a language model's curve may be another.",
)
EFFORT: dict[Approach, str] = {
    "floor": "Name baselines in eval.floor of domain.yaml; fitted in seconds.",
    "prompt": "None beyond the prompt: it is what everything else is held against.",
    "constrain_decoding": "A JSON schema and the switch contract.output.structured.",
    "few_shot": "A few training rows in each prompt: more prompt tokens a request.",
    "retrieval": "A search over your documents, and its upkeep.",
    "larger_model": "A cluster of this domain with another model: onboard_model, then evaluate; more memory and time for each answer.",
    "lora": "Labelled rows, some minutes to hours of training, and training again when the base or the task changes.",
}


def advice_page(judgement: Judgement, advice: Sequence[Advice], situation: Situation) -> TriagePage:
    """What the framework says."""
    options = tuple(TriageOption(approach=each.approach, when=each.when, why=each.reason, effort=EFFORT[each.approach]) for each in advice)
    why = "makes a domain of your rows, so that it can be measured"
    rows = {"rows_path": "rows.jsonl", "name": "my-domain"}
    return TriagePage(
        summary=f"{VERDICTS[judgement.verdict]}. {judgement.reasons[0]}",
        next=(NextCall(tool="onboard_domain", arguments=rows, why=why),) if situation.labelled_rows != 0 else (),
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        options=options,
        assumptions=("A framework of rules, nothing was measured: with a cluster the answer rests on measurements.",),
    )


def measured_page(
    cluster: str,
    judgement: Judgement,
    options: tuple[TriageOption, ...],
    metric: Metric,
    target: float | None,
    *,
    currency: str | None = None,
    curve: tuple[CurvePoint, ...] = (),
    needed: DataNeeded | None = None,
    trainable: bool,
) -> TriagePage:
    """What the measurements of a cluster say."""
    return TriagePage(
        summary=f"{VERDICTS[judgement.verdict]}. {judgement.reasons[0]}",
        next=_next(cluster, judgement, options, trainable=trainable),
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        options=options,
        metric=metric,
        target=target,
        currency=currency,
        curve=curve,
        data_needed=needed,
        assumptions=(*RESTS_ON, *(CURVE_RESTS_ON if curve else ())),
    )


def _next(cluster: str, judgement: Judgement, options: Sequence[TriageOption], *, trainable: bool) -> tuple[NextCall, ...]:
    """What to do about it. A domain without training rows can only be measured."""
    if not trainable:
        return (NextCall(tool="evaluate", arguments={"cluster": cluster}, why="measures the base; there are no rows to train on"),)
    measuring = NextCall(
        tool="iterate", arguments={"cluster": cluster, "max_iterations": 0}, why="measures base, floor, examples and schema, and trains nothing"
    )
    measured = all(each.quality is not None or each.when == "not_here" for each in options if each.approach in CHEAP)
    calls = {
        "measure_first": () if measured else (measuring,),
        "train": (NextCall(tool="iterate", arguments={"cluster": cluster}, why="trains, and accepts only what is shown to be better"),),
        "label_first": (NextCall(tool="diagnose", arguments={"cluster": cluster}, why="which rows are worth labelling: where it fails"),),
        "do_not_train": (),
    }[judgement.verdict]
    return calls


def unmeasured(approach: Approach, domain: DomainFile, *, tried: bool = False) -> TriageOption:
    """A way that nobody has measured, and what it would take. `tried`: a run over this domain has measured all that it could."""
    words = EFFORT[approach]
    if approach == "constrain_decoding" and domain.contract.output.json_schema is None:
        words = "The domain's output has no JSON schema to hold answers to."
    if approach == "lora" and domain.data.train is None:
        words = "The domain has no training rows (data.train)."
    if tried and approach in CHEAP:
        return TriageOption(approach=approach, when="not_here", effort=f"Not measured: a run over this domain found no way to. {words}")
    return TriageOption(approach=approach, effort=f"Not measured. {words}")


def floor_option(
    summary: EvaluationSummary, evaluation_id: str, fitted: jobs.FloorOutput | None, rows: int, metric: Metric, over_base: PairedComparison | None
) -> TriageOption:
    """The best baseline without a language model."""
    method = summary.subject.removeprefix("floor:")
    seconds = next((each.seconds for each in fitted.methods if each.method == method), None) if fitted else None
    took = "" if seconds is None else f" in {digits(seconds):g} s"
    return TriageOption(
        approach="floor",
        quality=getattr(summary.split("held_out"), metric),
        on="held_out",
        gain=None if over_base is None else over_base.difference,
        effort=f"No language model: {method}, fitted on {rows} rows and asked{took}.",
        evaluation_id=evaluation_id,
    )


def model_option(
    approach: Approach, summary: EvaluationSummary, evaluation_id: str, metric: Metric, price: HourlyPrice | None, over_base: PairedComparison | None
) -> TriageOption:
    """A model as it was measured on held-out."""
    held_out = summary.split("held_out")
    seconds = seconds_per_decision(summary)
    return TriageOption(
        approach=approach,
        quality=getattr(held_out, metric),
        on="held_out",
        gain=None if over_base is None else over_base.difference,
        latency_p95_seconds=_rounded(held_out.latency_p95_seconds),
        machine_seconds=_rounded(seconds),
        cost_per_decision=_rounded(cost_per_decision(seconds, price)),
        effort=EFFORT[approach],
        evaluation_id=evaluation_id,
    )


def version_option(option: TriageOption, version: str, accepted: RecordedRound | None, rows: int) -> TriageOption:
    """The accepted version, with what it took to make it."""
    if accepted is None:
        return option.model_copy(update={"effort": f"{version}. {EFFORT['lora']}"})
    seconds = accepted.iteration.seconds
    took = f"{seconds.get('train', 0.0):.0f} s of training, {sum(seconds.values()):.0f} s with measuring"
    words = f"{version}: {rows} training rows, {took}. Training again when the base or the task changes."
    return option.model_copy(update={"effort": words})


def trial_option(trial: CheapTrial, price: HourlyPrice | None) -> TriageOption:
    """A remedy that needs no training, on its sample."""
    seconds = trial.seconds / trial.generated if trial.generated else None
    return TriageOption(
        approach=trial.remedy,
        quality=trial.comparison.after,
        on="core_sample",
        gain=trial.comparison.difference,
        machine_seconds=_rounded(seconds),
        cost_per_decision=_rounded(cost_per_decision(seconds, price)),
        effort=f"{trial.words[0].upper()}{trial.words[1:]}; no training.",
    )


def curve_points(
    method: str | None, floor: Sequence[jobs.CurvePoint], rounds: Sequence[tuple[str, int, EvaluationSummary]], metric: Metric
) -> tuple[CurvePoint, ...]:
    """The floor's learning curve, and the versions that rounds trained, each on core."""
    fitted = [CurvePoint(subject=f"floor:{method}", rows=each.rows, quality=getattr(each, metric)) for each in floor]
    trained = [CurvePoint(subject=version, rows=rows, quality=getattr(summary.split("core"), metric)) for version, rows, summary in rounds]
    return (*fitted, *trained)


def data_needed(target: float, rows: int, needed: RowsNeeded, at_twice: Foretold) -> DataNeeded:
    """How many rows the target takes."""
    return DataNeeded(
        target=target,
        rows=rows,
        needed=needed.value,
        low=needed.low,
        high=needed.high,
        at_twice=Expected(value=digits(at_twice.value), low=digits(at_twice.low), high=digits(at_twice.high)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else digits(value)
