"""Which fixes people have to approve, and whether a fix has been made. Pure: files come in as what they hold.

Free is what the loop itself may vary: how a domain is trained, how its failures are diagnosed, who teaches, and its training rows. Everything else
in the configuration is governed, whatever its name: what is not known to be free is not free. Scenarios have a gate of their own
(`decide_scenario`), which has asked whom the domain says.

A fix is not carried out here. Whoever applies it edits the file; `unmade` compares what is there with what was proposed, and approved, to the letter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from engine.diagnose.taxonomy import LIKE
from engine.diagnose.types import FailureClass
from engine.escalate.signature import identity_of
from engine.escalate.types import Change, ConfigurationChange, DataChange, Failure, PlanChange, TaxonomyRule

FREE_BLOCKS = frozenset({"train", "diagnose", "teachers"})
"""Blocks of a domain.yaml that nobody has to approve a change of."""
TRAIN = "train"
ABSENT = object()


def is_governed(change: Change, training_files: Collection[str]) -> bool:
    """Whether people have to approve a change. `training_files` are those of its domain, relative to the domain's folder."""
    match change:
        case ConfigurationChange():
            return not change.file.startswith("domains/") or change.setting.partition(".")[0] not in FREE_BLOCKS
        case DataChange():
            return change.file not in training_files
        case TaxonomyRule():
            return True
    return False


def setting_of(change: ConfigurationChange | PlanChange) -> tuple[str, str]:
    """The file, relative to the workspace, and the setting in it."""
    if isinstance(change, PlanChange):
        return f"domains/{change.domain}/domain.yaml", f"{TRAIN}.{change.setting}"
    return change.file, change.setting


def unmade(change: ConfigurationChange | PlanChange, document: Mapping[str, Any]) -> str:
    """Why the setting is not as the change has it, in the file as it is now; empty when it is."""
    file, setting = setting_of(change)
    now = _value_at(document, setting)
    if change.after is None:
        return "" if now in (ABSENT, None) else f"{setting} in {file} is still {_shown(now)}"
    if now is ABSENT:
        return f"{file} has no {setting}"
    return "" if now == change.after else f"{setting} in {file} is {_shown(now)}, and the fix has {_shown(change.after)}"


def recognises(rule: TaxonomyRule, failure: Failure) -> bool:
    """Whether a rule knows this failure, in whichever cluster it is."""
    return identity_of(rule.case) == identity_of(failure)


def is_recognisable(failure: Failure) -> bool:
    """Whether a rule would know this failure again: a group of similar inputs is called after one of them, which may be another next time."""
    return failure.kind in ("run", "pattern") and f":{LIKE}" not in failure.words


def learned_classes(rules: Sequence[TaxonomyRule]) -> dict[str, FailureClass]:
    """By pattern that no observation explains, the class that a rule gives it; of two rules the later one's."""
    return {rule.case.words: rule.failure_class for rule in rules if rule.case.kind == "pattern"}


def _value_at(document: Any, setting: str) -> Any:
    place = document
    for name in setting.split("."):
        if not isinstance(place, Mapping) or name not in place:
            return ABSENT
        place = place[name]
    return place


def _shown(value: Any) -> str:
    return repr(value)[:120]
