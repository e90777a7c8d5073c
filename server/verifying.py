"""`modelsmith verify`: a bundle checked where it lies, with no workspace, no daemon and no database.

Exit codes: 0 verified, 1 the verdict or a figure does not follow from the items, 2 altered, incomplete, unreadable, or not signed by the key.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.promote.evidence.keys import read_public_key
from engine.promote.evidence.types import Verification
from engine.promote.evidence.verify import verify_bundle
from server.failures import EXIT_BELOW_TARGET, EXIT_DONE
from server.render import plain


def verify(arguments: argparse.Namespace, workspace: Workspace) -> tuple[int, dict[str, Any], str]:
    """The exit code, the finding as data, and the finding in words."""
    found = verify_bundle(Path(arguments.bundle), read_public_key(_key_file(arguments.key, workspace)))
    result = {"summary": summary_of(found), **found.model_dump(mode="json")}
    return EXIT_DONE if found.verified else EXIT_BELOW_TARGET, result, plain("\n".join(lines_of(found)))


def _key_file(given: str | None, workspace: Workspace) -> Path:
    """The named key; in a workspace that signs, its own when none is named. A key that the bundle brought along would prove nothing."""
    if given is not None:
        return Path(given)
    if workspace.evidence_public_key.is_file():
        return workspace.evidence_public_key
    raise ArgumentInvalid(
        "no public key is named, and this folder is no workspace that has one",
        next_step="Pass --key FILE with the evidence.pub of the workspace that made the bundle, as its owner gave it to you.",
    )


def summary_of(found: Verification) -> str:
    """What came of it, in a sentence."""
    what = f"evidence {found.evidence[:8]} for {found.version} of {found.cluster} ({found.verdict.replace('_', ' ')})"
    if found.verified:
        return f"Verified: {what} follows from its {found.items} items and is what {found.key} signed."
    return f"NOT verified: {what} is what {found.key} signed, but does not follow from its items."


def lines_of(found: Verification) -> Iterator[str]:
    """All of it, for a person."""
    yield summary_of(found)
    yield f"  in full  {found.evidence}"
    for title, sentences in (
        ("holds", found.held),
        ("does not follow", [f"{each.place}: {each.stated} is stated, {each.found} was found" for each in found.differences]),
        ("not checked", found.unchecked),
    ):
        if sentences:
            yield f"\n{title}:"
            yield from (f"  {sentence}" for sentence in sentences)
