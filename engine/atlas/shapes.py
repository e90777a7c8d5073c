"""Models that are the same to physics: fine-tunes and distillates of one base answer as fast as it does."""

from __future__ import annotations

from engine.config import CatalogueModel


def shape_of(model: CatalogueModel) -> str:
    """The dimensions that decide how fast a model is and what it takes, in words that people can compare."""
    kept = " + ".join(f"{each.elements_per_token}" + (f" of {each.window}" if each.window else "") for each in model.attention.cached)
    experts = model.experts
    chosen = f", {experts.experts_per_token} of {experts.experts} experts of {experts.expert_size}" if experts else ""
    sizes = f"{model.layers} x {model.hidden_size}, feed-forward {model.intermediate_size}{chosen}, vocabulary {model.vocabulary}"
    return f"{sizes}, {kept or 'unknown'} kept a token"
