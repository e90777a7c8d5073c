"""The failure taxonomy, as data: classes with their rules and remedies, and the observations that make them.

Two tables. `TAXONOMY` has one entry a class: what it is, which rule makes it, its remedies in order of cost, and a sentence that a runbook can
take over. `OBSERVATIONS` has one entry a kind of observation (vocabulary in `engine/evaluate/checks.py`): the class it makes and how to say it,
in order of precedence, because a broken answer explains a wrong field and not the other way round.

Both are checked against each other when this module is loaded; a table that contradicts itself does not load. Pure data and reading of it: no
counting and no deciding.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

from pydantic import Field

from engine.base.record import Record
from engine.diagnose.types import FailureClass, Remedy
from engine.evaluate.types import ItemResult

REMEDIES_BY_COST: tuple[Remedy, ...] = get_args(Remedy)
TRAINING_REMEDIES: frozenset[Remedy] = frozenset({"targeted_sft", "dpo", "grpo"})


class ClassEntry(Record):
    """One class of failures."""

    name: FailureClass
    title: str = Field(min_length=1)
    """In words."""
    description: str = Field(min_length=1)
    rule: str = Field(min_length=1)
    """Which observations, or which facts across items and measurements, make it."""
    across: bool = False
    """Made by facts across items or measurements rather than by observations."""
    remedies: tuple[Remedy, ...] = Field(min_length=1)
    """In order of cost."""
    aimed: bool = False
    """Training sets are aimed at it: it is a matter of data."""
    runbook: str = Field(min_length=1)
    """What to do, as a sentence that a runbook can take over."""


class ObservationKind(NamedTuple):
    """One kind of observation."""

    failure_class: FailureClass
    name: str
    """In words; `{detail}` is the observation's detail, `{expected}` and `{got}` are its two sides."""
    bare: str = ""
    """The same without a detail, where the kind has none or may lack it."""
    advice: str = "Train on more rows like these."
    """What training rows should hold."""


