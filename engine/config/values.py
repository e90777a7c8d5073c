"""Values that several configuration records use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN

Identifier = Annotated[str, Field(pattern=IDENTIFIER_PATTERN)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Device = Literal["cpu", "cuda"]
"""Where models run."""
WireDialect = Literal["openai", "anthropic"]
"""How an endpoint is spoken to: chat completions, or Anthropic messages."""
SignatureLevel = Literal["ssh", "ssh-sk", "webauthn"]
"""What a signature proves, weakest first."""
SignedState = Literal["canary", "production-accepted", "customer-deployed", "production-validated"]
"""States of any chain that a version enters by people's signatures."""
