"""`modelsmith approve`: shows a request word for word and has the person who runs it sign that.

The signature goes to stdout and is worth what it proves wherever it is handed in; this command decides nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.promote.approvals.roster import problem_in
from engine.promote.approvals.statement import NAMESPACE, challenge_of, statement_of
from engine.promote.types import PromotionRequest
from server.signing import sign_shown
from server.terminal import Told, read_object

COMPARED_DIGITS = 8


def approve(arguments: argparse.Namespace, _workspace: Workspace) -> Told:
    """Signs the request in a file."""
    request = read_request(arguments.request)
    signature = sign_shown(statement_of(request), NAMESPACE, Path(arguments.key))
    digest = challenge_of(request).hex()
    summary = f"Signed request {request.id}; the digest of what was signed begins with {digest[:COMPARED_DIGITS]}."
    return Told({"summary": summary, "request": request.id, "digest": digest, "signature": signature}, signature.rstrip("\n"))


def read_request(source: str) -> PromotionRequest:
    """A request as JSON, from a file or standard input."""
    value = read_object(source)
    try:
        return PromotionRequest.model_validate(value)
    except ValidationError as error:
        raise ArgumentInvalid(f"{source[:200]} holds no promotion request: {problem_in(error)}", next_step="Give the whole request.") from None
