"""The formulas: known values where a source gives them, and what must hold whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.atlas.catalogue import catalogue
from engine.atlas.physics import textbook
from engine.atlas.physics.arrays import GIB, Cards, Floats, Layout, Models, Weights, Workload
from engine.atlas.physics.cost import HOURS_OF_A_MONTH, machines_needed, usd_per_million_tokens, usd_per_month, usd_per_request
from engine.atlas.physics.memory import cache_bytes, cache_share, pool_bytes, sequences_that_fit, weights_bytes, weights_over
from engine.atlas.physics.quantisations import QUANTISATIONS
from engine.atlas.physics.speed import (
    Constants,
    Speculation,
    experts_read,
    first_token_seconds,
    prefill_seconds,
    read_bytes,
    seconds_per_token,
    speculated_speedup,
    step_seconds,
    tokens_per_second,
)
from engine.atlas.physics.training import (
    Group,
    Tuning,
    activation_bytes,
    adapter_parameters,
    grpo_bytes,
    grpo_seconds,
    training_bytes,
    training_seconds,
)

ATLAS = catalogue()
CONSTANTS = Constants(0.7, 0.4, 0.6, 0.6, 20.0, 15.0, 30.0, 0.2, 80.0, 0.2)
LLAMA, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
KNOWN = sorted(name for name, model in ATLAS.models.items() if not np.isnan(sum(column[0] for column in Models.of([model]))))
H100 = Cards.of([ATLAS.accelerators["H100 SXM 80GB"]], [QUANTISATIONS["bf16"]])
H100 = H100._replace(operations=H100.operations[:, 0])


def models(*names: str) -> Models:
    return Models.of([ATLAS.models[name] for name in names])


def held(name: str) -> Weights:
    return Weights.of([QUANTISATIONS[name]])


def column(*values: float) -> Floats:
    return np.array(values, dtype=float)


BITS, ONE = column(16), column(1)
ALONE = Layout(ONE)


# ---- memory --------------------------------------------------------------------------------------------------------------------------


def test_the_weights_of_a_model_come_to_what_its_server_logs() -> None:
    """vLLM logs 14.99 GiB for Llama 3.1 8B in bf16 (`bench/measured.json`, vllm_memory-004)."""
    assert weights_bytes(models(LLAMA), held("bf16"))[0] / GIB == pytest.approx(14.99, rel=0.005)


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        (LLAMA, 2 * 32 * 8 * 128 * 2),  # grouped heads
        ("deepseek-ai/DeepSeek-V3", 61 * (512 + 64) * 2),  # a latent, kept once
        ("Qwen/Qwen3.5-27B", 2 * 16 * 4 * 256 * 2),  # one layer in four attends
    ],
)
def test_a_token_keeps_what_the_layers_that_attend_keep(name: str, per_token: int) -> None:
    kept = cache_bytes(models(name), column(2000), BITS) - cache_bytes(models(name), column(1000), BITS)
    assert kept[0] == per_token * 1000


def test_a_window_forgets_and_a_state_does_not_grow() -> None:
    windowed = models("openai/gpt-oss-20b")
    grown = [cache_bytes(windowed, column(tokens), BITS)[0] for tokens in (64, 128, 1128)]
    assert grown[1] == 2 * grown[0]
    assert grown[2] - grown[1] == 1000 * windowed.kv_elements[0] * 2, "beyond 128 tokens half of the layers keep no more"
    hybrid = models("Qwen/Qwen3.5-27B")
    assert cache_bytes(hybrid, column(0), BITS)[0] == hybrid.state_elements[0] * 2


def test_heads_are_split_over_cards_as_far_as_there_are_any_and_a_latent_is_not() -> None:
    shares = cache_share(models(LLAMA, "deepseek-ai/DeepSeek-V3"), Layout(column(16, 16)))
    assert shares.tolist() == [1 / 8, 1]


@given(st.sampled_from(KNOWN), st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_tokens_never_take_less(name: str, tokens: float, more: float) -> None:
    one = models(name)
    assert cache_bytes(one, column(tokens + more), BITS) >= cache_bytes(one, column(tokens), BITS)


@given(st.sampled_from(KNOWN))
def test_fewer_bits_never_weigh_more(name: str) -> None:
    one = models(name)
    by_bits = sorted(QUANTISATIONS.values(), key=lambda each: each.bits)
    weighed = [weights_bytes(one, held(each.name))[0] for each in by_bits]
    assert weighed == sorted(weighed)


def test_a_model_that_does_not_fit_holds_no_sequence() -> None:
    pool = pool_bytes(weights_bytes(models(LLAMA_70B), held("bf16")), H100, column(0.9), ONE, column(1.5 * GIB))
    assert pool[0] < 0
    assert sequences_that_fit(pool, models(LLAMA_70B), column(2048), BITS, ALONE)[0] == 0


def test_what_no_source_says_stays_unknown() -> None:
    unknown = models("CohereLabs/c4ai-command-r7b-12-2024")
    work = Workload(column(1024), column(256), column(8))
    assert np.isnan(cache_bytes(unknown, column(100), BITS))[0]
    assert np.isnan(seconds_per_token(unknown, held("bf16"), H100, work, CONSTANTS, BITS, ALONE))[0]
    assert np.isnan(sequences_that_fit(column(1e9), unknown, column(100), BITS, ALONE))[0]


# ---- speed ---------------------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(KNOWN), st.floats(1, 512), st.floats(1.1, 4))
def test_more_requests_never_make_a_step_faster_and_never_the_whole_slower(name: str, concurrency: float, more: float) -> None:
    one = models(name)
    few, many = (Workload(column(1024), column(256), column(each)) for each in (concurrency, concurrency * more))
    steps = [step_seconds(one, held("fp8"), H100, work, CONSTANTS, BITS, ALONE)[0] for work in (few, many)]
    assert steps[1] >= steps[0] > 0
    assert many.concurrency[0] / steps[1] >= few.concurrency[0] / steps[0] * (1 - 1e-9)


def test_a_step_is_never_faster_than_its_weights_can_be_read() -> None:
    work = Workload(column(1024), column(256), ONE)
    step = step_seconds(models(LLAMA), held("bf16"), H100, work, CONSTANTS, BITS, ALONE)
    assert step[0] > 15e9 / 3350e9


def test_a_step_reads_the_output_layer_once_in_16_bits_and_the_rest_quantised() -> None:
    """Llama 3.1 8B: 8.03 billion parameters, of which an input embedding of 0.525 is not read and an output layer of as many is."""
    assert read_bytes(models(LLAMA), held("fp8"), ONE)[0] == pytest.approx((8.03e9 - 2 * 0.5253e9) + 2 * 0.5253e9, rel=0.001)
    assert read_bytes(models(LLAMA), held("bf16"), ONE)[0] == pytest.approx(2 * (8.03e9 - 0.5253e9), rel=0.001)


def test_what_a_checkpoint_holds_beyond_what_is_active_is_not_read() -> None:
    assert models("moonshotai/Kimi-K2.5").active[0] == pytest.approx(32e9)
    assert models("deepseek-ai/DeepSeek-V3").active[0] == pytest.approx(37e9)


def test_one_request_reads_as_many_experts_as_a_token_chooses_and_many_read_nearly_all() -> None:
    one = models("openai/gpt-oss-20b")
    assert experts_read(one, ONE)[0] == pytest.approx(4)
    assert experts_read(one, column(64))[0] == pytest.approx(32, rel=0.01)


def test_the_time_to_the_first_token_grows_with_the_prompt_and_with_the_queue() -> None:
    def first(prompt: float, concurrency: float) -> float:
        return float(first_token_seconds(models(LLAMA), H100, Workload(column(prompt), column(1), column(concurrency)), CONSTANTS, ALONE)[0])

    assert 0.08 < first(128, 1) < first(1024, 1) < first(1024, 16)


def test_throughput_is_requests_times_answers_over_the_time_of_one() -> None:
    work = Workload(column(100), column(11), column(4))
    assert tokens_per_second(column(1.0), column(0.1), work)[0] == pytest.approx(4 * 11 / 2.0)


def test_a_cached_prefix_is_not_read_again_but_the_last_token_is() -> None:
    cached = Workload(column(1000, 1000, 0.5), ONE, ONE, column(0.75, 1.0, 1.0))
    assert cached.read.tolist() == [250, 1, 0.5]
    plain = cached._replace(hit_share=column(0.0))
    for work in (cached, plain):
        assert first_token_seconds(models(LLAMA), H100, work, CONSTANTS, ALONE)[0] > 0.08
    faster, slower = (seconds_per_token(models(LLAMA), held("bf16"), H100, work, CONSTANTS, BITS, ALONE)[0] for work in (cached, plain))
    assert faster < slower, "other requests' prompts take less of the time between two tokens"


def test_guessing_ahead_helps_by_as_much_as_is_known_of_it() -> None:
    """Leviathan et al. give 2.44 tokens a step for three guesses of which 0.7 each are right, before their cost."""
    assert speculated_speedup(Speculation(column(3), column(0.7), column(0.0)))[0] == pytest.approx((1 - 0.7**4) / 0.3)
    assert speculated_speedup(Speculation(column(5), column(0.1), column(0.3)))[0] < 1
    assert speculated_speedup(Speculation(column(3), column(1.0), column(0.0)))[0] == pytest.approx(4, rel=1e-6)


@given(st.sampled_from(KNOWN), st.floats(0, 1), st.integers(1, 8), st.floats(0, 0.5))
def test_guessing_ahead_helps_many_requests_less_than_one(name: str, accepted: float, drafted: int, cost: float) -> None:
    """A step of many computes already, and verifying adds to that. Nothing beats the theorem, in which verifying costs nothing."""
    guessing = Speculation(column(drafted), column(accepted), column(cost))
    sped = []
    for concurrency in (1.0, 4096.0):
        work = Workload(column(0), column(256), column(concurrency))
        plain, guessed = (
            seconds_per_token(models(name), held("bf16"), H100, work, CONSTANTS, BITS, ALONE, each)[0] for each in (None, guessing)
        )
        sped.append(plain / guessed)
    assert sped[0] <= speculated_speedup(guessing)[0] * (1 + 1e-9)
    if models(name).experts[0] == 1:
        assert sped[1] <= sped[0] * (1 + 1e-9)


# ---- layers and experts on cards of their own ----------------------------------------------------------------------------------------

MIXTURES = [name for name in KNOWN if ATLAS.models[name].experts]


def laid(tensor: float = 1, pipeline: float = 1, experts_over: float = 1) -> Layout:
    return Layout(column(tensor), column(pipeline), column(experts_over))


def timed(name: str, layout: Layout, concurrency: float) -> float:
    work = Workload(column(1024), column(256), column(concurrency))
    return float(seconds_per_token(models(name), held("fp8"), H100, work, CONSTANTS, BITS, layout)[0])


@given(st.sampled_from(KNOWN), st.sampled_from([1, 2, 4, 8]), st.integers(1, 16))
def test_stages_share_the_weights_and_the_caches_evenly(name: str, tensor: int, stages: int) -> None:
    one, many = laid(tensor), laid(tensor, stages)
    assert weights_over(models(name), held("fp8"), many) == pytest.approx(stages * weights_over(models(name), held("fp8"), one))
    assert cache_share(models(name), many) * stages == pytest.approx(cache_share(models(name), one))


@given(st.sampled_from(MIXTURES), st.sampled_from([1, 2, 4]), st.sampled_from([8, 16, 64]))
def test_on_all_cards_together_lie_the_experts_once_and_a_copy_of_all_else_for_each_group(name: str, tensor: int, over: int) -> None:
    one, weights, layout = models(name), held("fp8"), laid(tensor, 1, over)
    experts = one.moe_layers * one.experts * one.expert
    together = weights_bytes(one, weights) / weights_over(one, weights, layout) * over
    assert together[0] == pytest.approx((experts + (weights_bytes(one, weights) - experts) * over / tensor)[0])


@given(st.sampled_from(KNOWN), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
def test_experts_within_the_cards_of_a_layer_take_no_other_memory_and_some_time_to_reach(name: str, tensor: int, over: int) -> None:
    apart, split = laid(tensor, 1, min(over, tensor)), laid(tensor)
    assert weights_over(models(name), held("fp8"), apart) == weights_over(models(name), held("fp8"), split)
    assert cache_share(models(name), apart) == cache_share(models(name), split)
    slower = timed(name, apart, 16) - timed(name, split, 16)
    assert slower > 0 if over > 1 and name in MIXTURES else slower == 0


@given(st.sampled_from(KNOWN), st.sampled_from([2, 4, 8]))
def test_a_pipeline_makes_one_request_no_faster_and_many_in_all(name: str, stages: int) -> None:
    alone, staged = laid(), laid(1, stages)
    assert timed(name, staged, 1) >= timed(name, alone, 1) * (1 - 1e-9) - 1e-9 - _prompt_share(name)
    assert timed(name, staged, 512) < timed(name, alone, 512)
    assert timed(name, staged, 512) > timed(name, alone, 512) / stages * (1 - 1e-9), "no more is gained than there are stages"
    prompts = [first_token_seconds(models(name), H100, Workload(column(1024), ONE, ONE), CONSTANTS, each)[0] for each in (alone, staged)]
    assert prompts[1] > prompts[0], "a prompt passes one stage after another"


def _prompt_share(name: str) -> float:
    """Seconds of a token's time that reading prompts takes with one request in flight: of those, stages read some side by side."""
    return float(prefill_seconds(models(name), H100, column(1024), CONSTANTS, ALONE)[0]) / 256


