"""Exercises on a page: what the address holds as answers, and what the engine says of them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.atlas.types import Deployment
from engine.views.furnishings import ExerciseLine
from server.atlas_pages.asking import AtlasPages, Query

ANSWER = "try-"
"""What the name of an answer begins with, so that no argument of a tool is mistaken for one."""
LONGEST = 300


def exercised(pages: AtlasPages, names: Sequence[str], models: Sequence[str], where: Deployment, query: Query) -> Sequence[ExerciseLine]:
    """The exercises of a page, checked where something was answered."""
    answers = {name: query[ANSWER + name][-1].strip()[:LONGEST] for name in names if query.get(ANSWER + name)}
    return pages.exercises(names, models, where, {name: answer for name, answer in answers.items() if answer})
