"""What the pages for people share: one look, one kind of plot, and a policy that lets nothing run and nothing load.

A page is one HTML file without scripts, pictures from elsewhere, or anything else that is fetched; its own content security policy says so to
the browser. Whatever a scenario, a model or a person wrote is escaped.

A picture is a list of rows, each a label, a strip of inline SVG, and its figures: words stay words, to be read at any width and read aloud, and
only marks are drawn. Marks are placed by shares of the strip's width, so a page reads on a phone as on paper.

Pure: rows of intervals in, places in percent out; templates extend `layout` and draw with the macros of `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined, Template

from engine.evaluate.types import Interval

Tone = Literal["", "strong", "good", "bad"]
"""How a row stands out: not, as the page's subject, as a gain, as a loss."""


class Row(NamedTuple):
    """What a row of a plot shows."""

    label: str
    found: Interval
    tone: Tone = ""
    before: float | None = None
    """A mean that it came from: the line then leads from there, in place of an interval."""


class Mark(NamedTuple):
    """One row of a plot, in percent of its width."""

    label: str
    low: float
    mean: float
    high: float
    before: float | None
    text: str
    tone: Tone


class Plot(NamedTuple):
    """Intervals on one axis."""

    marks: list[Mark]
    ticks: list[tuple[float, str]]
    zero: float | None
    """Where zero lies, on an axis of differences."""


def plot(rows: Sequence[Row], *, low: float = 0.0, high: float = 1.0, signed: bool = False) -> Plot:
    """Rows of intervals on an axis from `low` to `high`."""

    def place(value: float) -> float:
        return round(100 * (min(high, max(low, value)) - low) / (high - low), 2)

    def mark(row: Row) -> Mark:
        ends = (row.found.low, row.found.high) if row.before is None else sorted((row.before, row.found.mean))
        before = None if row.before is None else place(row.before)
        return Mark(row.label, place(ends[0]), place(row.found.mean), place(ends[1]), before, _in_words(row, signed), row.tone)

    steps = [low + (high - low) * part / 4 for part in range(5)]
    return Plot([mark(row) for row in rows], [(place(step), _tick(step, signed)) for step in steps], place(0) if signed else None)


def _in_words(row: Row, signed: bool) -> str:
    found, form = row.found, "{:+.3f}" if signed else "{:.3f}"
    if not found.n:
        return "nothing measured"
    if row.before is not None:
        return f"{row.before:.3f} → {found.mean:.3f}  ({found.mean - row.before:+.3f})"
    return f"{form.format(found.mean)}  [{form.format(found.low)}, {form.format(found.high)}]"


def _tick(value: float, signed: bool) -> str:
    return f"{value:+.2f}" if signed and value else f"{value:.2f}"


def difference_plot(rows: Sequence[tuple[str, Interval]]) -> Plot | None:
    """Differences on an axis that is as long to both sides of zero; None without rows. One that is shown to be there stands out."""
    if not rows:
        return None
    reach = math.ceil(10 * max(0.1, *(max(abs(found.low), abs(found.high)) for _, found in rows)) - 1e-9) / 10
    return plot([Row(label, found, _shown(found)) for label, found in rows], low=-reach, high=reach, signed=True)


def _shown(difference: Interval) -> Tone:
    """What an interval of a difference shows: it lies above zero, below it, or holds it."""
    if difference.low > 0:
        return "good"
    return "bad" if difference.high < 0 else ""


def template(source: str) -> Template:
    """A page's template, with the layout, the macros and the filters that all pages have."""
    return _ENVIRONMENT.from_string(source)