@given(st.sampled_from(KNOWN), st.sampled_from([1, 2, 4, 8]), st.floats(1, 512))
def test_one_stage_and_no_experts_apart_is_tensor_parallelism_to_the_bit(name: str, tensor: int, concurrency: float) -> None:
    """What `Layout` adds leaves no trace at its defaults: the formula without it, written out, gives the same number."""
    one, weights, count = models(name), held("fp8"), column(tensor)
    kept = cache_bytes(one, column(1152), BITS) * (1 / np.minimum(count, one.kv_heads)) * column(concurrency)
    reading = read_bytes(one, weights, column(concurrency)) / count / (H100.bandwidth * 0.7) + kept / (H100.bandwidth * 0.4)
    computing = 2 * one.active * column(concurrency) / (H100.operations * count * 0.6)
    beside = one.layers * (20.0 + 15.0 * np.log2(count)) + one.moe_layers * 30.0 + 0.2 * column(concurrency)
    exchanged = 2 * one.layers * column(concurrency) * one.hidden * 2.0 * 2 * (count - 1) / count / (0.6 * H100.link)
    step = (reading**4.0 + computing**4.0) ** (1 / 4.0) + beside * 1e-6 + np.where(count > 1, exchanged, 0.0)
    assert weights_over(one, weights, laid(tensor))[0] == tensor
    assert timed(name, laid(tensor), concurrency) == (step + column(concurrency) * (2 * one.active * 1024 / (H100.operations * count * 0.6)) / 256)[0]


