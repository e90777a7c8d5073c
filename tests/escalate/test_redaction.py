"""What stands in an escalation: no secret, nothing that acts on a screen, and no text that could be taken for ours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.escalate.redaction import REDACTED, Redaction, bounded, fenced, inline

HERE = Redaction({"/srv/firm": "<workspace>", "/srv": "<home>", "build-7": "<host>"}, {"MODEL_API_KEY": "correct-horse-battery", "HOME_TOWN": "Amsterdam"})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("api_key=abc123def", "abc123def"),
        ('{"token": "t0p", "x": 1}', "t0p"),
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("postgres://ada:hunter2@db/x", "hunter2"),
        ("key sk-abcdefghijklmnop1234 was refused", "sk-abcdefghijklmnop1234"),
        ("the value correct-horse-battery was sent", "correct-horse-battery"),
        ("write to ada@example.org", "ada@example.org"),
        ("card 4111 1111 1111 1111", "4111 1111"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----", "b3BlbnNz"),
        ("-----BEGIN PRIVATE KEY-----\nb3BlbnNz", "b3BlbnNz"),
        ("in /srv/firm/domains on build-7", "/srv"),
        ("in /srv/firm/domains on build-7", "build-7"),
    ],
)
def test_secrets_people_and_the_machine_are_taken_out(text: str, secret: str) -> None:
    assert secret not in HERE.text(text)


@pytest.mark.parametrize("text", ["max_tokens: 24", "tokenizer: fast", "loss 0.25 at step 10", "KeyError: 'intent'", "Amsterdam"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert HERE.text(text) == text


def test_values_are_redacted_wherever_they_stand_and_whole_where_they_are_named_so() -> None:
    value = {"password": "x", "deep": [{"note": "api_key=abcdef"}], "max_tokens": 3}
    assert HERE.value(value) == {"password": REDACTED, "deep": [{"note": f"api_key={REDACTED}"}], "max_tokens": 3}


@given(st.text(max_size=300))
def test_nothing_is_left_that_acts_on_a_screen_and_what_was_redacted_stays_so(text: str) -> None:
    shown = HERE.text(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]", shown)
    assert HERE.text(shown) == shown


@given(st.text(alphabet="`~a \n#", max_size=200))
def test_no_text_closes_the_fence_that_it_stands_in(text: str) -> None:
    block = fenced(text)
    fence = block.splitlines()[0].removesuffix("text")
    inside = block.removeprefix(f"{fence}text\n").removesuffix(f"\n{fence}")
    assert fence not in inside
    assert "`" not in inline(text)[1:-1]


@given(st.text(max_size=300), st.sampled_from(["start", "end"]))
def test_a_bounded_text_keeps_its_bytes_and_says_what_is_left_out(text: str, keep: str) -> None:
    shown = bounded(text, 100, keep=keep)
    assert len(shown.encode()) <= 100 + len("[1200 bytes are left out here]\n")
    assert (shown == text) == (len(text.encode()) <= 100)
