"""The physics lab: everything that follows for one model on one accelerator, each figure with its interval or the words that it has none."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import catalogue
from engine.atlas.grid import grid
from engine.atlas.lab import LOADS, MOST, Figure, LabAsked, LabFigures, lab
from engine.atlas.physics.arrays import GIB

ATLAS, FIT = catalogue(), calibration()


def asked(model: str = "Qwen/Qwen3-4B", accelerator: str = "L4 24GB", **knobs: float | str | None) -> LabAsked:
    return LabAsked(ATLAS.models[model], accelerator, ATLAS.accelerators[accelerator])._replace(**knobs)  # type: ignore[arg-type]


def figures(model: str = "Qwen/Qwen3-4B", accelerator: str = "L4 24GB", **knobs: float | str | None) -> LabFigures:
    return lab(asked(model, accelerator, **knobs), FIT)


def test_it_says_of_each_load_what_the_grid_says_of_it() -> None:
    wanted = asked("meta-llama/Llama-3.1-70B-Instruct", "H100 SXM 80GB", cards=4, quantisation="fp8")
    found = lab(wanted, FIT)
    assert found.standing == "measured_setting"
    for at, load in enumerate(LOADS):
        alone = grid([wanted.model], {wanted.accelerator: wanted.card}, ["fp8"], [load], wanted.served, FIT)
        assert found.loads.held[at] == alone.held.item()
        for name in ("tpot", "ttft", "throughput"):
            there = [part.item() if alone.held.item() else np.nan for part in getattr(alone, name)]
            assert [part[at] for part in getattr(found.loads, name)] == pytest.approx(there, nan_ok=True)


def test_the_parts_of_the_memory_come_to_the_whole_with_their_intervals() -> None:
    memory = figures(concurrency=16).memory
    assert memory.needed is not None
    parts = [part for part in memory.parts.values() if part is not None]
    assert len(parts) == 3
    for edge in range(3):
        assert sum(part[edge] or 0 for part in parts) == pytest.approx(memory.needed[edge])
    assert memory.usable is not None
    assert memory.whole is not None
    assert memory.usable == pytest.approx(0.9 * memory.whole)


def test_what_fits_at_more_requests_fits_at_fewer_and_a_larger_share_of_the_memory_holds_more() -> None:
    found = figures()
    assert sorted(found.loads.held, reverse=True) == list(found.loads.held)
    assert (found.loads.held >= found.loads.fits).all()
    sequences = [figures(utilisation=share).memory.sequences or 0 for share in (0.5, 0.7, 0.9)]
    assert sequences == sorted(sequences)
    assert (figures(cache_bits=8).memory.sequences or 0) > sequences[-1]


@given(st.floats(20, 300), st.floats(100, 5000))
def test_a_limit_on_latency_is_met_by_as_many_requests_as_it_says_and_by_no_more(tpot_ms: float, ttft_ms: float) -> None:
    wanted = asked(tpot_ms=tpot_ms, ttft_ms=ttft_ms)
    reached = lab(wanted, FIT).reached
    assert 0 <= reached.surely <= reached.value <= MOST
    found = grid([wanted.model], {wanted.accelerator: wanted.card}, ["bf16"], [max(reached.value, 1), reached.value + 1], wanted.served, FIT)
    met = (found.held & (found.tpot.value * 1e3 <= tpot_ms) & (found.ttft.value * 1e3 <= ttft_ms)).reshape(-1)
    assert met.tolist() == [reached.value > 0, False]


def test_without_limits_as_many_requests_are_reached_as_memory_holds() -> None:
    found = figures()
    assert found.reached.value == found.memory.sequences


def test_a_month_costs_machines_by_the_rate_and_no_money_is_spoken_of_without_a_price() -> None:
    found, free = figures(usd_per_hour=0.8), figures()
    assert found.usd_per_request is not None
    last = found.months[-1]
    assert last.usd_per_request is not None
    assert last.usd_per_request.value == pytest.approx(found.usd_per_request.value, rel=0.05), "many machines are as busy as one can be"
    for month in found.months:
        assert month.usd is not None
        assert (month.machines.low or 0) <= month.machines.value <= (month.machines.high or 0)
        assert month.usd.value == pytest.approx(month.machines.value * 0.8 * 730)
    assert [month.machines for month in free.months] == [month.machines for month in found.months]
    assert free.usd_per_request is free.months[0].usd is free.training["lora"].usd is None
    assert figures(peak=3).months[-1].machines.value == pytest.approx(3 * last.machines.value, rel=0.05)


def test_training_has_an_interval_where_there_are_logs_and_says_where_there_are_none() -> None:
    found = figures("meta-llama/Llama-3.1-8B-Instruct", "A100 SXM 80GB", usd_per_hour=2.0)
    peaks = {method: each.peak for method, each in found.training.items()}
    assert peaks["qlora"] is not None
    assert peaks["lora"] is not None
    assert peaks["full"] is not None
    assert peaks["qlora"].value < peaks["lora"].value < 40 * GIB < 100 * GIB < peaks["full"].value
    assert all((peaks[method] or Figure(0)).low is not None for method in ("lora", "qlora"))
    for method in ("full", "grpo_lora", "grpo_full"):
        assert (peaks[method] or Figure(0, 0)).low is None
    assert [each.fits for each in found.training.values()] == [True, True, False, True, False]
    assert {each.seconds.low for each in found.training.values() if each.seconds} == {None}
    words = " ".join(found.assumptions)
    assert "no log of a time was found" in words
    assert "no log of those recipes was found" in words
    longer = figures("meta-llama/Llama-3.1-8B-Instruct", "A100 SXM 80GB", training_tokens=20e6).training["lora"].seconds
    once = found.training["lora"].seconds
    assert longer is not None
    assert once is not None
    assert longer.value == pytest.approx(2 * once.value)


def test_grpo_takes_longer_than_training_on_as_many_tokens_because_it_samples_them() -> None:
    found = figures(usd_per_hour=1.0).training
    for method, like in (("grpo_lora", "lora"), ("grpo_full", "full")):
        grpo, plain = found[method], found[like]  # type: ignore[index]
        assert grpo.seconds.value > plain.seconds.value
        assert grpo.peak.value > plain.peak.value
        assert grpo.usd.value == pytest.approx(grpo.seconds.value / 3600)
    near = figures(reference=True).training
    assert near["grpo_full"].peak.value > found["grpo_full"].peak.value  # type: ignore[union-attr]
    assert near["grpo_lora"].peak == found["grpo_lora"].peak, "an adapter that is switched off is the reference"
    assert near["grpo_lora"].seconds.value > found["grpo_lora"].seconds.value  # type: ignore[union-attr]


def test_guessing_ahead_and_a_cached_prefix_make_answers_faster_and_guesses_are_less_sure() -> None:
    plain, guessed, cached = figures(), figures(drafted=3), figures(hit_share=0.8)
    held = plain.loads.held
    assert (guessed.loads.tpot.value[held] < plain.loads.tpot.value[held]).all()
    assert (cached.loads.ttft.value[held] < plain.loads.ttft.value[held]).all()
    assert (cached.loads.throughput.value[held] > plain.loads.throughput.value[held]).all()
    measured = ("meta-llama/Llama-3.1-70B-Instruct", "H100 SXM 80GB")
    assert figures(*measured, cards=4, quantisation="fp8").standing == "measured_setting"
    assert figures(*measured, cards=4, quantisation="fp8", drafted=3).standing == "new_accelerator"


def test_stages_and_experts_apart_take_more_accelerators_and_are_less_sure() -> None:
    large = ("deepseek-ai/DeepSeek-V3", "H200 SXM 141GB")
    alone, staged, apart = (
        figures(*large, cards=8, quantisation="fp8", usd_per_hour=3.0, **more) for more in ({}, {"pipeline": 2}, {"experts_over": 16})
    )
    assert [each.accelerators for each in (alone, staged, apart)] == [8, 16, 16]
    assert (staged.memory.sequences or 0) > 2 * (alone.memory.sequences or 0)
    assert (apart.memory.sequences or 0) > 2 * (alone.memory.sequences or 0)
    assert {each.standing for each in (staged, apart)} == {"new_accelerator"}
    for each in (staged, apart):
        assert any(words.startswith("Stages, and experts on accelerators of their own") for words in each.assumptions)
    for each in (alone, staged):
        assert each.usd_per_request is not None
    rates = [each.loads.throughput.value[LOADS.index(8)] for each in (alone, staged)]
    assert staged.usd_per_request.value / alone.usd_per_request.value == pytest.approx(2 * rates[0] / rates[1])  # type: ignore[union-attr]


def test_what_no_source_says_is_absent_and_what_does_not_fit_has_no_speed() -> None:
    unknown = figures("CohereLabs/c4ai-command-r7b-12-2024")
    assert unknown.memory.parts["caches"] is unknown.memory.needed is unknown.memory.sequences is None
    too_large = figures("meta-llama/Llama-3.1-70B-Instruct")
    assert too_large.memory.sequences == too_large.reached.value == 0
    assert np.isnan(too_large.loads.tpot.value).all()
    assert too_large.months == ()
    assert too_large.usd_per_million_tokens is None
    hybrid = figures("Qwen/Qwen3.5-27B", "H100 SXM 80GB")
    caches = hybrid.memory.parts["caches"]
    assert caches is not None
    assert caches.low is None
    assert any(words.startswith("Caches have no interval") for words in hybrid.assumptions)


def test_the_textbook_stands_beside() -> None:
    assert figures("meta-llama/Llama-3.1-8B-Instruct").textbook == pytest.approx(
        {"weights_gib": 17.95, "cache_gib": 0.15625, "tpot_ms": 53.53, "ttft_ms": 135.9}, rel=0.01
    )


def test_a_turn_of_a_knob_is_answered_at_once() -> None:
    wanted = asked()
    lab(wanted, FIT)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        lab(wanted, FIT)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1, "a page redraws under 100 ms"


def test_every_model_on_every_accelerator_comes_out_and_what_is_not_held_has_no_times() -> None:
    everything = [figures(name, "H100 SXM 80GB", quantisation="fp8", usd_per_hour=2.0) for name in ATLAS.models]
    everything += [figures("openai/gpt-oss-20b", card, quantisation="mxfp4") for card in ATLAS.accelerators]
    for found in everything:
        known = [part for part in (*found.memory.parts.values(), found.memory.needed) if part is not None]
        assert all(part.value >= 0 and (part.low is None or part.low <= part.value <= part.high) for part in known)
        for times in (found.loads.tpot, found.loads.ttft, found.loads.throughput):
            assert np.isnan(times.value[~found.loads.held]).all()
            assert (np.isnan(times.value) | (times.value > 0)).all()
    assert sum(bool(found.loads.held.any()) for found in everything) > len(everything) / 2
