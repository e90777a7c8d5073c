"""A bundle as it lies on disk: fixed names, written whole or not at all, and nothing in it that is not signed.

    BUNDLE/
      statement.dsse.json     the evidence statement, signed; the SHA-256 of its payload is what approvers sign
      items.jsonl             one redacted item a line, with each subject's result
      approvals.json          requests and approvals, as they were handed in
      page.html               the statement and the approvals as a page for people
      verify_bundle.py        the standalone verifier: Python and `cryptography`, nothing of ours
      manifest.dsse.json      written last: digest and size of every other file, signed by the same key

Two signatures, because approvals are given for a statement that stands already: a bundle is issued again with them, its statement and its items
the same to the last byte, its page and its manifest new. Whoever reads a bundle finds each file as the manifest says, and no other file.

If the power goes: a bundle is put together under another name and renamed when all of it is on disk.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError

from engine.base.digests import canonical_json, sha256_hex
from engine.base.files import fsync_directory, parse_strict, write_atomic
from engine.errors import EvidenceRefused
from engine.promote.evidence.dsse import open_envelope, sign
from engine.promote.evidence.page import PAGE_DIGEST, render_page
from engine.promote.evidence.statement import ITEMS, STATEMENT_TYPE, make_statement, read_statement
from engine.promote.evidence.types import ApprovedRequest, BundleInputs, EvidencePredicate, ItemRow

STATEMENT = "statement.dsse.json"
APPROVALS = "approvals.json"
PAGE = "page.html"
VERIFIER = "verify_bundle.py"
MANIFEST = "manifest.dsse.json"
FILES = (STATEMENT, ITEMS, APPROVALS, PAGE, VERIFIER)
"""All but the manifest."""
MANIFEST_TYPE = "urn:modelsmith:evidence-bundle:v1"
MAX_MANIFEST_BYTES = 64 << 10
MAX_FILE_BYTES = 1 << 30

_APPROVED: TypeAdapter[tuple[ApprovedRequest, ...]] = TypeAdapter(tuple[ApprovedRequest, ...])


class Bundle(NamedTuple):
    """A bundle that was read: every byte is what the key signed. Whether its verdict follows from its items is another question."""

    evidence: str
    """SHA-256 of the statement."""
    stated: dict[str, Any]
    """The predicate as JSON data."""
    predicate: EvidencePredicate
    rows: tuple[ItemRow, ...]
    approvals: tuple[ApprovedRequest, ...]
    page: bytes
    verifier: bytes


# ---- making ----------------------------------------------------------------------------------------------------------------------------


def make_bundle(inputs: BundleInputs, key: Ed25519PrivateKey, parent: Path) -> Path:
    """Makes a bundle in a new folder below `parent`, named by its evidence digest. Raises VerdictDiffers when the results do not give the verdict."""
    draft = make_statement(inputs, PAGE_DIGEST)
    return _write(parent, key, draft.digest, sign(draft.payload, key), draft.items, draft.predicate, inputs.approvals)


def issue_again(bundle: Path, approvals: Sequence[ApprovedRequest], key: Ed25519PrivateKey, parent: Path) -> Path:
    """The same statement and items with other approvals, in a new folder below `parent`. The evidence digest stays."""
    read = read_bundle(bundle, key.public_key())
    return _write(parent, key, read.evidence, (bundle / STATEMENT).read_bytes(), (bundle / ITEMS).read_bytes(), read.predicate, approvals)


def _write(
    parent: Path,
    key: Ed25519PrivateKey,
    evidence: str,
    statement: bytes,
    items: bytes,
    predicate: EvidencePredicate,
    approvals: Sequence[ApprovedRequest],
) -> Path:
    files = {
        STATEMENT: statement,
        ITEMS: items,
        APPROVALS: canonical_json([each.model_dump(mode="json") for each in approvals]) + b"\n",
        PAGE: render_page(predicate, evidence, approvals).encode(),
        VERIFIER: verifier_source(),
    }
    incoming = parent / f".incoming-{os.urandom(8).hex()}"
    try:
        for name, content in files.items():
            write_atomic(incoming / name, content)
        write_atomic(incoming / MANIFEST, sign(_manifest(files, evidence), key))
        target = parent / f"evidence-{evidence[:12]}-{os.urandom(4).hex()}"
        os.rename(incoming, target)
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    fsync_directory(parent)
    return target


def _manifest(files: Mapping[str, bytes], evidence: str) -> bytes:
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": sha256_hex(content)}} for name, content in sorted(files.items())],
            "predicateType": MANIFEST_TYPE,
            "predicate": {"evidence": evidence, "bytes": {name: len(content) for name, content in files.items()}},
        }
    )


def verifier_source() -> bytes:
    """The standalone verifier, as it ships in each bundle."""
    return (Path(__file__).parent / "standalone" / VERIFIER).read_bytes()


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def read_bundle(folder: Path, key: Ed25519PublicKey) -> Bundle:
    """The bundle in `folder`, when every byte of it is what `key` signed. Raises EvidenceRefused, naming the first file that is not."""
    _refuse_foreign_entries(folder)
    signed = open_envelope(_read(folder, MANIFEST, MAX_MANIFEST_BYTES), key, MANIFEST)
    try:
        evidence, contents = _contents(folder, parse_strict(signed))
        payload = open_envelope(contents[STATEMENT], key, STATEMENT)
        read = read_statement(payload)
        if sha256_hex(payload) != evidence or read.items != sha256_hex(contents[ITEMS]):
            raise ValueError("statement, items and manifest are not of one bundle")
        return Bundle(
            evidence=evidence,
            stated=read.predicate,
            predicate=EvidencePredicate.model_validate(read.predicate),
            rows=tuple(ItemRow.model_validate_json(line) for line in contents[ITEMS].splitlines()),
            approvals=_APPROVED.validate_json(contents[APPROVALS]),
            page=contents[PAGE],
            verifier=contents[VERIFIER],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error.error_count()} of its fields do not fit" if isinstance(error, ValidationError) else str(error)[:200]
        raise EvidenceRefused(
            f"the bundle is signed but cannot be read: {reason}", next_step="It is of another version of Modelsmith, or was made by something else."
        ) from None


def _contents(folder: Path, manifest: Any) -> tuple[str, dict[str, bytes]]:
    """The evidence digest and every file, each as the manifest says."""
    if (manifest["_type"], manifest["predicateType"]) != (STATEMENT_TYPE, MANIFEST_TYPE):
        raise ValueError(f"the manifest is not a {MANIFEST_TYPE}")
    named = {subject["name"]: subject["digest"]["sha256"] for subject in manifest["subject"]}
    if named.keys() != set(FILES):
        raise ValueError(f"the manifest does not name the files {', '.join(FILES)}")
    contents = {}
    for name in FILES:
        size = int(manifest["predicate"]["bytes"][name])
        contents[name] = _read(folder, name, min(size, MAX_FILE_BYTES))
        if len(contents[name]) != size or sha256_hex(contents[name]) != named[name]:
            raise EvidenceRefused(f"{name} was altered", next_step="Do not rely on the bundle; get it again from where it was made.", file=name)
    return str(manifest["predicate"]["evidence"]), contents


def _refuse_foreign_entries(folder: Path) -> None:
    try:
        found = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise EvidenceRefused(
            f"{folder.name[:120]!r} is no folder that can be read: {error.strerror}", next_step="Name the folder of a bundle."
        ) from None
    wanted = {*FILES, MANIFEST}
    if found != wanted:
        missing, foreign = sorted(wanted - found), sorted(found - wanted)
        problem = f"{missing[0]} is missing" if missing else f"{foreign[0][:120]!r} does not belong to it"
        raise EvidenceRefused(f"the bundle is not whole: {problem}", next_step="Get it again, as a whole folder.", missing=missing)


def _read(folder: Path, name: str, limit: int) -> bytes:
    """A plain file of at most `limit` bytes; one byte more is read, so that a longer one shows. Links and devices are refused."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(0, "it is not a plain file")
            return stream.read(limit + 1)
    except OSError as error:
        raise EvidenceRefused(f"{name} cannot be read: {error.strerror}", next_step="Get the bundle again, as plain files.", file=name) from None
