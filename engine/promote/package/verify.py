"""Checking a package with nothing but the package and a public key: no store, no daemon, no network, no model.

Is every byte what the key signed, and are adapter, evidence and manifest of one version (`folder.py`; otherwise PackageRefused)? Does the verdict
follow from the evidence's items (`engine/promote/evidence/verify.py`)? Did every form agree with what was evaluated, within the stated limits?
That the replay found what it says is taken as signed: load a form and ask it to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.promote.evidence.dsse import fingerprint
from engine.promote.evidence.verify import ApprovalCheck, verify_bundle
from engine.promote.package.folder import EVIDENCE, read_package
from engine.promote.package.parity import holds
from engine.promote.package.types import PackageStatement, PackageVerification
from engine.promote.types import FormParity


def verify_package(
    folder: Path, key: Ed25519PublicKey, check_approvals: ApprovalCheck | None = None, approved: str | None = None
) -> PackageVerification:
    """What a check of the package finds; approvals as `verify_bundle` has it. Raises PackageRefused or EvidenceRefused when it was altered, is
    incomplete, or is not signed by `key`."""
    package = read_package(folder, key)
    evidence = verify_bundle(folder / EVIDENCE, key, check_approvals, approved)
    stated = package.stated
    problems = [*(f"evidence, {each.place}: {each.stated} is stated, {each.found} was found" for each in evidence.differences), *_disagreeing(stated)]
    return PackageVerification(
        verified=not problems,
        evidence=package.evidence.evidence,
        key=fingerprint(key),
        cluster=stated.cluster,
        version=stated.version,
        adapter=stated.adapter,
        files=len(package.files),
        bytes=sum(stated.bytes.values()),
        held=(
            f"Each of {len(package.files)} files is as the manifest says, and there is no other.",
            "The OpenSSF model signature stands for the same files, under the public key in the package, which the manifest names.",
            "Adapter, evidence and manifest are of one version.",
            *evidence.held,
        ),
        problems=tuple(problems),
        unchecked=(*(f"{each.form}: {figure.sentence}" for each in stated.forms for figure in each.figures), *stated.absent, *evidence.unchecked),
    )


def _disagreeing(stated: PackageStatement) -> Iterator[str]:
    if not stated.forms:
        yield "no form was replayed"
    for form in stated.forms:
        yield from (f"{form.form}: {sentence}" for sentence in _beyond_limits(form))


def _beyond_limits(form: FormParity) -> Iterator[str]:
    """Figures that are not within their limits, whatever is said of them."""
    for figure in form.figures:
        if not holds(figure.name, figure.figure, figure.limit):
            yield figure.sentence
