"""Checks a Modelsmith evidence bundle with Python and the package `cryptography` alone.

    python -I verify_bundle.py BUNDLE PUBLIC_KEY

BUNDLE is the bundle's folder; PUBLIC_KEY a file with the workspace's ed25519 public key (OpenSSH or PEM) as its owner gave it to you. A verifier
that came inside the bundle is as trustworthy as the bundle: take it from Modelsmith's repository where that matters.

Checked: both signatures; the digest and size of each file, and that there is no other; from items.jsonl again, exactly: each subject's means, pass
rates, counts and breaches, and each paired difference's point estimate and counts; that the verdict is the one that its conditions give.
Not checked: intervals, p-values and the conditions that rest on them (`modelsmith verify` finds those again), approvals, and what no item shows.

Exit code: 0 verified, 1 a figure or the verdict does not follow, 2 altered or unreadable.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MANIFEST, STATEMENT, ITEMS = "manifest.dsse.json", "statement.dsse.json", "items.jsonl"
FILES = {STATEMENT, ITEMS, "approvals.json", "page.html", "verify_bundle.py"}
TYPES = {MANIFEST: "urn:modelsmith:evidence-bundle:v1", STATEMENT: "urn:modelsmith:promotion-evidence:v1"}
IN_TOTO, STATEMENT_TYPE = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
MAX_BYTES, ROUNDING = 1 << 30, 1e-9


class Altered(Exception):
    """The bundle is not what the key signed."""


# ---- signatures and digests ------------------------------------------------------------------------------------------------------------


def read_key(path: Path) -> Ed25519PublicKey:
    data = path.read_bytes()
    key = serialization.load_ssh_public_key(data) if data.startswith(b"ssh-") else serialization.load_pem_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise Altered(f"{path.name} holds no ed25519 public key")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode().rstrip("=")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(folder: Path, name: str) -> bytes:
    status = (folder / name).lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise Altered(f"{name} is not a plain file of a bundle's size")
    return (folder / name).read_bytes()


def opened(envelope: bytes, name: str, key: Ed25519PublicKey) -> bytes:
    """The payload of a DSSE envelope that the key signed and that is spelled as Modelsmith spells it, to the last byte."""
    found = json.loads(envelope)
    payload, (signature,) = base64.b64decode(found["payload"]), found["signatures"]
    if signature["keyid"] != fingerprint(key):
        raise Altered(f"{name} is signed by {signature['keyid']}, not by the named key {fingerprint(key)}")
    sealed = b"DSSEv1 %d %b %d %b" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    key.verify(base64.b64decode(signature["sig"]), sealed)
    signatures = [{"keyid": fingerprint(key), "sig": base64.b64encode(base64.b64decode(signature["sig"])).decode()}]
    again = {"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": signatures}
    if json.dumps(again, sort_keys=True, separators=(",", ":")).encode() + b"\n" != envelope:
        raise Altered(f"{name} is spelled otherwise than it was written")
    return payload


def statement_of(payload: bytes, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Predicate, and the subjects' digests by name."""
    statement = json.loads(payload)
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, TYPES[name]):
        raise Altered(f"{name} holds no {TYPES[name]}")
    return statement["predicate"], {subject["name"]: subject["digest"] for subject in statement["subject"]}


def contents(folder: Path, key: Ed25519PublicKey) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """The evidence digest, the predicate and the items, when every byte is what the key signed."""
    if odd := {entry.name for entry in folder.iterdir()} ^ (FILES | {MANIFEST}):
        raise Altered(f"the folder lacks or adds files: {sorted(odd)[:3]}")
    about, digests = statement_of(opened(read(folder, MANIFEST), MANIFEST, key), MANIFEST)
    if digests.keys() != FILES:
        raise Altered("the manifest does not name the files of a bundle")
    files = {name: read(folder, name) for name in sorted(FILES)}
    for name, data in files.items():
        if sha256(data) != digests[name]["sha256"] or len(data) != about["bytes"][name]:
            raise Altered(f"{name} was altered")
    payload = opened(files[STATEMENT], STATEMENT, key)
    predicate, subjects = statement_of(payload, STATEMENT)
    if sha256(payload) != about["evidence"] or subjects[ITEMS]["sha256"] != sha256(files[ITEMS]):
        raise Altered("statement, items and manifest are not of one bundle")
    return sha256(payload), predicate, [json.loads(line) for line in files[ITEMS].splitlines()]


# ---- figures ---------------------------------------------------------------------------------------------------------------------------


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def answers_of(rows: list[dict[str, Any]], role: str, split: str) -> dict[str, dict[str, Any] | None]:
    return {row["item"]: row["answers"][role] for row in rows if row["suite"] == "domain" and row["split"] == split and role in row["answers"]}


