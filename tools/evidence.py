"""What a promotion is judged on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record
from engine.views import EvidencePage
from tools.fields import ClusterName
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


class EvidenceArguments(Record):
    """Of which version."""

    cluster: ClusterName
    version: Annotated[str | None, Field(pattern=IDENTIFIER_PATTERN, description="Absent takes the accepted one.")] = None


def evidence(engine: Engine, arguments: EvidenceArguments) -> EvidencePage:
    """Makes the bundle, or finds it."""
    return engine.evidence(arguments.cluster, arguments.version)


EVIDENCE = Tool(
    name="evidence",
    title="Evidence",
    description="Makes or finds the signed, redacted evidence bundle of an accepted version, with its page.",
    effect="write",
    arguments=EvidenceArguments,
    result=EvidencePage,
    run=evidence,
    idempotent=True,
    positional=("cluster",),
)
