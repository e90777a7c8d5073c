"""`modelsmith verify`: an evidence bundle, or a package with one in it, checked where it lies, with no workspace, no daemon and no database.

Exit codes: 0 verified, 1 a figure or the verdict does not follow from the items, or an approval from its signature, 2 altered, incomplete,
unreadable, or not signed by the key.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid
from engine.promote.approvals.approvers_file import read_approvers
from engine.promote.evidence.keys import read_public_key
from engine.promote.evidence.types import Verification
from engine.promote.evidence.verify import ApprovalCheck, against, verify_bundle
from engine.promote.package.folder import is_package
from engine.promote.package.types import PackageVerification
from engine.promote.package.verify import verify_package
from server.failures import EXIT_BELOW_TARGET, EXIT_DONE
from server.render import plain


def verify(arguments: argparse.Namespace, workspace: Workspace) -> tuple[int, dict[str, Any], str]:
    """The exit code, the finding as data, and the finding in words."""
    folder, key, check = Path(arguments.bundle), read_public_key(key_file(arguments.key, workspace)), _check(arguments)
    if is_package(folder):
        package = verify_package(folder, key, check, arguments.approved)
        return _told(package, package_summary(package), {"holds": package.held, "does not hold": package.problems, "not checked": package.unchecked})
    found = verify_bundle(folder, key, check, arguments.approved)
    differing = [f"{each.place}: {each.stated} is stated, {each.found} was found" for each in found.differences]
    return _told(found, summary_of(found), {"holds": found.held, "does not follow": differing, "not checked": found.unchecked})


def _told(
    found: Verification | PackageVerification, summary: str, lists: Mapping[str, Sequence[str]]
) -> tuple[int, dict[str, Any], str]:
    """A finding with its exit code and in words."""
    lines = [summary, f"  evidence in full  {found.evidence}"]
    for title, sentences in lists.items():
        if sentences:
            lines += [f"\n{title}:", *(f"  {sentence}" for sentence in sentences)]
    result = {"summary": summary, **found.model_dump(mode="json")}
    return EXIT_DONE if found.verified else EXIT_BELOW_TARGET, result, plain("\n".join(lines))


def _check(arguments: argparse.Namespace) -> ApprovalCheck | None:
    """How approvals are checked; null where no list is named, which a request for an approval does not allow."""
    if arguments.approvers is not None:
        return against(read_approvers(Path(arguments.approvers)))
    if arguments.approved is not None:
        raise ArgumentInvalid("who may approve is not named", next_step="Pass --approvers FILE with an approver list of your own.")
    return None


def key_file(given: str | None, workspace: Workspace) -> Path:
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
    return f"NOT verified: {what} is what {found.key} signed, but not all of it follows from its items and its approvals."


def package_summary(found: PackageVerification) -> str:
    """Likewise of a package."""
    what = f"the package of {found.version} of {found.cluster} ({found.files} files, {found.bytes / 1e6:.1f} MB)"
    if found.verified:
        return f"Verified: {what} is what {found.key} signed, and answers as the version did that was evaluated."
    return f"NOT verified: {what} is what {found.key} signed, but not all of it holds."
