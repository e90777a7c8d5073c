"""The loop against one plain SFT run with the same training budget, on the default model, with right labels and with a share of them exchanged.

    python -m bench.learning --place DIR [--domains support travel] [--seeds 17 18 19] [--noise 0 0.2]

Needs a quiet machine and an hour or more: each cell is two iterate runs through the daemon, in a workspace of its own under DIR. A cell that
is there is not run again, so a bench that was stopped goes on at its last arm; `--report` only prints what there is.

    plain   one training: all rows, `epochs` passes, no rehearsal; taken as it comes, whatever a gate would say
    loop    two rounds with half the steps each, rehearsal rows included in the count: targeted rows, warm start, doubtful rows set aside,
            and the gate with its no-harm suite

Both arms train by SFT from the same rows with the same seed and are measured on the same items. The floor is left out of the gate: it says
whether to serve at all, and would keep both from being compared. Held-out results are read from the runs' files, which a tool never does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from engine.base.files import read_json, read_jsonl, write_json, write_jsonl
from engine.base.paths import Workspace
from engine.evaluate.statistics import compare
from engine.evaluate.types import ItemResult
from engine.loading import find_workspace
from server.client import Client, running_daemon
from tools import TOOLS
from tools.tool import find_tool

BUDGETS: dict[str, dict[str, Any]] = {
    "support": {"rows": 1000, "epochs": 2.4, "core": 0.2, "held_out": 0.5, "stratify": "intent"},
    "travel": {"rows": 480, "epochs": 3.0, "core": 0.2, "held_out": 0.65, "stratify": None},
}
"""Of the plain arm. Core is smaller than shipped: two cores measure some ten items a second."""
REHEARSAL = 0.1
"""`train.rehearse.share` of the loop."""
TOLERANCE = 0.1
ARMS = ("plain", "loop")
MODEL = "smollm2-135m"


def main() -> int:
    """Runs the cells that are missing and prints all."""
    parser = argparse.ArgumentParser(description="The loop against plain SFT.")
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--domains", nargs="+", default=list(BUDGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[17, 18, 19])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.2])
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    source = find_workspace(Path.cwd())
    workspace = Workspace(options.place.resolve())
    wanted = [(domain, noise, seed) for seed in options.seeds for noise in options.noise for domain in options.domains]
    cells = workspace.root / "cells"
    for domain, noise, seed in wanted:
        path = cells / f"{domain}-{noise:g}-{seed}.json"
        if not path.is_file() and not options.report:
            print(f"{path.stem} ...", file=sys.stderr, flush=True)
            write_json(path, run_cell(source, workspace, domain, noise, seed))
            print(json.dumps(read_json(path)["compared"]), file=sys.stderr, flush=True)
    stop(workspace)
    found = [read_json(path) for path in sorted(cells.glob("*.json"))]
    print(json.dumps({"bench": "learning", "tolerance_no_harm": TOLERANCE, "summary": summary(found), "cells": found}))
    return 0


def run_cell(source: Workspace, workspace: Workspace, domain: str, noise: float, seed: int) -> dict[str, Any]:
    """Both arms with the same rows, and the paired difference of their held-out scores."""
    name = f"{domain}-{round(100 * noise)}-{seed}"
    rows, wrong = rows_of(source, domain, noise, seed)
    arms: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        path = workspace.root / "arms" / f"{name}-{arm}.json"
        if not path.is_file():
            make_domain(source, workspace, domain, f"{name}-{arm}", rows, arm)
            write_clusters(source, workspace, f"{name}-{arm}", seed)
            write_json(path, run_arm(workspace, f"{name}-{arm}", 1 if arm == "plain" else 2))
        arms[arm] = read_json(path)
    results = [held_out_results(workspace, arms[arm]["evaluation"]) for arm in ARMS]
    paired = compare(*results, split="held_out", metric="score", seed=seed)
    difference = paired.difference
    doubted = [set(arms[arm].pop("doubted")) for arm in ARMS][-1]
    return {
        "domain": domain,
        "noise": noise,
        "seed": seed,
        "arms": arms,
        "compared": {
            "held_out": {arm: round(score.mean, 4) for arm, score in zip(ARMS, (paired.before, paired.after), strict=True)},
            "loop_minus_plain": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
            "items": difference.n,
        },
        "set_aside": {"rows": len(doubted), "exchanged": len(doubted & wrong), "of_exchanged": len(wrong), "of_rows": len(rows)},
    }


def rows_of(source: Workspace, domain: str, noise: float, seed: int) -> tuple[list[dict[str, Any]], set[str]]:
    """The training rows, evenly over the labels where the domain has labels, and the ids of those whose answer was exchanged for another's."""
    budget = BUDGETS[domain]
    rows = sorted(read_jsonl(source.root / "domains" / domain / "data/train.jsonl"), key=lambda row: digest(str(row["id"])))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[str(row["expected"][budget["stratify"]]) if budget["stratify"] else ""].append(row)
    ranked = sorted((place, digest(str(row["id"])), row) for group in groups.values() for place, row in enumerate(group))
    chosen = [row for _, _, row in ranked[: budget["rows"]]]
    dice = random.Random(seed)
    wrong: set[str] = set()
    noisy = list(chosen)
    for at in dice.sample(range(len(chosen)), round(noise * len(chosen))):
        other = dice.choice([row for row in chosen if row["expected"] != chosen[at]["expected"]])
        noisy[at] = {**chosen[at], "expected": other["expected"]}
        wrong.add(chosen[at]["id"])
    return noisy, wrong


