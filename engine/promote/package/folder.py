"""A package as it lies on disk: a plain folder whose every byte is signed, twice over.

    PACKAGE/
      README.md             model card
      adapter/  merged/  int8/    the version's forms, as far as there are any
      serve.sh  compose.yaml      how the self-contained form is served
      evidence/             the evidence bundle, whole (`engine/promote/evidence/bundle.py`)
      model.sig.pub         public key of the OpenSSF signature
      manifest.dsse.json    SHA-256 and size of every file above, with what the replay of each form found; signed by the workspace's key
      model.sig             OpenSSF model signature over every file above, for those who have its tool and not ours

Whoever reads a package finds each file as the manifest says, and no other file. The manifest is written when everything else is there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from engine.base.digests import canonical_json, file_sha256, tree_sha256
from engine.base.files import parse_strict, write_atomic
from engine.errors import PackageRefused
from engine.promote.evidence.bundle import Bundle, read_bundle
from engine.promote.evidence.dsse import open_envelope, sign
from engine.promote.evidence.statement import STATEMENT_TYPE
from engine.promote.package.signature import SIGNATURE, model_key, public_pem, sign_model, signature_problem
from engine.promote.package.types import PackageStatement

MANIFEST = "manifest.dsse.json"
PUBLIC_KEY = "model.sig.pub"
EVIDENCE = "evidence"
ADAPTER = "adapter"
MANIFEST_TYPE = "urn:modelsmith:package:v1"
MAX_MANIFEST_BYTES = 4 << 20
AGAIN = "Do not use the package; get it again from where it was made."


class Package(NamedTuple):
    """A package that was read: every byte is what the key signed, and its parts are of one version."""

    stated: PackageStatement
    files: dict[str, str]
    """SHA-256 of every file but the manifest and the signature, by path."""
    evidence: Bundle


# ---- making ----------------------------------------------------------------------------------------------------------------------------


def seal(folder: Path, stated: PackageStatement, key: Ed25519PrivateKey) -> None:
    """Signs what lies in `folder`: writes the public key, the manifest and the model signature."""
    signing = model_key(key)
    write_atomic(folder / PUBLIC_KEY, public_pem(signing))
    files = {path: file_sha256(folder / path) for path in _plain_files(folder)}
    sizes = {path: (folder / path).stat().st_size for path in files}
    write_atomic(folder / MANIFEST, sign(_manifest(files, stated.model_copy(update={"bytes": sizes})), key))
    signed = files | {MANIFEST: file_sha256(folder / MANIFEST)}
    write_atomic(folder / SIGNATURE, sign_model(f"{stated.cluster} {stated.version}", signed, signing))


def _manifest(files: Mapping[str, str], stated: PackageStatement) -> bytes:
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
            "predicateType": MANIFEST_TYPE,
            "predicate": stated.model_dump(mode="json"),
        }
    )


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def is_package(folder: Path) -> bool:
    """Whether a folder looks like a package rather than an evidence bundle."""
    return (folder / MANIFEST).exists() and (folder / SIGNATURE).exists()


def read_package(folder: Path, key: Ed25519PublicKey) -> Package:
    """The package in `folder`, when every byte of it is what `key` signed. Raises PackageRefused, naming the first file that is not."""
    found = _plain_files(folder)
    for name in (MANIFEST, SIGNATURE):
        if name not in found or found[name] > MAX_MANIFEST_BYTES:
            raise PackageRefused(f"{name} is missing, or longer than any is", next_step="Get the package again, as a whole folder.", file=name)
    signed = open_envelope((folder / MANIFEST).read_bytes(), key, MANIFEST)
    stated, files = _read_manifest(signed)
    _refuse_other_files(found, files)
    for name, digest in files.items():
        if found[name] != stated.bytes.get(name) or file_sha256(folder / name) != digest:
            raise PackageRefused(f"{name[:200]} was altered", next_step=AGAIN, file=name)
    problem = signature_problem(
        (folder / SIGNATURE).read_bytes(), (folder / PUBLIC_KEY).read_bytes(), files | {MANIFEST: file_sha256(folder / MANIFEST)}
    )
    if problem:
        raise PackageRefused(f"{SIGNATURE} does not stand for the package: {problem}", next_step=AGAIN, file=SIGNATURE)
    evidence = read_bundle(folder / EVIDENCE, key)
    _refuse_another_version(folder, stated, evidence)
    return Package(stated, files, evidence)


def _read_manifest(signed: bytes) -> tuple[PackageStatement, dict[str, str]]:
    try:
        manifest: Any = parse_strict(signed)
        if (manifest["_type"], manifest["predicateType"]) != (STATEMENT_TYPE, MANIFEST_TYPE):
            raise ValueError(f"the manifest is not a {MANIFEST_TYPE}")
        stated = PackageStatement.model_validate(manifest["predicate"])
        return stated, {str(subject["name"]): str(subject["digest"]["sha256"]) for subject in manifest["subject"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error.error_count()} of its fields do not fit" if isinstance(error, ValidationError) else str(error)[:200]
        raise PackageRefused(
            f"the package is signed but cannot be read: {reason}", next_step="It is of another version of Modelsmith, or was made by something else."
        ) from None


def _refuse_other_files(found: Mapping[str, int], named: Mapping[str, str]) -> None:
    wanted = {*named, MANIFEST, SIGNATURE}
    if found.keys() != wanted:
        missing, foreign = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
        problem = f"{missing[0][:200]} is missing" if missing else f"{foreign[0][:200]!r} does not belong to it"
        raise PackageRefused(f"the package is not whole: {problem}", next_step="Get it again, as a whole folder.", missing=missing[:5])


def _refuse_another_version(folder: Path, stated: PackageStatement, evidence: Bundle) -> None:
    """Raises PackageRefused when adapter, evidence and manifest, each signed for itself, are not of one version."""
    lineage = evidence.predicate.lineage
    same = (stated.evidence, stated.version, stated.adapter) == (evidence.evidence, evidence.predicate.version, lineage.adapter)
    if not same or tree_sha256(folder / ADAPTER) != stated.adapter:
        raise PackageRefused(
            f"adapter, evidence and manifest are not of one version: the manifest says {stated.version}, the evidence {evidence.predicate.version}",
            next_step=AGAIN,
        )


def _plain_files(folder: Path) -> dict[str, int]:
    """The size of every file, by path. Raises PackageRefused for what is neither a plain file nor a folder of such."""
    found: dict[str, int] = {}
    queue = [folder]
    while queue:
        place = queue.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            raise PackageRefused(f"{place.name[:120]!r} cannot be read: {error.strerror}", next_step="Name the folder of a package.") from None
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                queue.append(Path(entry.path))
            elif stat.S_ISREG(status.st_mode):
                found[Path(entry.path).relative_to(folder).as_posix()] = status.st_size
            else:
                raise PackageRefused(f"{entry.name[:120]!r} is neither a file nor a folder", next_step="Get the package again, as plain files.")
    return found
