"""The evidence statement: an in-toto Statement v1 about a version's adapter and the items that its verdict rests on.

    subject         the adapter (tree digest) and items.jsonl (SHA-256)
    predicate       benchmark, rules, figures and verdict (`found`), operations, lineage, rollback posture (`EvidencePredicate`)

Its bytes are canonical JSON; their SHA-256 is the evidence digest that a promotion request names and an approver signs. Every figure of `found`
is computed here from the redacted items, never copied: the ledger's verdict and the store's means are compared with it, and a statement that
would say anything else than they do is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.base.digests import canonical_json, sha256_hex
from engine.base.files import parse_strict
from engine.base.ids import check_identifier
from engine.base.sources import VERSION, engine_digest
from engine.errors import VerdictDiffers
from engine.evaluate.types import PairedComparison, Stability
from engine.iterate.types import Decision
from engine.promote.cost import answers, cost_per_decision, per_second, seconds_per_decision
from engine.promote.evidence.derivation import derive
from engine.promote.evidence.redaction import Redaction, item_rows
from engine.promote.evidence.types import (
    BundleInputs,
    Derived,
    EvidencePredicate,
    Lineage,
    MadeWith,
    MeasuredSubject,
    Operations,
    Role,
    Rules,
    SubjectRecord,
)

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:modelsmith:promotion-evidence:v1"
ADAPTER = "adapter"
ITEMS = "items.jsonl"
TREE_DIGEST = "modelsmith-tree-sha256"
"""The digest of a directory: SHA-256 over the canonical JSON of its sorted (path, SHA-256) pairs."""
ROUNDING = 1e-9
"""What two sums of the same numbers may differ by."""


class Draft(NamedTuple):
    """A statement with the items that it is about."""

    predicate: EvidencePredicate
    items: bytes
    """items.jsonl."""
    payload: bytes
    """The statement's bytes."""

    @property
    def digest(self) -> str:
        """The evidence digest."""
        return sha256_hex(self.payload)


def make_statement(inputs: BundleInputs, page: str) -> Draft:
    """The statement and its items. `page` is the digest of the template that the page will be drawn with. Raises VerdictDiffers."""
    for name, what in ((inputs.cluster, "cluster"), (inputs.domain, "domain"), (inputs.version, "version")):
        check_identifier(name, what)
    redaction = Redaction(inputs.salt, inputs.private_words)
    rows = item_rows(inputs, redaction)
    rules, operations = _rules(inputs, redaction), _operations(inputs)
    found = derive(rows, rules)
    _refuse_another_verdict(inputs.recorded, found.decision)
    _refuse_other_means(inputs.subjects, found)
    predicate = EvidencePredicate(
        cluster=inputs.cluster,
        domain=inputs.domain,
        version=inputs.version,
        made_at=inputs.made_at,
        made_with=MadeWith(modelsmith=VERSION, code=engine_digest(), numpy=np.__version__, page=page),
        generation=inputs.generation,
        subjects=tuple(_subject(subject, redaction) for subject in inputs.subjects),
        rules=rules,
        found=found,
        operations=operations,
        lineage=_lineage(inputs.lineage, redaction),
        rollback=inputs.rollback,
        absent=_absent(inputs, operations),
    )
    items = b"".join(canonical_json(row.model_dump(mode="json")) + b"\n" for row in rows)
    return Draft(predicate, items, _payload(predicate, items))


