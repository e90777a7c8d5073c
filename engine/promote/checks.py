"""The gates: each a named check with its figure, its limit, what was found, and what would open it. Pure; the time comes in.

`floor`, `incumbent`, `no_harm` and `safety_nets` read the verdict of the round that accepted the version, whose clauses were tested on paired
answers. A verdict by another rubric or contract than the present one says nothing about what would be served, so it closes those gates. The others
read the version's newest measurement. What was not measured never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from engine.base.clock import seconds_between
from engine.evaluate.canaries import ALPHA, in_words, is_contaminated, least_chance
from engine.iterate.types import Clause
from engine.promote.cost import cost_per_decision
from engine.promote.package.parity import holds as holds_parity
from engine.promote.types import Check, CheckName, FormParity, Gate, Grounds, ParityFigure, Transition

DAY = 86_400.0


def gate(transition: Transition, grounds: Grounds, now: str) -> Gate:
    """Every check of a transition."""
    return Gate(transition=transition, checks=tuple(CHECKS[name](grounds, now) for name in transition.checks))


def floor(grounds: Grounds, now: str) -> Check:
    """The specialist stands where the domain wants it against the best baseline without a language model."""
    return _of_verdict("floor", grounds, ("floor",))


def incumbent(grounds: Grounds, now: str) -> Check:
    """Shown better than what it replaced: improved, no guarded slice lost, and no more items lost than chance explains."""
    return _of_verdict("incumbent", grounds, ("improvement", "slices", "regressions"))


def safety_nets(grounds: Grounds, now: str) -> Check:
    """No safety net is breached more often than before, beyond the domain's tolerance."""
    return _of_verdict("safety_nets", grounds, ("safety_nets",))


def no_harm(grounds: Grounds, now: str) -> Check:
    """General and safety items are not unlearnt, where the domain names a suite for them."""
    if grounds.acceptance.no_harm is None:
        return Check(name="no_harm", passed=True, sentence="The domain names no suite that guards what its own does not look at.")
    return _of_verdict("no_harm", grounds, ("no_harm",))


def held_out(grounds: Grounds, now: str) -> Check:
    """Measured on held-out, no item of it is missing, and the version was not taught the evaluation file."""
    canaries = grounds.measured.canaries
    if canaries is not None and is_contaminated(canaries):
        return Check(name="held_out", passed=False, figure=least_chance(canaries), limit=ALPHA, sentence=in_words(canaries), opens=_iterate(grounds))
    found = next((split for split in grounds.measured.splits if split.split == "held_out"), None)
    if found is None or found.score.n == 0:
        return Check(
            name="held_out", passed=False, sentence=f"{grounds.evaluation_id} has no held-out item that was answered.", opens=_measure(grounds)
        )
    score = found.score
    mean = f"Held-out score {score.mean:.3f}, {100 * score.confidence:.4g}% interval [{score.low:.3f}, {score.high:.3f}], on {score.n} items"
    sound = all(map(math.isfinite, (score.mean, score.low, score.high)))
    return Check(
        name="held_out",
        passed=sound and found.errors == 0,
        figure=found.errors,
        limit=0,
        sentence=f"{mean}; {found.errors} are missing because of infrastructure." if found.errors else f"{mean}, none missing.",
        opens=_measure(grounds) if found.errors or not sound else "",
    )


def schema_valid(grounds: Grounds, now: str) -> Check:
    """Every held-out answer satisfies the output schema."""
    if not grounds.schema_asked:
        return Check(name="schema_valid", passed=True, sentence="The domain asks for text, which has no schema.")
    found = next((split for split in grounds.measured.splits if split.split == "held_out"), None)
    share = None if found is None else found.schema_valid
    if share is None:
        return Check(name="schema_valid", passed=False, limit=1.0, sentence="How many answers are valid was not measured.", opens=_measure(grounds))
    passed = math.isfinite(share) and share >= 1.0
    return Check(
        name="schema_valid",
        passed=passed,
        figure=share,
        limit=1.0,
        sentence=f"{share:.1%} of the held-out answers satisfy the output schema.",
        opens="" if passed else "Decode under the schema (contract.output.structured in domain.yaml), or iterate until all answers are valid.",
    )


