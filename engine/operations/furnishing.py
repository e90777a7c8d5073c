"""What the pages about the atlas show beside the answers of tools: all hardware, what there is to choose from, and exercises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from engine.atlas.calibration import calibration
from engine.atlas.catalogue import catalogue
from engine.atlas.compose import hourly_price
from engine.atlas.exercises import Exercise, Subject, exercises, is_right
from engine.atlas.recalibration import recalibrated
from engine.atlas.types import Deployment
from engine.base.paths import Workspace
from engine.loading import load_atlas
from engine.showing.atlas import quantisation_names
from engine.views.furnishings import AcceleratorLine, AcceleratorsPage, AtlasChoices, ExerciseLine


class Furnishing:
    """The operations, over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def accelerators(self) -> AcceleratorsPage:
        """All of them, those of the workspace first."""
        atlas, own = catalogue(self.workspace), load_atlas(self.workspace).accelerators
        lines = [
            AcceleratorLine(accelerator=name, entry=card, usd_per_hour=hourly_price(card), own=name in own)
            for name, card in atlas.accelerators.items()
        ]
        priced = sum(line.usd_per_hour is not None for line in lines)
        return AcceleratorsPage(
            summary=f"{len(lines)} accelerators; for {priced} of them an on-demand price is known.",
            accelerators=tuple(sorted(lines, key=lambda line: not line.own)),
        )

    def choices(self) -> AtlasChoices:
        """What occurs, most frequent first; hardware in the catalogue's order."""
        atlas = catalogue(self.workspace)
        models = list(atlas.models.values())
        return AtlasChoices(
            task=_by_frequency(task for model in models for task in model.tasks),
            licence=_by_frequency(model.licence for model in models if model.licence),
            language=_by_frequency(language for model in models for language in model.languages),
            model=tuple(sorted(atlas.models, key=str.casefold)),
            accelerator=tuple(atlas.accelerators),
            quantisation=quantisation_names(),
        )

    def exercises(self, names: Sequence[str], models: Sequence[str], where: Deployment, given: Mapping[str, str]) -> tuple[ExerciseLine, ...]:
        """Exercises about these models there; `given` holds what was answered, by the exercise's name."""
        atlas = catalogue(self.workspace)
        if where.accelerator is not None:
            where = where._replace(accelerator=atlas.accelerator(where.accelerator)[0])
        subject = Subject(tuple(models), where)
        asked = exercises(names, atlas, subject, recalibrated(calibration(), atlas))
        return tuple(_checked(each, given.get(each.name)) for each in asked)


def _checked(exercise: Exercise, given: str | None) -> ExerciseLine:
    line = ExerciseLine(name=exercise.name, question=exercise.question, unit=exercise.unit, choices=exercise.choices)
    if given is None:
        return line
    return line.model_copy(update={"given": given, "right": is_right(exercise, given), "because": exercise.because})


def _by_frequency(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word, _ in Counter(words).most_common())
