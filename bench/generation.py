"""Generation through the evaluate path against calling the vLLM server directly, with the same prompts and concurrency, in one run.

    python -m bench.generation [--cluster travel] [--requests 192] [--rounds 3]

Needs a prepared base (`make setup`). One managed server answers both: the evaluate path is what an evaluation does (prove the weights, then
`answer_all` into an empty cache; grading left out), the direct one a bare HTTP client. Rounds alternate in order, after a round that warms the
server's prefix cache for both. Prints progress to stderr, and one JSON document as the last line of stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx2

from bench.setting import setting_of
from engine.evaluate.prompts import render_messages
from engine.fleet.probe import probe_local
from engine.generate.cache import AnswerCache, answer_all
from engine.generate.open import open_generator
from engine.generate.plans import server_plan
from engine.generate.servers import ModelServers
from engine.generate.types import Answer, GenerationSettings, Generator, Request, Weights
from engine.generate.wire import chat_body


class Round(NamedTuple):
    """One pass over all requests."""

    seconds: float
    tokens: int


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Generation through the evaluate path against direct calls.")
    parser.add_argument("--cluster", default="travel")
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    workspace, cluster, profile, base, here, compiled, _ = setting_of(options.cluster)
    contract = compiled.domain.contract
    settings = GenerationSettings(max_tokens=contract.output.max_tokens)
    scenarios = [scenario for scenario in compiled.scenarios if scenario.split == "core"][: options.requests]
    requests = [Request(key=item.id, messages=render_messages(contract, item.input), settings=settings) for item in scenarios]

    weights = Weights(digest=base.digest, fingerprint=base.fingerprint)
    generator = open_generator(cluster.model, profile, workspace=workspace, base=base, weights=weights, device=here)
    plan = server_plan(workspace, cluster.model, profile, base, here)
    assert plan is not None
    servers = ModelServers(workspace)
    ran_before = any(server.pid for server in servers.status())
    with servers.answering(plan, weights) as session:
        address, model = session.address, session.answers_to

    def direct() -> Round:
        headers = {"Authorization": f"Bearer {address.api_key}"}
        return asyncio.run(call_directly(f"{address.base_url}/chat/completions", headers, requests, model, profile.inference.concurrency))

    def evaluate() -> Round:
        return through_evaluate(generator, requests)

    print("warming", direct(), file=sys.stderr)
    measured: dict[str, list[Round]] = {"direct": [], "evaluate": []}
    for number in range(options.rounds):
        for name in ("direct", "evaluate") if number % 2 == 0 else ("evaluate", "direct"):
            measured[name].append(direct() if name == "direct" else evaluate())
            print(name, measured[name][-1], file=sys.stderr)
    rates = {name: [round_.tokens / round_.seconds for round_ in rounds] for name, rounds in measured.items()}
    result = {
        "bench": "generation",
        "model": cluster.model,
        "domain": cluster.domain,
        "requests": len(requests),
        "concurrency": profile.inference.concurrency,
        "rounds": options.rounds,
        "seconds": {name: [round(round_.seconds, 2) for round_ in rounds] for name, rounds in measured.items()},
        "tokens_per_second_p50": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "ratio": round(statistics.median(rates["evaluate"]) / statistics.median(rates["direct"]), 3),
        "wanted": 0.9,
        "load": probe_local().load,
    }
    if not ran_before:
        servers.stop_all()
    print(json.dumps(result))


def through_evaluate(generator: Generator, requests: list[Request]) -> Round:
    """What an evaluation does before grading."""
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        generator.prove()
        cache = AnswerCache(Path(place), generator.identity)
        answer_all(generator, requests, answers.append, cache)
        cache.close()
        seconds = time.perf_counter() - started
    if any(answer.error for answer in answers):
        raise SystemExit(f"errors: {[answer.error for answer in answers if answer.error][:3]}")
    return Round(seconds, sum(answer.completion_tokens for answer in answers))


async def call_directly(url: str, headers: dict[str, str], requests: list[Request], model: str, concurrency: int) -> Round:
    """The least that asks the same: a client, a semaphore, one call for each request."""
    gate = asyncio.Semaphore(concurrency)
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=300, trust_env=False) as client:

        async def one(request: Request) -> int:
            async with gate:
                reply = await client.post(url, json=chat_body(request, model))
                return int(reply.raise_for_status().json()["usage"]["completion_tokens"])

        started = time.perf_counter()
        tokens = await asyncio.gather(*(one(request) for request in requests))
        return Round(time.perf_counter() - started, sum(tokens))


if __name__ == "__main__":
    main()
