"""Finding models: by what they are for, may be used for, and need. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from engine.atlas.types import Order, Wanted
from engine.config import CatalogueModel

PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc-by-4.0")
"""Licences that ask for little more than naming whom it is from."""


def found(models: Mapping[str, CatalogueModel], wanted: Wanted, order: Order) -> list[str]:
    """The names of those that fit, in order: smallest, newest or longest context first; what is not known comes last."""
    return sorted((name for name, model in models.items() if _fits(name, model, wanted)), key=lambda name: _rank(name, models[name], order))


def _fits(name: str, model: CatalogueModel, wanted: Wanted) -> bool:
    size = model.parameters_billion
    return (
        (wanted.text is None or all(word in f"{name} {model.name} {model.family}".casefold() for word in wanted.text.casefold().split()))
        and (wanted.task is None or wanted.task.casefold() in model.tasks)
        and (wanted.licence is None or _allowed(model.licence, wanted.licence.casefold()))
        and (wanted.architecture is None or wanted.architecture == model.architecture)
        and (wanted.language is None or wanted.language.casefold() in model.languages)
        and (wanted.least_billion is None or (size is not None and size >= wanted.least_billion))
        and (wanted.most_billion is None or (size is not None and size <= wanted.most_billion))
        and (wanted.least_context is None or (model.context_tokens or 0) >= wanted.least_context)
    )


def _allowed(licence: str | None, wanted: str) -> bool:
    return licence is not None and (licence.casefold() in PERMISSIVE if wanted == "permissive" else licence.casefold() == wanted)


def _rank(name: str, model: CatalogueModel, order: Order) -> tuple[bool, float, str]:
    value: float | None
    match order:
        case "parameters":
            value = model.parameters_billion
        case "context":
            value = None if model.context_tokens is None else -model.context_tokens
        case "release":
            value = None if model.release is None else -float(model.release.replace("-", "").ljust(8, "0"))
    return (value is None, value or 0.0, name)
