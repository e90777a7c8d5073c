"""Whole grids, their intervals, and the corrections of what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import catalogue
from engine.atlas.corrections import EDGES, ENGINE_SPREAD, Load, basis, factor, fitted
from engine.atlas.grid import STANDINGS, Asked, Grid, grid
from engine.atlas.shapes import shape_of

ATLAS, FIT = catalogue(), calibration()
MEASURED = ("meta-llama/Llama-3.1-70B-Instruct", "H100 SXM 80GB", "fp8")
LOADS = (1, 8, 64)


def over(models: list[str], cards: list[str], quantisations: list[str], asked: Asked = Asked(), loads: tuple[int, ...] = LOADS) -> Grid:  # noqa: B008
    return grid([ATLAS.models[name] for name in models], {name: ATLAS.accelerators[name] for name in cards}, quantisations, loads, asked, FIT)


def test_a_grid_says_of_each_combination_what_it_says_of_it_alone() -> None:
    models, cards, quantisations = ["Qwen/Qwen3-4B", MEASURED[0]], ["L4 24GB", MEASURED[1]], ["bf16", "fp8"]
    asked = Asked(tensor=4)
    whole = over(models, cards, quantisations, asked)
    for place in np.ndindex(2, 2, 2, 3):
        m, c, q, b = place
        alone = over([models[m]], [cards[c]], [quantisations[q]], asked, (LOADS[b],))
        for name in ("tpot", "ttft", "throughput"):
            assert np.allclose([getattr(whole, name)[edge][place] for edge in range(3)], [getattr(alone, name)[edge].item() for edge in range(3)])


def test_every_interval_holds_its_value_and_is_narrower_where_somebody_measured() -> None:
    found = over([MEASURED[0], "Qwen/Qwen3-4B"], [MEASURED[1], "L4 24GB"], ["fp8"], Asked(tensor=4))
    for each in (found.weights, found.needed, found.tpot, found.ttft, found.throughput):
        assert ((each.low <= each.value) & (each.value <= each.high)).all()
    width = (found.tpot.high / found.tpot.low)[..., 0]
    names = [[STANDINGS[found.standing[m, c, 0, 0]] for c in (0, 1)] for m in (0, 1)]
    assert names == [["measured_setting", "new_accelerator"], ["new_model", "new_accelerator"]]
    assert width[0, 0, 0] < width[1, 0, 0]


def test_the_wait_for_a_first_token_differs_by_engine_also_where_nobody_measured_and_an_unknown_engine_is_not_corrected() -> None:
    found = {engine: over(["Qwen/Qwen3-4B"], ["L4 24GB"], ["bf16"], Asked(engine=engine)) for engine in ("vllm", "sglang", "trtllm", "another")}
    first = {engine: each.ttft.value.reshape(-1) for engine, each in found.items()}
    load = Load(np.array(LOADS, dtype=float), np.array([1.0]), np.array([1024.0]), np.array([256.0]))
    for engine, coefficients in FIT.quantities["ttft"].engines.items():
        assert np.allclose(first[engine], first["another"] * factor(load, np.array(coefficients)))
    assert FIT.quantities["ttft"].engines.keys() == found.keys() - {"another"}
    assert all(np.array_equal(each.tpot.value, found["vllm"].tpot.value) for each in found.values())


def test_what_may_not_vary_has_no_coefficient() -> None:
    load = Load(np.array([1.0, 8.0, 64.0, 256.0]), np.array([1.0, 2.0, 4.0, 8.0]), np.array([128.0, 512.0, 2048.0, 8192.0]), np.full(4, 256.0))
    assert fitted(load, np.array([0.1, 0.2, 0.3, 0.5]), ENGINE_SPREAD)[ENGINE_SPREAD == 0].tolist() == [0.0] * 6


def test_a_fine_tune_has_the_shape_of_its_base_and_is_as_well_known() -> None:
    shapes = {shape_of(ATLAS.models[name]) for name in (MEASURED[0], "meta-llama/Llama-3.3-70B-Instruct")}
    assert len(shapes) == 1


def test_a_model_fits_only_where_it_fits_even_if_it_takes_as_much_as_the_interval_allows() -> None:
    found = over([MEASURED[0]], ["H100 SXM 80GB", "L4 24GB"], ["bf16", "fp8", "int4"], Asked(prompt=2048), loads=(1,))
    assert found.fits[0, :, :, 0].tolist() == [[False, False, True], [False, False, False]]
    assert (found.sequences[0, 1] == 0).all()


def test_a_machine_whose_memory_is_the_host_s_too_keeps_some_for_it() -> None:
    alone, shared = over(["Qwen/Qwen3-4B"], ["A100 SXM 80GB"], ["bf16"]), over(["Qwen/Qwen3-4B"], ["Apple M1 Max"], ["bf16"])
    assert alone.sequences[0, 0, 0, 0] > shared.sequences[0, 0, 0, 0] > 0
    assert np.isnan(shared.tpot.value).all(), "no source says what its arithmetic does"


def test_every_entry_of_the_atlas_comes_out_and_what_is_unknown_is_nan() -> None:
    found = grid(list(ATLAS.models.values()), ATLAS.accelerators, ["bf16", "int4"], LOADS, Asked(), FIT)
    assert found.tpot.value.shape == (len(ATLAS.models), len(ATLAS.accelerators), 2, 3)
    known = ~np.isnan(found.tpot.value)
    assert known.mean() > 0.5
    assert (found.tpot.value[known] > 0).all()
    assert not found.fits[np.isnan(np.broadcast_to(found.needed.high, found.fits.shape))].any()


def test_more_cards_answer_faster_and_hold_more() -> None:
    one, four = (over([MEASURED[0]], [MEASURED[1]], ["int4"], Asked(tensor=tensor)) for tensor in (1, 4))
    assert (four.tpot.value < one.tpot.value).all()
    assert (four.sequences > one.sequences).all()


# ---- corrections ---------------------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)


def loads(count: int) -> Load:
    return Load(*(np.exp(RNG.uniform(*np.log(edges), count)) for edges in EDGES))


def test_what_a_setting_does_otherwise_than_the_physics_is_learnt() -> None:
    seen, unseen = loads(200), loads(50)
    truth = np.array([0.2, 0.05, -0.03, 0.0, 0.02, 0.0, 0.0, 0.0, 0.0])
    measured = basis(seen) @ truth + RNG.normal(0, 0.03, 200)
    measured[:10] += 2.0
    found = fitted(seen, measured)
    assert np.abs(np.log(factor(unseen, found)) - basis(unseen) @ truth).max() < 0.08


def test_few_measurements_correct_little() -> None:
    one, many = loads(1), loads(100)
    assert abs(fitted(one, np.array([0.3]))[0]) < abs(fitted(many, np.full(100, 0.3))[0]) < 0.31


@given(st.floats(1, 1e5), st.sampled_from(range(4)))
def test_beyond_what_was_measured_a_correction_stays_as_at_the_edge(value: float, which: int) -> None:
    coefficients = np.array([0.1, 0.1, -0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    here = [np.array([float(edges[1])]) for edges in EDGES]
    beyond = [*here[:which], here[which] + value, *here[which + 1 :]]
    assert factor(Load(*beyond), coefficients) == pytest.approx(factor(Load(*here), coefficients))


# ---- how wrong it is -----------------------------------------------------------------------------------------------------------------


def test_the_errors_that_ship_were_seen_on_measurements_that_the_fit_had_not() -> None:
    tpot, ttft = FIT.quantities["tpot"].errors, FIT.quantities["ttft"].errors
    assert tpot["measured_setting"].median < 0.10
    assert tpot["measured_setting"].median < tpot["new_model"].median
    for errors in (tpot, ttft):
        for name in STANDINGS:
            assert errors[name].groups >= 5
            assert errors[name].covered >= 0.85, "an interval for nine of ten holds nearly that many of what it has not seen"
            assert errors[name].low < 1 < errors[name].high
