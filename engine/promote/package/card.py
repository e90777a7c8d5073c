"""README.md of a package: a model card as the Hugging Face hub reads it, with every figure taken from the signed evidence. Pure.

The front matter holds licence, base and a `model-index`; the text says how the version was judged, what the export was held against, how to serve
and to verify it, and what nobody measured. Nothing here is from the store: what the evidence leaves out by redaction is left out here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from engine.evaluate.types import Interval, SplitScore
from engine.promote.evidence.types import EvidencePredicate, Movement
from engine.promote.types import FormName, FormParity

CARD = "README.md"
HUB_LICENCES = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "gemma", "llama3", "llama3.1", "llama3.2", "llama3.3"})
"""Those of the hub's list that base models come under; any other is named in full beside `other`."""
SPLITS = ("held_out", "core")
FORMS: dict[FormName, str] = {
    "adapter": "LoRA adapter (PEFT, safetensors) for the base model named below",
    "merged": "the base with the adapter added in (transformers, safetensors); needs nothing beside it",
    "int8": "the merged weights in 8-bit integers (compressed-tensors, safetensors)",
}
ROLES = {
    "challenger": "this version",
    "incumbent": "what it replaced",
    "base": "the base model",
    "floor": "the baseline without a language model",
    "ceiling": "the ceiling",
}


def model_card(
    stated: EvidencePredicate, evidence: str, forms: Sequence[FormParity], absent: Sequence[str], *, base_repository: str, served: bool
) -> str:
    """The card. `evidence` is the statement's digest, `base_repository` the base on the hub or empty, `served` whether there is a serving script."""
    head = yaml.safe_dump(front_matter(stated, forms, base_repository), sort_keys=False, allow_unicode=True, width=1000)
    body = "\n\n".join(_body(stated, evidence, forms, absent, served=served))
    return f"---\n{head}---\n\n{body}\n"


def front_matter(stated: EvidencePredicate, forms: Sequence[FormParity], base_repository: str) -> dict[str, Any]:
    """The card's YAML as data."""
    licence = stated.lineage.licence.lower()
    known = {"license": licence} if licence in HUB_LICENCES else {"license": "other", "license_name": stated.lineage.licence}
    base = {"base_model": base_repository, "base_model_relation": "adapter"} if base_repository else {}
    return {
        **known,
        "library_name": "transformers" if any(form.form == "merged" for form in forms) else "peft",
        "pipeline_tag": "text-generation",
        **base,
        "tags": ["modelsmith", "lora", stated.lineage.method],
        "model-index": [{"name": f"{stated.cluster} {stated.version}", "results": list(_results(stated))}],
    }


def _results(stated: EvidencePredicate) -> Iterator[dict[str, Any]]:
    """One entry a split: its dataset is the suite, named by its digest, and none of its items."""
    suite = next(subject.identity.suite for subject in stated.subjects if subject.role == "challenger")
    for split in _splits_of(stated, "challenger"):
        yield {
            "task": {"type": "text-generation", "name": stated.domain},
            "dataset": {"type": stated.domain, "name": f"{stated.domain} ({split.split})", "split": split.split, "revision": suite},
            "metrics": [_metric("score", split.score), _metric("pass_rate", split.pass_rate)],
        }


def _metric(name: str, score: Interval) -> dict[str, Any]:
    """The format has no place for an interval but the name."""
    known = f"{100 * score.confidence:g}% interval [{score.low:.4f}, {score.high:.4f}], n={score.n}"
    return {"type": name, "name": f"{name}, {known}", "value": round(score.mean, 6)}


# ---- the text --------------------------------------------------------------------------------------------------------------------------


def _body(stated: EvidencePredicate, evidence: str, forms: Sequence[FormParity], absent: Sequence[str], *, served: bool) -> Iterator[str]:
    lineage, decision = stated.lineage, stated.found.decision
    yield f"# {stated.cluster}, {stated.version}"
    yield f"{lineage.model}, specialised for the domain {stated.domain} with {lineage.method.upper()} on {lineage.rows} rows."
    yield "## What is in it\n\n" + _list(f"`{form.form}/`: {FORMS[form.form]}" for form in forms)
    if served:
        yield "## Serving\n\n`VLLM_API_KEY=... sh serve.sh`, or `VLLM_API_KEY=... docker compose up`: an OpenAI-compatible server on loopback."
    yield "## How it was judged\n\n" + _scores(stated)
    yield "\n".join(_movement(movement) for movement in stated.found.movement)
    yield f"Verdict: {decision.verdict.replace('_', ' ')}.\n\n" + _list(clause.sentence for clause in decision.clauses)
    yield "Items that changed sides: " + "; ".join(f"{each.split} {each.won} won, {each.lost} lost" for each in stated.found.regressions) + "."
    yield "## Whether this is what was judged\n\n" + _parity(forms)
    yield "## What nobody measured, and what is not here\n\n" + _list([*stated.absent, *absent])
    yield "## Made of\n\n" + _list(_made_of(stated))
    yield (
        "## Verifying\n\n`modelsmith verify FOLDER --key evidence.pub` checks every file, the evidence and the replay against the public key of the "
        "workspace that made it; take that key from its owner, never from here. `model_signing verify key FOLDER --signature FOLDER/model.sig "
        f"--public_key model.sig.pub` checks the OpenSSF model signature. Evidence: `{evidence}`."
    )


def _list(sentences: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _splits_of(stated: EvidencePredicate, role: str) -> list[SplitScore]:
    measured = [split for figures in stated.found.measured if figures.role == role for split in figures.splits]
    return [split for name in SPLITS for split in measured if split.split == name]


def _scores(stated: EvidencePredicate) -> str:
    rows = ["| | split | score | pass rate | n |", "|---|---|---|---|---|"]
    for subject in stated.subjects:
        for split in _splits_of(stated, subject.role):
            rows.append(f"| {ROLES[subject.role]} | {split.split} | {_interval(split.score)} | {_interval(split.pass_rate)} | {split.score.n} |")
    return "\n".join(rows)


def _interval(score: Interval) -> str:
    return f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _movement(movement: Movement) -> str:
    found = movement.comparison
    metric = found.metric.replace("_", " ")
    return f"Against {ROLES[movement.role]}, paired on held-out: {metric} {_interval(found.difference)}, n={found.difference.n}."


def _parity(forms: Sequence[FormParity]) -> str:
    """What each form's replay found."""
    said = [f"`{form.form}`, in {form.loaded_in}: {' '.join(figure.sentence for figure in form.figures)}" for form in forms]
    return "Each form was loaded as it is served, and asked the suite's core items again.\n\n" + _list(said)


def _made_of(stated: EvidencePredicate) -> Iterator[str]:
    lineage = stated.lineage
    yield f"base `{lineage.base}` ({lineage.licence})"
    yield f"adapter `{lineage.adapter}`, fingerprint `{lineage.fingerprint}`"
    yield f"training rows `{lineage.dataset}`, plan `{lineage.plan}`, domain `{lineage.domain_digest}`"
    if lineage.went_on_from is not None:
        yield f"went on from the adapter `{lineage.went_on_from}`"
    yield f"Modelsmith {stated.made_with.modelsmith}"