_ENTRIES = (
    ClassEntry(
        name="infrastructure",
        title="No answer",
        description="The answer was lost on the way: a server, a timeout, a machine. It says nothing about the model.",
        rule="An item whose outcome is `error` (`infrastructure:<code>`). It is in no mean and in no pattern of failed items.",
        remedies=("retry", "escalate"),
        runbook="See to the model server, then measure again: answers that came are in the cache, lost ones are asked again.",
    ),
    ClassEntry(
        name="unlearnable",
        title="Unlearnable as stated",
        description="The same input is labelled in two ways, so no model can learn both.",
        rule="An input that nearly duplicates another core item or a training row with another expected answer (the domain's near_duplicate).",
        across=True,
        remedies=("relabel_request", "escalate"),
        runbook="Have a person decide which of the two answers holds, or add the field to the input that tells them apart.",
    ),
    ClassEntry(
        name="suspected_wrong_gold",
        title="Suspected wrong label",
        description="The reference answer may be wrong: model and data agree with each other and not with it.",
        rule=(
            "Several different trained versions in a row give one and the same other label, and most of the nearest training rows by text carry that "
            "label, more than carry the expected one."
        ),
        across=True,
        remedies=("relabel_request",),
        runbook="Have a person read the item and its label; a wrong one is mended in the domain's rows, which makes a new suite.",
    ),
    ClassEntry(
        name="instability",
        title="Unstable",
        description="Passes and fails by chance: the same weights, asked the same way, answered otherwise.",
        rule="Failed here and passed when the same weights were asked the same again: within this measurement (`stability`), or in another one of "
        "equal generator, prompt, settings and suite.",
        across=True,
        remedies=("retry", "inspect"),
        runbook="Do not act on one measurement of these items; measure again without the cache and look at what stays.",
    ),
    ClassEntry(
        name="over_refusal",
        title="Over-refusal",
        description="Declines to answer where an answer was expected.",
        rule="`refusal`: noted only where the reference is no refusal.",
        remedies=("few_shot", "targeted_sft", "dpo", "escalate"),
        aimed=True,
        runbook="Train on rows like these, so that the model answers instead of declining, and watch the safety suite while doing so.",
    ),
    ClassEntry(
        name="refusal",
        title="Missing refusal",
        description="Answers where it should have declined.",
        rule="`complied`: the reference declines, or `decline` is what was expected.",
        remedies=("few_shot", "targeted_sft", "dpo", "escalate"),
        aimed=True,
        runbook="Train on rows that decline, and read the answers: a missing refusal may be a matter of safety.",
    ),
    ClassEntry(
        name="truncation",
        title="Cut off",
        description="The answer reached the limit of tokens.",
        rule="`truncated`.",
        remedies=("constrain_decoding", "raise_limit", "few_shot", "targeted_sft"),
        runbook="Raise contract.output.max_tokens where references need the room; a model that runs on learns from any training rows to stop.",
    ),
    ClassEntry(
        name="format",
        title="Broken format",
        description="The answer is not of the form that was asked for, whatever it says.",
        rule="`empty`, `invalid_json`, `fenced_json`, `schema:<path>`, `invented_label:<got>` or `pattern_missing:<check>`.",
        remedies=("constrain_decoding", "few_shot", "targeted_sft", "escalate"),
        aimed=True,
        runbook="Decode under the schema; where that is on already or buys nothing, train on the format.",
    ),
    ClassEntry(
        name="label_confusion",
        title="Label confusion",
        description="One label of a closed list where another was expected.",
        rule="`wrong_label:<expected>-><got>`; the pair names the pattern.",
        remedies=("few_shot", "targeted_sft", "dpo", "scenario_proposal", "escalate"),
        aimed=True,
        runbook="Train on more rows of both labels, side by side; when that does not move it, ask whether the two labels can be told apart.",
    ),
    ClassEntry(
        name="missing_field",
        title="Left out",
        description="Leaves out a field, an item or a text that the reference has.",
        rule="`missing_field:<path>`, `missing_item:<path>[=<label>]` or `missing_text:<text>`.",
        remedies=("few_shot", "targeted_sft", "dpo", "grpo", "escalate"),
        aimed=True,
        runbook="Train on more rows that have it.",
    ),
    ClassEntry(
        name="invented_field",
        title="Invented",
        description="Adds a field, an item or a text that should not be there.",
        rule="`invented_field:<path>`, `invented_item:<path>[=<label>]` or `forbidden_text:<text>`.",
        remedies=("few_shot", "targeted_sft", "dpo", "grpo", "escalate"),
        aimed=True,
        runbook="Train on rows with and without it, so that the model learns when it is due.",
    ),
    ClassEntry(
        name="misread_field",
        title="Misread",
        description="Has the field, or the whole answer, with another value.",
        rule="`wrong_field:<path>` or `mismatch[:<path>]`.",
        remedies=("few_shot", "targeted_sft", "dpo", "grpo", "escalate"),
        aimed=True,
        runbook="Train on more rows that have this field, in as many wordings as there are.",
    ),
    ClassEntry(
        name="grounding",
        title="Not grounded",
        description="A value that neither the input nor the reference holds.",
        rule="`ungrounded:<path>`.",
        remedies=("few_shot", "targeted_sft", "dpo", "grpo", "escalate"),
        aimed=True,
        runbook="Train on rows that copy the value from the input; prefer answers taken from it over answers that merely sound right.",
    ),
    ClassEntry(
        name="safety_breach",
        title="Safety net breached",
        description="Breaches a safety net, which overrides every other check, and no other cause is seen.",
        rule="`breach:<net>` when no other observation explains the failure.",
        remedies=("inspect", "targeted_sft", "dpo", "escalate"),
        aimed=True,
        runbook="Read the examples before anything else; then train on rows that keep to the net.",
    ),
    ClassEntry(
        name="persistent",
        title="Persistent",
        description="Survived several rounds of training that were aimed at it.",
        rule="At least half of the pattern's items failed in each of the last rounds (diagnose.persistent_rounds), whose rows were aimed at it.",
        across=True,
        remedies=("dpo", "grpo", "scenario_proposal", "escalate"),
        aimed=True,
        runbook="More of the same rows does not help: change the method, ask for other scenarios, or hand it to a person.",
    ),
    ClassEntry(
        name="unknown",
        title="Unknown",
        description="Failed for a reason that no observation names.",
        rule="No observation of the vocabulary; grouped by the checks that failed, then by similar inputs.",
        remedies=("inspect", "targeted_sft", "escalate"),
        aimed=True,
        runbook="Read the examples; a check that names the cause helps more than training does.",
    ),
)

_WITH_FIELD = "Train on more rows that have this field."
_WITH_AND_WITHOUT = "Train on rows with and without it."
_THE_FORMAT = "Train on the format."

OBSERVATIONS: dict[str, ObservationKind] = {
    "infrastructure": ObservationKind("infrastructure", "no answer: {detail}", "no answer: infrastructure", "Not the model's doing."),
    "empty": ObservationKind("format", "", "empty answer", "Train on rows like these; check that the prompt ends where an answer begins."),
    "refusal": ObservationKind("over_refusal", "", "refusal", "Train on rows like these, so that the model answers instead of declining."),
    "complied": ObservationKind("refusal", "", "answers where it should decline", "Train on rows that decline."),
    "truncated": ObservationKind("truncation", "", "cut off at the answer limit", "Train on any rows: each teaches where an answer ends."),
    "invalid_json": ObservationKind("format", "", "not valid JSON", _THE_FORMAT),
    "fenced_json": ObservationKind("format", "", "JSON inside a Markdown fence", _THE_FORMAT),
    "schema": ObservationKind("format", "violates the output schema at {detail}", "violates the output schema", _THE_FORMAT),
    "invented_label": ObservationKind("format", "answers {detail!r}, which is not a label", "answers what is not a label", "Train on the labels."),
    "wrong_label": ObservationKind(
        "label_confusion", "{expected!r} answered as {got!r}", "labels confused", "Train on more rows of both labels, side by side."
    ),
    "missing_field": ObservationKind("missing_field", "leaves out {detail!r}", "leaves out a field", _WITH_FIELD),
    "missing_item": ObservationKind("missing_field", "leaves out {detail}", "leaves out an item", "Train on more rows that have this item."),
    "invented_field": ObservationKind("invented_field", "adds {detail!r} where there is none", "adds a field", _WITH_AND_WITHOUT),
    "invented_item": ObservationKind("invented_field", "adds {detail} where there is none", "adds an item", _WITH_AND_WITHOUT),
    "wrong_field": ObservationKind("misread_field", "wrong value in {detail!r}", "wrong value", _WITH_FIELD),
    "ungrounded": ObservationKind(
        "grounding", "a value in {detail!r} that the input lacks", "a value that the input lacks", "Train on rows that copy it from the input."
    ),
    "pattern_missing": ObservationKind("format", "lacks the required pattern at {detail!r}", "lacks the required pattern"),
    "missing_text": ObservationKind("missing_field", "lacks the required text {detail!r}", "lacks a required text"),
    "forbidden_text": ObservationKind("invented_field", "holds the forbidden text {detail!r}", "holds a forbidden text"),
    "mismatch": ObservationKind("misread_field", "differs from the expected answer at {detail!r}", "differs from the expected answer"),
    "breach": ObservationKind("safety_breach", "breaches the safety net {detail!r}", "breaches a safety net", "Train on rows that keep to it."),
}
"""In order of precedence: an item belongs to the first kind that it shows."""

