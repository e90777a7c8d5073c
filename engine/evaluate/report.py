"""A measurement as one page that a person can read, keep and send: no scripts, no other files, nothing fetched.

Held-out appears as means, intervals and counts alone; patterns, flips and texts are of core. Whatever a scenario, a model or a tag says is
escaped, and the page's own policy forbids scripts and any loading besides.

Pure: records in, HTML out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.evaluate.canaries import in_words, is_contaminated
from engine.evaluate.drawing import Plot, Row, Tone, difference_plot, plot, template
from engine.evaluate.early_stop import spared
from engine.evaluate.types import EvaluationSummary, Flip, Interval, PairedComparison, SplitScore

MOST_FLIPS = 40
SPLIT_WORDS = {"held_out": "held-out", "core": "core", "reserve": "reserve"}


class PatternRow(NamedTuple):
    """One failure pattern of core."""

    name: str
    items: int
    share: float
    remedy: str


class Rival(NamedTuple):
    """Another subject measured on the same scenarios: the base, the floor, an earlier version."""

    name: str
    summary: EvaluationSummary
    held_out: PairedComparison | None
    """The rival before, the page's subject after, on held-out."""


def render_report(
    *,
    title: str,
    evaluation_id: str,
    created_at: str,
    description: str,
    summary: EvaluationSummary,
    rivals: Sequence[Rival] = (),
    patterns: Sequence[PatternRow] = (),
    flips: Sequence[Flip] = (),
    flips_against: str = "",
    structured_effect: PairedComparison | None = None,
) -> str:
    """The page. `flips` are core scenarios that differ from `flips_against`, worst first."""
    splits = {split.split: split for split in summary.splits}
    headline = splits.get("held_out") or summary.splits[0]
    page: str = _PAGE.render(
        title=title,
        evaluation_id=evaluation_id,
        created_at=created_at,
        description=description,
        summary=summary,
        headline=headline,
        headline_name=SPLIT_WORDS[headline.split],
        scores=_subjects_plot(summary, rivals, headline),
        rivals=[rival for rival in rivals if rival.held_out is not None],
        differences=_differences_plot(rivals),
        splits=[(SPLIT_WORDS[name], split) for name, split in splits.items()],
        slices=_slices_plot(headline),
        patterns=patterns,
        pattern_width=max((pattern.share for pattern in patterns), default=1.0) or 1.0,
        flips=flips[:MOST_FLIPS],
        flips_total=len(flips),
        flips_against=flips_against,
        effect=structured_effect,
        fingerprint=_fingerprint_words(summary),
        spared="" if (stopped := summary.stopped_early) is None else spared(stopped.asked, stopped.of, stopped.because),
        canaries="" if summary.canaries is None else in_words(summary.canaries),
        contaminated=is_contaminated(summary.canaries),
    )
    return page


# ---- plots ---------------------------------------------------------------------------------------------------------------------------


def _subjects_plot(summary: EvaluationSummary, rivals: Sequence[Rival], headline: SplitScore) -> Plot:
    rows: list[tuple[str, Interval | None, Tone]] = [(rival.name, _interval_of(rival.summary, headline), "") for rival in rivals]
    rows.append((summary.subject, headline.score, "strong"))
    return plot([Row(name, found, tone) for name, found, tone in rows if found is not None])


def _interval_of(summary: EvaluationSummary, headline: SplitScore) -> Interval | None:
    return next((split.score for split in summary.splits if split.split == headline.split), None)


def _differences_plot(rivals: Sequence[Rival]) -> Plot | None:
    return difference_plot([(f"against {rival.name}", rival.held_out.difference) for rival in rivals if rival.held_out is not None])


def _slices_plot(split: SplitScore) -> Plot | None:
    return plot([Row(f"{part.slice} (n {part.score.n})", part.score) for part in split.slices]) if split.slices else None


def _fingerprint_words(summary: EvaluationSummary) -> str:
    report = summary.fingerprint
    if report is None:
        return "nothing was generated for this measurement, so nothing was proved" if summary.cached else "not a model"
    words = {"match": "the weights that answered were proved to be these", "unproved": "the endpoint cannot prove its weights"}
    return words.get(str(report.get("verdict")), str(report.get("verdict")))


