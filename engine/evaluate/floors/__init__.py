"""Baselines without a language model: what a specialist has to beat to be worth serving."""
