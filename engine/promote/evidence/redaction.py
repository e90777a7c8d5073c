"""The redaction boundary: what of a measurement may leave the workspace, and as what.

Nothing passes but figures, digests, salted hashes and labels. An item is a hash of its id under a salt that no file holds, so that a list of ids,
guessed or known, finds nothing; a source likewise, because intervals cluster on it. No input, expectation, answer, check or observation of an
item is looked at besides whether the answer had the right form. Tags stay for guarded slices alone (enough items, in both measurements), since a
reader has to know which slice lost; a smaller slice would say something about single items.

A label is what somebody wrote to be read as a name (a slice, a safety net, a model's title). One that looks like anything else is replaced by a
hash too: more than four words, a sentence's punctuation, a path, an address, a host, or a word that names this machine or its user.

Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from engine.evaluate.grading import is_schema_valid
from engine.evaluate.types import ItemResult, ScoreIdentity, Split
from engine.promote.evidence.types import AnswerRow, BundleInputs, ItemRow, MeasuredSubject, Role, Suite

MAX_LABEL_CHARACTERS = 48
MAX_LABEL_WORDS = 4
_PUNCTUATION = frozenset("._:+-,()&%' ")
_HOST = re.compile(r"(?:[\w-]+\.)+[^\W\d_]{2,}|\d+(?:\.\d+){3}")
"""A name with dots that ends in letters, or four numbers: a host, an address, a file."""
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


class Redaction:
    """How names are hidden in one bundle."""

    def __init__(self, salt: bytes, private_words: Iterable[str] = ()) -> None:
        self._salt = salt
        self._private = [word.casefold() for word in private_words if word]

    def hashed(self, kind: str, name: str) -> str:
        """A name nobody can find again without the salt."""
        return hmac.new(self._salt, f"{kind}\0{name}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def source(self, name: str) -> str:
        return self.hashed("source", name) if name else ""

    def label(self, text: str) -> str:
        """A name as it is when it is one, else a hash in its place."""
        return text if self._is_label(text) else f"label-{self.hashed('label', text)[:12]}"

    def digest(self, text: str) -> str:
        """A digest as it is; anything else that stands in a digest's place, such as an endpoint's model name, as a label."""
        return text if _DIGEST.fullmatch(text) or not text else self.label(text)

    def identity(self, identity: ScoreIdentity) -> ScoreIdentity:
        return ScoreIdentity.model_validate({name: self.digest(value) for name, value in identity.model_dump().items()})

    def _is_label(self, text: str) -> bool:
        words = text.split(" ")
        fits = 0 < len(text) <= MAX_LABEL_CHARACTERS and len(words) <= MAX_LABEL_WORDS and all(words)
        return fits and all(map(_is_plain, text)) and not _HOST.search(text) and not self._names_the_machine(text)

    def _names_the_machine(self, text: str) -> bool:
        folded = text.casefold()
        return any(re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", folded) for word in self._private)


def _is_plain(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LMN"


def item_rows(inputs: BundleInputs, redaction: Redaction) -> list[ItemRow]:
    """Every item of core, held-out and the no-harm suite, redacted, in the order of their hashes."""
    guarded = guarded_slices(inputs)
    rows = _rows("domain", [(subject.role, subject.results) for subject in inputs.subjects], inputs.slices, guarded, redaction)
    if inputs.guard is not None:
        kinds = {("kind", result.tags["kind"]) for result in inputs.guard.base if "kind" in result.tags}
        rows += _rows("no_harm", [("base", inputs.guard.base), ("challenger", inputs.guard.challenger)], ("kind",), kinds, redaction)
    return sorted(rows, key=lambda row: (row.suite, row.split, row.item))


def guarded_slices(inputs: BundleInputs) -> set[tuple[str, str]]:
    """Tags and values of the held-out slices with enough items that incumbent and challenger both answered."""
    both = [_answered(inputs.subject(role)) for role in ("incumbent", "challenger")]
    members = Counter(
        (tag, result.tags[tag]) for name, result in both[1].items() if name in both[0] for tag in inputs.slices if tag in result.tags
    )
    return {slice_ for slice_, items in members.items() if items >= inputs.acceptance.slice_minimum}


def _answered(subject: MeasuredSubject | None) -> dict[str, ItemResult]:
    results = () if subject is None else subject.results
    return {result.scenario_id: result for result in results if result.split == "held_out" and result.outcome == "graded"}


def _rows(
    suite: Suite,
    measured: Sequence[tuple[Role, Sequence[ItemResult]]],
    tags: Sequence[str],
    guarded: set[tuple[str, str]],
    redaction: Redaction,
) -> list[ItemRow]:
    """One row an item, with what each subject made of it."""
    items: dict[tuple[Split, str], dict[Role, ItemResult]] = {}
    for role, results in measured:
        for result in results:
            if result.split == "canary":
                continue  # of canaries only counts leave the workspace
            items.setdefault((result.split, result.scenario_id), {})[role] = result
    rows = []
    for (split, name), answers in items.items():
        one = next(iter(answers.values()))
        kept = [tag for tag in tags if (tag, one.tags.get(tag)) in guarded]
        rows.append(
            ItemRow(
                item=redaction.hashed(f"{suite} {split}", name),
                suite=suite,
                split=split,
                source=redaction.source(one.source),
                slices={redaction.label(tag): redaction.label(one.tags[tag]) for tag in kept},
                answers={role: _answer(result, redaction) for role, result in answers.items()},
            )
        )
    return rows


def _answer(result: ItemResult, redaction: Redaction) -> AnswerRow | None:
    if result.outcome == "error":
        return None
    breached = tuple(redaction.label(net) for net in result.breached)
    return AnswerRow(score=result.score, passed=result.passed, valid=is_schema_valid(result), breached=breached)
