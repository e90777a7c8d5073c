"""`modelsmith escalation approve`: shows the fix of an escalation word for word, has the person who runs it sign that, and hands the signature in.

What is shown is made here from the request, so it is what is signed whatever the daemon says of it. The signature is worth what it proves; this
command decides nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.escalate.types import FixRequest
from engine.promote.approvals.roster import problem_in
from engine.promote.approvals.statement import NAMESPACE, statement_of
from server.client import Client
from server.render import render
from server.signing import sign_shown
from server.terminal import Told
from tools.escalate import APPROVE_FIX, ESCALATIONS


def approve(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Signs what the escalation asks for, and hands the signature in."""
    client = Client(workspace)
    page = client.call(ESCALATIONS, {"escalation": arguments.escalation})
    signature = sign_shown(statement_of(_request_in(page.get("document"), arguments.escalation)), NAMESPACE, Path(arguments.key))
    result = client.call(APPROVE_FIX, {"escalation": arguments.escalation, "signature": signature, "by": "cli"})
    return Told(result, render(result))


def _request_in(document: object, name: str) -> FixRequest:
    if document is None:
        raise ArgumentInvalid(f"{name} asks nobody for a signature now", next_step=f"Look at it with `modelsmith escalation show {name}`.")
    try:
        return FixRequest.model_validate(document)
    except ValidationError as error:
        raise ArgumentInvalid(f"{name} holds no request for a signature: {problem_in(error)}", next_step="Update Modelsmith.") from None
