"""Looking models up, side by side, and what they take on the hardware that one has."""

from __future__ import annotations

from collections.abc import Sequence

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import Catalogue, catalogue
from engine.atlas.grid import Asked, Grid, grid
from engine.atlas.hub import fetch_model
from engine.atlas.reading import read_model
from engine.atlas.recalibration import held_against, recalibrated, unknown_in
from engine.atlas.search import found
from engine.atlas.tuned import RECIPE, adapter_peak, textbook_says
from engine.atlas.types import Deployment, Order, Wanted
from engine.base.digests import digest_of
from engine.base.paths import Workspace
from engine.config import Accelerator, ServedMeasurement
from engine.errors import ArgumentInvalid
from engine.loading import save_atlas_entry
from engine.showing.atlas import Beside, attention_in_words, model_line, model_sheet, quantisation_names, recorded, standings_in_words
from engine.showing.pages import page_at
from engine.views import NextCall
from engine.views.atlas import ImportedModel, ModelLine, ModelSheet, ModelsPage, RecordedMeasurement

NOWHERE = Accelerator(vendor="cpu", source="", confidence="low")
"""Where no hardware was named: nothing is known of it, so only what the model itself needs comes out."""


class Cataloguing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def search(
        self, wanted: Wanted, where: Deployment, *, fitting: bool, order: Order, compare: Sequence[str], cursor: str | None, limit: int
    ) -> ModelsPage:
        """Models that fit, a page at a time; and those named, side by side. `fitting` leaves out what the hardware does not hold."""
        atlas = catalogue(self.workspace)
        if where.quantisation not in quantisation_names():
            raise _no_quantisation(where.quantisation)
        if fitting and where.accelerator is None:
            raise ArgumentInvalid("`fits` asks whether models fit, but no accelerator is named", next_step="Name one with `accelerator`.")
        if where.accelerator is not None:
            where = where._replace(accelerator=atlas.accelerator(where.accelerator)[0])
        names = [] if compare and wanted == Wanted() else found(atlas.models, wanted, order)
        figures = self._figures(atlas, names or list(atlas.models)[:1], where)
        kept = [at for at in range(len(names)) if not fitting or figures.fits[at, 0, 0, 0]]
        page = page_at(cursor, limit)
        lines = tuple(
            model_line(names[at], atlas.models[names[at]], at, figures, hardware=where.accelerator is not None) for at in page.of(kept)
        )
        compared = self._compared(atlas, compare, where)
        return ModelsPage(
            summary=_summary(len(kept), len(atlas.models), where, fitting=fitting, compared=[sheet.name for sheet in compared]),
            next=_next(lines[0].model if lines else None, where),
            models=lines,
            total=len(kept),
            next_cursor=page.next_cursor(len(kept)),
            compared=compared,
            assumptions=_assumptions(where, [*lines, *compared]),
        )

    def import_model(self, name: str, path: str | None, revision: str | None) -> ImportedModel:
        """Adds a model to the workspace's atlas from its `config.json`, the heads of its weights and of its card: in a folder of the workspace, or
        without one on the hub."""
        if path is not None and revision is not None:
            raise ArgumentInvalid("a folder has no revision", next_step="Give `path`, or `revision` of the model on the hub.")
        model = fetch_model(name, revision) if path is None else read_model(self.workspace.root, path, name)
        save_atlas_entry(self.workspace, "models", name, model)
        figures = self._figures(catalogue(self.workspace), [name], Deployment())
        missing = [field for field, value in (("parameters", model.parameters_billion), ("cache", model.attention.cached)) if not value]
        unsaid = f" Its files do not say: {', '.join(missing)}." if missing else ""
        return ImportedModel(
            summary=f"{name} is in atlas.json: {model.architecture}, {attention_in_words(model)}.{unsaid}",
            next=(_what_it_takes(name),),
            imported=model_sheet(name, model, 0, figures, self._beside(catalogue(self.workspace), [name], Deployment()), hardware=False),
        )

    def record(self, measurement: ServedMeasurement) -> RecordedMeasurement:
        """Adds a measurement of one's own to atlas.json, and says how far estimates lay from it before and after."""
        atlas = catalogue(self.workspace)
        measurement = measurement.model_copy(
            update={"model": atlas.model(measurement.model)[0], "accelerator": atlas.accelerator(measurement.accelerator)[0]}
        )
        if unknown_in(atlas, measurement) is not None:
            raise _no_quantisation(measurement.quantisation)
        before = held_against(atlas, measurement, recalibrated(calibration(), atlas))
        save_atlas_entry(self.workspace, "measurements", f"m-{digest_of(measurement.model_dump(mode='json'))[:12]}", measurement)
        atlas = catalogue(self.workspace)
        after = held_against(atlas, measurement, recalibrated(calibration(), atlas))
        return recorded(measurement, before, after, len(atlas.measurements))

    def _figures(self, atlas: Catalogue, names: Sequence[str], where: Deployment) -> Grid:
        entry = NOWHERE if where.accelerator is None else atlas.accelerators[where.accelerator]
        asked = Asked(where.prompt_tokens, where.answer_tokens, where.cards)
        models = [atlas.models[each] for each in names]
        return grid(models, {where.accelerator or "": entry}, [where.quantisation], [where.concurrency], asked, recalibrated(calibration(), atlas))

    def _compared(self, atlas: Catalogue, compare: Sequence[str], where: Deployment) -> tuple[ModelSheet, ...]:
        names = [atlas.model(name)[0] for name in compare]
        if not names:
            return ()
        figures, beside = self._figures(atlas, names, where), self._beside(atlas, names, where)
        return tuple(
            model_sheet(name, atlas.models[name], at, figures, beside, hardware=where.accelerator is not None) for at, name in enumerate(names)
        )

    def _beside(self, atlas: Catalogue, names: Sequence[str], where: Deployment) -> Beside:
        models = [atlas.models[each] for each in names]
        fitted = recalibrated(calibration(), atlas)
        weights = {each: self._figures(atlas, names, where._replace(quantisation=each)).weights for each in quantisation_names()}
        card = NOWHERE if where.accelerator is None else atlas.accelerators[where.accelerator]
        return Beside(weights, adapter_peak(models, "bf16", fitted), adapter_peak(models, "nf4", fitted), textbook_says(models, card, where))


