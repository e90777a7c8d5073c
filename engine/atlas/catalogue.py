"""The models and accelerators that are known: those that ship, and the workspace's own, which stand before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from engine.atlas.identity import KeptByIdentity
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
    measurements: tuple[ServedMeasurement, ...] = ()
    """The workspace's own."""

    def model(self, name: str) -> tuple[str, CatalogueModel]:
        """A model by its hub name or its usual one, in any case, or by whole words that only it has; NotFound names those that come near."""
        return _entry("model", name, self.models, [(model.name, hub) for hub, model in self.models.items()])

    def accelerator(self, name: str) -> tuple[str, Accelerator]:
        """An accelerator likewise."""
        return _entry("accelerator", name, self.accelerators, [])


def catalogue(workspace: Workspace | None = None) -> Catalogue:
    """What ships, and what the workspace adds or replaces."""
    own = AtlasFile() if workspace is None else load_atlas(workspace)
    return _kept.made((own,), lambda: _with(own))


_kept: KeptByIdentity[Catalogue] = KeptByIdentity()
"""By the file as it was parsed, which is the same object while its bytes are the same."""


def _with(own: AtlasFile) -> Catalogue:
    built_in = _built_in()
    return Catalogue(built_in.models | own.models, built_in.accelerators | own.accelerators, tuple(own.measurements.values()))


@cache
def _built_in() -> AtlasFile:
    models, accelerators = (parse_atlas((DATA / name).read_bytes(), name) for name in ("models.json", "accelerators.json"))
    return AtlasFile(models=models.models, accelerators=accelerators.accelerators)


def _entry(kind: str, name: str, entries: Mapping[str, Entry], aliases: Sequence[tuple[str, str]]) -> tuple[str, Entry]:
    asked, words = name.casefold(), set(name.casefold().split())
    spelled = [(key.casefold(), key) for key in entries] + [(alias.casefold(), key) for alias, key in aliases]
    exact = [key for spelling, key in spelled if spelling == asked]
    worded = [key for spelling, key in spelled if words and words <= set(spelling.split())]
    for found in (exact[:1] if asked in {key.casefold() for key in entries} else [], exact, worded):
        if len(set(found)) == 1:
            return found[0], entries[found[0]]
    holding = {key for spelling, key in spelled if asked in spelling}
    near = sorted(holding)[:5] or list(dict.fromkeys(dict(spelled)[each] for each in get_close_matches(asked, dict(spelled), 5, 0.4)))
    raise NotFound(
        f"the atlas has no {kind} {name[:120]!r}" + (f", but {len(holding)} whose names hold that" if holding else ""),
        next_step=f"Name one as it stands there{': ' + ', '.join(near) if near else ''}; or add it to atlas.json.",
        near=near,
    )