# ---- filters ---------------------------------------------------------------------------------------------------------------------------


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


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
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; overflow-wrap: break-word; }
main { max-width: 900px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 17px; margin: 40px 0 8px; }
p { margin: 6px 0; max-width: 72ch; }
.soft { color: var(--soft); }
.whole { white-space: nowrap; }
.verdict { margin: 20px 0; padding: 14px 18px; background: var(--panel); border-left: 5px solid var(--good); border-radius: 0 8px 8px 0; }
.verdict.against { border-color: var(--bad); }
.verdict p:first-child { margin-top: 0; font-size: 21px; line-height: 1.3; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; margin: 20px 0 8px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; display: block; }
.plot { list-style: none; margin: 14px 0; padding: 0; font-size: 13px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.plot li { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 2fr) minmax(0, 1fr); column-gap: 20px; align-items: center; }
.plot .label { text-align: right; padding: 5px 0; }
.plot .strong .label, .plot .strong .value { font-weight: 600; }
.plot svg { display: block; width: 100%; height: 30px; overflow: visible; }
.plot .axis svg { height: 22px; }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .whisker { stroke: var(--shade, var(--other)); stroke-width: 3; stroke-linecap: round; }
svg .dot { fill: var(--shade, var(--other)); }
svg .before { fill: var(--paper); stroke: var(--shade, var(--other)); stroke-width: 2; }
.strong { --shade: var(--mark); }
li.good { --shade: var(--good); }
li.bad { --shade: var(--bad); }
li.good, li.bad { color: inherit; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
td.number, th.number { text-align: right; white-space: nowrap; }
.wide tr:first-child th { white-space: nowrap; }
td:first-child { min-width: 8em; }
svg .won { fill: var(--good); }
svg .lost { fill: var(--bad); }
svg.share { display: block; width: 100%; height: 6px; }
svg.share rect { fill: var(--mark); }
.good { color: var(--good); } .bad { color: var(--bad); }
code { font: 12.5px ui-monospace, monospace; overflow-wrap: anywhere; }
@media (max-width: 600px) {
  .plot li { grid-template-columns: 1fr auto; margin-top: 10px; }
  .plot .label { text-align: left; padding: 0; }
  .plot svg { grid-row: 2; grid-column: 1 / -1; height: 24px; }
  .plot .axis { margin: 0; }
  .clauses tr:first-child { display: none; }
  .clauses td { display: block; padding: 0; border: 0; text-align: left; }
  .clauses td:first-child { padding-top: 10px; font-weight: 600; }
  .clauses td:last-child { padding-bottom: 10px; border-bottom: 1px solid var(--line); }
}
@media print {
  :root { font-size: 13px; }
  main { max-width: none; padding: 0; }
  h2, .plot { break-after: avoid; }
  .plot, tr, .card, .verdict { break-inside: avoid; }
  .wide { overflow: visible; }
}
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
<ul class="plot" aria-label="{{ what }}">
{% for mark in plot.marks %}
<li class="{{ mark.tone }}"><span class="label">{{ mark.label }}</span>
<svg aria-hidden="true">
{% for x, _ in plot.ticks %}
<line class="grid" x1="{{ x }}%" y1="0" x2="{{ x }}%" y2="100%"/>
{% endfor %}
{% if plot.zero is not none %}<line class="zero" x1="{{ plot.zero }}%" y1="0" x2="{{ plot.zero }}%" y2="100%"/>{% endif %}
<line class="whisker" x1="{{ mark.low }}%" y1="50%" x2="{{ mark.high }}%" y2="50%"/>
{% if mark.before is not none %}<circle class="before" cx="{{ mark.before }}%" cy="50%" r="5"/>{% endif %}
<circle class="dot" cx="{{ mark.mean }}%" cy="50%" r="6"/>
</svg>
<span class="value">{{ mark.text }}</span></li>
{% endfor %}
<li class="axis" aria-hidden="true"><span></span><svg>
{% for x, label in plot.ticks %}
<text class="tick" x="{{ x }}%" y="14" text-anchor="middle">{{ label }}</text>
{% endfor %}
</svg><span></span></li>
</ul>
{% endmacro %}

{% macro split_header() %}
<th class="number">items</th><th class="number">sources</th><th class="number">score</th>
<th class="number">pass rate</th><th class="number">right form</th><th class="number">errors</th><th>safety nets breached</th>
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
_ENVIRONMENT.filters.update(percent=_percent, seconds=_seconds, rate=_rate, three=_three, signed=_signed, chance=_chance)
