"""The bundle's page: what a reviewer reads before they sign. Score movement, slices and regressions as pictures; the rest in sentences and tables.

It says nothing that the statement and the approvals do not say, and is a function of the two: whoever checks a bundle draws it again and compares.
It prints, needs no other file, and runs nothing (`engine/evaluate/drawing.py`).

Pure: records in, HTML out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.base.digests import digest_of, file_sha256
from engine.evaluate import drawing
from engine.evaluate.drawing import Plot, Row, difference_plot, plot, template
from engine.evaluate.types import Interval, SplitScore
from engine.promote.evidence.types import ApprovedRequest, EvidencePredicate, Role, SliceChange

PAGE_DIGEST = digest_of([file_sha256(Path(str(source))) for source in (drawing.__file__, __file__)])
"""Names the code that draws the page."""
SHOWN_SLICES = 24
READ_ALOUD = 8
"""Digits of the evidence digest that two people compare."""

ROLE_WORDS: dict[Role, str] = {
    "base": "the base model",
    "floor": "the floor",
    "ceiling": "the ceiling",
    "incumbent": "what it replaces",
    "challenger": "this version",
}
CLAUSE_WORDS = {
    "complete": "nothing is missing",
    "improvement": "an improvement is shown",
    "floor": "the floor",
    "slices": "no slice is lost",
    "regressions": "items that passed before",
    "safety_nets": "safety nets",
    "no_harm": "what it could do besides",
    "canaries": "nothing taught from the evaluation file",
}


class Balance(NamedTuple):
    """A row of the picture of won and lost items, in percent of its width."""

    label: str
    lost: float
    """Width of the bar to the left of the middle."""
    won: float
    text: str


def render_page(stated: EvidencePredicate, evidence: str, approvals: Sequence[ApprovedRequest]) -> str:
    """The page of a statement with its digest, and the approvals that were given."""
    figures = {measured.role: {split.split: split for split in measured.splits} for measured in stated.found.measured}
    held_out = {role: splits["held_out"] for role, splits in figures.items()}
    page: str = _PAGE.render(
        stated=stated,
        evidence=evidence,
        read_aloud=evidence[:READ_ALOUD],
        approvals=approvals,
        decision=stated.found.decision,
        metric="score" if stated.rules.acceptance.metric == "score" else "pass rate",
        gain=stated.found.decision.against_incumbent,
        headline=held_out["challenger"],
        names={subject.role: subject.name for subject in stated.subjects},
        subjects={subject.role: subject for subject in stated.subjects},
        role_words=ROLE_WORDS,
        clause_words=CLAUSE_WORDS,
        failed=[CLAUSE_WORDS[clause.name] for clause in stated.found.decision.clauses if not clause.passed],
        scores=plot([Row(ROLE_WORDS[role], _metric(split, stated), "strong" if role == "challenger" else "") for role, split in held_out.items()]),
        differences=difference_plot([(f"against {ROLE_WORDS[moved.role]}", moved.comparison.difference) for moved in stated.found.movement]),
        slices=_slices_plot(stated),
        slices_left_out=max(0, len(stated.found.slices) - SHOWN_SLICES),
        balance=_balance(stated),
        splits=[(role, name, split) for role in ("incumbent", "challenger") for name, split in figures[role].items()],
    )
    return page


def _metric(split: SplitScore, stated: EvidencePredicate) -> Interval:
    return split.score if stated.rules.acceptance.metric == "score" else split.pass_rate


def _slices_plot(stated: EvidencePredicate) -> Plot | None:
    """From before (the ring) to after (the dot), the largest loss first."""
    shown = stated.found.slices[:SHOWN_SLICES]
    return plot([_slice_row(change) for change in shown]) if shown else None


def _slice_row(change: SliceChange) -> Row:
    after = Interval(mean=change.after, low=change.after, high=change.after, n=change.items, clusters=change.items)
    return Row(f"{change.slice} (n {change.items})", after, "bad" if change.after < change.before else "", change.before)


def _balance(stated: EvidencePredicate) -> list[Balance]:
    """Won and lost items of each split and of the slices that lost most, on one scale."""
    words = {"held_out": "held-out", "core": "core", "reserve": "reserve"}
    rows = [(words[each.split], each.won, each.lost) for each in stated.found.regressions]
    rows += [(change.slice, change.won, change.lost) for change in stated.found.slices[:SHOWN_SLICES]]
    scale = 50 / max(1, *(max(won, lost) for _, won, lost in rows))
    return [Balance(label, round(lost * scale, 2), round(won * scale, 2), f"{won} won, {lost} lost") for label, won, lost in rows]


_TEMPLATE = """{% extends "layout" %}
{% from "drawing" import draw, split_cells, split_header, told %}
{% block title %}{{ stated.cluster }}: evidence for {{ stated.version }}{% endblock %}
{% block main %}
<h1>{{ stated.cluster }}: evidence for <span class="whole">{{ stated.version }}</span></h1>
<p class="soft">Made {{ stated.made_at }} for the domain {{ stated.domain }}.
Trained from {{ stated.lineage.model }} ({{ stated.lineage.licence }}).</p>

