"""From what a deployment must do to one that does it, and to the files that start it."""

from __future__ import annotations

from collections import Counter

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import Catalogue, catalogue
from engine.atlas.compose import SERVED, UTILISATION, Candidate, changes, ranked
from engine.atlas.exports import FORMATS, READY_MADE, VLLM_QUANTISATION, Chosen
from engine.atlas.recalibration import recalibrated
from engine.atlas.types import Constraints, Export, ScoreWeights
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, DependencyMissing, NotFound
from engine.generate.host_facts import installed_vllm
from engine.showing.pages import page_at
from engine.showing.plans import configuration, reasons, report, would_change
from engine.views import NextCall
from engine.views.atlas import Configuration, PlanPage

LISTED_OTHERS = 5
FIGURES = {"tpot_ms", "ttft_ms", "tokens_per_second", "memory_gib", "usd_per_hour", "usd_per_million_tokens", "usd_per_request", "known_from"}
"""What an export says of performance."""


class Planning:
    """The operation, over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def plan(self, wanted: Constraints, weights: ScoreWeights, export: Export | None, *, cursor: str | None, limit: int) -> PlanPage:
        """Configurations that do what is wanted; with `export`, the file that starts one of them."""
        atlas = catalogue(self.workspace)
        fitted = recalibrated(calibration(), atlas)
        wanted = _resolved(atlas, wanted)
        found = ranked(atlas, wanted, weights, fitted)
        page = page_at(cursor, limit)
        told = would_change(changes(atlas, wanted, weights, fitted, found[0] if found else None))
        shown = tuple(self._shown(atlas, each, wanted, weights) for each in page.of(found))
        chosen = None if export is None else self._exported(atlas, found, wanted, weights, told, export)
        return PlanPage(
            summary=_summary(found, wanted),
            next=_next(found, export),
            configurations=shown,
            total=len(found),
            reasons=reasons(self._shown(atlas, found[0], wanted, weights), weights) if found else (),
            would_change=told,
            assumptions=_assumptions(wanted, fitted.as_of),
            file_name=None if chosen is None or export is None else FORMATS[export.format][0],
            document=None if chosen is None or export is None else FORMATS[export.format][1](chosen),
        )

    def _shown(self, atlas: Catalogue, candidate: Candidate, wanted: Constraints, weights: ScoreWeights) -> Configuration:
        return configuration(candidate, atlas.models[candidate.model], wanted, weights)

    def _exported(
        self, atlas: Catalogue, found: list[Candidate], wanted: Constraints, weights: ScoreWeights, told: tuple[str, ...], export: Export
    ) -> Chosen:
        candidate = _candidate(found, export.configuration)
        model = atlas.models[candidate.model]
        _refuse_what_would_not_start(candidate, export, as_published=candidate.quantisation == model.published_as)
        shown = self._shown(atlas, candidate, wanted, weights)
        others = [self._shown(atlas, each, wanted, weights) for each in found[: LISTED_OTHERS + 1] if each.key != candidate.key][:LISTED_OTHERS]
        return Chosen(
            model=candidate.model,
            title=model.name,
            licence=model.licence or "unknown",
            parameters_billion=model.parameters_billion or 0.0,
            repository=export.checkpoint or candidate.model,
            revision=export.revision,
            accelerator=candidate.accelerator,
            cards=candidate.cards,
            quantisation=candidate.quantisation,
            as_published=candidate.quantisation == model.published_as,
            context_tokens=wanted.prompt_tokens + wanted.answer_tokens,
            longest_tokens=model.context_tokens or 0,
            concurrency=wanted.concurrency,
            utilisation=UTILISATION,
            vllm_version=_vllm_version(),
            figures=shown.model_dump(mode="json", include=FIGURES),
            report=report(shown, others, wanted, weights, told, calibration().as_of),
        )


def _resolved(atlas: Catalogue, wanted: Constraints) -> Constraints:
    """With the names of accelerators as they stand in the atlas; refused where nothing could come of it."""
    unknown = [name for name in wanted.quantisations if name not in VLLM_QUANTISATION]
    if unknown:
        raise ArgumentInvalid(f"{unknown[0][:40]!r} cannot be planned with", next_step=f"Use some of: {', '.join(VLLM_QUANTISATION)}.")
    if not wanted.own and not wanted.rent:
        raise ArgumentInvalid("nothing may be rented, and nothing is on hand", next_step="Name hardware with `own`, or allow `rent`.")
    own: Counter[str] = Counter()
    for name, count in wanted.own:
        own[atlas.accelerator(name)[0]] += count
    foreign = [name for name in own if atlas.accelerators[name].vendor not in SERVED]
    if foreign:
        raise ArgumentInvalid(
            f"{foreign[0]} is no card that the exported configurations run on",
            next_step="Plan for NVIDIA cards, or ask search_models what fits on it.",
        )
    return wanted._replace(own=tuple(own.items()))


def _candidate(found: list[Candidate], name: str | None) -> Candidate:
    if not found:
        raise NotFound("no configuration does what is asked, so there is none to export", next_step="Loosen what `would_change` names.")
    if name is None:
        return found[0]
    for candidate in found:
        if candidate.key == name:
            return candidate
    raise NotFound(
        f"{name[:200]!r} is none of the configurations of this plan", next_step=f"Name one of its `configuration`s, such as {found[0].key}."
    )


def _refuse_what_would_not_start(candidate: Candidate, export: Export, *, as_published: bool) -> None:
    if candidate.quantisation in READY_MADE and export.checkpoint is None and not as_published:
        raise ArgumentInvalid(
            f"{candidate.key} needs a checkpoint that is quantised already",
            next_step="Name its repository with `checkpoint` (AWQ), or leave the quantisation out.",
        )
    if export.format == "profile" and export.revision is None:
        raise ArgumentInvalid(
            "a profile pins its weights, and no revision is given",
            next_step=f"Give the commit of {export.checkpoint or candidate.model} as `revision`.",
        )


def _vllm_version() -> str:
    try:
        return installed_vllm()[1]
    except DependencyMissing:
        return ""


def _summary(found: list[Candidate], wanted: Constraints) -> str:
    if not found:
        return "No configuration does all of what is asked; `would_change` says what stands in the way."
    best = found[0]
    price = "on hand" if best.on_hand else f"{best.usd_per_hour:.2f} USD an hour"
    where = f"{best.cards} x {best.accelerator} in {best.quantisation} ({price})"
    return f"{best.model} on {where} comes first of {len(found)} models, with {best.score:.1f} points."


def _next(found: list[Candidate], export: Export | None) -> tuple[NextCall, ...]:
    if not found or export is not None:
        return ()
    arguments = {"compare": [found[0].model], "accelerator": found[0].accelerator}
    return (NextCall(tool="search_models", arguments=arguments, why="all that is known of the first, with sources"),)


def _assumptions(wanted: Constraints, as_of: str) -> tuple[str, ...]:
    return (
        f"{wanted.concurrency} requests in flight all the time, prompts of {wanted.prompt_tokens} and answers of {wanted.answer_tokens} tokens, "
        "vLLM with 0.9 of the memory, caches in 16 bits.",
        "Rented hardware at the middle one of the on-demand prices known for one card; snapshots of 2026, which change from week to week.",
        f"Intervals of times held nine of ten published measurements left out of a fit of {as_of}; that of memory is the range of a few logs.",
        "There are no benchmark scores in the atlas: try the first few on your own domain.",
    )
