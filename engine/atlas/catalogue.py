"""The models and accelerators that are known: those that ship, and the workspace's own, which stand before them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from engine.base.paths import Workspace
from engine.config import Accelerator, AtlasFile, CatalogueModel, ServedMeasurement
from engine.errors import NotFound
from engine.loading import load_atlas, parse_atlas

DATA = Path(__file__).parent / "data"
Entry = TypeVar("Entry", CatalogueModel, Accelerator)


class Catalogue(NamedTuple):
    """What is known, by name."""

    models: Mapping[str, CatalogueModel]
    accelerators: Mapping[str, Accelerator]
    own: frozenset[str] = frozenset()
    """Names that come from the workspace's atlas.json."""
    measurements: tuple[ServedMeasurement, ...] = ()
    """The workspace's own."""

    def model(self, name: str) -> tuple[str, CatalogueModel]:
        """A model by its hub name or its usual one, in any case, or by whole words that only it has; NotFound names those that come near."""
        return _entry("model", name, self.models, {model.name: hub for hub, model in self.models.items()})

    def accelerator(self, name: str) -> tuple[str, Accelerator]:
        """An accelerator likewise."""
        return _entry("accelerator", name, self.accelerators, {})


def catalogue(workspace: Workspace | None = None) -> Catalogue:
    """What ships, and what the workspace adds or replaces."""
    built_in = _built_in()
    own = AtlasFile() if workspace is None else load_atlas(workspace)
    names = frozenset(own.models | own.accelerators)
    return Catalogue(built_in.models | own.models, built_in.accelerators | own.accelerators, names, tuple(own.measurements.values()))


@cache
def _built_in() -> AtlasFile:
    models, accelerators = (parse_atlas((DATA / name).read_bytes(), name) for name in ("models.json", "accelerators.json"))
    return AtlasFile(models=models.models, accelerators=accelerators.accelerators)


def _entry(kind: str, name: str, entries: Mapping[str, Entry], aliases: Mapping[str, str]) -> tuple[str, Entry]:
    asked = name.casefold()
    spelled = {**{alias.casefold(): key for alias, key in aliases.items()}, **{key.casefold(): key for key in entries}}
    words = set(asked.split())
    worded = {key for spelling, key in spelled.items() if words and words <= set(spelling.split())}
    holding = {key for spelling, key in spelled.items() if asked in spelling}
    found = spelled.get(asked) or (worded.pop() if len(worded) == 1 else None)
    if found is None:
        near = sorted(holding)[:5] or [spelled[each] for each in get_close_matches(asked, spelled, 5, 0.4)]
        raise NotFound(
            f"the atlas has no {kind} {name[:120]!r}" + (f", but {len(holding)} whose names hold that" if holding else ""),
            next_step=f"Name one as it stands there{': ' + ', '.join(near) if near else ''}; or add it to atlas.json.",
            near=near,
        )
    return found, entries[found]
