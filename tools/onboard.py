"""Bringing in a new model or a new domain: configuration, never code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.views import OnboardedDomain, OnboardedModel
from tools.fields import IdempotencyKey
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class OnboardModelArguments(Record):
    """A model profile and its name."""

    name: Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="Key in `models`.", examples=["qwen3-8b"])]
    profile: Annotated[
        dict[str, Any],
        Field(
            description="One entry of `models` in clusters.json, by docs/schema/clusters.schema.json.",
            examples=[{"kind": "endpoint", "title": "Local llama.cpp", "base_url": "http://127.0.0.1:8080/v1", "model": "qwen3-8b"}],
        ),
    ]
    smoke_test: Annotated[bool, Field(description="Also start a run that tries it.")] = True
    idempotency_key: IdempotencyKey = None


def onboard_model(engine: Engine, arguments: OnboardModelArguments) -> OnboardedModel:
    """Validates a profile, adds it to clusters.json, and may start a smoke test."""
    return engine.onboard_model(arguments.name, arguments.profile, arguments.smoke_test, key=arguments.idempotency_key)


class OnboardDomainArguments(Record):
    """Labelled rows and the name of the domain that they become."""

    name: Annotated[str, Field(pattern=IDENTIFIER_PATTERN, description="Folder below domains/.", examples=["tickets"])]
    rows_path: Annotated[
        str,
        Field(min_length=1, max_length=1000, description="JSON-lines file in the workspace.", examples=["data/rows.jsonl"]),
    ]


def onboard_domain(engine: Engine, arguments: OnboardDomainArguments) -> OnboardedDomain:
    """Scaffolds a domain from labelled rows."""
    return engine.onboard_domain(arguments.name, arguments.rows_path)


ONBOARD_MODEL = Tool(
    name="onboard_model",
    title="Add a model",
    description=(
        "Validates a model profile, adds it to clusters.json, and answers its vLLM command line. Unless smoke_test is false, a "
        "run prepares the base, starts the server and asks one question. A name taken by another profile is refused."
    ),
    effect="spend",
    arguments=OnboardModelArguments,
    result=OnboardedModel,
    run=onboard_model,
    idempotent=False,
    positional=("name",),
)

ONBOARD_DOMAIN = Tool(
    name="onboard_domain",
    title="Add a domain",
    description=(
        "Scaffolds domains/<name>/ and a cluster of that name from labelled rows: finds input and label fields, splits the rows, infers output "
        "schema, checks and floor. Answers what to check by hand. Overwrites no domain."
    ),
    effect="write",
    arguments=OnboardDomainArguments,
    result=OnboardedDomain,
    run=onboard_domain,
    idempotent=True,
    positional=("name",),
)