def latency(grounds: Grounds, now: str) -> Check:
    """95 of 100 answers come within the domain's budget."""
    budget, measured = grounds.serving.latency_p95_seconds, grounds.latency_p95_seconds
    if budget is None:
        return Check(name="latency", passed=True, figure=measured, sentence="The domain sets no budget for latency.")
    if measured is None:
        return Check(
            name="latency",
            passed=False,
            limit=budget,
            sentence="No measurement of this version generated its answers anew, so none was timed.",
            opens=_anew(grounds),
        )
    passed = math.isfinite(measured) and measured <= budget
    return Check(
        name="latency",
        passed=passed,
        figure=measured,
        limit=budget,
        sentence=f"95 of 100 answers took at most {measured:.3g} s; the budget is {budget:.3g} s.",
        opens="" if passed else "Serve a smaller or merged model, shorten answers, or have the budget (serving in domain.yaml) raised.",
    )


def cost(grounds: Grounds, now: str) -> Check:
    """A decision costs no more than the domain's budget: the machine's time for it, at the price that somebody gave."""
    budget, price = grounds.serving.cost_per_decision, grounds.hourly_price
    if budget is None:
        return Check(name="cost", passed=True, sentence="The domain sets no budget for cost.")
    found = cost_per_decision(grounds.seconds_per_decision, price)
    if price is None or price.currency != budget.currency:
        said = f"The machine's price is in {price.currency}, the budget in {budget.currency}" if price else "No price is given for the machine"
        opens = f"Have hosts.*.hourly_price in clusters.json given in {budget.currency}: {_promote(grounds)} reads it anew."
        return Check(name="cost", passed=False, limit=budget.amount, sentence=f"{said}, so what a decision costs is not known.", opens=opens)
    if found is None:
        return Check(
            name="cost",
            passed=False,
            limit=budget.amount,
            sentence="No measurement of this version generated its answers anew, so what they take of the machine is not known.",
            opens=_anew(grounds),
        )
    passed = math.isfinite(found) and found <= budget.amount
    return Check(
        name="cost",
        passed=passed,
        figure=found,
        limit=budget.amount,
        sentence=f"A decision costs {found:.3g} {price.currency}; the budget is {budget.amount:.3g} {budget.currency}.",
        opens="" if passed else "Serve a smaller or merged model, shorten answers, or have the budget (serving in domain.yaml) raised.",
    )


def freshness(grounds: Grounds, now: str) -> Check:
    """The measurement is recent, and of the rubric and the contract as they are now."""
    days = seconds_between(grounds.measured_at, now) / DAY
    identity = grounds.measured.identity
    problems = []
    if not days <= grounds.evidence_days:
        problems.append(f"older than {grounds.evidence_days:g} days")
    if days < -1:
        problems.append("from a time that has not come yet (a clock was changed)")
    if identity.grading != grounds.grading:
        problems.append("graded by another rubric than the present one")
    if identity.prompt != grounds.prompt:
        problems.append("asked in another way than at present")
    said = " and ".join(problems) or f"within {grounds.evidence_days:g} days, of the rubric and the contract as they are"
    return Check(
        name="freshness",
        passed=not problems,
        figure=round(days, 3),
        limit=grounds.evidence_days,
        sentence=f"The newest measurement, {grounds.evaluation_id} of {grounds.measured_at[:10]}, is {said}.",
        opens=_measure(grounds) if problems else "",
    )


