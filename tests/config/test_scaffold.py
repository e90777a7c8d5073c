"""`domain new`: what is found in rows nobody has described, and that what is written works."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base.files import read_jsonl, write_jsonl
from engine.base.paths import Workspace
from engine.errors import DomainInvalid, DuplicateId, ModelsmithError, NotFound, PathRefused, TooLarge
from engine.evaluate import scaffold as scaffold_module
from engine.evaluate.roles import infer_schema
from engine.evaluate.scaffold import MAX_EVALUATION_ROWS, ScaffoldedDomain, choose_evaluation, scaffold_domain
from engine.evaluate.similarity import near_duplicates
from engine.loading import load_clusters, load_domain

WORDS = ("card", "money", "transfer", "bank", "late", "refund", "hotel", "train", "ticket", "lost", "broken", "slow", "crash", "login", "phone")
LABELS = ("billing", "tech", "travel", "other")


def text(rng: random.Random, words: int = 9) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def rows(count: int, make: Any) -> list[dict[str, Any]]:
    rng = random.Random(5)
    return [make(number, rng) for number in range(count)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "domains").mkdir()
    (tmp_path / "clusters.json").write_text(json.dumps({"models": {"double": {"kind": "scripted"}}, "clusters": {}}, indent=2))
    return Workspace(tmp_path)


def scaffold(workspace: Workspace, made: list[dict[str, Any]], name: str = "tickets") -> ScaffoldedDomain:
    file = workspace.root / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    return scaffold_domain(workspace, name, file)


def labelled(count: int = 200) -> list[dict[str, Any]]:
    def make(n: int, r: random.Random) -> dict[str, Any]:
        return {"uid": f"u{n}", "body": text(r), "label": n % 4, "label_text": LABELS[n % 4], "channel": r.choice(["web", "app"])}

    return rows(count, make)


def test_labels_become_a_choice_and_the_fields_are_found_by_name_and_values(workspace: Workspace) -> None:
    made = scaffold(workspace, labelled())
    domain = load_domain(workspace, "tickets")
    assert made.fields == {"input": "body", "expected": "label_text", "id": "uid", "slices": "channel"}
    assert domain.contract.output.json_schema is not None
    assert domain.contract.output.json_schema["properties"]["label_text"]["enum"] == sorted(LABELS)
    assert domain.eval.checks[0].kind == "choice"
    assert domain.eval.slices == ("channel",)
    assert domain.data.splits.stratify == "expected.label_text"
    assert "tfidf_logistic" in domain.eval.floor
    assert load_clusters(workspace).clusters["tickets"].model == "double"


def test_a_field_that_gives_the_answer_away_is_left_out_and_said(workspace: Workspace) -> None:
    made = scaffold(workspace, labelled())
    rows_file = read_jsonl(workspace.domain("tickets") / "data" / "train.jsonl")
    assert all(set(row["input"]) == {"body"} and set(row["tags"]) == {"channel"} for row in rows_file)
    assert any("give it away: label" in note for note in made.notes)


def test_objects_get_an_inferred_schema_and_a_check_for_each_field(workspace: Workspace) -> None:
    def make(n: int, r: random.Random) -> dict[str, Any]:
        more = {"more": [text(r, 1)]} if n % 2 else {}
        return {"question": text(r), "output": {"kind": LABELS[n % 4], "n": n % 7, "who": text(r, 2), **more}}

    scaffold(workspace, rows(120, make))
    domain = load_domain(workspace, "tickets")
    schema = domain.contract.output.json_schema
    assert schema is not None
    assert schema["required"] == ["kind", "n", "who"]
    assert list(schema["properties"]) == ["kind", "n", "who", "more"]
    assert {check.name: check.kind for check in domain.eval.checks} == {"kind": "choice", "n": "numeric", "who": "span_f1", "more": "set_f1"}
    assert "tagger" in domain.eval.floor


def test_objects_written_as_text_are_objects(workspace: Workspace) -> None:
    scaffold(workspace, rows(80, lambda n, r: {"text": text(r), "answer": json.dumps({"city": text(r, 2)})}))
    assert read_jsonl(workspace.domain("tickets") / "data" / "train.jsonl")[0]["expected"].keys() == {"city"}


@pytest.mark.parametrize(
    ("answer", "output", "check"),
    [
        (lambda n, r: text(r, 30), "text", "span_f1"),
        (lambda n, r: n * 1.37, "json", "numeric"),
        (lambda n, r: r.sample(LABELS, 2), "json", "set_f1"),
        (lambda n, r: n % 2 == 0, "json", "choice"),
    ],
)
def test_other_answers_get_the_check_that_fits(workspace: Workspace, answer: Any, output: str, check: str) -> None:
    scaffold(workspace, rows(100, lambda n, r: {"prompt": text(r), "completion": answer(n, r)}))
    domain = load_domain(workspace, "tickets")
    assert (domain.contract.output.kind, domain.eval.checks[0].kind) == (output, check)


def test_chat_rows_are_understood(workspace: Workspace) -> None:
    def chat(n: int, r: random.Random) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text(r)}, {"role": "assistant", "content": LABELS[n % 4]}]}

    assert scaffold(workspace, rows(100, chat)).fields["input"] == "message"


def test_csv_is_understood(workspace: Workspace) -> None:
    file = workspace.root / "rows.csv"
    file.write_text("Ticket Text,Category\n" + "".join(f'"{row["body"]}, {row["uid"]}",{row["label_text"]}\n' for row in labelled(80)))
    assert scaffold_domain(workspace, "tickets", file).fields == {"input": "Ticket Text", "expected": "Category"}
    assert "{{ ticket_text }}" in load_domain(workspace, "tickets").contract.user


def test_no_evaluation_row_nearly_repeats_a_training_row_or_shares_its_source(workspace: Workspace) -> None:
    made = labelled(150)
    made += [{**row, "uid": row["uid"] + "-again", "body": row["body"] + " !"} for row in made[:60]]
    made = [{**row, "conversation_id": f"c{number % 70}"} for number, row in enumerate(made)]
    scaffold(workspace, made)
    train, held = (read_jsonl(workspace.domain("tickets") / "data" / f"{file}.jsonl") for file in ("train", "eval"))
    assert not near_duplicates([row["input"]["body"] for row in train], [row["input"]["body"] for row in held], 0.8)
    assert not {row["source"] for row in train} & {row["source"] for row in held}
    assert len(train) > len(held) > 30


def test_the_same_rows_make_the_same_domain_in_any_order(tmp_path: Path) -> None:
    made: list[bytes] = []
    for number, order in enumerate((1, -1)):
        workspace = Workspace(tmp_path / str(number))
        (workspace.root / "domains").mkdir(parents=True)
        workspace.clusters_file.write_text(json.dumps({"models": {"double": {"kind": "scripted"}}, "clusters": {}}))
        scaffold(workspace, labelled()[::order])
        ids = sorted(row["id"] for row in read_jsonl(workspace.domain("tickets") / "data" / "eval.jsonl"))
        made.append("\n".join(ids).encode() + (workspace.domain("tickets") / "domain.yaml").read_bytes())
    assert made[0] == made[1]


def test_an_existing_domain_is_never_overwritten_but_an_interrupted_one_is_finished(workspace: Workspace) -> None:
    before = workspace.clusters_file.read_bytes()
    scaffold(workspace, labelled())
    after = workspace.clusters_file.read_bytes()
    workspace.clusters_file.write_bytes(before)  # as if the power had gone between folder and cluster
    scaffold(workspace, labelled())
    assert workspace.clusters_file.read_bytes() == after
    with pytest.raises(DuplicateId):
        scaffold(workspace, labelled(180))
    assert [path.name for path in workspace.domains.iterdir()] == ["tickets"]


def test_of_two_domains_made_at_once_under_one_name_one_is_whole_and_the_other_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for count in (180, 200):
        files.append(workspace.root / f"{count}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in labelled(count)))
    both_write = threading.Barrier(2)

    def slow_write(path: Path, found: list[Any]) -> None:
        with suppress(threading.BrokenBarrierError):
            both_write.wait(timeout=0.5)
        write_jsonl(path, found)

    monkeypatch.setattr(scaffold_module, "write_jsonl", slow_write)

    def make(file: Path) -> ScaffoldedDomain | Exception:
        try:
            return scaffold_domain(workspace, "tickets", file)
        except (ModelsmithError, OSError) as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(make, files))
    (made,) = [outcome for outcome in outcomes if isinstance(outcome, ScaffoldedDomain)]
    assert [type(outcome) for outcome in outcomes if outcome is not made] == [DuplicateId]
    files = [read_jsonl(workspace.domain("tickets") / "data" / f"{file}.jsonl") for file in ("train", "eval")]
    assert [sum("canary" not in row for row in file) for file in files] == [made.train_rows, made.evaluation_rows]
    assert [path.name for path in workspace.domains.iterdir()] == ["tickets"]


def test_what_an_interrupted_scaffold_left_is_removed_by_the_next(workspace: Workspace) -> None:
    (workspace.domains / ".tickets.tmp" / "data").mkdir(parents=True)
    scaffold(workspace, labelled(), name="other")
    assert [path.name for path in workspace.domains.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b'{"text": "a", "label": "b"}\n', DomainInvalid, "has 1 rows"),
        (b'{"text": "a"\n' * 50, DomainInvalid, "rows.jsonl:1"),
        (b"[1, 2]\n", DomainInvalid, "not an object"),
        (b"5\n" * 50, DomainInvalid, "rows.jsonl:1"),
        (b'{"text": "a", "text": "b"}\n' * 50, DomainInvalid, "occurs twice"),
        (b"[" + b'{"text": "a", "label": "b", "label": "c"},' * 49 + b'{"text": "a", "label": "b"}]', DomainInvalid, "occurs twice"),
        (b"[" + b'{"text": "a", "label": 1e999},' * 49 + b'{"text": "a", "label": "b"}]', DomainInvalid, "Infinity"),
        (b'{"text": "' + b"x" * 70_000 + b'", "label": "b"}\n', TooLarge, "70"),
        (b'{"a": 1, "b": 2}\n' * 50, DomainInvalid, "which field is the answer"),
        (b'{"label": "x"}\n{"label": "y"}\n' * 30, DomainInvalid, "no field is left"),
        (b'{"text": "a", "label": "b"}\n{"text": "a"}\n' * 30, DomainInvalid, "row 2 has no answer"),
        (b"".join(b'{"text": "t%d", "label": %s}\n' % (n, [b'{"x": 1}', b"4"][n % 2]) for n in range(60)), DomainInvalid, "several kinds"),
        (b'{"text": "same text in each", "label": "a"}\n{"text": "same text in each", "label": "b"}\n' * 30, DomainInvalid, "set apart"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_and_nothing_is_written(workspace: Workspace, content: bytes, error: type[Exception], says: str) -> None:
    file = workspace.root / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(error, match=says):
        scaffold_domain(workspace, "tickets", file)
    assert list(workspace.domains.iterdir()) == []


def test_a_missing_file_and_a_bad_name_are_refused(workspace: Workspace) -> None:
    with pytest.raises(NotFound):
        scaffold_domain(workspace, "tickets", workspace.root / "none.jsonl")
    with pytest.raises(PathRefused):
        scaffold_domain(workspace, "../tickets", workspace.root / "none.jsonl")


def test_hostile_names_and_labels_cannot_leave_their_place_in_the_file(workspace: Workspace) -> None:
    labels = ["{{ 7*7 }}", 'a"b\n: c', "# x", "- y"]
    scaffold(workspace, rows(100, lambda n, r: {"text }}": text(r), "range": text(r, 6), "label": labels[n % 4]}))
    domain = load_domain(workspace, "tickets")
    assert domain.contract.output.json_schema is not None
    assert set(domain.contract.output.json_schema["properties"]["label"]["enum"]) == set(labels)
    assert "7*7" not in domain.contract.system


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.lists(values, min_size=1, max_size=12))
def test_every_value_satisfies_the_schema_inferred_from_it(found: list[Any]) -> None:
    import jsonschema

    schema = infer_schema(found)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert all(valid(value) for value in found)


def distinct_texts(count: int) -> list[str]:
    return [f"{number * 7919:09d} {chr(97 + number % 26) * 3} {number * 104729 % 99991}" for number in range(count)]


def test_evaluation_stays_under_its_limit_when_every_answer_occurs_twice() -> None:
    answers = [str(number // 2) for number in range(4000)]
    chosen = choose_evaluation([f"r{number}" for number in range(4000)], distinct_texts(4000), answers, [""] * 4000)
    assert len(chosen) == MAX_EVALUATION_ROWS


def test_a_common_label_keeps_its_share_beside_many_rare_ones() -> None:
    answers = ["common" if number < 2000 else str(number // 2) for number in range(4000)]
    chosen = choose_evaluation([f"r{number}" for number in range(4000)], distinct_texts(4000), answers, [""] * 4000)
    assert len(chosen) == MAX_EVALUATION_ROWS
    assert sum(answers[number] == "common" for number in chosen) == MAX_EVALUATION_ROWS // 2


@pytest.mark.parametrize("salt", range(8))
def test_a_rare_label_is_represented_in_the_evaluation_of_a_small_set(salt: int) -> None:
    answers = ["a"] * 101 + ["b"] * 67 + ["c"] * 30 + ["rare"] * 2
    chosen = choose_evaluation([f"{salt}-{number}" for number in range(200)], distinct_texts(200), answers, [""] * 200)
    assert len(chosen) == 80
    assert sum(answers[number] == "rare" for number in chosen) == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["", "s1", "s2", "s3"])), min_size=60, max_size=90), st.integers(0, 9))
def test_a_split_never_parts_a_source(found: list[tuple[str, str]], salt: int) -> None:
    ids = [f"{salt}-{number}" for number in range(len(found))]
    texts = [f"{number * 7919 + salt:09d} {chr(97 + number % 26) * 3}" for number in range(len(found))]
    try:
        chosen = choose_evaluation(ids, texts, [label for label, _ in found], [source for _, source in found])
    except DomainInvalid:
        return
    inside = {found[number][1] for number in chosen} - {""}
    outside = {found[number][1] for number in range(len(found)) if number not in chosen} - {""}
    assert not inside & outside
