"""Money: an hour of a machine over what it does in one."""

from __future__ import annotations

from engine.atlas.physics.arrays import Floats


def usd_per_million_tokens(usd_per_hour: Floats, cards: Floats, tokens_per_second: Floats) -> Floats:
    """Of answer tokens, on machines that are kept busy."""
    return usd_per_hour * cards / (tokens_per_second * 3600) * 1e6


def usd_per_request(usd_per_hour: Floats, cards: Floats, tokens_per_second: Floats, answer: Floats) -> Floats:
    """One decision: its answer's tokens at that rate. Reading its prompt is in the rate, since each request brings one."""
    return usd_per_hour * cards / (tokens_per_second * 3600) * answer
