"""Money: an hour of a machine over what it does in one."""

from __future__ import annotations

import numpy as np

from engine.atlas.physics.arrays import Floats

HOURS_OF_A_MONTH = 730.0
"""A year's 8,760 over twelve."""


def usd_per_million_tokens(usd_per_hour: Floats, cards: Floats, tokens_per_second: Floats) -> Floats:
    """Of answer tokens, on machines that are kept busy."""
    return usd_per_hour * cards / (tokens_per_second * 3600) * 1e6


def usd_per_request(usd_per_hour: Floats, cards: Floats, tokens_per_second: Floats, answer: Floats) -> Floats:
    """One decision: its answer's tokens at that rate. Reading its prompt is in the rate, since each request brings one."""
    return usd_per_hour * cards / (tokens_per_second * 3600) * answer


def machines_needed(requests: Floats, answer: Floats, tokens_per_second: Floats, peak: Floats) -> Floats:
    """Whole machines of a rate that a month's requests need, the busiest hour bringing `peak` times the mean one's."""
    demand = requests * answer * peak / (HOURS_OF_A_MONTH * 3600)
    return np.ceil(demand / tokens_per_second)


def usd_per_month(usd_per_hour: Floats, cards: Floats, machines: Floats) -> Floats:
    """Of machines that run all month, busy or not."""
    return usd_per_hour * cards * machines * HOURS_OF_A_MONTH
