"""Argument types that several tools share, each with its pattern, bounds and an example."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN

ClusterName = Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="A cluster in clusters.json.", examples=["travel"])]
RunId = Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="A run.", examples=["iterate-1121-a1b2c3"])]
IdempotencyKey = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$",
        description="Your name for this request; sent again: the same run.",
        examples=["travel-round-1"],
    ),
]
Cursor = Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before.")]
PageLimit = Annotated[int, Field(ge=1, le=20, description="Entries.")]
EvaluationId = Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="A measurement (the id of its run).", examples=["evaluate-1121-a1b2c3"])]