def digest(text: str) -> str:
    """An order that does not depend on the file's."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_domain(source: Workspace, workspace: Workspace, domain: str, name: str, rows: list[dict[str, Any]], arm: str) -> None:
    """The domain's folder for an arm."""
    folder = workspace.root / "domains" / name
    for each, target in ((domain, folder), ("no_harm", workspace.root / "domains/no_harm")):
        shutil.copytree(source.root / "domains" / each, target, dirs_exist_ok=True)
    write_jsonl(folder / "data/train.jsonl", rows)
    file = yaml.safe_load((folder / "domain.yaml").read_text())
    budget = BUDGETS[domain]
    file["data"]["splits"] |= {"core": budget["core"], "held_out": budget["held_out"], "reserve": round(1 - budget["core"] - budget["held_out"], 2)}
    file["train"] = {"method": "sft", "max_rows": len(rows), "epochs": budget["epochs"]}
    file["eval"]["floor"] = ["tfidf_logistic"]
    file["eval"]["early_stop"] = False  # a refused arm is compared as well
    file["eval"]["accept"] |= {"metric": "score", "floor": "ignore", "no_harm": {"tolerance": 1.0}}
    file["diagnose"] = {"try_cheap": False}
    if arm == "loop":
        half = budget["epochs"] / 2 * len(rows) / (len(rows) + rehearsed_rows(source, rows))
        file["train"] |= {"epochs": round(half, 4), "rehearse": {"share": REHEARSAL}}
        file["eval"]["accept"]["no_harm"] = {"tolerance": TOLERANCE}
    (folder / "domain.yaml").write_text(yaml.safe_dump(file, sort_keys=False))


def rehearsed_rows(source: Workspace, rows: list[dict[str, Any]]) -> float:
    """About how many rows are rehearsed beside these."""
    lengths = [len(str(row["expected"])) for row in read_jsonl(source.root / "domains/no_harm/data/train.jsonl")]
    return min(len(lengths), REHEARSAL * sum(len(json.dumps(row["expected"])) for row in rows) / mean(lengths))


def write_clusters(source: Workspace, workspace: Workspace, name: str, seed: int) -> None:
    """A clusters.json with this arm in it."""
    path = workspace.root / "clusters.json"
    file = read_json(path) if path.is_file() else read_json(source.clusters_file) | {"clusters": {}}
    file["models"] = {MODEL: file["models"][MODEL]}
    file["clusters"][name] = {"domain": name, "model": MODEL, "budget": "default"}
    file["defaults"] |= {"seed": seed}
    write_json(path, file)


def run_arm(workspace: Workspace, cluster: str, rounds: int) -> dict[str, Any]:
    """An iterate run, and what came of it."""
    client = Client(workspace)
    asked = {"cluster": cluster, "max_iterations": rounds, "idempotency_key": cluster}  # a second run would go on from the first one's version
    run_id = client.call(find_tool(TOOLS, "iterate"), asked)["run_id"]
    while (status := client.call(find_tool(TOOLS, "run_status"), {"run_id": run_id, "wait_seconds": 20}))["state"] in ("queued", "running"):
        time.sleep(1.0)
    if status["state"] != "succeeded":
        raise SystemExit(f"{run_id} of {cluster}: {json.dumps(status['error'])}")
    return arm_of(workspace, status, rounds)


