"""The JSON schemas in `docs/schema/`, generated from the records that loading validates with, so that the two cannot differ.

Not here: writing them (`python -m server.docs` does, and a test compares).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from engine.config import AtlasFile, ClustersFile, DomainFile
from engine.escalate.types import Escalation
from engine.evaluate.types import EvaluationSummary, PairedComparison

DOCUMENTED: dict[str, type[BaseModel]] = {
    "clusters": ClustersFile,
    "domain": DomainFile,
    "atlas": AtlasFile,
    "evaluation": EvaluationSummary,
    "comparison": PairedComparison,
    "escalation": Escalation,
}


def schemas() -> dict[str, dict[str, Any]]:
    """Each documented file's JSON Schema by its name: `clusters` is the schema of clusters.json, and so on."""
    return {name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()} for name, model in DOCUMENTED.items()}