def test_cards_that_cannot_be_joined_have_no_time() -> None:
    lonely = H100._replace(link=column(np.nan))
    work = Workload(column(1024), column(256), column(8))
    for layout in (laid(2), laid(1, 2), laid(1, 1, 2)):
        assert np.isnan(seconds_per_token(models("openai/gpt-oss-20b"), held("fp8"), lonely, work, CONSTANTS, BITS, layout)[0])


# ---- training ------------------------------------------------------------------------------------------------------------------------


def tuning(trainable: float, *, checkpointing: bool = True) -> Tuning:
    return Tuning(column(trainable), column(2048), column(float(checkpointing)), ONE)


def test_an_adapter_takes_less_than_all_and_kept_activations_more() -> None:
    one, vocabulary = models(LLAMA), column(128256)
    adapter = tuning(adapter_parameters(one, column(16))[0])
    whole = tuning(one.parameters[0])
    peak = {name: training_bytes(one, held("bf16"), each, vocabulary)[0] / GIB for name, each in (("adapter", adapter), ("whole", whole))}
    assert 16 < peak["adapter"] < 25
    assert peak["whole"] > 8 * 16e9 / GIB * 0.9
    assert activation_bytes(one, tuning(1, checkpointing=False)) > 5 * activation_bytes(one, tuning(1))


