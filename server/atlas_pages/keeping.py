"""Keeping an answer in the decision history from the page that shows it: what its form carries along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.base.record import Record
from tools.atlas import PLAN_DEPLOYMENT, SEARCH_MODELS, TRIAGE_TUNING
from tools.tool import Tool, check_arguments

KEPT: Mapping[str, Tool] = {tool.name: tool for tool in (PLAN_DEPLOYMENT, TRIAGE_TUNING, SEARCH_MODELS)}


class Keeping(NamedTuple):
    """A question that can be kept."""

    question: str
    arguments: str
    """As JSON."""


def keeping(question: str, given: Mapping[str, Any]) -> Keeping:
    """A question that was just answered, as the form carries it: with numbers as numbers, as the tool read them."""
    read: Record = check_arguments(KEPT[question], given)
    return Keeping(question, json.dumps(read.model_dump(mode="json", exclude_unset=True), sort_keys=True))
