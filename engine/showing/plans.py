"""Ranked configurations as people and agents read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.atlas.compose import Candidate
from engine.atlas.grid import Estimates
from engine.atlas.physics.arrays import GIB
from engine.atlas.physics.cost import usd_per_million_tokens, usd_per_request
from engine.atlas.types import Constraints, ScoreWeights
from engine.config import CatalogueModel
from engine.showing.atlas import digits, standing_of
from engine.views.atlas import Configuration, Expected

TERM_WORDS = {
    "task": "for the task and by its size (no benchmark scores are known)",
    "context": "context of twice what is asked for",
    "latency": "how surely it answers in time",
    "memory": "how surely weights and caches fit",
    "licence": "what its licence allows",
    "margin": "memory left over",
}


def configuration(candidate: Candidate, model: CatalogueModel, wanted: Constraints, weights: ScoreWeights) -> Configuration:
    """One of them."""
    figures, price = candidate.grid, candidate.usd_per_hour
    throughput = _at(figures.throughput, candidate, 1.0)
    per_million, per_request = (None, None) if price is None else _costs(price, throughput, wanted.answer_tokens)
    return Configuration(
        configuration=candidate.key,
        model=candidate.model,
        accelerator=candidate.accelerator,
        cards=candidate.cards,
        quantisation=candidate.quantisation,
        score=round(candidate.score, 1),
        terms={term: round(getattr(weights, term) * fit, 1) for term, fit in candidate.fits.items()},
        usd_per_hour=None if price is None else round(price, 2),
        usd_per_million_tokens=per_million,
        usd_per_request=per_request,
        tpot_ms=_at(figures.tpot, candidate, 1e3),
        ttft_ms=_at(figures.ttft, candidate, 1e3),
        tokens_per_second=throughput,
        memory_gib=_at(figures.needed, candidate, 1 / GIB),
        usable_gib=round(float(figures.usable[0, candidate.place[1], 0, 0]) / GIB, 1),
        licence=model.licence,
        known_from=standing_of(figures, candidate.place),
    )


def _costs(price: float, throughput: Expected, answer: int) -> tuple[Expected, Expected]:
    """Of a million answer tokens, and of one request: the faster, the cheaper."""
    rates = np.array([throughput.value, throughput.high, throughput.low])
    hour, one = np.array(price), np.array(1.0)
    million, request = usd_per_million_tokens(hour, one, rates), usd_per_request(hour, one, rates, np.array(float(answer)))
    return tuple(Expected(value=digits(each[0]), low=digits(each[1]), high=digits(each[2])) for each in (million, request))  # type: ignore[return-value]


def _at(estimates: Estimates, candidate: Candidate, scale: float) -> Expected:
    shape = np.broadcast_shapes(*(part.shape for part in candidate.grid.tpot))
    value, low, high = (float(np.broadcast_to(part, shape)[(*candidate.place, 0)]) * scale for part in estimates)
    return Expected(value=digits(value), low=digits(low), high=digits(high))


def reasons(best: Configuration, weights: ScoreWeights) -> tuple[str, ...]:
    """Why it is first, term by term."""
    return tuple(f"{points:g} of {getattr(weights, term):g}: {TERM_WORDS[term]}" for term, points in best.terms.items())


def would_change(told: Sequence[tuple[str, Candidate]]) -> tuple[str, ...]:
    """What would come first without one of the constraints."""
    return tuple(f"{words}: {each.key}, {each.score:.1f} points{_price_in_words(each)}" for words, each in told)


def _price_in_words(candidate: Candidate) -> str:
    return "" if candidate.usd_per_hour is None else f", {candidate.usd_per_hour:.2f} USD an hour"


def report(
    best: Configuration, others: Sequence[Configuration], wanted: Constraints, weights: ScoreWeights, changing: Sequence[str], as_of: str
) -> str:
    """A page in Markdown for people."""
    asked = [
        f"- {wanted.concurrency} requests in flight, prompts of {wanted.prompt_tokens} and answers of {wanted.answer_tokens} tokens",
        *([f"- meant for {wanted.task}"] if wanted.task else []),
        *([f"- at most {wanted.tpot_ms:g} ms between tokens"] if wanted.tpot_ms else []),
        *([f"- at most {wanted.ttft_ms:g} ms to the first token"] if wanted.ttft_ms else []),
        *([f"- at most {wanted.usd_per_hour:g} USD an hour"] if wanted.usd_per_hour else []),
        *(["- a permissive licence"] if wanted.permissive else []),
        *([f"- on hand: {', '.join(f'{count} x {name}' for name, count in wanted.own)}"] if wanted.own else []),
        *([] if wanted.rent else ["- nothing rented"]),
    ]
    figures = [("milliseconds between tokens", best.tpot_ms), ("milliseconds to the first token", best.ttft_ms),
               ("answer tokens a second", best.tokens_per_second), (f"GiB of each card, of {best.usable_gib:g} usable", best.memory_gib)]  # fmt: skip
    costs = [("USD a million answer tokens", best.usd_per_million_tokens), ("USD a request", best.usd_per_request)]
    rows = [f"| {words} | {each.value:g} | {each.low:g} to {each.high:g} |" for words, each in [*figures, *costs] if each is not None]
    lines = [
        f"# {best.model} on {best.cards} x {best.accelerator}, {best.quantisation}",
        "",
        "Asked for:",
        "",
        *asked,
        "",
        f"{best.score:g} points: " + "; ".join(reasons(best, weights)) + ".",
        "",
        "| | estimate | interval |",
        "|---|---|---|",
        *rows,
        "",
        f"Times are {best.known_from}; their intervals held nine of ten measurements that a fit of {as_of} had not seen. The interval of memory is "
        "the range of a few start-up logs; rates and costs combine the ends of the times'.",
        "",
        "## What else came out",
        "",
        *(f"- {each.configuration}: {each.score:g} points" for each in others),
        "",
        "## What would change the answer",
        "",
        *([f"- {each}" for each in changing] or ["Nothing that was asked for stands in the way of a better one."]),
    ]
    return "\n".join(lines) + "\n"