<div class="verdict{% if decision.verdict != "accept" %} against{% endif %}">
<p>Verdict: {% if decision.verdict == "accept" %}<b class="good">accepted</b>{% else %}<b class="bad">rolled back</b>{% endif %}</p>
<p>{% if failed %}{{ failed|length }} of {{ decision.clauses|length }} conditions {{ "does" if failed|length == 1 else "do" }} not hold:
{{ failed|join(", ") }}.{% else %}All {{ decision.clauses|length }} conditions hold.{% endif %}</p>
<p class="soft">Attempt {{ decision.attempt }} on these held-out items. {{ decision.detectable }}</p>
</div>

<p>Evidence <code>{{ read_aloud }}</code>: the digits that must stand where you sign.<br>
<span class="soft">In full <code>{{ evidence }}</code></span></p>

<div class="cards">
<div class="card"><b>{{ gain.after.mean|three }}</b><span>held-out {{ metric }}, from {{ gain.before.mean|three }} before</span></div>
<div class="card"><b>{{ gain.difference.mean|signed }}</b><span>{{ "%.4g"|format(100 * gain.difference.confidence) }}% interval
{{ gain.difference.low|signed }} to {{ gain.difference.high|signed }}</span></div>
<div class="card"><b>{{ headline.pass_rate.mean|percent }}</b><span>of {{ headline.pass_rate.n }} held-out items pass</span></div>
<div class="card"><b>{{ headline.schema_valid|percent }}</b><span>of answers have the right form</span></div>
<div class="card"><b>{{ subjects.challenger.latency_p95_seconds|seconds }}</b><span>95% of answers took at most this long{% if
stated.operations.latency_budget_p95_seconds %}; the budget is {{ stated.operations.latency_budget_p95_seconds|seconds }}{% endif %}</span></div>
</div>

<h2>Score movement on held-out</h2>
{{ draw(scores, "held-out figures with intervals") }}
<p class="soft">Held-out {{ metric }}: a dot is a mean, a line its {{ "%g"|format(100 * headline.score.confidence) }}% interval. Items of one source
count as one piece of evidence.
{% for role, name in names.items() %}{{ role_words[role]|capitalize }}: {{ name }}.
{% endfor %}{% if "ceiling" in names %}The ceiling is the best that was measured on these items of the domain's teachers, endpoints and larger models.
{% endif %}</p>

<h2>Difference, paired on the same items</h2>
{{ draw(differences, "paired differences with intervals") }}
{% for moved in stated.found.movement %}
{{ told(role_words[moved.role] ~ " (" ~ names[moved.role] ~ ")", moved.comparison) }}
{% endfor %}

<h2>What the verdict rests on</h2>
<div class="wide"><table class="clauses">
<tr><th>condition</th><th class="number">outcome</th><th>what was found</th></tr>
{% for clause in decision.clauses %}
<tr><td>{{ clause_words[clause.name] }}</td>
<td class="number">{% if clause.passed %}<b class="good">holds</b>{% else %}<b class="bad">does not hold</b>{% endif %}</td>
<td>{{ clause.sentence }}</td></tr>
{% endfor %}
</table></div>

{% if slices is not none %}
<h2>Slices of held-out</h2>
{{ draw(slices, "slices before and after") }}
<p class="soft">A line leads from the {{ metric }} before (the ring) to the one after (the dot); a slice that lost is red, the largest loss
first. Slices with fewer
than {{ stated.rules.acceptance.slice_minimum }} items say too much about single items and are left out.
{% if slices_left_out %}{{ slices_left_out }} more gained at least as much.{% endif %}</p>
{% endif %}

<h2>Won and lost items</h2>
<ul class="plot" aria-label="items won and lost">
{% for row in balance %}
<li><span class="label">{{ row.label }}</span>
<svg aria-hidden="true">
<rect class="lost" x="{{ (50 - row.lost)|round(2) }}%" y="25%" width="{{ row.lost }}%" height="50%"/>
<rect class="won" x="50%" y="25%" width="{{ row.won }}%" height="50%"/>
<line class="zero" x1="50%" y1="0" x2="50%" y2="100%"/>
</svg>
<span class="value">{{ row.text }}</span></li>
{% endfor %}
</ul>
<p class="soft">Won: failed before and passes now. Lost: passed before and fails now. An item that keeps its side is not drawn.</p>

<h2>By split</h2>
<div class="wide"><table>
<tr><th>subject</th><th>split</th>{{ split_header() }}</tr>
{% for role, name, split in splits %}
<tr><td>{{ role_words[role] }}</td><td class="whole">{{ name|replace("_", "-") }}</td>
{{ split_cells(split) }}</tr>
{% endfor %}
</table></div>

