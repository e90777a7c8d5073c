"""What is escalated by itself, and what is known of it then: from a run that failed for good, and from failure patterns that a finished iterate run
could not explain or move. Pure; what somebody opens by hand begins here too.

A run fails for good when its retries are spent, or when its error is one that no retry can mend. A step that failed is no failure of its own: its
run ends with the step's error, or went on without it. A run that was cancelled has not failed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from engine.diagnose.taxonomy import LIKE, TAXONOMY
from engine.diagnose.types import Diagnosis, FailureClass, FailurePattern
from engine.errors import BadInput, Conflict, Infrastructure, ModelsmithError, RemediesExhausted, error_classes
from engine.escalate.governed import recognises
from engine.escalate.reproduction import Call, again, command, succeeds
from engine.escalate.types import EvidenceFile, Expectation, Failure, Opening, ResolutionCheck, Severity, TaxonomyRule, Tried
from engine.jobs.types import Run, RunError

TITLE = 200
PATTERNS_A_RUN = 5
"""The largest; the others show in `diagnose`, and come up when these are answered."""
NEW_CLASSES: tuple[FailureClass, ...] = ("unknown", "persistent")
"""Classes that say that no rule knows the cause, or that what the rules say has not helped."""
PAGE = 20
NOTHING_SAID = RunError(code="worker_lost", message="the run ended without saying why")

FREE_ACTS = ("Look: fleet_status, run_status, diagnose, compare, escalations and the files here.", "Measure and train again: evaluate, iterate.")
FREE_FIXES = "Propose a fix. One of training or diagnosis settings, teachers or training rows may be applied at once; others wait for a person."


class Gathered(NamedTuple):
    """Evidence that was put together and stored."""

    files: tuple[EvidenceFile, ...] = ()
    bundle: str | None = None


# ---- runs ----------------------------------------------------------------------------------------------------------------------------


def failed_step(run: Run, steps: Sequence[Run]) -> Run:
    """The step that a run failed with; the run itself where it has none."""
    named = (run.error or NOTHING_SAID).details.get("run_id")
    return next((step for step in steps if step.id == named), run)


def run_failure(run: Run, steps: Sequence[Run]) -> Failure:
    """What failed, as far as it is the same each time. That starting again has not helped is no failure of its own: what came back is."""
    error, step = run.error or NOTHING_SAID, failed_step(run, steps)
    code, words = error.code, error.message
    if code == RemediesExhausted.code:
        code, words = str(error.details["failure"]), str(error.details["said"])
    return Failure(kind="run", cluster=run.cluster, what=step.kind, step=step.step or "", code=code, words=words[:4000])


def of_run(run: Run, steps: Sequence[Run], gathered: Gathered, rules: Sequence[TaxonomyRule]) -> Opening:
    """The opening of a run that failed for good."""
    failure, error = run_failure(run, steps), run.error or NOTHING_SAID
    asked, shows = f" of {run.cluster}" if run.cluster else "", command(again(run))
    at = f" in {failure.step}" if failure.step else ""
    return Opening(
        failure=failure,
        title=f"{run.kind}{asked} failed{at}: {error.code}: {error.message}"[:TITLE],
        severity=severity_of(error.code),
        class_guess=_class_of_code(error.code),
        why_unmatched=_why_of_code(error.code),
        blast_radius=_blast_radius(run),
        tried=tried_in(run, steps),
        reproduction=shows,
        evidence=gathered.files,
        bundle=gathered.bundle,
        allowed_actions=(*FREE_ACTS, FREE_FIXES),
        question=f"What has to change so that `{shows}` ends as succeeded? The error says: {error.next_step or 'nothing further'}"[:600],
        check=succeeds(run),
    ).model_copy(update=recognised(failure, rules))


def severity_of(code: str) -> Severity:
    """By the branch of the error: what the caller can mend is low, a machine that failed medium, what is not what it claims to be high. So is
    what nobody foresaw."""
    cls = error_classes().get(code)
    if cls is None or code == ModelsmithError.code:
        return "high"
    return "low" if issubclass(cls, BadInput | Conflict) else "medium" if issubclass(cls, Infrastructure) else "high"


def _class_of_code(code: str) -> FailureClass:
    return "infrastructure" if issubclass(error_classes().get(code, ModelsmithError), Infrastructure) else "unknown"


def _why_of_code(code: str) -> str:
    if code not in error_classes():
        return f"No error of the engine has the code {code[:80]!r}."
    if _class_of_code(code) == "infrastructure":
        return "What mends it by itself was tried until its attempts were spent."
    return "Nothing mends this error by itself: it asks for a change."


def _blast_radius(run: Run) -> str:
    if run.cluster is None:
        return f"The run {run.id} ended. Clusters and what serves go on."
    return f"The run {run.id} of cluster {run.cluster} ended; a new one can be started. Other clusters, and the version that serves, go on."


def tried_in(run: Run, steps: Sequence[Run]) -> tuple[Tried, ...]:
    """What the supervisor and the loop did about it: attempts, and steps that they went on without."""
    chosen = failed_step(run, steps)
    tried = [Tried(what=f"{step.step or step.kind} ({step.id})", result=f"went on without it: {(step.error or NOTHING_SAID).code}")
             for step in steps if step.state == "failed" and step.id != chosen.id]  # fmt: skip
    attempts = f"{chosen.epoch} attempts" if chosen.epoch != 1 else "one attempt"
    return (*tried, Tried(what=f"{chosen.step or chosen.kind} ({chosen.id})", result=f"failed for good after {attempts}"))[-20:]


# ---- patterns ------------------------------------------------------------------------------------------------------------------------


def new_patterns(found: Diagnosis) -> list[FailurePattern]:
    """The patterns that no rule explains, or that no remedy has moved: the largest."""
    return [pattern for pattern in found.patterns if pattern.failure_class in NEW_CLASSES][:PATTERNS_A_RUN]


def pattern_failure(cluster: str, pattern: FailurePattern) -> Failure:
    """What failed, as far as it is the same each time."""
    return Failure(kind="pattern", cluster=cluster, what=pattern.kind, failure_class=pattern.failure_class, words=pattern.pattern)


def of_pattern(cluster: str, evaluation_id: str, graded: int, pattern: FailurePattern, gathered: Gathered, rules: Sequence[TaxonomyRule]) -> Opening:
    """The opening of a pattern that a finished iterate run left behind."""
    failure = pattern_failure(cluster, pattern)
    looked_at = Call("diagnose", {"cluster": cluster, "evaluation_id": evaluation_id, "pattern": pattern.pattern})
    plan = pattern.plan
    passed_over = () if plan is None else tuple(Tried(what=each.remedy, result=each.why) for each in plan.passed_over)
    rounds = tuple(Tried(what=f"round {number}", result=f"{items} items failed like this") for number, items in enumerate(pattern.trend))
    return Opening(
        failure=failure,
        title=f"{cluster}: {pattern.items} core items fail, {pattern.failure_class}: {pattern.name}"[:TITLE],
        severity="medium" if pattern.share >= 0.1 else "low",
        class_guess=pattern.underlying or pattern.failure_class,
        why_unmatched=TAXONOMY[pattern.failure_class].description,
        blast_radius=f"{pattern.items} of {graded} core items of cluster {cluster} ({pattern.share:.0%}). The loop goes on with what it understands.",
        tried=(*passed_over, *rounds)[-20:],
        reproduction=command(looked_at),
        evidence=gathered.files,
        bundle=gathered.bundle,
        allowed_actions=(*FREE_ACTS, "Draft scenarios: propose_scenario.", FREE_FIXES),
        question="What do these items have in common that no check names? Are they labelled as they should be? "
        f"The taxonomy says: {TAXONOMY[pattern.failure_class].runbook}",
        check=ResolutionCheck(
            tool="diagnose",
            arguments={"cluster": cluster, "limit": PAGE},
            expected=(Expectation(path="graded", comparison="at_least", value=graded), _gone(pattern)),
        ),
    ).model_copy(update=recognised(failure, rules))


def _gone(pattern: FailurePattern) -> Expectation:
    """That it is no longer there; of one that no rule explained, that it is gone or explained. A group of similar inputs is called after one of them,
    and may be called after another next time: of such a group its class has to go."""
    if pattern.detail.startswith(LIKE):
        return Expectation(path="patterns.*.failure_class", comparison="lacks", value=pattern.failure_class)
    if pattern.failure_class == "unknown":
        return Expectation(path="patterns.*.failure_class", where={"pattern": pattern.pattern}, comparison="lacks", value="unknown")
    return Expectation(path="patterns.*.pattern", comparison="lacks", value=pattern.pattern)


# ---- by hand, and rules --------------------------------------------------------------------------------------------------------------


def by_hand(problem: str, cluster: str | None, severity: Severity, check: ResolutionCheck, gathered: Gathered) -> Opening:
    """The opening of what somebody noticed."""
    about = f"cluster {cluster}" if cluster else "the workspace"
    return Opening(
        failure=Failure(kind="by_hand", cluster=cluster, what="noticed", words=problem[:4000]),
        title=problem.strip().splitlines()[0][:TITLE],
        severity=severity,
        class_guess="unknown",
        why_unmatched="Somebody noticed it; no rule has looked at it.",
        blast_radius=f"As whoever opened it says: {about}.",
        reproduction=command(Call(check.tool, check.arguments)),
        evidence=gathered.files,
        bundle=gathered.bundle,
        allowed_actions=(*FREE_ACTS, FREE_FIXES),
        question="Is it as it is described, and what should be instead?",
        check=check,
    )


def recognised(failure: Failure, rules: Collection[TaxonomyRule]) -> dict[str, object]:
    """What a rule that an earlier escalation became says of this failure; nothing where none knows it."""
    rule = next((each for each in rules if recognises(each, failure)), None)
    if rule is None:
        return {}
    return {
        "class_guess": rule.failure_class,
        "why_unmatched": f"It is known: the rule {rule.name} recognises it, and nothing mends it by itself.",
        "question": f"It was answered before: {rule.answer} Does that hold here?",
    }