def _payload(predicate: EvidencePredicate, items: bytes) -> bytes:
    subjects = [
        {"name": ADAPTER, "digest": {TREE_DIGEST: predicate.lineage.adapter}},
        {"name": ITEMS, "digest": {"sha256": sha256_hex(items)}},
    ]
    return canonical_json(
        {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": predicate.model_dump(mode="json")}
    )


class Read(NamedTuple):
    """A statement that was read."""

    predicate: dict[str, Any]
    """As JSON data."""
    items: str
    """SHA-256 that items.jsonl must have."""


def read_statement(payload: bytes) -> Read:
    """What a statement says. Raises ValueError in a sentence when it is none of ours, or not about the adapter in its lineage."""
    statement = parse_strict(payload)
    if not isinstance(statement, dict) or (statement.get("_type"), statement.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError(f"it is not a {PREDICATE_TYPE} in an in-toto Statement v1")
    named = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    predicate: dict[str, Any] = statement["predicate"]
    if named.keys() != {ADAPTER, ITEMS} or named[ADAPTER] != {TREE_DIGEST: predicate["lineage"]["adapter"]}:
        raise ValueError(f"its subjects are not the adapter of its lineage and {ITEMS}")
    return Read(predicate, str(named[ITEMS]["sha256"]))


# ---- parts -----------------------------------------------------------------------------------------------------------------------------


def _rules(inputs: BundleInputs, redaction: Redaction) -> Rules:
    stability, challenger = inputs.stability, inputs.subject("challenger")
    return Rules(
        acceptance=inputs.acceptance,
        slices=tuple(redaction.label(tag) for tag in inputs.slices),
        json_output=inputs.json_output,
        seed=inputs.seed,
        attempt=inputs.attempt,
        stability=None if stability is None else Stability(items=stability.items, flipped=stability.flipped),
        planted=inputs.planted,
        canaries=None if challenger is None else challenger.summary.canaries,
    )


def _subject(subject: MeasuredSubject, redaction: Redaction) -> SubjectRecord:
    summary, held_out = subject.summary, subject.summary.split("held_out")
    return SubjectRecord(
        role=subject.role,
        name=redaction.label(subject.name),
        identity=redaction.identity(summary.identity),
        structured=summary.structured,
        fingerprint=redaction.label(str(summary.fingerprint["verdict"])) if summary.fingerprint else "",
        generated=summary.generated,
        cached=summary.cached,
        completion_tokens=summary.completion_tokens,
        latency_p50_seconds=held_out.latency_p50_seconds,
        latency_p95_seconds=held_out.latency_p95_seconds,
        answers_per_second=None if subject.role == "floor" else per_second(summary, answers(summary)),
        tokens_per_second=None if subject.role == "floor" else per_second(summary, summary.completion_tokens),
    )


def _operations(inputs: BundleInputs) -> Operations:
    """With what a decision takes of the machine's time, and of money where somebody gave a price."""
    challenger, price = inputs.subject("challenger"), inputs.operations.hourly_price
    seconds = None if challenger is None else seconds_per_decision(challenger.summary)
    cost = cost_per_decision(seconds, price)
    return inputs.operations.model_copy(update={"machine_seconds_per_decision": seconds, "cost_per_decision": cost})


def _lineage(lineage: Lineage, redaction: Redaction) -> Lineage:
    return lineage.model_copy(update={name: redaction.label(getattr(lineage, name)) for name in ("model", "licence", "method")})


def _absent(inputs: BundleInputs, operations: Operations) -> tuple[str, ...]:
    """What a reviewer may look for in vain, and why it is not there."""
    missing: list[tuple[bool, str]] = [
        (inputs.subject("ceiling") is None, "There is no ceiling to compare with: no teacher, endpoint or larger model was measured on these items."),
        (inputs.subject("floor") is None, "No baseline without a language model fits this output, so there is no floor."),
        (inputs.guard is None, "What the model could do besides this task was not measured: the domain names no no-harm suite."),
        (_latency(inputs, "challenger") is None, "Latency was not measured: every answer came from the cache."),
        (operations.latency_budget_p95_seconds is None, "The domain sets no budget for latency."),
        (operations.machine_seconds_per_decision is None, "Capacity and cost per decision were not measured: answers came from the cache."),
        (operations.cost_budget_per_decision is None, "The domain sets no budget for cost."),
        (operations.hourly_price is None, "No price given for this machine: what a decision costs in money is not known."),
        (inputs.rollback.drill is None, "No rollback drill is recorded."),
        (inputs.stability is None, "How steady the incumbent's answers are was not measured."),
    ]
    return tuple(sentence for absent, sentence in missing if absent)


def _latency(inputs: BundleInputs, role: Role) -> float | None:
    subject = inputs.subject(role)
    return None if subject is None else subject.summary.split("held_out").latency_p95_seconds


# ---- what the ledger and the store say ---------------------------------------------------------------------------------------------------


def _refuse_another_verdict(recorded: Decision, found: Decision) -> None:
    """Raises VerdictDiffers unless verdict, clauses and paired figures are those of the ledger."""
    differing = [
        clause.name
        for clause, other in zip(recorded.clauses, found.clauses, strict=False)
        if (clause.name, clause.passed) != (other.name, other.passed)
    ]
    same_shape = recorded.verdict == found.verdict and len(recorded.clauses) == len(found.clauses)
    pairs = ((recorded.against_incumbent, found.against_incumbent), (recorded.against_floor, found.against_floor))
    if differing or not same_shape or not all(_same_pairs(*pair) for pair in pairs):
        raise VerdictDiffers(
            f"the stored results give {found.verdict}, with other clauses or figures than the ledger's {recorded.verdict}"
            + (f" ({', '.join(differing)})" if differing else ""),
            next_step="The version was judged by other rules or other code than these: measure and judge it again with iterate.",
            recorded=recorded.verdict,
            found=found.verdict,
            clauses=differing,
        )


def _same_pairs(recorded: PairedComparison | None, found: PairedComparison | None) -> bool:
    """Point estimates and counts. (The ends of intervals hang on the resampling, whose code may have changed since.)"""
    if recorded is None or found is None:
        return recorded is found
    counts = ("better", "worse", "missing")
    return all(getattr(recorded, name) == getattr(found, name) for name in counts) and all(
        abs(one.mean - other.mean) <= ROUNDING and one.n == other.n
        for one, other in ((recorded.before, found.before), (recorded.after, found.after), (recorded.difference, found.difference))
    )


def _refuse_other_means(subjects: Sequence[MeasuredSubject], found: Derived) -> None:
    """Raises VerdictDiffers unless the items give each subject the means that its measurement has."""
    figures = {measured.role: measured for measured in found.measured}
    for subject in subjects:
        for split in figures[subject.role].splits:
            stored = subject.summary.split(split.split)
            same = stored.score.n == split.score.n and stored.errors == split.errors
            if not same or abs(stored.score.mean - split.score.mean) > ROUNDING or abs(stored.pass_rate.mean - split.pass_rate.mean) > ROUNDING:
                raise VerdictDiffers(
                    f"the stored {split.split} results of the {subject.role} do not give the figures of its measurement",
                    next_step="Measure it again; the artefact or the measurement has changed.",
                    role=subject.role,
                    split=split.split,
                )
