"""When two failures are the same: whatever differs from one time to the next has no part in it, and what tells failures apart has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.escalate.signature import signature_of
from engine.jobs.alike import normalised
from tests.escalate.samples import failure


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ({"words": "step 12 took 3.5 s"}, {"words": "step 7 took 41 s"}),
        ({"words": "no answer from http://127.0.0.1:8123/v1"}, {"words": "no answer from http://127.0.0.1:9999/v1/models"}),
        ({"words": "train-1121-a1b2c3 lost its worker"}, {"words": "train-1203-ffee01 lost its worker"}),
        ({"words": "cannot read /srv/a/rows.jsonl"}, {"words": "cannot read /data/b/c/other.jsonl"}),
        ({"words": "expected 80c4263578b8, found b2fc985478bb"}, {"words": "expected 1aa4263578b8, found 99fc985478bb"}),
        ({"step": "1.train"}, {"step": "4.train"}),
        ({"step": "1.train"}, {"step": "2.train_smaller_1"}),
        (
            {"kind": "pattern", "what": "unknown", "failure_class": "unknown", "words": "unknown:like r1003"},
            {"kind": "pattern", "what": "unknown", "failure_class": "unknown", "words": "unknown:like r9"},
        ),
    ],
)
def test_numbers_ids_addresses_paths_and_rounds_do_not_tell_failures_apart(one: dict[str, str], another: dict[str, str]) -> None:
    assert signature_of(failure(**one)) == signature_of(failure(**another))


@pytest.mark.parametrize(
    "other",
    [
        {"words": "KeyError: 'label'"},
        {"step": "1.curate"},
        {"code": "worker_lost"},
        {"what": "evaluate"},
        {"cluster": "support"},
        {"cluster": None},
        {"kind": "by_hand"},
        {"failure_class": "persistent"},
    ],
)
def test_kind_code_step_class_cluster_and_words_tell_failures_apart(other: dict[str, str]) -> None:
    assert signature_of(failure(**other)) != signature_of(failure())


def test_labels_that_are_numbers_tell_patterns_apart() -> None:
    one, other = (failure(kind="pattern", words=f"wrong_label:{pair}") for pair in ("1->2", "3->4"))
    assert signature_of(one) != signature_of(other)


@given(st.text(max_size=400))
def test_words_that_were_normalised_stay_as_they_are(words: str) -> None:
    assert normalised(normalised(words)) == normalised(words)


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_no_number_makes_another_signature(one: int, other: int) -> None:
    assert signature_of(failure(words=f"worker {one} ended")) == signature_of(failure(words=f"worker {other} ended"))
