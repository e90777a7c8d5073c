"""What the physics lab is asked, as its callers say it: names in place of entries, and what is left open."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.base.record import Record


class LabKnobs(Record):
    """A model, an accelerator, and where the knobs stand."""

    model: Annotated[str, Field(min_length=1, max_length=200, description="A model of the atlas.", examples=["Qwen/Qwen3-4B"])]
    accelerator: Annotated[str, Field(min_length=1, max_length=100, description="An accelerator of the atlas.", examples=["L4 24GB"])]
    cards: Annotated[int, Field(ge=1, le=8, description="Accelerators that each layer of the model is split over.")] = 1
    pipeline: Annotated[int, Field(ge=1, le=8, description="Stages, one after another, that its layers are divided over.")] = 1
    experts_over: Annotated[int, Field(ge=1, le=64, description="Accelerators of a stage that whole experts are divided over.")] = 1
    quantisation: Annotated[str, Field(max_length=20, description="As in search_models.")] = "bf16"
    cache_bits: Annotated[Literal["16", "8"], Field(description="Bits of a cached element.")] = "16"
    prompt_tokens: Annotated[int, Field(ge=1, le=1_000_000, description="Of a request.")] = 1024
    answer_tokens: Annotated[int, Field(ge=1, le=100_000, description="Of a request.")] = 256
    concurrency: Annotated[int, Field(ge=1, le=512, description="Requests in flight.")] = 8
    hit_share: Annotated[float, Field(ge=0, le=0.99, description="Share of each prompt that the prefix cache holds.")] = 0
    drafted: Annotated[int, Field(ge=0, le=16, description="Tokens guessed ahead of each step; 0: none.")] = 0
    accepted: Annotated[float, Field(ge=0, le=0.99, description="The chance that a guess is right.")] = 0.7
    tpot_ms: Annotated[float | None, Field(gt=0, description="Most milliseconds between tokens.")] = None
    ttft_ms: Annotated[float | None, Field(gt=0, description="Most milliseconds to the first token.")] = None
    usd_per_hour: Annotated[
        float | None, Field(gt=0, le=1e6, description="Of one accelerator; absent: the middle one of its on-demand prices.")
    ] = None
    peak: Annotated[float, Field(ge=1, le=100, description="Requests of the busiest hour over those of the mean one.")] = 1
    training_tokens_million: Annotated[float, Field(gt=0, le=1e6, description="Trained on, all passes together.")] = 10
    group_prompts: Annotated[int, Field(ge=1, le=512, description="Prompts of a step of GRPO.")] = 8
    group_answers: Annotated[int, Field(ge=2, le=256, description="Answers to each of them.")] = 8
    reference: Annotated[bool, Field(description="GRPO holds the model near the one that it started from.")] = False
