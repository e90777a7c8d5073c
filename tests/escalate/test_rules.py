"""An escalation that has become a rule: the next failure of its kind is known, and a pattern that nothing explained has a class and its remedies."""

from __future__ import annotations

from typing import Any

import pytest

from engine.diagnose.facts import Evidence
from engine.diagnose.patterns import diagnose
from engine.diagnose.taxonomy import TAXONOMY
from engine.diagnose.types import Diagnosis
from engine.escalate.governed import is_governed, is_recognisable, learned_classes, recognises
from engine.escalate.opening import Gathered, new_patterns, of_pattern, recognised
from engine.escalate.resolution import unmet
from engine.escalate.types import Opening, TaxonomyRule
from tests.diagnose.items import item
from tests.escalate.samples import failure

UNSEEN = [item("a", "something new"), item("b", "something new"), item("c", passed=True, score=1.0)]


def escalated(found: Diagnosis) -> Opening:
    (pattern,) = new_patterns(found)
    return of_pattern("travel", "evaluate-1121-a1b2c3", found.graded, pattern, Gathered(), ())


def rule_of(opening: Opening) -> TaxonomyRule:
    return TaxonomyRule(name="new-one", failure_class="format", case=opening.failure, answer="Decode under the schema.")


def page(found: Diagnosis) -> dict[str, Any]:
    """What `diagnose` answers, as far as the check looks at it."""
    lines = [{"pattern": each.pattern, "failure_class": each.failure_class} for each in found.patterns]
    return {"graded": found.graded, "patterns": lines}


def test_a_pattern_that_nothing_explains_is_explained_once_a_rule_says_so_and_its_check_passes() -> None:
    before = diagnose(UNSEEN)
    opening = escalated(before)
    assert unmet(opening.check, page(before))
    after = diagnose(UNSEEN, Evidence(learned=learned_classes([rule_of(opening)])))
    (pattern,) = after.patterns
    assert (pattern.pattern, pattern.failure_class, pattern.confidence) == (before.patterns[0].pattern, "format", 1.0)
    assert pattern.remedy == TAXONOMY["format"].remedies[0]
    assert new_patterns(after) == []
    assert not unmet(opening.check, page(after))


def test_a_check_of_a_pattern_does_not_pass_where_items_are_missing() -> None:
    opening = escalated(diagnose(UNSEEN))
    assert unmet(opening.check, {"graded": 2, "patterns": []}) == ("graded is 2; wanted: is at least 3",)
    assert not unmet(opening.check, {"graded": 3, "patterns": []})


def test_a_rule_takes_no_pattern_from_the_observation_that_explains_it() -> None:
    seen = [item("a", "truncated"), item("b", "truncated")]
    (pattern,) = diagnose(seen, Evidence(learned={"truncated": "format"})).patterns
    assert pattern.failure_class == "truncation"


def test_a_rule_knows_its_case_again_in_any_cluster_and_nothing_else() -> None:
    rule = TaxonomyRule(name="r", failure_class="infrastructure", case=failure(words="port 8000 is taken"), answer="Free the port.")
    assert recognises(rule, failure(words="port 9123 is taken", cluster="support", step="7.train"))
    assert not recognises(rule, failure(words="port 8000 is taken", code="server_failed"))
    assert "Free the port." in str(recognised(failure(words="port 1 is taken"), [rule])["question"])
    assert recognised(failure(words="another"), [rule]) == {}


@pytest.mark.parametrize(
    "unsteady",
    [{"kind": "pattern", "words": "unknown:like r1003"}, {"kind": "by_hand"}, {"kind": "overflow"}],
)
def test_what_no_rule_would_know_again_can_have_none(unsteady: dict[str, str]) -> None:
    assert not is_recognisable(failure(**unsteady))


def test_a_rule_is_a_matter_for_people() -> None:
    assert is_governed(rule_of(escalated(diagnose(UNSEEN))), ())
