"""The pages about whether to train, and the decision history, over HTTP: read without scripts, kept by a form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.atlas_site import CODE, HOSTILE, AtlasSite, Read, serving_atlas


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtlasSite]:
    with serving_atlas(tmp_path_factory.mktemp("triage")) as site:
        yield site


def send(site: AtlasSite, **fields: str) -> tuple[int, str]:
    response = site.http.post(site.address("keep"), data=fields, headers={"origin": site.origin})
    return response.status_code, response.headers.get("location", response.text)


def kept(site: AtlasSite, page: str, by: str, note: str, **query: object) -> str:
    """Keeps what a page answers, by its own form; the id of the decision."""
    form = {each["name"]: each["value"] for each in site.read(page, **query).all("input", type="hidden") if each["name"] in ("question", "arguments")}
    status, where = send(site, **form, by=by, note=note)
    assert status == 303, where
    return where.partition("decision=")[2]


def test_without_a_cluster_rules_answer_and_every_way_says_when_and_why(site: AtlasSite) -> None:
    page = site.read("triage", need="facts")
    assert "Do not train." in page.text
    assert "Retrieval try first" in page.text
    assert "What changes or must be cited belongs into the prompt" in page.text


def test_a_cluster_answers_from_its_measurements_and_says_what_to_run_where_there_are_none(site: AtlasSite) -> None:
    page = site.read("triage", cluster="tickets")
    assert "Measure first." in page.text
    assert "modelsmith iterate tickets --max-iterations 0" in page.text
    assert page.text.count("not measured") >= 6
    assert [each["value"] for each in page.all("option")][:2] == ["", "tickets"]


def test_what_cannot_be_asked_is_said_beside_its_field(site: AtlasSite) -> None:
    response = site.get("triage", labelled_rows="-3")
    assert response.status_code == 400
    (field,) = Read.of(response.text).all("input", id="labelled_rows")
    assert field["aria-invalid"] == "true"


def test_a_cluster_that_is_not_there_is_said_and_hostile_names_stay_words(site: AtlasSite) -> None:
    response = site.get("triage", cluster=HOSTILE)
    assert response.status_code in (400, 404)
    assert "<script>alert" not in response.text


def test_an_answer_is_kept_by_the_form_of_its_page_and_read_again_with_its_note(site: AtlasSite) -> None:
    name = kept(site, "triage", "ada", "not before we have looked things up", need="facts")
    page = site.read("history", decision=name)
    assert "not before we have looked things up" in page.text
    assert "modelsmith triage-tuning --need facts" in page.text
    assert "It would be answered the same now." in page.text


def test_a_plan_is_kept_with_the_file_that_it_made_and_held_against_another(site: AtlasSite) -> None:
    asked = {"own": "2 x L4 24GB", "rent": "false"}
    one = kept(site, "plan", "ada", "", **asked, concurrency="4", export="vllm")
    other = kept(site, "plan", "bob", "", **asked, concurrency="64")
    assert "max-num-seqs" in site.read("history", decision=one).text
    differs = site.read("history", decision=one, against=other).text
    assert re.search(r"asked\.concurrency\s*4\s*64", differs)
    listed = site.read("history").text
    assert listed.index(other) < listed.index(one)


def test_a_note_is_added_by_a_form_and_hostile_words_in_it_stay_words(site: AtlasSite) -> None:
    name = kept(site, "triage", "ada", "", need="style")
    status, where = send(site, decision=name, note=HOSTILE, by=HOSTILE)
    assert (status, where) == (303, f"history?decision={name}")
    response = site.get("history", decision=name)
    assert "<script>alert" not in response.text
    assert HOSTILE.partition("{{")[0] in Read.of(response.text).text


@pytest.mark.parametrize(
    "fields",
    [
        {"by": "ada"},
        {"question": "promote", "arguments": "{}", "by": "ada"},
        {"question": "plan_deployment", "arguments": "{", "by": "ada"},
        {"question": "plan_deployment", "arguments": json.dumps({"concurrency": 0}), "by": "ada"},
        {"decision": "d-0123456789ab", "note": "x", "by": "ada"},
        {"question": "triage_tuning", "arguments": "{}", "by": "ada", "note": "x" * 70_000},
    ],
)
def test_a_form_that_asks_for_what_cannot_be_kept_is_refused(site: AtlasSite, fields: dict[str, str]) -> None:
    before = site.engine.decision_history(None, 1).total
    status, said = send(site, **fields)
    assert status in (400, 404, 413), said
    assert site.engine.decision_history(None, 1).total == before


def test_nothing_is_kept_for_another_web_page_or_without_the_code(site: AtlasSite) -> None:
    form = {"question": "triage_tuning", "arguments": "{}", "by": "mallory"}
    foreign = site.http.post(site.address("keep"), data=form, headers={"origin": "http://evil.example"})
    guessed = site.http.post(site.address("keep").replace(CODE, "wrong" + "c" * 38), data=form, headers={"origin": site.origin})
    assert (foreign.status_code, guessed.status_code) == (403, 401)


def test_a_decision_that_is_not_there_is_said_with_the_way_back(site: AtlasSite, tmp_path: Path) -> None:
    response = site.get("history", decision="d-0123456789ab")
    assert response.status_code == 404
    page = Read.of(response.text)
    assert "there is no decision" in page.text
    assert any(each.get("href") == "history" for each in page.all("a"))
