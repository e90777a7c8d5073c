"""Published measurements, as rows that `bench/physics.py` fits and is judged by.

Two sources. The table `silicon_sample.csv` of the package aiconfigurator-core (Apache-2.0; partly InferenceMAX runs) is downloaded with pip, not kept
here. A file of single measurements, each with its source, is given with `--measured`; what may be republished lies in `bench/measured.json`.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PEER = "aiconfigurator-core==0.12.0"
TABLE = "aiconfigurator_core/systems/silicon_sample.csv"
SYSTEMS = {
    "h100_sxm": "H100 SXM 80GB",
    "h200_sxm": "H200 SXM 141GB",
    "b200_sxm": "B200 SXM 180GB",
    "b300_sxm": "B300 SXM 288GB",
    "gb200": "GB200 (per GPU)",
    "gb300": "GB300 (per GPU)",
}
SAME_DIMENSIONS = {
    "zhipuai/GLM-5": "zai-org/GLM-5",
    "Qwen/Qwen3-235B-A22B-FP8": "Qwen/Qwen3-235B-A22B",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B": "meta-llama/Llama-3.1-70B-Instruct",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
    "nvidia/DeepSeek-V3.1-NVFP4": "deepseek-ai/DeepSeek-V3",
}
SAME_RUNS = {"deepseek-ai/DeepSeek-R1": "deepseek-ai/DeepSeek-V3"}
"""Models of one shape whose runs stand in the table under both names."""
PEER_NAMES = {
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
    "nvidia/Qwen3-32B-NVFP4": "Qwen/Qwen3-32B",
    "zhipuai/GLM-5": "zai-org/GLM-5",
}
"""What aiconfigurator calls models whose dimensions it ships."""
RANDOM_LENGTHS = 0.9
"""InferenceMAX draws lengths between 0.8 and 1.0 of the nominal ones."""
CARDS_OF_A_NODE = 8
"""Layouts over more cards than a node has, and those that split attention by requests, are not modelled and left out."""


class Served(NamedTuple):
    """One measurement of a server under a steady number of requests."""

    model: str
    accelerator: str
    engine: str
    quantisation: str
    prompt: float
    answer: float
    concurrency: float
    tensor: int
    tpot_seconds: float
    ttft_seconds: float
    source: str
    experts_over: int
    """Cards that whole experts are divided over; 1: each expert is split over all cards like other layers."""
    question: str
    """What aiconfigurator is asked of this load: arguments of its `cli_estimate`, as JSON."""


def table(place: Path) -> Path:
    """The public table, downloaded once."""
    path = place / TABLE
    if not path.is_file():
        place.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), PEER]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(place.glob("aiconfigurator_core-*.whl"))) as wheel:
            wheel.extract(TABLE, place)
    return path


def served(path: Path) -> list[Served]:
    """Rows of the table that the model speaks of, each once: some runs stand in it under several names."""
    kept: dict[Served, Served] = {}
    with io.StringIO(path.read_text()) as text:
        for row in _modelled(csv.DictReader(text)):
            told = {"source": "", "experts_over": 1, "question": "", "ttft_seconds": 0.0}
            run = row._replace(model=SAME_RUNS.get(row.model, row.model), tpot_seconds=round(row.tpot_seconds, 6), **told)
            kept.setdefault(run, row)
    return list(kept.values())


def _modelled(rows: Iterable[dict[str, str]]) -> Iterator[Served]:
    for row in rows:
        together = row["mode"] == "agg" and row["attention_dp_size"] in ("1", "") and row["pp_size"] == "1"
        if together and int(row["tp_size"]) <= CARDS_OF_A_NODE and float(row["silicon_tpot_ms"]) > 0:
            yield _row(row)


def _row(row: dict[str, str]) -> Served:
    model = SAME_DIMENSIONS.get(row["model_path"], row["model_path"])
    source = row["silicon_data_source"].split(";")[0]
    drawn = RANDOM_LENGTHS if "gap-analysis/data" not in source else 1.0
    precision = row["precision"] or ("fp8" if "FP8" in row["model_path"] else "bf16")
    return Served(
        model=model,
        accelerator=SYSTEMS[row["system"]],
        engine=row["backend"],
        quantisation="mxfp4" if model.startswith("openai/gpt-oss") else precision,
        prompt=drawn * float(row["isl"]),
        answer=drawn * float(row["osl"]),
        concurrency=float(row["batch_size"]),
        tensor=int(row["tp_size"]),
        tpot_seconds=float(row["silicon_tpot_ms"]) / 1e3,
        ttft_seconds=float(row["silicon_ttft_ms"] or 0) / 1e3,
        source=source,
        experts_over=max(1, round(float(row["moe_ep_size"] or 1))),
        question=json.dumps(_question(row, drawn)),
    )


def _question(row: dict[str, str], drawn: float) -> dict[str, str | int]:
    """A row in the words of aiconfigurator, at the lengths that were drawn; number types as the table has them, where its checkpoint does not say."""
    asked: dict[str, str | int] = {
        "model_path": PEER_NAMES.get(row["model_path"], row["model_path"]),
        "system_name": row["system"],
        "backend_name": row["backend"],
        "isl": round(drawn * float(row["isl"])),
        "osl": round(drawn * float(row["osl"])),
        "batch_size": int(row["batch_size"]),
        "tp_size": int(row["tp_size"]),
    }
    if float(row["moe_ep_size"] or 0) * float(row["moe_tp_size"] or 0) == int(row["tp_size"]):
        asked |= {"moe_tp_size": int(float(row["moe_tp_size"])), "moe_ep_size": int(float(row["moe_ep_size"]))}
    if not row["model_path"].startswith("openai/gpt-oss"):
        asked |= {name: row[name] for name in ("gemm_quant_mode", "moe_quant_mode") if row[name]}
    return asked
