"""The page that a reviewer reads: it shows what the statement says, to people of any name, and runs nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.promote.evidence.bundle import PAGE, issue_again, read_bundle
from engine.promote.evidence.page import render_page
from engine.promote.evidence.types import ApprovedRequest, EvidencePredicate
from engine.promote.types import Drill
from tests.pages import assert_harmless
from tests.promote.evidence.forging import approved, asked

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@pytest.fixture
def page(bundle: Path) -> str:
    return (bundle / PAGE).read_text()


@pytest.fixture
def stated(bundle: Path, key: Ed25519PrivateKey) -> EvidencePredicate:
    return read_bundle(bundle, key.public_key()).predicate


def test_the_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    assert_harmless(page)
    assert page.count('<ul class="plot"') == 4
    assert "@media print" in page


def test_the_page_shows_verdict_movement_slices_regressions_lineage_and_what_is_missing(page: str, stated: EvidencePredicate) -> None:
    paired = stated.found.decision.against_incumbent
    for text in (
        f"{paired.after.mean:.3f}",
        f"{paired.difference.low:+.3f}",
        '<b class="good">accepted</b>',
        "the ceiling",
        "channel=channel 1",
        "Won and lost items",
        stated.lineage.adapter,
        stated.lineage.dataset,
        "The base model answers again",
        "None was given yet.",
        *stated.absent,
    ):
        assert text in page, text
    for regression in stated.found.regressions:
        assert f"{regression.won} won, {regression.lost} lost" in page


def test_a_drill_is_said_with_both_ways_and_whether_a_server_had_to_start(stated: EvidencePredicate) -> None:
    drill = Drill(serving="v-2", to="v-1", seconds=20.5, back_seconds=0.91, warm=False, proved=True, drilled_at="2026-11-20T09:00:00.000Z")
    page = render_page(stated.model_copy(update={"rollback": stated.rollback.model_copy(update={"drill": drill})}), "e" * 64, ())
    said = " ".join(page.split())
    assert "In the last drill, 2026-11-20T09:00:00.000Z, v-1 answered in the place of v-2 after 20.50 s, with the start of its server; the way back took 0.91 s." in said


def test_the_digits_to_compare_are_those_of_the_evidence(page: str, bundle: Path, key: Ed25519PrivateKey) -> None:
    evidence = read_bundle(bundle, key.public_key()).evidence
    assert f"<code>{evidence[:8]}</code>: the digits" in page
    assert evidence in page


def test_people_of_hostile_names_are_shown_as_text(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    given = ApprovedRequest(
        request=asked(id=HOSTILE, proposed_by=HOSTILE, source=HOSTILE, evidence=HOSTILE), approvals=(approved(request=HOSTILE, approver=HOSTILE, key=HOSTILE),)
    )
    page = (issue_again(bundle, (given,), key, tmp_path) / PAGE).read_text()
    assert_harmless(page)
    assert page.count("&lt;script&gt;") >= 5


def test_names_that_were_never_redacted_are_shown_as_text_too(stated: EvidencePredicate) -> None:
    """The statement's names are labels; should one ever not be, the page is still no way in."""
    found = stated.found
    hostile = stated.model_copy(
        update={
            "cluster": HOSTILE,
            "domain": HOSTILE,
            "absent": (HOSTILE,),
            "lineage": stated.lineage.model_copy(update={"model": HOSTILE, "licence": HOSTILE}),
            "subjects": tuple(subject.model_copy(update={"name": HOSTILE, "fingerprint": HOSTILE}) for subject in stated.subjects),
            "found": found.model_copy(
                update={
                    "slices": tuple(change.model_copy(update={"slice": HOSTILE}) for change in found.slices),
                    "decision": found.decision.model_copy(
                        update={"clauses": tuple(clause.model_copy(update={"sentence": HOSTILE}) for clause in found.decision.clauses)}
                    ),
                }
            ),
        }
    )
    assert_harmless(render_page(hostile, "e" * 64, ()))


def test_a_version_that_was_rolled_back_is_said_to_be(stated: EvidencePredicate) -> None:
    decision = stated.found.decision
    failed = tuple(clause.model_copy(update={"passed": False}) for clause in decision.clauses)
    worse = stated.found.model_copy(update={"decision": decision.model_copy(update={"verdict": "roll_back", "clauses": failed})})
    page = render_page(stated.model_copy(update={"found": worse}), "e" * 64, ())
    assert '<b class="bad">rolled back</b>' in page
    assert page.count("does not hold") == len(failed)


def test_pictures_stay_inside_their_frames(page: str) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", page, re.S):
        places = [float(share) for share in re.findall(r' (?:x|x1|x2|cx)="([-\d.]+)%"', drawing)]
        places += [float(left) + float(width) for left, width in re.findall(r' x="([-\d.]+)%" [^>]*width="([-\d.]+)%"', drawing)]
        assert places
        assert all(0 <= share <= 100.01 for share in places), places