def export_parity(grounds: Grounds, now: str) -> Check:
    """The version's package was loaded as it will be served, and answers as the version did that was evaluated."""
    found = grounds.exported
    if found is None:
        return _unexported("No package of this version has been made and replayed.", grounds)
    if found.prompt != grounds.prompt:
        return _unexported(f"The package of {found.run_id} was replayed with another contract than the present one.", grounds)
    figures = [(form, figure) for form in found.forms for figure in form.figures]
    beyond = [(form, figure) for form, figure in figures if not holds_parity(figure.name, figure.figure, figure.limit)]
    shown = beyond or [min(figures, key=_nearness)] if figures else []
    if not shown or (found.package is None and not beyond):
        return _unexported(f"The export of {found.run_id} has no form that was replayed.", grounds)
    return Check(
        name="export_parity",
        passed=not beyond,
        figure=shown[0][1].figure,
        limit=shown[0][1].limit,
        sentence=" ".join(f"{form.form}: {figure.sentence}" for form, figure in shown),
        opens=f"The weights or their export are at fault: measure the version again, and {_promote(grounds)}" if beyond else "",
    )


CHECKS: dict[CheckName, Callable[[Grounds, str], Check]] = {
    "floor": floor,
    "incumbent": incumbent,
    "held_out": held_out,
    "schema_valid": schema_valid,
    "no_harm": no_harm,
    "safety_nets": safety_nets,
    "latency": latency,
    "cost": cost,
    "freshness": freshness,
    "export_parity": export_parity,
}
"""Every check there is. A transition cannot name another."""


# ---- parts -----------------------------------------------------------------------------------------------------------------------------


def _of_verdict(name: CheckName, grounds: Grounds, wanted: Sequence[str]) -> Check:
    """A check that is one or several clauses of the round's verdict: the first that failed, or else the first."""
    changed = _judged_otherwise(grounds)
    if changed:
        return Check(name=name, passed=False, sentence=f"The round that accepted it {changed}.", opens=_iterate(grounds))
    clauses = [clause for clause in grounds.judged.decision.clauses if clause.name in wanted]
    missing = [each for each in wanted if each not in {clause.name for clause in clauses}]
    if missing:
        sentence = f"The round that accepted it did not look at this ({', '.join(missing)})."
        return Check(name=name, passed=False, sentence=sentence, opens=_iterate(grounds))
    failed = [clause for clause in clauses if not holds(clause)]
    shown = failed[0] if failed else clauses[0]
    return Check(
        name=name,
        passed=not failed,
        figure=shown.figure if shown.figure is not None and math.isfinite(shown.figure) else None,
        limit=shown.limit,
        sentence=" ".join(clause.sentence for clause in failed or clauses),
        opens=_iterate(grounds) if failed else "",
    )


def holds(clause: Clause) -> bool:
    """Whether a clause passed, with a figure that is a number where it has one."""
    return clause.passed and (clause.figure is None or math.isfinite(clause.figure))


def _judged_otherwise(grounds: Grounds) -> str:
    """How the verdict was made otherwise than a verdict would be made now; empty when it was not."""
    if grounds.judged_as.grading != grounds.grading:
        return "graded by another rubric than the present one"
    return "asked in another way than at present" if grounds.judged_as.prompt != grounds.prompt else ""


def _iterate(grounds: Grounds) -> str:
    return f"iterate(cluster={grounds.cluster!r}): a version that it accepts is judged on this anew."


def _unexported(sentence: str, grounds: Grounds) -> Check:
    """Closed for want of a package; what opens it starts one."""
    return Check(name="export_parity", passed=False, sentence=sentence, opens=f"{_promote(grounds)} makes one when nothing else closes the gate.")


def _nearness(shown: tuple[FormParity, ParityFigure]) -> tuple[bool, float]:
    """Orders figures of an open gate: the lowest share of equal answers is the one to see."""
    figure = shown[1]
    return figure.name != "answers", figure.figure or 0.0


def _promote(grounds: Grounds) -> str:
    return f"promote(cluster={grounds.cluster!r}, version={grounds.version!r})"


def _anew(grounds: Grounds) -> str:
    return f"Delete .modelsmith/answers, so that answers are made anew, then {_measure(grounds)}"


def _measure(grounds: Grounds) -> str:
    return f"evaluate(cluster={grounds.cluster!r}, subject={grounds.version!r})"
