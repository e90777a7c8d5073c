"""The physics lab's figures as people and agents read them."""

from __future__ import annotations

import math

from engine.atlas.lab import Figure, LabFigures, Loads, Month, OnCard, Training
from engine.atlas.physics.arrays import GIB
from engine.showing.atlas import STANDING_WORDS, digits
from engine.views.lab import CardMemory, Figured, LabPage, LoadLine, MonthLine, TrainingLine

METHOD_WORDS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "full": "full fine-tuning",
    "grpo_lora": "GRPO of an adapter",
    "grpo_full": "GRPO of all parameters",
}


def lab_page(model: str, accelerator: str, usd_per_hour: float | None, found: LabFigures) -> LabPage:
    """All of it."""
    return LabPage(
        summary=_summary(model, accelerator, found),
        model=model,
        accelerator=accelerator,
        accelerators=found.accelerators,
        usd_per_hour=usd_per_hour,
        memory=_memory(found.memory),
        loads=tuple(_load(found.loads, at) for at in range(len(found.loads.concurrency))),
        reached=found.reached.value,
        reached_surely=found.reached.surely,
        months=tuple(map(_month, found.months)),
        usd_per_million_tokens=_figured(found.usd_per_million_tokens),
        usd_per_request=_figured(found.usd_per_request),
        training=tuple(_training(METHOD_WORDS[method], each) for method, each in found.training.items()),
        known_from=STANDING_WORDS[found.standing],
        textbook={name: digits(value) for name, value in found.textbook.items()},
        assumptions=found.assumptions,
    )


def _summary(model: str, accelerator: str, found: LabFigures) -> str:
    place = f"{model} on {found.accelerators} x {accelerator}"
    if found.memory.sequences is None:
        return f"{place}: no source says what it takes."
    if not found.memory.sequences:
        return f"{place}: it does not fit."
    held = "the load fits" if found.memory.fits else "the load fits by the middle values alone" if found.memory.held else "the load does not fit"
    return f"{place}: {held}; {found.memory.sequences} sequences fit, and {found.reached.value} requests in flight meet the limits."


def _memory(found: OnCard) -> CardMemory:
    return CardMemory(
        parts={part: shown for part, figure in found.parts.items() if (shown := _figured(figure, 1 / GIB)) is not None},
        needed=_figured(found.needed, 1 / GIB),
        usable=None if found.usable is None else digits(found.usable / GIB),
        whole=None if found.whole is None else digits(found.whole / GIB),
        sequences=found.sequences,
        held=found.held,
        fits=found.fits,
    )


def _load(loads: Loads, at: int) -> LoadLine:
    tpot, ttft, rate = (Figure(*(float(part[at]) for part in each)) for each in (loads.tpot, loads.ttft, loads.throughput))
    return LoadLine(
        concurrency=int(loads.concurrency[at]),
        tpot_ms=_figured(tpot, 1e3),
        ttft_ms=_figured(ttft, 1e3),
        tokens_per_second=_figured(rate),
        fits=bool(loads.fits[at]),
    )


def _month(found: Month) -> MonthLine:
    return MonthLine(
        requests=found.requests,
        machines=Figured(**found.machines._asdict()),
        usd=_figured(found.usd),
        usd_per_million_tokens=_figured(found.usd_per_million_tokens),
        usd_per_request=_figured(found.usd_per_request),
    )


def _training(method: str, found: Training) -> TrainingLine:
    return TrainingLine(
        method=method, peak_gib=_figured(found.peak, 1 / GIB), fits=found.fits, hours=_figured(found.seconds, 1 / 3600), usd=_figured(found.usd)
    )


def _figured(figure: Figure | None, scale: float = 1.0) -> Figured | None:
    """None where it is not known."""
    if figure is None or math.isnan(figure.value):
        return None
    value, low, high = (None if part is None else digits(part * scale) for part in figure)
    return None if value is None else Figured(value=value, low=low, high=high)