def _no_quantisation(name: str) -> ArgumentInvalid:
    return ArgumentInvalid(f"{name[:40]!r} is no quantisation of the atlas", next_step=f"Use one of: {', '.join(quantisation_names())}.")


def _summary(fitting_count: int, of: int, where: Deployment, *, fitting: bool, compared: list[str]) -> str:
    place = "" if where.accelerator is None else f", on {where.cards} x {where.accelerator} in {where.quantisation}"
    words = f"{fitting_count} of {of} models of the atlas are like that{' and fit' if fitting else ''}{place}."
    return words if not compared else f"{', '.join(compared)} side by side{place}." + (f" {words}" if fitting_count else "")


def _next(first: str | None, where: Deployment) -> tuple[NextCall, ...]:
    if first is None or where.accelerator is not None:
        return ()
    return (_what_it_takes(first),)


def _what_it_takes(model: str) -> NextCall:
    arguments = {"compare": [model], "accelerator": "L4 24GB"}
    return NextCall(tool="search_models", arguments=arguments, why="what it takes, and how fast it is, on hardware that you name")


def _assumptions(where: Deployment, shown: Sequence[ModelLine]) -> tuple[str, ...]:
    """What the figures of these lines rest on."""
    weights = "Weights: parameters x bits with scales, embeddings in 16 bits; caches in 16 bits."
    training = [f"Training: {RECIPE}."] if any(isinstance(line, ModelSheet) for line in shown) else []
    if where.accelerator is None:
        return (weights, *training)
    load = (
        f"{where.concurrency} requests in flight, prompts of {where.prompt_tokens} and answers of {where.answer_tokens} tokens, vLLM with 0.9 of "
        f"the memory, each model split over {where.cards}."
    )
    return (weights, load, *training, *standings_in_words({line.known_from or "" for line in shown}, calibration()))