def test_the_adapter_of_a_known_model_has_about_as_many_parameters_as_it_has() -> None:
    """Rank 16 on all linear layers of Llama 3.1 8B: 41,943,040 (sum of rank x (in + out) over its seven matrices)."""
    assert adapter_parameters(models(LLAMA), column(16))[0] == pytest.approx(41_943_040, rel=1 / 3)


def test_training_takes_longer_where_more_learns_and_where_activations_are_computed_anew() -> None:
    one, tokens, efficiency = models(LLAMA), column(1e6), column(0.4)
    seconds = [
        training_seconds(one, H100, tokens, each, efficiency)[0]
        for each in (tuning(1e7, checkpointing=False), tuning(1e7), tuning(one.parameters[0]))
    ]
    assert seconds == sorted(seconds)
    assert seconds[2] == pytest.approx(8 * one.active[0] * 1e6 / (989e12 * 0.4), rel=1e-6)


def group(prompts: float = 4, answers: float = 8, answer: float = 256, reference: float = 0) -> Group:
    return Group(*(column(each) for each in (prompts, answers, 512, answer, reference)))


def test_grpo_takes_what_training_takes_and_a_server_beside_it() -> None:
    """Llama 3.1 8B: a copy of 16.06 GB, and 32 sequences of 768 tokens of 131,072 bytes each; a reference of its own only where all of it learns."""
    one, vocabulary = models(LLAMA), column(128256)
    for how, reference in ((tuning(1e7), 0.0), (tuning(one.parameters[0]), 16.06e9)):
        trained = training_bytes(one, held("bf16"), how, vocabulary)[0]
        alone, held_near = (grpo_bytes(one, held("bf16"), how, vocabulary, group(reference=each), BITS)[0] for each in (0, 1))
        assert alone - trained == pytest.approx(16.06e9 + 32 * 768 * 131_072, rel=0.001)
        assert held_near - alone == pytest.approx(reference, abs=1e8)