<h2>What an answer takes</h2>
<div class="wide"><table>
<tr><th>subject</th><th class="number">p50</th><th class="number">p95</th><th class="number">answers made</th><th class="number">tokens an answer</th>
<th class="number">answers a second</th><th class="number">tokens a second</th><th>weights that answered</th></tr>
{% for role, subject in subjects.items() if role != "floor" %}
<tr><td>{{ role_words[role] }}</td><td class="number">{{ subject.latency_p50_seconds|seconds }}</td>
<td class="number">{{ subject.latency_p95_seconds|seconds }}</td><td class="number">{{ subject.generated }}</td>
<td class="number">{{ "%.1f"|format(subject.completion_tokens / subject.generated) if subject.generated else "–" }}</td>
<td class="number">{{ subject.answers_per_second|rate }}</td><td class="number">{{ subject.tokens_per_second|rate }}</td>
<td>{{ {"match": "proved", "": "nothing generated"}.get(subject.fingerprint, subject.fingerprint) }}</td></tr>
{% endfor %}
</table></div>
{% set operations = stated.operations %}
<p class="soft">Measured on {{ operations.device }}, under the load of the measurement itself{%
if operations.in_flight %}, with {{ operations.in_flight }} requests in flight{% endif %}.
{% if operations.machine_seconds_per_decision is not none %}
A decision of this version takes {{ "%.4g"|format(operations.machine_seconds_per_decision) }} seconds of the machine{%
if operations.cost_per_decision is not none %}: {{ "%.3g"|format(operations.cost_per_decision) }} {{ operations.hourly_price.currency }}, at
{{ "%g"|format(operations.hourly_price.amount) }} {{ operations.hourly_price.currency }} an hour, the price given for
{{ operations.hourly_price.as_of }}{% if operations.cost_budget_per_decision is not none %}; the domain's budget is
{{ "%.3g"|format(operations.cost_budget_per_decision.amount) }} {{ operations.cost_budget_per_decision.currency }}{% endif %}.
{% else %}; no price given.{% endif %}
{% endif %}</p>

<h2>If it has to be taken back</h2>
<p>{{ "The base model" if stated.rollback.adapter is none else stated.rollback.to }} answers again{%
if stated.rollback.adapter %} (adapter <code>{{ stated.rollback.adapter[:12] }}</code>){% endif %}.
{% if stated.rollback.in_registry %}Its weights are at hand.{% else %}<b class="bad">Its weights are not there any more.</b>{% endif %}
{% if stated.rollback.drill is not none %}{% set drill = stated.rollback.drill %}
In the last drill, {{ drill.drilled_at }}, {{ drill.to }} answered in the place of {{ drill.serving }} after {{ drill.seconds|seconds }}{{
"" if drill.warm else ", with the start of its server" }}; the way back took {{ drill.back_seconds|seconds }}.{% endif %}</p>

<h2>Approvals</h2>
{% for each in approvals %}
<p>{{ each.request.source }} → {{ each.request.target }}, proposed by {{ each.request.proposed_by }}, evidence
<code>{{ each.request.evidence[:8] }}</code>, request <code>{{ each.request.id }}</code>:
{% for approval in each.approvals %}{{ approval.approver }} ({{ approval.role }}, {{ approval.level }}, <code>{{ approval.key }}</code>),
{{ approval.received_at }}{{ ";" if not loop.last else "." }}
{% else %}no signature yet.
{% endfor %}</p>
{% else %}
<p>None was given yet.</p>
{% endfor %}

<h2>Lineage</h2>
<div class="wide"><table>
{% for name, value in (("adapter", stated.lineage.adapter), ("merged weights", stated.lineage.merged), ("went on from", stated.lineage.went_on_from),
("base model", stated.lineage.base), ("training rows", stated.lineage.dataset), ("plan", stated.lineage.plan),
("compiled domain", stated.lineage.domain_digest), ("suite", subjects.challenger.identity.suite), ("grading", subjects.challenger.identity.grading),
("prompt", subjects.challenger.identity.prompt), ("chat template", subjects.challenger.identity.chat_template)) if value %}
<tr><th>{{ name }}</th><td><code>{{ value }}</code></td></tr>
{% endfor %}
<tr><th>training</th><td>{{ stated.lineage.method }} on {{ stated.lineage.rows }} rows</td></tr>
<tr><th>held-out set</th><td>{{ "rotated %d times so far"|format(stated.generation) if stated.generation else "never rotated so far" }}</td></tr>
<tr><th>code</th><td>Modelsmith {{ stated.made_with.modelsmith }}, engine <code>{{ stated.made_with.code }}</code></td></tr>
</table></div>

{% if stated.absent %}
<h2>What is not here</h2>
<ul>
{% for sentence in stated.absent %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% endif %}

<h2>Check it</h2>
<p>On another machine, with this folder and the public key of the workspace that made it, as its owner gave it to you:
<code>modelsmith verify FOLDER --key evidence.pub</code> finds every figure and the verdict again from <code>items.jsonl</code>. With Python and its
package <code>cryptography</code> alone, <code>python -I verify_bundle.py FOLDER evidence.pub</code> finds the means and differences.</p>
{% endblock %}
"""

_PAGE = template(_TEMPLATE)
