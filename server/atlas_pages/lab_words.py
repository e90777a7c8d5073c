"""What the knobs of the laboratory are called, and why each matters: one entry for each argument of `physics_lab`."""

from __future__ import annotations

from server.atlas_pages.words import ANSWER, CONCURRENCY, PROMPT, Group, Words

CACHE_BITS = Words(
    "cache_bits",
    "Bits of a cached element",
    "8 bits keep twice as many sequences in the same memory, and reading them takes half the time. Answers change a little, in long contexts most, "
    "so evaluate with the cache as you will serve it.",
)

KNOBS = (
    Group(
        "What runs where",
        (
            Words(
                "model",
                "Model",
                "Layers, kept heads and active parameters decide memory and speed, and two models of one size can differ by a factor of ten in "
                "their caches. Change only this, and compare.",
            ),
            Words(
                "accelerator",
                "Accelerator",
                "Look first at the memory picture, then at the time between tokens: the first is decided by the size of the memory, the second with "
                "few requests by its bandwidth. A dear card that is full is often cheaper than a cheap one that is not.",
            ),
            Words(
                "cards",
                "Accelerators for each layer",
                "Each card then holds a share of the weights, and reads only that for a token. What they exchange twice a layer comes on top, so "
                "the gain shrinks with each doubling.",
            ),
            Words(
                "pipeline",
                "Stages one after another",
                "A pipeline divides the layers, so each card holds and reads fewer of them and only a little crosses the link. A token still passes "
                "all stages, so it brings room and throughput, and no shorter time between tokens.",
            ),
            Words(
                "experts_over",
                "Cards that experts are divided over",
                "Whole experts lie on cards of their own, while what every token reads is copied. It pays for large mixtures under many requests; "
                "no measurement behind these figures was made so, and their interval is wide.",
            ),
            Words(
                "quantisation",
                "Weights held in",
                "Fewer bits leave more memory to the caches and make a step shorter while it is bound by reading. With many requests in flight "
                "arithmetic binds instead, and 4 bits that are unpacked for it gain little.",
            ),
            CACHE_BITS,
        ),
    ),
    Group(
        "The load",
        (
            PROMPT,
            ANSWER,
            CONCURRENCY,
            Words(
                "hit_share",
                "Share of the prompt found in the cache",
                "A system prompt that all requests share is read once and found again. This shortens the time to the first token nearly in "
                "proportion; the time between tokens gains only what other requests' prompts no longer take.",
            ),
        ),
    ),
    Group(
        "Limits and money",
        (
            Words(
                "tpot_ms",
                "Most milliseconds between tokens",
                "A limit turns the picture into an answer: how many requests a machine may serve at once. By the middle of the interval you are "
                "late about as often as not; by its upper end about once in twenty times.",
            ),
            Words(
                "ttft_ms",
                "Most milliseconds to the first token",
                "Waiting behind other prompts makes this grow with the requests in flight, and it is the estimate that measurements bear out least. "
                "A limit near the value is no limit that you can promise.",
            ),
            Words(
                "usd_per_hour",
                "USD an hour for one accelerator",
                "Empty takes the middle one of the on-demand prices in the atlas. Prices of one card can differ by a factor of three between "
                "providers, more than most tuning brings.",
            ),
            Words(
                "peak",
                "Busiest hour over the mean hour",
                "Machines are paid for the busiest hour and idle in the others. An office's traffic has a peak of three to five; a batch job at "
                "night can have one.",
            ),
        ),
    ),
    Group(
        "Guessing ahead",
        (
            Words(
                "drafted",
                "Tokens guessed ahead of each step",
                "Speculative decoding reads the weights once for several tokens, so it helps while reading binds: with few requests in flight. With "
                "many it wastes arithmetic on wrong guesses and can be slower.",
            ),
            Words(
                "accepted",
                "Chance that a guess is right",
                "It decides all: at 0.9 four guesses give four tokens a step, at 0.5 fewer than two. It depends on your text, so measure it on your "
                "own requests; answers under a schema are easy to guess.",
            ),
        ),
    ),
    Group(
        "Training",
        (
            Words(
                "training_tokens_million",
                "Million tokens trained on",
                "Rows times tokens of a row times passes. 5,000 rows of 500 tokens three times over are 7.5 million: hours on a small card, not "
                "days.",
            ),
            Words(
                "group_prompts",
                "GRPO: prompts of a step",
                "More prompts make the gradient of a step steadier and the step longer. With too few, a step follows the luck of its samples.",
            ),
            Words(
                "group_answers",
                "GRPO: answers to each prompt",
                "GRPO compares answers to the same prompt, so a prompt that all of them get right or wrong teaches nothing. Sampling them is "
                "generation, often most of a step's time.",
            ),
            Words(
                "reference",
                "GRPO holds on to the model it started from",
                "A penalty for moving away keeps what the model could do before. It needs the first model's answers too: another copy of the "
                "weights, unless an adapter can be switched off.",
            ),
        ),
    ),
)