_TEMPLATE = """{% extends "layout" %}
{% from "drawing" import draw, split_cells, split_header, told %}
{% block title %}{{ title }}: {{ summary.subject }}{% endblock %}
{% block main %}
<h1>{{ title }}: {{ summary.subject }}</h1>
<p class="soft">{{ description }}</p>
<p class="soft">Measurement <code>{{ evaluation_id }}</code>, {{ created_at }}</p>

{% if summary.stopped_early is not none %}
<p>Held-out was not measured: {{ spared }}</p>
{% endif %}
{% if contaminated %}
<p class="bad"><b>Contaminated.</b> {{ canaries }} It is compared with nothing.</p>
{% endif %}

<div class="cards">
<div class="card"><b>{{ headline.score.mean|three }}</b><span>{{ headline_name }} score, {{ "%g"|format(100 * headline.score.confidence) }}% interval
{{ headline.score.low|three }} to {{ headline.score.high|three }}</span></div>
<div class="card"><b>{{ headline.pass_rate.mean|percent }}</b><span>of {{ headline.pass_rate.n }} {{ headline_name }} items pass</span></div>
<div class="card"><b>{{ headline.schema_valid|percent }}</b><span>of answers have the right form</span></div>
<div class="card"><b>{{ headline.latency_p95_seconds|seconds }}</b><span>95% of answers took at most this long</span></div>
</div>

<h2>Score on {{ headline_name }}</h2>
{{ draw(scores, "scores with intervals") }}
<p class="soft">A dot is a mean, a line its {{ "%g"|format(100 * headline.score.confidence) }}% interval. Items of one source count as one
piece of evidence.</p>

{% if differences is not none %}
<h2>Difference, paired on the same items</h2>
{{ draw(differences, "paired differences with intervals") }}
{% for rival in rivals %}
{{ told(rival.name, rival.held_out) }}
{% endfor %}
{% endif %}

<h2>By split</h2>
<div class="wide"><table>
<tr><th>split</th>{{ split_header() }}</tr>
{% for name, split in splits %}
<tr><td>{{ name }}</td>
{{ split_cells(split) }}</tr>
{% endfor %}
</table></div>

{% if slices is not none %}
<h2>Slices of {{ headline_name }}</h2>
{{ draw(slices, "slice scores with intervals") }}
{% endif %}

{% if patterns %}
<h2>Why core items fail</h2>
<div class="wide"><table>
<tr><th>pattern</th><th class="number">items</th><th class="number">share</th><th>remedy</th></tr>
{% for pattern in patterns %}
<tr><td>{{ pattern.name }}<svg class="share" viewBox="0 0 100 2" preserveAspectRatio="none" aria-hidden="true">
<rect width="{{ "%.1f"|format(100 * pattern.share / pattern_width) }}" height="2"/></svg></td>
<td class="number">{{ pattern.items }}</td><td class="number">{{ pattern.share|percent }}</td><td>{{ pattern.remedy }}</td></tr>
{% endfor %}
</table></div>
{% endif %}

{% if flips %}
<h2>Core items that changed against {{ flips_against }}</h2>
<div class="wide"><table>
<tr><th>scenario</th><th class="number">before</th><th class="number">after</th><th class="number">change</th></tr>
{% for flip in flips %}
<tr><td><code>{{ flip.scenario_id }}</code></td><td class="number">{{ flip.before|three }}</td><td class="number">{{ flip.after|three }}</td>
<td class="number {{ "good" if flip.after > flip.before else "bad" }}">{{ (flip.after - flip.before)|signed }}</td></tr>
{% endfor %}
</table></div>
{% if flips_total > flips|length %}<p class="soft">The first {{ flips|length }} of {{ flips_total }}, worst first.</p>{% endif %}
{% endif %}

{% if effect is not none %}
<h2>What decoding under the schema buys</h2>
<p>On core, {{ effect.before.mean|three }} without and {{ effect.after.mean|three }} with it: {{ effect.difference.mean|signed }}
[{{ effect.difference.low|signed }}, {{ effect.difference.high|signed }}] over {{ effect.difference.n }} items.</p>
{% endif %}

<h2>What this rests on</h2>
<div class="wide"><table>
<tr><th>suite</th><td><code>{{ summary.identity.suite }}</code></td></tr>
<tr><th>grading</th><td><code>{{ summary.identity.grading }}</code></td></tr>
<tr><th>prompt</th><td><code>{{ summary.identity.prompt }}</code></td></tr>
<tr><th>settings</th><td><code>{{ summary.identity.settings }}</code></td></tr>
<tr><th>generator</th><td><code>{{ summary.identity.generator }}</code></td></tr>
<tr><th>weights</th><td>{{ fingerprint }}</td></tr>
{% if canaries %}
<tr><th>canaries</th><td>{{ canaries }}</td></tr>
{% endif %}
<tr><th>answers</th><td>{{ summary.generated }} generated, {{ summary.cached }} from the cache, in {{ "%.1f"|format(summary.seconds) }} s;
decoding {{ "held to the schema" if summary.structured else "free" }}</td></tr>
<tr><th>interval</th><td>{{ headline.score.method }}</td></tr>
</table></div>
{% endblock %}
"""

_PAGE = template(_TEMPLATE)