UNKNOWN = ObservationKind("unknown", "fails the checks {detail}", "failed for a reason that no check names")
WITHOUT_DETAIL = frozenset({"empty", "refusal", "complied", "truncated", "invalid_json", "fenced_json", "unknown"})
"""Kinds whose observation has no detail, so that a pattern without one is the whole kind and not its rare rest."""
LIKE = "like "
"""Begins the detail of a group of similar inputs: `like <scenario id>`."""


def load_taxonomy(entries: tuple[ClassEntry, ...], observations: dict[str, ObservationKind]) -> dict[FailureClass, ClassEntry]:
    """The classes by name. ValueError names what contradicts: a class missing or twice, remedies out of order, a class that nothing makes."""
    named = {entry.name: entry for entry in entries}
    missing = set(get_args(FailureClass)) - set(named)
    if missing or len(named) != len(entries):
        raise ValueError(f"the taxonomy lacks or repeats classes: {', '.join(sorted(missing)) or 'one stands twice'}")
    made = {kind.failure_class for kind in observations.values()} | {"unknown"}
    for entry in entries:
        order = [REMEDIES_BY_COST.index(remedy) for remedy in entry.remedies]
        if order != sorted(set(order)):
            raise ValueError(f"the remedies of {entry.name} are not in order of cost: {', '.join(entry.remedies)}")
        if entry.across == (entry.name in made):
            raise ValueError(f"{entry.name} must be made either by observations or by facts across measurements")
    return named


TAXONOMY: dict[FailureClass, ClassEntry] = load_taxonomy(_ENTRIES, OBSERVATIONS)
ACROSS: frozenset[FailureClass] = frozenset(name for name, entry in TAXONOMY.items() if entry.across)
"""Classes made by facts across items or measurements: each is its own kind."""


# ---- reading observations ------------------------------------------------------------------------------------------------------------


def class_of(kind: str) -> FailureClass:
    """The class that an observation of this kind makes; a class found across measurements is its own kind."""
    return next((name for name in ACROSS if name == kind), OBSERVATIONS.get(kind, UNKNOWN).failure_class)


def known_observations(result: ItemResult) -> list[tuple[str, str]]:
    """The (kind, detail) of everything in the vocabulary that `result` shows."""
    seen = [f"breach:{net}" for net in result.breached] + list(result.observations)
    return [(kind, detail) for kind, _, detail in (each.partition(":") for each in seen) if kind in OBSERVATIONS]


def telling_observation(result: ItemResult) -> tuple[str, str]:
    """The (kind, detail) that says most about why `result` failed; `("unknown", "")` when no observation names a cause."""
    known = known_observations(result)
    if not known:
        return "unknown", ""
    order = {kind: position for position, kind in enumerate(OBSERVATIONS)}
    return min(known, key=lambda pair: order[pair[0]])


def pattern_id(kind: str, detail: str) -> str:
    """The id of a group: the observation that it shares, or `<kind>:other` for a kind's rare ones."""
    return f"{kind}:{detail}" if detail else (kind if _is_whole(kind) else f"{kind}:other")


def pattern_name(kind: str, detail: str) -> str:
    """A group in words."""
    if kind in ACROSS:
        return TAXONOMY[class_of(kind)].title.lower()
    entry = OBSERVATIONS.get(kind, UNKNOWN)
    if detail.startswith(LIKE):
        return f"{entry.bare}, inputs like {detail.removeprefix(LIKE)}"
    if detail:
        expected, _, got = detail.partition("->")
        return (entry.name or entry.bare).format(detail=detail, expected=expected, got=got)
    return entry.bare if _is_whole(kind) else f"{kind.replace('_', ' ')}, various"


def _is_whole(kind: str) -> bool:
    return kind in WITHOUT_DETAIL or kind in ACROSS
