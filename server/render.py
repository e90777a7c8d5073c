"""Results as text for a person in a terminal. Pure; what is shown is what the JSON holds, in fewer words.

Texts that users or models wrote pass through `plain`, which takes out control characters: an answer must not move a cursor, colour a screen or
hide a line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.progress import duration
from tools import TOOLS
from tools.tool import find_tool

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
CELL_CHARACTERS = 60
HIDDEN = ("summary", "next", "next_cursor")


def plain(text: str) -> str:
    """`text` without control, direction and zero-width characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def render(result: Mapping[str, Any]) -> str:
    """Any tool's result: its summary, its figures, its lists, and what to call next."""
    lines = [plain(str(result.get("summary", "")))]
    short = {name: value for name, value in result.items() if name not in HIDDEN and _is_cell(value) and not _is_page(value)}
    scalars = [(name, _cell(value, name)) for name, value in short.items()]
    width = max((len(name) for name, _ in scalars), default=0)
    lines += [f"  {name:<{width}}  {text}" for name, text in scalars if text]
    for name, value in result.items():
        if name not in HIDDEN and _is_page(value):
            lines += ["", f"{name}:", *("  " + plain(line) for line in value.splitlines())]
        elif name not in HIDDEN and not _is_cell(value) and value:
            lines += ["", f"{name}:", *_block(value)]
    if result.get("next_cursor"):
        lines += ["", f"more: --cursor {result['next_cursor']}"]
    return "\n".join([*lines, *next_lines(result)])


def next_lines(result: Mapping[str, Any]) -> list[str]:
    """The suggested calls as commands."""
    calls = [f"  {command(call['tool'], call['arguments'])}   # {plain(call['why'])}" for call in result.get("next", [])]
    return ["", "next:", *calls] if calls else []


def command(tool: str, arguments: Mapping[str, Any]) -> str:
    """A suggested call as a command line."""
    if tool == "run_status" and arguments.get("wait_seconds"):
        return f"modelsmith run-status {arguments['run_id']} --watch"
    positional = find_tool(TOOLS, tool).positional
    options = [word for name, value in arguments.items() if name not in positional for word in _option(name, value)]
    named = [shlex.quote(plain(str(arguments[name]))) for name in positional if name in arguments]
    return " ".join(["modelsmith", tool.replace("_", "-"), *named, *options])


def _option(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *(shlex.quote(plain(str(each))) for each in (value if isinstance(value, list | tuple) else [value]))]


def interval(value: Mapping[str, Any], *, signed: bool = False) -> str:
    """`0.781 [0.742, 0.816] n=240`."""
    sign = "+" if signed else ""
    return f"{value['mean']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}] n={value['n']}"


# ---- the end of an iterate run -------------------------------------------------------------------------------------------------------


def iterate_summary(status: Mapping[str, Any]) -> str:
    """What an iterate run achieved, on one screen."""
    output = status.get("output") or {}
    if status["state"] != "succeeded" or "final" not in output:
        return render(status)
    lines = [_headline(output), "", "held-out, mean with its 95% interval      score                          pass rate"]
    lines += [*_score_lines(output), *_refused_lines(output)]
    lines += _comparison_lines(output)
    lines += ["", "what happened", *(f"  {plain(note)}" for note in output.get("notes", []))]
    seconds = [(name, value) for name, value in output["seconds"].items() if name != "total"]
    total = output["seconds"].get("total", sum(value for _, value in seconds))
    lines += ["", f"time: {duration(total)} in all: " + ", ".join(f"{name} {duration(value)}" for name, value in seconds)]
    lines += ["", "evidence", f"  .modelsmith/runs/{status['run_id']}/  and one folder for each step"]
    lines += [f"  modelsmith report {output['final']['evaluation_id']} --out report.html"]
    return "\n".join([*lines, *next_lines(status)])


def evaluate_summary(status: Mapping[str, Any]) -> str:
    """What a measurement found."""
    output = status.get("output") or {}
    if status["state"] != "succeeded" or "splits" not in output:
        return render(status)
    lines = [f"{_short(output['subject'])} on {plain(str(status['cluster']))}, mean with its 95% interval", ""]
    lines.append(f"  {'split':<10} {'score':<30} {'pass rate':<30} valid   errors")
    for split in output["splits"]:
        if "score" not in split:
            lines.append(f"  {split['split']:<10} {plain(split['reported'])}")
            continue
        valid = f"{split['schema_valid']:.1%}" if "schema_valid" in split else "-"
        lines.append(f"  {split['split']:<10} {interval(split['score']):<30} {interval(split['pass_rate']):<30} {valid:<7} {split['errors']}")
    if stopped := output.get("stopped_early"):
        lines.append(f"  {'held_out':<10} {stopped['asked']} of {stopped['of']} items asked; {stopped['saved']} saved, for its refusal was certain")
    for split in output["splits"]:
        if slices := split.get("slices"):
            lines += ["", f"lowest slices of {split['split']}"]
            lines += [f"  {interval(each['score']):<30} {plain(each['slice'])}" for each in slices]
    if effect := output.get("structured_effect"):
        compared = effect["comparison"]
        valid = f"valid answers {effect['schema_valid_free']:.1%} -> {effect['schema_valid_structured']:.1%}"
        lines += ["", f"decoding under the schema (core, paired): {interval(compared['difference'], signed=True)}; {valid}"]
    if "canaries" in output:
        lines += ["", plain(str(status["summary"]))]
    lines += ["", f"{output['generated']} answers generated, {output['cached']} from the cache, {duration(output['seconds'])}"]
    lines += ["", "evidence", f"  modelsmith report {status['run_id']} --out report.html"]
    return "\n".join([*lines, *next_lines(status)])


