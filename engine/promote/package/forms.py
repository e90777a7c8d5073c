"""Which forms a version of a profile is exported in, which it is not and why, and how each compares with what was evaluated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.config import Device, ModelProfile, Profile
from engine.generate.vllm_command import served_as
from engine.promote.package.parity import Likeness
from engine.promote.types import FormName

OPTIONAL: frozenset[FormName] = frozenset({"int8"})
"""Forms that lose bits: one that does not load here, or does not agree, stays out of the package, which says so. Any other makes it fail."""


class Wanted(NamedTuple):
    """What a package is to hold."""

    forms: tuple[FormName, ...]
    """In the order in which they are made; a later one may be made from an earlier one."""
    absent: tuple[str, ...]
    """What it will lack, in sentences."""


def wanted_forms(profile: Profile) -> Wanted:
    """The forms that a version of this profile is exported in."""
    if not isinstance(profile, ModelProfile):
        return Wanted(("adapter",), ("Merged weights and a serving command: the scripted double stands in for a model.",))
    if profile.inference.quantization != "none":
        held = f"the profile serves its base in {profile.inference.quantization}, and merged weights would have to be quantised again."
        asked = (f"The form int8, which the profile asks for: {held}",) if profile.quantised_export != "none" else ()
        return Wanted(("adapter",), (f"Merged weights: {held}", *asked))
    if profile.quantised_export == "none":
        return Wanted(("adapter", "merged"), ("A quantised form: the profile asks for none.",))
    return Wanted(("adapter", "merged", profile.quantised_export), ())


def likeness(form: FormName, profile: Profile, device: Device) -> Likeness:
    """How a form's numbers stand to those that were evaluated on this machine."""
    if form == "int8":
        return "quantised"
    evaluated = served_as(profile, device) if isinstance(profile, ModelProfile) else form
    return "same" if form == evaluated else "rounded"


def handed_over_as(forms: Sequence[FormName]) -> FormName:
    """The form that the serving command and the compose file serve: the one that needs nothing beside it."""
    return "merged" if "merged" in forms else "adapter"
