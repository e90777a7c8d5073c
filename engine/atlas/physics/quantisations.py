"""Number types of weights: what a parameter takes with its scales, and what the arithmetic is done in."""

from __future__ import annotations

from typing import NamedTuple

from engine.config import NumberType

UNQUANTISED_BITS = 16
"""Embeddings and the output layer stay in 16 bits in published checkpoints of each of these types."""


class Quantisation(NamedTuple):
    """How the linear layers are held."""

    name: str
    bits: float
    """For each parameter, scales included."""
    arithmetic: NumberType
    """What the accelerator multiplies in; weights of fewer bits are unpacked before."""
    words: str


QUANTISATIONS: dict[str, Quantisation] = {
    each.name: each
    for each in (
        Quantisation("bf16", 16, "bf16", "16 bits: as published"),
        Quantisation("fp8", 8, "fp8", "8-bit floats, a scale a channel or a block of 128 x 128 (2**-12 bits a parameter, not counted)"),
        Quantisation("int8", 8, "int8", "8-bit integers for weights and activations (W8A8)"),
        Quantisation("int4", 4.25, "bf16", "4-bit integers, AWQ or GPTQ: a 16-bit scale, a 4-bit zero and padding for each group of 128"),
        Quantisation("fp4", 4.5, "fp4", "NVFP4: an 8-bit scale for each 16 parameters"),
        Quantisation("mxfp4", 4.25, "fp4", "MXFP4: an 8-bit scale for each 32 parameters"),
        Quantisation("nf4", 4.5, "bf16", "bitsandbytes NF4: a 32-bit scale for each 64 parameters"),
        Quantisation("nf4-dq", 4.127, "bf16", "NF4 whose scales are quantised again (QLoRA, arXiv 2305.14314, section 3: 0.127 bits)"),
    )
}
"""Sources of the bits: the formats' definitions (OCP MX 1.0; NVIDIA's NVFP4; arXiv 2305.14314); int4 as read in checkpoints."""
