"""What an iterate run leaves behind, put together from its measurements and its ledger.

Pure. The notes are the plain-words part: what was learnt, what it cost, and what to try next; they say so when a specialist does not beat its floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.config import Acceptance, Serving
from engine.diagnose.types import CheapTrial
from engine.evaluate.early_stop import reason_in_words
from engine.evaluate.statistics import Metric, compare, reached, shown_above_zero
from engine.evaluate.types import EvaluationSummary, ItemResult, PairedComparison, StoppedEarly
from engine.iterate.decide import Outcome
from engine.iterate.types import FinalScore, IterateJob, IterateOutput, Iteration, RefusedScore
from engine.train.schedule import in_one_line

NAMED = 5
"""Items that a note lists."""


def final_score(evaluation_id: str, summary: EvaluationSummary) -> FinalScore:
    """A measurement's held-out figures."""
    held_out = summary.split("held_out")
    return FinalScore(
        subject=summary.subject,
        evaluation_id=evaluation_id,
        score=held_out.score,
        pass_rate=held_out.pass_rate,
        schema_valid=held_out.schema_valid,
    )


def refused_score(
    metric: Metric, evaluation_id: str, summary: EvaluationSummary, stopped: StoppedEarly, before: EvaluationSummary
) -> RefusedScore:
    """What is known of a challenger whose measurement stopped early; `before` is of the incumbent that it was judged against."""
    return RefusedScore(
        subject=summary.subject,
        evaluation_id=evaluation_id,
        core=getattr(summary.split("core"), metric),
        core_before=getattr(before.split("core"), metric),
        asked=stopped.asked,
        of=stopped.of,
        because=reason_in_words(stopped.because),
    )


def iterate_output(
    job: IterateJob,
    acceptance: Acceptance,
    serving: Serving,
    *,
    cluster: str,
    outcome: Outcome,
    base: FinalScore,
    floor: FinalScore | None,
    final: FinalScore,
    challengers: Sequence[FinalScore],
    refused: Sequence[RefusedScore],
    held_out: Mapping[str, Sequence[ItemResult]],
    final_summary: EvaluationSummary,
    iterations: Sequence[Iteration],
    seconds: Mapping[str, float],
    structured_effect: PairedComparison | None,
) -> IterateOutput:
    """The output of a finished run. `challengers` were measured in full, `refused` in part. `held_out` holds the held-out results of base, floor and
    final version, by evaluation id."""

    def paired(before: FinalScore | None) -> PairedComparison | None:
        if before is None or before.evaluation_id == final.evaluation_id:
            return None
        return compare(
            held_out[before.evaluation_id],
            held_out[final.evaluation_id],
            split="held_out",
            metric=acceptance.metric,
            confidence=acceptance.confidence,
            seed=job.seed,
        )

    accepted = tuple(iteration.challenger for iteration in iterations if iteration.decision.verdict == "accept")
    met = reached(job.targets, final_summary) if job.targets else bool(accepted)
    best = max(challengers, key=lambda challenger: getattr(challenger, acceptance.metric).mean, default=None) if not accepted else None
    closest = max(refused, key=lambda one: one.core.mean, default=None) if best is None and not accepted else None
    against_floor = paired(floor)
    return IterateOutput(
        cluster=cluster,
        outcome=outcome,
        targets=job.targets,
        targets_met=met,
        base=base,
        floor=floor,
        final=final,
        best_challenger=best,
        best_refused=closest,
        accepted=accepted,
        against_base=paired(base),
        against_floor=against_floor,
        structured_effect=structured_effect,
        iterations=tuple(iterations),
        seconds=dict(seconds),
        notes=(
            *_notes(job, outcome, final, against_floor, met, iterations, structured_effect),
            *refused_note(closest, acceptance.metric),
            *latency_note(serving, final_summary),
        ),
    )


def tried_note(trials: Sequence[CheapTrial]) -> list[str]:
    """What was tried before training and what each bought, in one sentence; nothing when nothing was tried."""
    if not trials:
        return []
    gains = [(trial.words, trial.comparison.difference) for trial in trials]
    bought = ", ".join(f"{words} {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" for words, gain in gains)
    first = trials[0].comparison
    return [f"Tried before training, on {first.difference.n} core items of the base, in {first.metric.replace('_', ' ')}: {bought}."]


