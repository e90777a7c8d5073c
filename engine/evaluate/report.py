"""A measurement as one page that a person can read, keep and send: no scripts, no other files, nothing fetched.

Held-out appears as means, intervals and counts alone; patterns, flips and texts are of core. Whatever a scenario, a model or a tag says is
escaped, and the page's own policy forbids scripts and any loading besides.

Pure: records in, HTML out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from engine.evaluate.canaries import in_words, is_contaminated
from engine.evaluate.early_stop import spared
from engine.evaluate.types import EvaluationSummary, Flip, Interval, PairedComparison, SplitScore

LABEL_WIDTH = 215
PLOT_WIDTH = 420
VALUE_WIDTH = 215
ROW_HEIGHT = 30
MOST_FLIPS = 40
MOST_LABEL_CHARACTERS = 29
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


class Mark(NamedTuple):
    """One row of a plot, in pixels."""

    y: float
    label: str
    low: float
    mean: float
    high: float
    text: str
    emphasis: bool


class Plot(NamedTuple):
    """Intervals on one axis."""

    height: int
    axis_bottom: int
    marks: list[Mark]
    ticks: list[tuple[float, str]]
    zero: float | None
    """Where zero lies, on an axis of differences."""


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
        widths=(LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH),
    )
    return page


# ---- plots ---------------------------------------------------------------------------------------------------------------------------


def _subjects_plot(summary: EvaluationSummary, rivals: Sequence[Rival], headline: SplitScore) -> Plot:
    rows = [(rival.name, _interval_of(rival.summary, headline), False) for rival in rivals]
    rows.append((summary.subject, headline.score, True))
    return plot([(name, found, strong) for name, found, strong in rows if found is not None])


def _interval_of(summary: EvaluationSummary, headline: SplitScore) -> Interval | None:
    return next((split.score for split in summary.splits if split.split == headline.split), None)


def _differences_plot(rivals: Sequence[Rival]) -> Plot | None:
    rows = [(f"against {rival.name}", rival.held_out.difference, False) for rival in rivals if rival.held_out is not None]
    if not rows:
        return None
    reach = math.ceil(10 * max(0.1, *(max(abs(row[1].low), abs(row[1].high)) for row in rows)) - 1e-9) / 10
    return plot(rows, low=-reach, high=reach, signed=True)


def _slices_plot(split: SplitScore) -> Plot | None:
    return plot([(f"{part.slice} (n {part.score.n})", part.score, False) for part in split.slices]) if split.slices else None


def plot(rows: Sequence[tuple[str, Interval, bool]], *, low: float = 0.0, high: float = 1.0, signed: bool = False) -> Plot:
    """Rows of intervals on an axis from `low` to `high`."""

    def place(value: float) -> float:
        return round(LABEL_WIDTH + PLOT_WIDTH * (min(high, max(low, value)) - low) / (high - low), 1)

    form = "{:+.3f}" if signed else "{:.3f}"
    marks = [
        Mark(
            y=ROW_HEIGHT * (number + 0.5),
            label=label if len(label) <= MOST_LABEL_CHARACTERS else label[: MOST_LABEL_CHARACTERS - 1] + "…",
            low=place(found.low),
            mean=place(found.mean),
            high=place(found.high),
            text=f"{form.format(found.mean)}  [{form.format(found.low)}, {form.format(found.high)}]" if found.n else "nothing measured",
            emphasis=emphasis,
        )
        for number, (label, found, emphasis) in enumerate(rows)
    ]
    steps = [low + (high - low) * part / 4 for part in range(5)]
    bottom = ROW_HEIGHT * len(rows)
    return Plot(
        bottom + 26, bottom, marks, [(place(step), ("{:+.2f}" if signed else "{:.2f}").format(step)) for step in steps], place(0) if signed else None
    )


def _fingerprint_words(summary: EvaluationSummary) -> str:
    report = summary.fingerprint
    if report is None:
        return "nothing was generated for this measurement, so nothing was proved" if summary.cached else "not a model"
    words = {"match": "the weights that answered were proved to be these", "unproved": "the endpoint cannot prove its weights"}
    return words.get(str(report.get("verdict")), str(report.get("verdict")))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _chance(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}: {{ summary.subject }}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0; --paper: #ffffff; --panel: #f5f7f9;
  --mark: #0b62c4; --other: #7a8794; --good: #1a7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #333b44; --paper: #14181c; --panel: #1d2329;
    --mark: #6db1ff; --other: #8d99a6; --good: #58c98c; --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 36px 0 8px; }
p { margin: 6px 0; max-width: 72ch; }
.soft { color: var(--soft); }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 8px; }
.card { flex: 1 1 150px; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .whisker { stroke: var(--other); stroke-width: 3; stroke-linecap: round; }
svg .dot { fill: var(--other); }
svg .strong .whisker { stroke: var(--mark); }
svg .strong .dot { fill: var(--mark); }
svg .strong text { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
td.number, th.number { text-align: right; white-space: nowrap; padding-right: 18px; }
svg.share { height: 6px; }
svg.share rect { fill: var(--mark); }
.good { color: var(--good); } .bad { color: var(--bad); }
code { font: 12.5px ui-monospace, monospace; overflow-wrap: anywhere; }
@media print { main { padding: 0; } h2 { break-after: avoid; } }
</style>
</head>
<body>
<main>
{% macro draw(plot, what) %}
<div class="wide"><svg viewBox="0 0 {{ widths|sum }} {{ plot.height }}" role="img" aria-label="{{ what }}">
{% for x, label in plot.ticks %}
<line class="grid" x1="{{ x }}" y1="0" x2="{{ x }}" y2="{{ plot.axis_bottom }}"/>
<text class="tick" x="{{ x }}" y="{{ plot.axis_bottom + 16 }}" text-anchor="middle">{{ label }}</text>
{% endfor %}
{% if plot.zero is not none %}<line class="zero" x1="{{ plot.zero }}" y1="0" x2="{{ plot.zero }}" y2="{{ plot.axis_bottom }}"/>{% endif %}
{% for mark in plot.marks %}
<g{% if mark.emphasis %} class="strong"{% endif %}>
<text x="{{ widths[0] - 14 }}" y="{{ mark.y + 4.5 }}" text-anchor="end">{{ mark.label }}</text>
<line class="whisker" x1="{{ mark.low }}" y1="{{ mark.y }}" x2="{{ mark.high }}" y2="{{ mark.y }}"/>
<circle class="dot" cx="{{ mark.mean }}" cy="{{ mark.y }}" r="6"/>
<text x="{{ widths[0] + widths[1] + 16 }}" y="{{ mark.y + 4.5 }}">{{ mark.text }}</text>
</g>
{% endfor %}
</svg></div>
{% endmacro %}
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
<p>Against {{ rival.name }}:
{% if rival.held_out.difference.low > 0 %}<b class="good">better</b>, the interval lies above zero.
{% elif rival.held_out.difference.high < 0 %}<b class="bad">worse</b>, the interval lies below zero.
{% else %}<b>no difference shown</b>, the interval includes zero.{% endif %}
{{ rival.held_out.better }} items better, {{ rival.held_out.worse }} worse; exact McNemar p {{ rival.held_out.mcnemar_p|chance }}.
<span class="soft">With {{ rival.held_out.difference.n }} items a true difference of {{ rival.held_out.detectable_difference|three }} shows four times
out of five.
{% if rival.held_out.missing %}{{ rival.held_out.missing }} items were lost to infrastructure.{% endif %}</span></p>
{% endfor %}
{% endif %}

<h2>By split</h2>
<div class="wide"><table>
<tr><th>split</th><th class="number">items</th><th class="number">sources</th><th class="number">score</th>
<th class="number">pass rate</th><th class="number">right form</th><th class="number">lost</th><th>safety nets breached</th></tr>
{% for name, split in splits %}
<tr><td>{{ name }}</td>
{% for value in (split.score.n, split.score.clusters, split.score.mean|three, split.pass_rate.mean|percent, split.schema_valid|percent,
split.errors) %}
<td class="number">{{ value }}</td>
{% endfor %}
<td>{% for net, times in split.safety_breaches.items() %}{{ net }} ({{ times }}){{ ", " if not loop.last }}{% else %}none{% endfor %}</td></tr>
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
</main>
</body>
</html>
"""

_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters.update(percent=_percent, seconds=_seconds, three=_three, signed=_signed, chance=_chance)
_PAGE = _ENVIRONMENT.from_string(_TEMPLATE)
