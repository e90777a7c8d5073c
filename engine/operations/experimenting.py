"""The physics lab: all that follows for one model on one accelerator, under knobs that people turn."""

from __future__ import annotations

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import catalogue
from engine.atlas.compose import hourly_price
from engine.atlas.knobs import LabKnobs
from engine.atlas.lab import LabAsked, lab
from engine.atlas.recalibration import recalibrated
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.showing.atlas import quantisation_names
from engine.showing.lab import lab_page
from engine.views.lab import LabPage


class Experimenting:
    """The operation, over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def lab(self, knobs: LabKnobs) -> LabPage:
        """Memory, times, costs and training, with intervals."""
        atlas = catalogue(self.workspace)
        if knobs.quantisation not in quantisation_names():
            raise ArgumentInvalid(
                f"{knobs.quantisation[:40]!r} is no quantisation of the atlas", next_step=f"Use one of: {', '.join(quantisation_names())}."
            )
        (model, entry), (accelerator, card) = atlas.model(knobs.model), atlas.accelerator(knobs.accelerator)
        price = hourly_price(card) if knobs.usd_per_hour is None else knobs.usd_per_hour
        asked = LabAsked(
            model=entry,
            accelerator=accelerator,
            card=card,
            cards=knobs.cards,
            pipeline=knobs.pipeline,
            experts_over=knobs.experts_over,
            quantisation=knobs.quantisation,
            cache_bits=float(knobs.cache_bits),
            prompt=knobs.prompt_tokens,
            answer=knobs.answer_tokens,
            concurrency=knobs.concurrency,
            hit_share=knobs.hit_share,
            drafted=knobs.drafted,
            accepted=knobs.accepted,
            tpot_ms=knobs.tpot_ms,
            ttft_ms=knobs.ttft_ms,
            usd_per_hour=price,
            peak=knobs.peak,
            training_tokens=knobs.training_tokens_million * 1e6,
            group_prompts=knobs.group_prompts,
            group_answers=knobs.group_answers,
            reference=knobs.reference,
        )
        return lab_page(model, accelerator, price, lab(asked, recalibrated(calibration(), atlas)))
