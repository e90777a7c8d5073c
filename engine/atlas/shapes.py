"""Models that are the same to physics: fine-tunes and distillates of one base answer as fast as it does."""

from __future__ import annotations

from engine.config import CatalogueModel


def shape_of(model: CatalogueModel) -> str:
    """The dimensions that decide how fast a model is and what it takes, in words that people can compare."""
    kept = sum(each.elements_per_token for each in model.attention.cached)
    experts = f", {model.experts.experts_per_token} of {model.experts.experts} experts" if model.experts else ""
    return f"{model.layers} x {model.hidden_size}, feed-forward {model.intermediate_size}{experts}, {kept} kept a token"