def lost_note(iteration: Iteration) -> list[str]:
    """Which core items an accepted version once answered without a fault and this round's challenger fails; nothing when there are none."""
    lost = iteration.once_golden
    if not lost:
        return []
    named = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
    return [f"Once golden and failed by the challenger of round {iteration.iteration}: {len(lost)} core items ({named}); `compare` shows them."]


def spared_note(iterations: Sequence[Iteration]) -> list[str]:
    """How many held-out items early stops saved, of those of all challengers; nothing when none did."""
    stopped = [each.stopped_early for each in iterations if each.stopped_early is not None]
    if not stopped:
        return []
    rounds = f"{len(stopped)} of {len(iterations)} rounds"
    return [f"Stopping when refusal was certain saved {sum(each.saved for each in stopped)} held-out items in {rounds}."]


def refused_note(best: RefusedScore | None, metric: Metric) -> list[str]:
    """What is known where no challenger has a held-out score, and why there is none; nothing where one has."""
    if best is None:
        return []
    core, before = best.core, best.core_before
    return [
        f"No challenger has a held-out score to go by. The best on core, {best.subject}, has a core {metric.replace('_', ' ')} of {core.mean:.3f} "
        f"[{core.low:.3f}, {core.high:.3f}] (n={core.n}; its incumbent {before.mean:.3f}), and was asked {best.asked} of {best.of} held-out items: "
        f"{best.because}. It ended because of how those went, so their mean would be no fair score."
    ]


def latency_note(serving: Serving, measured: EvaluationSummary) -> list[str]:
    """What an answer took against what the domain allows; nothing where either is unknown (answers from the cache took no time)."""
    found, allowed = measured.split("held_out").latency_p95_seconds, serving.latency_p95_seconds
    if found is None or allowed is None:
        return []
    verdict = "within" if found <= allowed else "more than"
    return [f"95 of 100 answers took at most {found:.1f} s while a whole batch was in flight: {verdict} the domain's {allowed:g} s."]


def _notes(
    job: IterateJob,
    outcome: Outcome,
    final: FinalScore,
    against_floor: PairedComparison | None,
    met: bool,
    iterations: Sequence[Iteration],
    structured_effect: PairedComparison | None,
) -> list[str]:
    notes = [job.incumbent_because] if job.incumbent_because else []
    if iterations:
        notes.extend(tried_note(iterations[0].tried))
        last = iterations[-1]
        verdict = "accepted" if last.decision.verdict == "accept" else "rolled back"
        notes.append(f"Round {last.iteration} trained on {last.rows} rows and was {verdict}.")
        notes.append(in_one_line(last.iteration, last.plan.reasons))
        if gains := [pattern for pattern in last.fixed if pattern.items > 0]:
            notes.append("Learnt: " + "; ".join(f"{pattern.name} ({pattern.items} fewer)" for pattern in gains[:3]) + ".")
        notes.extend(clause.sentence for clause in last.decision.clauses if not clause.passed)
        notes.append(last.decision.detectable)
        notes.extend(lost_note(last))
        notes.extend(spared_note(iterations))
    if structured_effect is not None:
        gain = structured_effect.difference
        notes.append(
            f"Decoding under the schema moves the core {structured_effect.metric.replace('_', ' ')} of {final.subject} by {gain.mean:+.3f} "
            f"[{gain.low:+.3f}, {gain.high:+.3f}] (n={gain.n})."
        )
    if against_floor is not None and not shown_above_zero(against_floor):
        notes.append("What answers now is not shown to beat the floor: a baseline without a language model does as well here.")
    if job.budget.max_iterations == 0:
        notes.append("Nothing was trained, as asked: `triage_tuning` says whether it is worth it.")
    elif outcome == "stalled":
        notes.append("The loop stalled: read `diagnose`, add training rows for the largest pattern, or try a larger model profile.")
    elif outcome == "budget_spent" and job.targets and not met:
        wanted = ", ".join(f"{metric} {value:g}" for metric, value in job.targets.items())
        notes.append(f"The budget was spent before the targets were met ({wanted}); run iterate again, or read `diagnose` first.")
    elif final.subject != "base":
        notes.append("Next: `diagnose` shows what still fails; `compare` shows which core items changed.")
    return notes