def _headline(output: Mapping[str, Any]) -> str:
    if output.get("accepted"):
        result = f"{len(output['accepted'])} version{'s' if len(output['accepted']) > 1 else ''} accepted"
    else:
        result = "no challenger was accepted; what answered before still answers"
    targets = ", ".join(f"{metric} {value:g}" for metric, value in output.get("targets", {}).items())
    met = "" if not targets else f"; targets ({targets}) {'met' if output['targets_met'] else 'not met'}"
    return f"{output['cluster']}: {result}{met}. {output['outcome'].replace('_', ' ').capitalize()}."


def _score_lines(output: Mapping[str, Any]) -> Iterator[str]:
    shown: set[str] = set()
    for title, key in (("base", "base"), ("floor", "floor"), ("specialist", "final"), ("best challenger", "best_challenger")):
        score = output.get(key)
        if score and score["evaluation_id"] not in shown:
            shown.add(score["evaluation_id"])
            if "score" not in score:
                yield f"  {title:<16} {_short(score['subject']):<22} {plain(score['reported'])}"
                continue
            yield f"  {title:<16} {_short(score['subject']):<22} {interval(score['score']):<30} {interval(score['pass_rate'])}"


def _refused_lines(output: Mapping[str, Any]) -> list[str]:
    """Where no challenger was measured in full: the best of them on core, and how far its held-out was asked."""
    best = output.get("best_refused")
    if not best:
        return []
    core = f"{interval(best['core'])} on core, its incumbent {interval(best['core_before'])}"
    asked = f"held-out stopped after {best['asked']} of {best['of']} items: {plain(best['because'])}"
    return [f"  {'best on core':<16} {_short(best['subject']):<22} {core}", f"  {'':<16} {asked}"]


def _comparison_lines(output: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, key in (("against the base", "against_base"), ("against the floor", "against_floor")):
        if paired := output.get(key):
            verdict = "better" if paired["difference"]["low"] > 0 else "worse" if paired["difference"]["high"] < 0 else "no difference shown"
            lines.append(f"  {title:<18} {interval(paired['difference'], signed=True)}, paired {paired['metric']}: {verdict}")
    return ["", *lines] if lines else []


def _short(subject: str) -> str:
    return subject[:12] if re.fullmatch(r"[0-9a-f]{64}", subject) else plain(subject)[:22]


# ---- anything ------------------------------------------------------------------------------------------------------------------------


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and {"mean", "low", "high", "n"} <= value.keys()


def _is_page(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _is_estimate(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"value", "low", "high"}


def _are_points(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) <= 8 and bool(value) and all(type(each) in (int, float) for each in value.values())


def _is_cell(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int | float) for item in value) and sum(len(str(item)) for item in value) <= 2 * CELL_CHARACTERS
    figures = (_is_interval(value), _is_estimate(value), _are_points(value))
    return not isinstance(value, Mapping) or any(figures) or {"subject", "score"} <= value.keys() or not value


def _cell(value: Any, name: str = "") -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB"
    if _is_interval(value):
        return interval(value)
    if _are_points(value) and not _is_estimate(value):
        return ", ".join(f"{plain(str(part))} {each:.4g}" for part, each in value.items())
    if _is_estimate(value):
        return f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
    if isinstance(value, Mapping):
        return f"{_short(value['subject'])} {interval(value['score'])}" if value else ""
    if isinstance(value, list):
        return ", ".join(plain(str(item)) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(str(value))


def _block(value: Any, depth: int = 1) -> list[str]:
    """A nested value, indented: a list of records as a table where its cells are short, otherwise one entry after the other."""
    indent = "  " * depth
    if isinstance(value, Mapping):
        lines: list[str] = []
        for name, item in value.items():
            if item == "":
                continue
            lines += [f"{indent}{name}: {_cell(item, name)}"] if _is_cell(item) else [f"{indent}{name}:", *_block(item, depth + 1)]
        return lines
    if all(isinstance(item, Mapping) for item in value):
        table = _table(value)
        if table is not None:
            return [indent + line for line in table]
        return [line for item in value for line in ("", *_block(item, depth))]
    return [f"{indent}{plain(str(item))}" for item in value]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Aligned columns; None when a row has something that is no short cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row[name], name) if name in row and _is_cell(row[name]) else None if name in row else "" for name in columns] for row in rows]
    if any(cell is None or len(cell) > CELL_CHARACTERS or "\n" in cell for row in cells for cell in row):
        return None
    text = [[cell or "" for cell in row] for row in cells]
    used = [index for index in range(len(columns)) if any(row[index] for row in text)]
    widths = {index: max(len(columns[index]), *(len(row[index]) for row in text)) for index in used}
    lines = [columns, *text]
    return ["  ".join(f"{line[index]:<{widths[index]}}" for index in used).rstrip() for line in lines]
