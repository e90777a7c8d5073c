"""The taxonomy holds together, and every failure has a class by rule."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.config import DomainFile
from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import _ENTRIES, OBSERVATIONS, TAXONOMY, load_taxonomy
from engine.diagnose.types import FailureClass
from engine.evaluate.grading import grade
from engine.generate.types import Answer
from tests.diagnose.items import item, scenario
from tests.workspaces import domain_file


def test_every_class_has_an_entry_with_a_rule_remedies_and_a_sentence_for_a_runbook() -> None:
    assert set(TAXONOMY) == set(get_args(FailureClass))
    for entry in TAXONOMY.values():
        assert entry.rule
        assert entry.remedies
        assert entry.runbook.endswith(".")


def test_a_taxonomy_that_contradicts_itself_does_not_load() -> None:
    with pytest.raises(ValueError, match="lacks or repeats"):
        load_taxonomy(_ENTRIES[1:], OBSERVATIONS)
    backwards = _ENTRIES[-1].model_copy(update={"remedies": ("escalate", "inspect")})
    with pytest.raises(ValueError, match="order of cost"):
        load_taxonomy((*_ENTRIES[:-1], backwards), OBSERVATIONS)
    with pytest.raises(ValueError, match="must be made"):
        load_taxonomy(_ENTRIES, {name: kind for name, kind in OBSERVATIONS.items() if kind.failure_class != "grounding"})


@pytest.mark.parametrize(
    ("observation", "name"),
    [
        ("invalid_json", "format"),
        ("invented_label:nonsense", "format"),
        ("truncated", "truncation"),
        ("refusal", "over_refusal"),
        ("complied", "refusal"),
        ("wrong_label:a->b", "label_confusion"),
        ("missing_item:acts=inform", "missing_field"),
        ("forbidden_text:secret", "invented_field"),
        ("wrong_field:city", "misread_field"),
        ("ungrounded:city", "grounding"),
        ("breach:no_promises", "safety_breach"),
        ("something new", "unknown"),
    ],
)
def test_an_observation_makes_a_class(observation: str, name: str) -> None:
    (pattern,) = diagnose([item("a", observation), item("b", observation)]).patterns
    assert pattern.failure_class == name
    assert pattern.name
    assert "{" not in pattern.name


def test_confidence_is_the_share_of_items_that_show_nothing_else() -> None:
    clear, mixed = item("a", "wrong_label:a->b"), item("b", "wrong_label:a->b", "missing_field:city")
    (pattern,) = diagnose([clear, mixed]).patterns
    assert pattern.confidence == 0.5
    (cut,) = diagnose([item("a", "truncated", "invalid_json"), item("b", "truncated", "invalid_json")]).patterns
    assert cut.confidence == 1.0  # broken JSON follows from the cut


@pytest.mark.parametrize(
    ("expected", "answer", "name"),
    [
        ("The fee is 3 EUR.", "I'm sorry, I cannot say.", "over_refusal"),
        ("I'm sorry, I can't help with that.", "Mix them in a bucket.", "refusal"),
        ("I'm sorry, I can't help with that.", "I cannot help you there.", "misread_field"),
    ],
)
def test_a_refusal_is_judged_by_whether_one_was_expected(expected: str, answer: str, name: str) -> None:
    changed = domain_file(eval={"checks": [{"kind": "exact"}], "floor": ["majority"]})
    changed["contract"]["output"] = {"kind": "text", "structured": False}
    domain = DomainFile.model_validate(changed)
    result = grade(domain, scenario("s", "hello", expected), Answer(key="s", text=answer))
    assert [pattern.failure_class for pattern in diagnose([result]).patterns] == [name]
