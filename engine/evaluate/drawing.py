"""What the pages for people share: one look, one kind of plot, and a policy that lets nothing run and nothing load.

A page is one HTML file without scripts, pictures from elsewhere, or anything else that is fetched; its own content security policy says so to
the browser. Whatever a scenario, a model or a person wrote is escaped. Pictures are inline SVG, so that a page prints as it looks.

Pure: rows of intervals in, places in pixels out; templates extend `layout` and draw with the macros of `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined, Template

from engine.evaluate.types import Interval

LABEL_WIDTH = 215
PLOT_WIDTH = 420
VALUE_WIDTH = 215
ROW_HEIGHT = 30
MOST_LABEL_CHARACTERS = 29


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


def plot(rows: Sequence[tuple[str, Interval, bool]], *, low: float = 0.0, high: float = 1.0, signed: bool = False) -> Plot:
    """Rows of intervals on an axis from `low` to `high`."""

    def place(value: float) -> float:
        return round(LABEL_WIDTH + PLOT_WIDTH * (min(high, max(low, value)) - low) / (high - low), 1)

    form = "{:+.3f}" if signed else "{:.3f}"
    marks = [
        Mark(
            y=ROW_HEIGHT * (number + 0.5),
            label=shortened(label),
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


def shortened(label: str) -> str:
    """A label as it fits beside a plot."""
    return label if len(label) <= MOST_LABEL_CHARACTERS else label[: MOST_LABEL_CHARACTERS - 1] + "…"


def difference_plot(rows: Sequence[tuple[str, Interval, bool]]) -> Plot | None:
    """Differences on an axis that is as long to both sides of zero; None without rows."""
    if not rows:
        return None
    reach = math.ceil(10 * max(0.1, *(max(abs(found.low), abs(found.high)) for _, found, _ in rows)) - 1e-9) / 10
    return plot(rows, low=-reach, high=reach, signed=True)


def template(source: str) -> Template:
    """A page's template, with the layout, the macros and the filters that all pages have."""
    return _ENVIRONMENT.from_string(source)


# ---- filters ---------------------------------------------------------------------------------------------------------------------------


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


# ---- templates -------------------------------------------------------------------------------------------------------------------------

LAYOUT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{% block title %}{% endblock %}</title>
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
svg .won { fill: var(--good); }
svg .lost { fill: var(--bad); }
svg.share { height: 6px; }
svg.share rect { fill: var(--mark); }
.good { color: var(--good); } .bad { color: var(--bad); }
code { font: 12.5px ui-monospace, monospace; overflow-wrap: anywhere; }
@media print { main { padding: 0; } h2 { break-after: avoid; } svg, tr, .card { break-inside: avoid; } }
</style>
</head>
<body>
<main>
{% block main %}{% endblock %}
</main>
</body>
</html>
"""

DRAWING = """{% macro draw(plot, what) %}
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

{% macro split_header() %}
<th class="number">items</th><th class="number">sources</th><th class="number">score</th>
<th class="number">pass rate</th><th class="number">right form</th><th class="number">lost</th><th>safety nets breached</th>
{% endmacro %}

{% macro split_cells(split) %}
{% for value in (split.score.n, split.score.clusters, split.score.mean|three, split.pass_rate.mean|percent, split.schema_valid|percent,
split.errors) %}
<td class="number">{{ value }}</td>
{% endfor %}
<td>{% for net, times in split.safety_breaches.items() %}{{ net }} ({{ times }}){{ ", " if not loop.last }}{% else %}none{% endfor %}</td>
{% endmacro %}

{% macro told(name, paired) %}
<p>Against {{ name }}:
{% if paired.difference.low > 0 %}<b class="good">better</b>, the interval lies above zero.
{% elif paired.difference.high < 0 %}<b class="bad">worse</b>, the interval lies below zero.
{% else %}<b>no difference shown</b>, the interval includes zero.{% endif %}
{{ paired.better }} items better, {{ paired.worse }} worse; exact McNemar p {{ paired.mcnemar_p|chance }}.
<span class="soft">With {{ paired.difference.n }} items a true difference of {{ paired.detectable_difference|three }} shows four times
out of five.
{% if paired.missing %}{{ paired.missing }} items were lost to infrastructure.{% endif %}</span></p>
{% endmacro %}
"""

_ENVIRONMENT = Environment(
    loader=DictLoader({"layout": LAYOUT, "drawing": DRAWING}), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters.update(percent=_percent, seconds=_seconds, three=_three, signed=_signed, chance=_chance)
_ENVIRONMENT.globals["widths"] = (LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH)