def split_figures(rows: list[dict[str, Any]], role: str, split: str, json_output: bool) -> dict[str, Any]:
    answers = list(answers_of(rows, role, split).values())
    graded = [answer for answer in answers if answer is not None]
    breaches = dict(Counter(net for answer in graded for net in answer["breached"]))
    valid = mean([float(answer["valid"]) for answer in graded]) if json_output and graded else None
    score, passed = mean([answer["score"] for answer in graded]), mean([float(answer["passed"]) for answer in graded])
    return {"n": len(graded), "errors": len(answers) - len(graded), "score": score, "pass rate": passed, "valid": valid, "breaches": breaches}


def stated_figures(split: dict[str, Any]) -> dict[str, Any]:
    figures = {"n": split["score"]["n"], "errors": split["errors"], "score": split["score"]["mean"], "pass rate": split["pass_rate"]["mean"]}
    return figures | {"valid": split["schema_valid"], "breaches": split["safety_breaches"]}


def paired_figures(rows: list[dict[str, Any]], before: str, metric: str) -> dict[str, Any]:
    one, other = (answers_of(rows, role, "held_out") for role in (before, "challenger"))
    if one.keys() != other.keys():
        return {"items": "not the same"}
    field = "score" if metric == "score" else "passed"
    both = [(a, b) for name in one for a, b in [(one[name], other[name])] if a is not None and b is not None]
    pairs = [(float(a[field]), float(b[field])) for a, b in both]
    found = {"before": mean([old for old, _ in pairs]), "after": mean([new for _, new in pairs]), "n": len(pairs), "missing": len(one) - len(pairs)}
    better, worse = sum(new > old for old, new in pairs), sum(new < old for old, new in pairs)
    return {**found, "difference": mean([new - old for old, new in pairs]), "better": better, "worse": worse}


def stated_pairs(paired: dict[str, Any]) -> dict[str, Any]:
    found = {"before": paired["before"]["mean"], "after": paired["after"]["mean"], "n": paired["difference"]["n"], "missing": paired["missing"]}
    return {**found, "difference": paired["difference"]["mean"], "better": paired["better"], "worse": paired["worse"]}


def same(one: Any, other: Any) -> bool:
    return abs(one - other) <= ROUNDING if isinstance(one, int | float) and isinstance(other, int | float) else bool(one == other)


def differing(place: str, stated: dict[str, Any], found: dict[str, Any]) -> list[str]:
    wrong = [name for name in found if not same(stated.get(name), found[name])]
    return [f"{place}: {name} is stated as {stated.get(name)}, the items give {found[name]}" for name in wrong]


def underived(predicate: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What is stated and does not follow from the items."""
    rules, found = predicate["rules"], predicate["found"]
    metric, decision, problems = rules["acceptance"]["metric"], found["decision"], []
    for subject in found["measured"]:
        for split in subject["splits"]:
            figures = split_figures(rows, subject["role"], split["split"], rules["json_output"])
            problems += differing(f"{subject['role']} on {split['split']}", stated_figures(split), figures)
    pairs = [(each["role"], each["comparison"]) for each in found["movement"]] + [("incumbent", decision["against_incumbent"])]
    for role, paired in [*pairs, ("floor", decision["against_floor"])] if decision["against_floor"] else pairs:
        problems += differing(f"against the {role}", stated_pairs(paired), paired_figures(rows, role, metric))
    verdict = "accept" if decision["clauses"] and all(clause["passed"] for clause in decision["clauses"]) else "roll_back"
    return problems + differing("verdict", {"verdict": decision["verdict"]}, {"verdict": verdict})


def main(words: list[str]) -> int:
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        evidence, predicate, rows = contents(Path(words[0]), read_key(Path(words[1])))
        problems = underived(predicate, rows)
    except (Altered, InvalidSignature, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        said = {InvalidSignature: "a signature does not verify: the bundle was altered", Altered: str(error)}
        print(f"REFUSED: {said.get(type(error), f'it cannot be read ({type(error).__name__}: {str(error)[:200]})')}", file=sys.stderr)
        return 2
    print(f"{predicate['cluster']} {predicate['version']}: {predicate['found']['decision']['verdict']}, evidence {evidence}, {len(rows)} items")
    print("Every byte is what the key signed.", *(f"DOES NOT FOLLOW: {problem}" for problem in problems), sep="\n")
    print(f"Means, rates, counts and paired differences {'do not all' if problems else 'all'} follow from the items.")
    print("Left to `modelsmith verify`: intervals, p-values, the conditions that rest on them, approvals.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
