"""`modelsmith approve`: shows a request word for word, has the person who runs it sign that, and hands the signature in; or says where the page is
on which a passkey does.

What is shown is made here from the request, so it is what is signed whatever the daemon says of it. The signature is worth what it proves; this
command decides nothing. A request may also come from a file, for signing on a machine without the workspace.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.loading import find_workspace
from engine.promote.approvals.roster import problem_in
from engine.promote.approvals.statement import NAMESPACE, challenge_of, statement_of
from engine.promote.types import PromotionRequest
from server.client import Client, ensure_daemon
from server.daemon_file import DaemonRecord
from server.render import render
from server.signing import sign_shown
from server.terminal import Told, read_object
from tools.promote import APPROVALS, APPROVE_PROMOTION

COMPARED_DIGITS = 8


def approve(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Signs a request; hands the signature in, or prints it where that alone is asked for. With `--page`, leaves it to a browser."""
    if arguments.page:
        return _page(arguments.request, workspace)
    request = _request_in(read_object(arguments.request), arguments.request) if is_file(arguments.request) else _waiting(arguments.request, workspace)
    signature = sign_shown(statement_of(request), NAMESPACE, Path(arguments.key))
    if arguments.sign_only:
        digest = challenge_of(request).hex()
        summary = f"Signed request {request.id}; the digest of what was signed begins with {digest[:COMPARED_DIGITS]}."
        return Told({"summary": summary, "request": request.id, "digest": digest, "signature": signature}, signature.rstrip("\n"))
    result = Client(find_workspace(workspace.root)).call(APPROVE_PROMOTION, {"request": request.id, "signature": signature, "by": "cli"})
    return Told(result, render(result))


def passkey_page(_arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """Where a passkey is made."""
    url = f"{_origin(ensure_daemon(find_workspace(workspace.root)))}/passkey"
    summary = f"Open {url} in a browser; it says how an approver signs the passkey in. It approves on this port alone: start the daemon with it."
    return Told({"summary": summary, "url": url}, summary)


def _page(request: str, workspace: Workspace) -> Told:
    """The address of a request's page. What stands behind the # is the daemon's token: whoever has it can call the daemon."""
    daemon = ensure_daemon(find_workspace(workspace.root))
    url = f"{_origin(daemon)}/approve#{urlencode({'request': request, 'token': daemon.token})}"
    return Told({"summary": f"Open this in a browser to read request {request} and sign it with a passkey.", "url": url}, url)


def _origin(daemon: DaemonRecord) -> str:
    """The page's address as passkeys know it: by name, for they take no number."""
    return f"http://localhost:{daemon.port}"


def is_file(source: str) -> bool:
    """Whether a request is named by a file rather than by its id, told by the name alone: a file that lies about does not take an id's place."""
    return source == "-" or "/" in source or source.endswith(".json")


def _waiting(name: str, workspace: Workspace) -> PromotionRequest:
    """The request of that id; where its evidence can be read is said first."""
    found = find_workspace(workspace.root)
    page = Client(found).call(APPROVALS, {"request": name})
    if page.get("evidence_page"):
        print(f"What it rests on, to be read before signing: {found.root / page['evidence_page']}\n", file=sys.stderr)
    return _request_in(page["document"], name)


def _request_in(document: dict[str, Any], source: str) -> PromotionRequest:
    try:
        return PromotionRequest.model_validate(document)
    except ValidationError as error:
        raise ArgumentInvalid(f"{source[:200]} holds no promotion request: {problem_in(error)}", next_step="Give the whole request.") from None