def arm_of(workspace: Workspace, status: dict[str, Any], rounds: int) -> dict[str, Any]:
    """What a finished run did and cost."""
    steps = {step["step"]: read_json(workspace.run(step["run_id"]).result) for step in status["steps"]}
    trained = [result for step, result in steps.items() if step.endswith((".train", ".train_again"))]
    played = status["output"]["iterations"]
    kept = [each["challenger_evaluation"] for each in played if each["verdict"] == "accept" or rounds == 1]
    evaluation = kept[-1] if kept else next(step["run_id"] for step in status["steps"] if step["step"] == "0.measure_base")
    return {
        "run": status["run_id"],
        "verdicts": [each["verdict"] for each in played],
        "held_out_by_round": [round(mean(held_out_scores(workspace, each["challenger_evaluation"])), 4) for each in played],
        "optimiser_steps": [result["output"]["steps"] for result in trained],
        "warm": [result["output"]["warm_start"] is not None for result in trained],
        "no_harm": {step: round(held_out_score(result), 4) for step, result in steps.items() if step.endswith((".no_harm", ".no_harm_base"))},
        "refused_because": [each["reasons"] for each in played if each["verdict"] != "accept"],
        "train_seconds": round(sum(result["output"]["train_seconds"] for result in trained), 1),
        "train_worker_seconds": round(sum(result["seconds"] for result in trained), 1),
        "wall_seconds": round(status["output"]["seconds"]["total"], 1),
        "peak_worker_gib": round(max(result["peak_rss_bytes"] for result in steps.values()) / 2**30, 2),
        "evaluation": evaluation,
        "doubted": [row for step in status["steps"] if step["step"].endswith(".curate") for row in doubted_by(workspace, step["run_id"])],
    }


def held_out_results(workspace: Workspace, evaluation: str) -> list[ItemResult]:
    """A measurement's held-out items."""
    results = (ItemResult.model_validate(row) for row in read_jsonl(workspace.run(evaluation).outputs / "results.jsonl"))
    return [result for result in results if result.split == "held_out"]


def held_out_scores(workspace: Workspace, evaluation: str) -> list[float]:
    """Their scores."""
    return [result.score for result in held_out_results(workspace, evaluation)]


def held_out_score(result: dict[str, Any]) -> float:
    """The mean score of a measurement's held-out items."""
    return next(float(split["score"]["mean"]) for split in result["output"]["summary"]["splits"] if split["split"] == "held_out")


def doubted_by(workspace: Workspace, run_id: str) -> list[str]:
    """Rows that a curation set aside."""
    path = workspace.run(run_id).outputs / "doubtful.jsonl"
    return [row["id"] for row in read_jsonl(path)] if path.is_file() else []


def summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each domain and share of exchanged labels."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        groups[cell["domain"], cell["noise"]].append(cell)
    return [
        {
            "domain": domain,
            "noise": noise,
            "seeds": len(group),
            **{arm: round(mean(cell["compared"]["held_out"][arm] for cell in group), 4) for arm in ARMS},
            "loop_minus_plain": [cell["compared"]["loop_minus_plain"] for cell in group],
            "loop_no_harm_drop": [no_harm_drop(cell) for cell in group],
            "wall_seconds": {arm: round(mean(cell["arms"][arm]["wall_seconds"] for cell in group)) for arm in ARMS},
        }
        for (domain, noise), group in sorted(groups.items())
    ]


def no_harm_drop(cell: dict[str, Any]) -> float | None:
    """How far the loop's last measured challenger lies below the base on the no-harm suite."""
    measured: dict[str, float] = cell["arms"]["loop"]["no_harm"]
    rounds = [score for step, score in sorted(measured.items()) if step != "0.no_harm_base"]
    return round(rounds[-1] - measured["0.no_harm_base"], 4) if rounds else None


def stop(workspace: Workspace) -> None:
    """The bench's daemon and its model servers."""
    if (daemon := running_daemon(workspace)) is not None:
        Client(workspace).stop_daemon(daemon, servers=True)


if __name__ == "__main__":
    sys.exit(main())
