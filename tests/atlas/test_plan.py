"""`plan_deployment`: what is ranked does what was asked, and what is exported starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.atlas.catalogue import catalogue
from engine.atlas.compose import licence_fit, task_fit, within
from engine.atlas.exports import Chosen, name
from engine.atlas.grid import Estimates
from engine.atlas.search import PERMISSIVE
from engine.engine import Engine
from engine.errors import ArgumentInvalid, NotFound
from engine.loading import parse_profile
from tests.atlas.test_physics import column
from tests.workspaces import make_workspace
from tools.atlas import PLAN_DEPLOYMENT
from tools.onboard import ONBOARD_MODEL
from tools.tool import call

ATLAS = catalogue()
WEIGHTS = {"task": 40, "context": 15, "latency": 15, "memory": 15, "licence": 10, "margin": 5}
COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path_factory.mktemp("plans")))
    yield opened
    opened.close()


def plan(engine: Engine, **arguments: Any) -> dict[str, Any]:
    return call(engine, PLAN_DEPLOYMENT, {"limit": 20} | arguments)


def document(engine: Engine, export: str, **arguments: Any) -> str:
    return str(plan(engine, export=export, limit=1, **arguments)["document"])


# ---- what is ranked ------------------------------------------------------------------------------------------------------------------


def test_every_configuration_does_what_was_asked(engine: Engine) -> None:
    found = plan(engine, task="code", permissive=True, usd_per_hour=2, tpot_ms=30, ttft_ms=500, prompt_tokens=4000, answer_tokens=500)
    assert found["configurations"]
    for each in found["configurations"]:
        model = ATLAS.models[each["model"]]
        assert each["licence"] in PERMISSIVE
        assert each["usd_per_hour"] <= 2
        assert each["tpot_ms"]["low"] < 30
        assert each["ttft_ms"]["low"] < 500
        assert each["memory_gib"]["value"] <= each["usable_gib"]
        assert (model.context_tokens or 0) >= 4500
        assert (model.attention_heads or 0) % each["cards"] == 0


def test_points_are_those_of_the_terms_and_the_best_comes_first(engine: Engine) -> None:
    found = plan(engine, usd_per_hour=3)
    scores = [each["score"] for each in found["configurations"]]
    assert scores == sorted(scores, reverse=True)
    for each in found["configurations"]:
        assert each["terms"].keys() == WEIGHTS.keys()
        assert sum(each["terms"].values()) == pytest.approx(each["score"], abs=0.31)
        assert all(0 <= points <= WEIGHTS[term] for term, points in each["terms"].items())
    assert len(found["reasons"]) == len(WEIGHTS)


def test_an_answer_is_small_enough_for_a_conversation(engine: Engine) -> None:
    for arguments in ({"task": "code", "usd_per_hour": 2, "tpot_ms": 30, "permissive": True}, {"export": "compose", **ON_TWO}):
        assert len(json.dumps(call(engine, PLAN_DEPLOYMENT, arguments), separators=(",", ":"))) <= 1200 * 4


def test_a_team_s_own_weights_decide(engine: Engine) -> None:
    usual, careful = plan(engine, usd_per_hour=3), plan(engine, usd_per_hour=3, weights=[0, 0, 0, 80, 0, 20])
    first, roomy = usual["configurations"][0], careful["configurations"][0]
    assert roomy["score"] == 100
    assert roomy["terms"] == {"task": 0, "context": 0, "latency": 0, "memory": 80, "licence": 0, "margin": 20}
    assert roomy["usd_per_hour"] < first["usd_per_hour"], "of configurations with equal points the cheaper comes first"


def test_on_hand_alone_means_those_cards_and_no_more_of_them(engine: Engine) -> None:
    found = plan(engine, own=["2 x RTX 4090", "L4"], rent=False)
    assert {(each["accelerator"], each["cards"]) for each in found["configurations"]} <= {("RTX 4090 24GB", 1), ("RTX 4090 24GB", 2), ("L4 24GB", 1)}
    assert all("usd_per_hour" not in each for each in found["configurations"])
    assert found["would_change"][0].startswith("with hardware to rent: ")


def test_a_decision_costs_less_the_more_are_made_at_once(engine: Engine) -> None:
    costs = []
    for concurrency in (1, 32):
        best = plan(engine, text="Qwen3 4B", concurrency=concurrency, own=[], max_cards=1, quantisations=["bf16"])["configurations"][0]
        assert best["usd_per_request"]["low"] < best["usd_per_request"]["value"] < best["usd_per_request"]["high"]
        assert best["usd_per_request"]["value"] == pytest.approx(best["usd_per_million_tokens"]["value"] * 256 / 1e6, rel=0.02)
        costs.append(best["usd_per_request"]["value"])
    assert costs[1] < costs[0]


def test_hardware_named_twice_is_there_twice_and_no_plan_takes_more_cards_than_allowed(engine: Engine) -> None:
    both = plan(engine, own=["1 x RTX 4090", "1 x RTX 4090"], rent=False)
    assert 2 in {each["cards"] for each in both["configurations"]}
    one = plan(engine, own=["4 x RTX 4090"], rent=False, max_cards=1)
    assert {each["cards"] for each in one["configurations"]} == {1}


def test_a_model_is_planned_in_what_its_repository_holds(engine: Engine) -> None:
    found = plan(engine, text="gpt-oss", usd_per_hour=20)
    assert {each["quantisation"] for each in found["configurations"]} == {"mxfp4"}
    written = yaml.safe_load(document(engine, "vllm", text="gpt-oss", usd_per_hour=20))
    assert "quantization" not in written
    assert plan(engine, text="gpt-oss", usd_per_hour=20, quantisations=["bf16", "fp8"])["total"] == 0


def test_where_nothing_does_it_all_it_says_what_stands_in_the_way(engine: Engine) -> None:
    found = plan(engine, usd_per_hour=0.01)
    assert (found["total"], found["configurations"]) == (0, [])
    assert found["would_change"][0].startswith("without the budget: ")
    assert "stands in the way" in found["summary"]


def test_cards_too_old_for_what_is_exported_are_not_planned_with(engine: Engine) -> None:
    found = plan(engine, own=["T4", "V100 SXM2"], rent=False)
    assert found["total"] == 0


@pytest.mark.parametrize(
    ("limit", "surely"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.5), (4.0, 1.0), (9.0, 1.0), (float("nan"), 0.0)]
)
def test_how_surely_a_limit_holds_is_where_it_lies_in_the_interval(limit: float, surely: float) -> None:
    assert within(column(limit), Estimates(column(2), column(1), column(4)))[0] == pytest.approx(surely)


def test_a_larger_model_and_one_meant_for_the_task_fit_better_and_a_licence_that_forbids_business_does_not() -> None:
    small, large = ATLAS.models["Qwen/Qwen2.5-Coder-7B-Instruct"], ATLAS.models["Qwen/Qwen2.5-Coder-32B-Instruct"]
    assert task_fit(small, "code") < task_fit(large, "code") <= 1
    assert task_fit(small, "code") > task_fit(small, "math")
    assert [licence_fit(small), licence_fit(ATLAS.models["meta-llama/Llama-3.1-8B-Instruct"])] == [1.0, 0.5]
    assert licence_fit(small.model_copy(update={"licence": "cc-by-nc-4.0"})) == licence_fit(small.model_copy(update={"licence": None})) == 0.0


# ---- what is exported ----------------------------------------------------------------------------------------------------------------

ON_TWO = {"own": ["2 x RTX 4090"], "rent": False, "concurrency": 16, "prompt_tokens": 1500, "answer_tokens": 500}


def test_the_compose_file_serves_on_loopback_with_a_key_on_as_many_cards(engine: Engine) -> None:
    service = yaml.safe_load(document(engine, "compose", **ON_TWO))["services"]["model"]
    assert service["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert "VLLM_API_KEY:?" in service["environment"]["VLLM_API_KEY"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == int(service["command"][service["command"].index("--tensor-parallel-size") + 1])
    assert int(service["command"][service["command"].index("--max-model-len") + 1]) >= 2000


def test_the_manifest_asks_for_the_cards_and_takes_its_key_from_a_secret(engine: Engine) -> None:
    deployment, service = yaml.safe_load_all(document(engine, "kubernetes", **ON_TWO))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "secretKeyRef" in container["env"][0]["valueFrom"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert deployment["metadata"]["name"].replace("-", "").isalnum()


@pytest.mark.parametrize("model", ["acme/4b-desk", "acme/..", "acme/" + "a-" * 60, "acme/Model_V1.5"])
def test_a_name_is_one_that_kubernetes_takes(model: str) -> None:
    chosen = Chosen(model, "", "", 1.0, model, None, "", 1, "bf16", True, 1, 128, 1, 0.9, "", {}, "")
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name(chosen)), name(chosen)


def test_a_server_is_never_told_a_longer_context_than_the_model_has(engine: Engine) -> None:
    own = {"own": ["8 x H100 SXM"], "rent": False, "text": "Qwen3 8B", "prompt_tokens": 40_900, "answer_tokens": 60, "concurrency": 1}
    assert int(yaml.safe_load(document(engine, "vllm", **own))["max-model-len"]) == 40_960


def test_the_other_launcher_and_programs_get_the_same_deployment(engine: Engine) -> None:
    tgi, programs = yaml.safe_load(document(engine, "tgi", **ON_TWO)), json.loads(document(engine, "json", revision=COMMIT, **ON_TWO))
    assert programs.keys() == {"model", "hardware", "serving", "performance"}
    assert tgi["model-id"] == programs["model"]["repository"]
    assert tgi["num-shard"] == programs["hardware"]["cards"] == 2
    assert programs["model"]["revision"] == COMMIT
    assert programs["performance"]["tpot_ms"]["low"] < programs["performance"]["tpot_ms"]["high"]


def test_the_profile_is_taken_by_onboard_model_as_it_is(engine: Engine) -> None:
    profile = json.loads(document(engine, "profile", revision=COMMIT, **ON_TWO))
    assert parse_profile("planned", profile).inference.tensor_parallel == 2  # type: ignore[union-attr]
    onboarded = call(engine, ONBOARD_MODEL, {"name": "planned", "profile": profile, "smoke_test": False})
    assert onboarded["model"] == "planned"
    assert "planned" in engine.clusters().models


def test_the_report_says_what_was_asked_what_came_out_and_how_sure_it_is(engine: Engine) -> None:
    report = document(engine, "report", task="reasoning", tpot_ms=50, **ON_TWO)
    for words in ("at most 50 ms between tokens", "meant for reasoning", "| milliseconds between tokens |", "What would change the answer"):
        assert words in report


def test_any_configuration_of_the_plan_can_be_exported_by_its_name(engine: Engine) -> None:
    second = plan(engine, **ON_TWO)["configurations"][1]
    assert yaml.safe_load(document(engine, "vllm", configuration=second["configuration"], **ON_TWO))["model"] == second["model"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"rent": False}, ArgumentInvalid, "nothing is on hand"),
        ({"own": ["Apple M4 Max"]}, ArgumentInvalid, "no card that the exported configurations run on"),
        ({"own": ["3 x Nothing"]}, NotFound, "has no accelerator"),
        ({"export": "profile"}, ArgumentInvalid, "no revision is given"),
        ({"export": "vllm", "quantisations": ["int4"]}, ArgumentInvalid, "quantised already"),
        ({"export": "vllm", "configuration": "none@1xL4/bf16"}, NotFound, "none of the configurations"),
        ({"export": "vllm", "usd_per_hour": 0.01}, NotFound, "none to export"),
        ({"export": "vllm", "revision": "main; rm -rf /"}, ArgumentInvalid, "revision"),
        ({"export": "vllm", "revision": "--trust-remote-code"}, ArgumentInvalid, "revision"),
        ({"export": "vllm", "checkpoint": "--a/b"}, ArgumentInvalid, "checkpoint"),
        ({"concurrency": 2000}, ArgumentInvalid, "concurrency"),
        ({"weights": [1, 2]}, ArgumentInvalid, "weights"),
        ({"quantisations": ["q4_k_m"]}, ArgumentInvalid, "quantisations"),
    ],
)
def test_what_cannot_be_planned_or_exported_is_refused_with_what_can(
    engine: Engine, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        plan(engine, **arguments)
    assert refused.value.next_step  # type: ignore[attr-defined]


PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
for words in json.loads(sys.argv[1]):
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(words)
    validate_parsed_serve_args(parsed)
    print(json.dumps([parsed.model, parsed.max_model_len, parsed.max_num_seqs, parsed.tensor_parallel_size, parsed.quantization, parsed.gpu_memory_utilization]))
"""


@pytest.mark.model
def test_the_installed_vllm_s_own_parser_takes_what_is_exported(engine: Engine, tmp_path: Path) -> None:
    lines, expected = [], []
    for number, arguments in enumerate(
        {"quantisations": [held], **ON_TWO, **({"checkpoint": "acme/awq"} if held == "int4" else {})} for held in ("bf16", "fp8", "int4")
    ):
        programs = json.loads(document(engine, "json", revision=COMMIT, **arguments))
        config = tmp_path / f"{number}.yaml"
        config.write_text(document(engine, "vllm", revision=COMMIT, **arguments))
        written = yaml.safe_load(config.read_text())
        lines += [["--model", programs["model"]["repository"], *programs["serving"]["arguments"]], ["--config", str(config)]]
        figures = [programs["model"]["repository"], programs["serving"]["max_model_len"], 16, 2, written.get("quantization"), 0.9]
        expected += [figures, figures]
    said = subprocess.run([sys.executable, "-c", PARSE, json.dumps(lines)], capture_output=True, text=True, check=False, timeout=300)
    assert said.returncode == 0, said.stderr[-2000:]
    assert [json.loads(line) for line in said.stdout.splitlines() if line.startswith("[")] == expected
