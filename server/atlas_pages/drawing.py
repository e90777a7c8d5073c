"""What all templates share: every value is escaped, and one that is missing is a defect and no empty place."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from server.atlas_pages.places import PLACES

TEMPLATES = Path(__file__).parent / "templates"
UNKNOWN = "–"
THOUSAND = 1000


def drawn(template: str, place: str, values: Mapping[str, Any]) -> str:
    """A page as HTML; `place` is the one that the navigation shows as open."""
    return _ENVIRONMENT.get_template(template).render(places=PLACES, here=place, **values)


def figure(value: float | None) -> str:
    """A number with three digits that count, as one reads it: without exponents, thousands apart."""
    if value is None:
        return UNKNOWN
    rounded = Decimal(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= THOUSAND else f"{rounded:f}"


def whole(value: float | None) -> str:
    """A count, thousands apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def money(value: float | None) -> str:
    """US dollars: cents where they matter, three digits below one."""
    if value is None:
        return UNKNOWN
    return f"{value:,.2f}" if value >= 1 else figure(value)


def estimate(found: Mapping[str, float] | None) -> str:
    """A value with its interval."""
    return UNKNOWN if not found else f"{figure(found['value'])} ({figure(found['low'])} to {figure(found['high'])})"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
)
_ENVIRONMENT.filters.update(figure=figure, whole=whole, money=money, estimate=estimate)