@given(st.sampled_from(KNOWN), st.floats(1, 64), st.floats(1, 64), st.floats(1, 4096))
def test_more_answers_never_take_less_memory_or_time(name: str, prompts: float, answers: float, answer: float) -> None:
    one, how, vocabulary = models(name), tuning(1e6), column(128256)
    fewer = group(prompts, answers, answer)
    for more in (group(prompts + 1, answers, answer), group(prompts, answers + 1, answer), group(prompts, answers, answer + 1)):
        peaks = [grpo_bytes(one, held("bf16"), how, vocabulary, each, BITS)[0] for each in (fewer, more)]
        seconds = [grpo_seconds(one, H100, how, each, column(10), column(0.4))[0] for each in (fewer, more)]
        assert peaks[0] <= peaks[1]
        assert 10 < seconds[0] <= seconds[1]


def test_a_step_of_grpo_samples_looks_back_and_learns() -> None:
    """Two operations a parameter and token for each look back, beside the sampling and the training."""
    one, how, efficiency = models(LLAMA), tuning(1e7), column(0.5)
    learning = training_seconds(one, H100, group().tokens, how, efficiency)[0]
    look = 2 * one.active[0] * 4 * 8 * 768 / (989e12 * 0.5)
    for reference in (0, 1):
        step = grpo_seconds(one, H100, how, group(reference=reference), column(7), efficiency)[0]
        assert step == pytest.approx(7 + learning + (1 + reference) * look)


# ---- money and textbooks -------------------------------------------------------------------------------------------------------------


def test_a_request_costs_its_share_of_the_hour() -> None:
    rate = column(1000)
    assert usd_per_million_tokens(column(3.6), column(2), rate)[0] == pytest.approx(2.0)
    assert usd_per_request(column(3.6), column(2), rate, column(500))[0] == pytest.approx(0.001)


def test_a_month_takes_whole_machines_and_costs_them_busy_or_not() -> None:
    requests = column(1, HOURS_OF_A_MONTH * 3600 * 2, HOURS_OF_A_MONTH * 3600 * 2.1)
    machines = machines_needed(requests, column(500), column(1000), ONE)
    assert machines.tolist() == [1, 1, 2]
    assert machines_needed(requests, column(500), column(1000), column(3)).tolist() == [1, 3, 4]
    assert usd_per_month(column(2), column(4), machines).tolist() == [5840, 5840, 11680]


def test_the_textbook_says_what_it_says_everywhere() -> None:
    one, work = models(LLAMA), Workload(column(1024), column(256), column(64))
    assert textbook.weights_bytes(one, held("bf16"))[0] == pytest.approx(8.03e9 * 2 * 1.2, rel=0.001)
    assert textbook.seconds_per_token(one, held("bf16"), H100, ONE)[0] == pytest.approx(8.03e9 * 2 / 3350e9, rel=0.001)
    assert textbook.first_token_seconds(one, H100, work, ONE)[0] == pytest.approx(2 * 8.03e9 * 1024 / 989e12, rel=0.001)
    assert textbook.cache_bytes(ONE, column(32), column(4096), column(4), BITS)[0] == 131072


def test_prompts_are_read_no_faster_than_the_arithmetic_allows() -> None:
    assert prefill_seconds(models(LLAMA), H100, column(1024), CONSTANTS, ALONE)[0] > 2 * 7.5e9 * 1024 / 989e12
