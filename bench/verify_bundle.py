"""How long it takes to make and to check an evidence bundle. Prints figures for people as it goes, and one JSON document last.

    python -m bench.verify_bundle [--items 10000]

The bundle is synthetic: so many items, half of them held out, in sources of two, with partial credit, eight slices and five subjects. Checked by
`modelsmith verify`'s own function, which finds every interval again, and by the standalone verifier in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.base.digests import sha256_hex
from engine.config import Acceptance, NoHarm
from engine.evaluate.statistics import summarise_split
from engine.evaluate.types import EvaluationSummary, ItemResult, ScoreIdentity, Split, Stability
from engine.iterate.clauses import no_harm_clause
from engine.iterate.decide import decide, with_clause
from engine.promote.evidence.bundle import make_bundle
from engine.promote.evidence.types import BundleInputs, GuardResults, Lineage, MeasuredSubject, Operations, Role, Rollback
from engine.promote.evidence.verify import verify_bundle
from engine.train.records import version_id

ADAPTER = sha256_hex(b"adapter")
SPLITS: tuple[Split, ...] = ("core", "held_out")
SKILL: dict[Role, float] = {"base": 0.1, "floor": 0.35, "incumbent": 0.4, "challenger": 0.65, "ceiling": 0.8}
Found = TypeVar("Found")


def synthetic_inputs(items: int, *, channels: int = 8, seed: int = 17, levels: Sequence[float] = (0.0, 0.25, 0.5, 0.75)) -> BundleInputs:
    """What the store would give for an accepted version measured on so many items."""
    acceptance, slices = Acceptance(no_harm=NoHarm()), ("channel",)
    results = {role: tuple(_results(items, skill, seed, levels, tags=("channel", channels))) for role, skill in SKILL.items()}
    guard = GuardResults(*(tuple(_results(60, skill, seed, levels, split="held_out", tags=("kind", 3))) for skill in (0.6, 0.58)))
    held_out = {role: [result for result in each if result.split == "held_out"] for role, each in results.items()}
    stability = Stability(items=32, flipped=2, flipped_items=("s0000001", "s0000003"))
    decision = decide(
        acceptance,
        slices=slices,
        incumbent=held_out["incumbent"],
        challenger=held_out["challenger"],
        floor=held_out["floor"],
        seed=seed,
        attempt=2,
        stability=stability,
        regressions=("s0000000",),
    )
    return BundleInputs(
        cluster="tickets",
        domain="tickets",
        version=version_id(ADAPTER),
        made_at="2026-11-21T10:00:00.000Z",
        acceptance=acceptance,
        slices=slices,
        json_output=True,
        seed=seed,
        attempt=2,
        stability=stability,
        recorded=with_clause(decision, no_harm_clause(guard.base, guard.challenger, acceptance.no_harm.tolerance if acceptance.no_harm else 0.0)),
        subjects=tuple(MeasuredSubject(role, role, _summary(role, each, acceptance, slices, seed), each) for role, each in results.items()),
        guard=guard,
        lineage=Lineage(
            adapter=ADAPTER, fingerprint=sha256_hex(b"fingerprint"), base=sha256_hex(b"base"), model="SmolLM2-135M-Instruct", licence="Apache-2.0",
            dataset=sha256_hex(b"rows"), rows=480, plan=sha256_hex(b"plan"), method="sft", domain_digest=sha256_hex(b"domain"),
        ),
        rollback=Rollback(to="base", adapter=None, in_registry=True),
        operations=Operations(device="cpu"),
        generation=0,
        salt=seed.to_bytes(32),
    )  # fmt: skip


def _results(
    items: int, skill: float, seed: int, levels: Sequence[float], *, tags: tuple[str, int], split: Split | None = None
) -> list[ItemResult]:
    """Each item is as hard for one subject as for the other; now and then one slips."""
    name, values = tags
    hard, own = random.Random(seed), random.Random(f"{seed} {skill}")
    scores = [1.0 if hard.random() < skill and own.random() > 0.02 else own.choice(levels) for _ in range(items)]
    return [
        ItemResult(
            scenario_id=f"s{number:07d}",
            split=split or SPLITS[number % 2],
            outcome="graded",
            score=score,
            passed=score == 1.0,
            latency_seconds=own.uniform(0.1, 0.9),
            completion_tokens=own.randrange(8, 24),
            tags={name: f"{name} {number // 2 % values}"},
            source=f"dialogue {number // 4}",
        )
        for number, score in enumerate(scores)
    ]


def _summary(role: Role, results: Sequence[ItemResult], acceptance: Acceptance, slices: Sequence[str], seed: int) -> EvaluationSummary:
    splits = tuple(
        summarise_split(results, split, slices=slices, slice_minimum=acceptance.slice_minimum, confidence=acceptance.confidence, seed=seed)
        for split in SPLITS
    )
    names = ("suite", "grading", "prompt", "settings")
    return EvaluationSummary(
        identity=ScoreIdentity(**{name: sha256_hex(name.encode()) for name in names}, generator=sha256_hex(role.encode())),
        subject=role,
        splits=splits,
        structured=True,
        generated=len(results),
        cached=0,
        seconds=60.0,
        completion_tokens=sum(result.completion_tokens for result in results),
        fingerprint={"verdict": "match"},
    )


def timed(what: str, work: Callable[[], Found]) -> tuple[Found, float]:
    """What the work gives, and the seconds it took."""
    before = time.perf_counter()
    found = work()
    seconds = round(time.perf_counter() - before, 2)
    print(f"{what}: {seconds} s", flush=True)
    return found, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=10_000)
    items = parser.parse_args().items
    key = Ed25519PrivateKey.generate()
    inputs = synthetic_inputs(items)
    with tempfile.TemporaryDirectory() as folder:
        bundle, making = timed("made", lambda: make_bundle(inputs, key, Path(folder)))
        checked, checking = timed("checked", lambda: verify_bundle(bundle, key.public_key()))
        public = Path(folder) / "evidence.pub"
        public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        command = [sys.executable, "-I", str(bundle / "verify_bundle.py"), str(bundle), str(public)]
        alone, standalone = timed("checked by the standalone verifier", lambda: subprocess.run(command, capture_output=True, text=True, check=False))
        size = sum(path.stat().st_size for path in bundle.iterdir())
    document = {
        "bench": "verify_bundle",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "items": items,
        "subjects": len(inputs.subjects),
        "bytes": size,
        "make_seconds": making,
        "verify_seconds": checking,
        "standalone_seconds": standalone,
        "verified": checked.verified and alone.returncode == 0,
    }
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
