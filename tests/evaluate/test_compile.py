"""Compiling a domain: what is wrong is named with its place, and what is compiled does not change."""

from __future__ import annotations

import json
import os
import time

import pytest

from engine.errors import ArtifactCorrupt, DomainInvalid, DuplicateId, NotFound, PathRefused, StateConflict, TooLarge
from engine.evaluate.compile import compile_domain, domain_digest, load_compiled
from tests.evaluate.folders import domain_yaml, rows, sentence, write_folder


def compiled(workspace, name="tickets"):
    return compile_domain(workspace, name, domain_digest(workspace, name))


def refused(error, match, tmp_path, **folder):
    with pytest.raises(error, match=match) as caught:
        compiled(write_folder(tmp_path, **folder))
    assert caught.value.next_step
    return caught.value


def test_a_domain_compiles_to_its_scenarios_and_its_whole_pool(tmp_path):
    workspace = write_folder(tmp_path)
    found = compiled(workspace)
    assert found.manifest.scenarios == {"core": 24, "held_out": 24, "reserve": 12}
    assert [row.id for row in found.pool] == [f"r{n}" for n in range(60)]
    assert found.scenarios == load_compiled(workspace, found.digest).scenarios
    assert len(found.of_split("core", "held_out")) == 48


def test_the_order_of_rows_changes_neither_suite_nor_splits(tmp_path):
    evaluation = rows(60, start=1000)
    one = compiled(write_folder(tmp_path / "a", evaluation=evaluation))
    other = compiled(write_folder(tmp_path / "b", evaluation=evaluation[::-1]))
    assert one.suite_digest == other.suite_digest
    assert one.digest != other.digest


def test_each_digest_names_its_own_part(tmp_path):
    base = compiled(write_folder(tmp_path / "a"))
    rubric = compiled(write_folder(tmp_path / "b", domain=domain_yaml(eval={"checks": [{"kind": "exact"}]})))
    contract = domain_yaml()["contract"] | {"user": "Message: {{ message }}"}
    prompt = compiled(write_folder(tmp_path / "c", domain=domain_yaml(contract=contract)))
    assert (rubric.suite_digest, rubric.prompt_digest) == (base.suite_digest, base.prompt_digest)
    assert rubric.grading_digest != base.grading_digest
    assert (prompt.suite_digest, prompt.grading_digest) == (base.suite_digest, base.grading_digest)
    assert prompt.prompt_digest != base.prompt_digest


def test_near_duplicates_and_sources_stay_in_one_split(tmp_path):
    evaluation = rows(40, start=1000)
    evaluation += [row | {"id": f"{row['id']}-again", "input": {"message": row["input"]["message"].upper() + "!"}} for row in evaluation[:20]]
    evaluation = [row | {"source": f"dialogue {number // 3}"} for number, row in enumerate(evaluation)]
    splits = {scenario.id: scenario.split for scenario in compiled(write_folder(tmp_path, evaluation=evaluation)).scenarios}
    for row in evaluation[:20]:
        assert splits[row["id"]] == splits[f"{row['id']}-again"]
    for start in range(0, 60, 3):
        assert len({splits[row["id"]] for row in evaluation[start : start + 3]}) == 1


def test_a_pool_row_that_repeats_an_evaluation_item_is_reported_and_kept(tmp_path):
    leak = rows(1, start=1000)[0] | {"id": "leak"}
    found = compiled(write_folder(tmp_path, train=[*rows(60), leak]))
    assert found.manifest.overlap_count == 1
    assert (found.manifest.overlaps[0].row_id, found.manifest.overlaps[0].scenario_id) == ("leak", "r1000")
    assert found.pool[-1].id == "leak"


def test_the_order_of_keys_survives(tmp_path):
    contract = domain_yaml()["contract"] | {"output": {"json_schema": {"type": "object", "properties": {"z": {}, "a": {}}}}}
    evaluation = [{"id": f"e{n}", "input": {"message": sentence(n)}, "expected": {"z": 1, "m": n, "b": 2}} for n in range(9)]
    domain = domain_yaml(
        contract=contract, eval={"checks": [{"kind": "exact"}]}, data={"train": {"path": "train.jsonl"}, "evaluation": {"path": "eval.jsonl"}}
    )
    found = compiled(write_folder(tmp_path, domain=domain, evaluation=evaluation, train=evaluation))
    assert list(found.domain.contract.output.json_schema["properties"]) == ["z", "a"]
    assert all(list(scenario.expected) == ["z", "m", "b"] for scenario in found.scenarios)


# ---- bad input -------------------------------------------------------------------------------------------------------------------------


def test_a_scenario_of_a_megabyte_is_refused_with_its_place(tmp_path):
    evaluation = rows(3, start=1000)
    evaluation[1]["input"]["message"] = "x" * (1 << 20)
    error = refused(TooLarge, r"domains/tickets/eval\.jsonl:2: the row has 10\d+ bytes; the limit is 65536", tmp_path, evaluation=evaluation)
    assert error.details["line"] == 2


def test_two_rows_with_one_id_are_refused_with_both_lines(tmp_path):
    error = refused(
        DuplicateId, r"eval\.jsonl: the id 'r1001' stands in line 2 and in line 4", tmp_path, evaluation=[*rows(3, start=1000), *rows(1, start=1001)]
    )
    assert error.details["lines"] == [2, 4]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a", ', "not a JSON object"),
        (b"[1]", "found a list where a JSON object was expected"),
        (b"\xff\xfe", "not a JSON object"),
        (b'{"id": "a", "id": "b"}', "twice"),
        (b'{"id": "a", "input": {"message": "m"}, "expected": {"intent": "login"}, "weight": NaN}', "NaN"),
        (b'{"id": "a", "input": {"message": "m"}, "expected": {"intent": "login"}, "weight": 1e999}', "larger than any"),
        (b'{"id": "a", "input": {"message": "m\\u0000"}, "expected": {"intent": "login"}}', "NUL"),
        (b'{"id": "a", "input": {"message": "\\ud800"}, "expected": {"intent": "login"}}', "surrogate"),
        (b'{"id": "a", "input": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nesting"),
        (b'{"id": "a", "input": {"message": "m"}}', "no reference answer in the field 'expected'; the row has: id, input"),
        (b'{"id": "a", "expected": {"intent": "login"}}', "no input in the field 'input'"),
        (b'{"id": "a", "input": 3, "expected": {"intent": "login"}}', "the input is a number"),
        (b'{"input": {"message": "m"}, "expected": {"intent": "login"}}', "no id in the field 'id'"),
        (b'{"id": "a", "input": {"message": "m"}, "expected": {"intent": "other"}}', "breaks the output schema: at intent: not what the schema's 'enum'"),
        (b'{"id": "a", "input": {"message": "m"}, "expected": {"intent": "login"}, "tags": ["x"]}', "tags"),
        (b'{"id": "a", "input": {"text": "m"}, "expected": {"intent": "login"}}', r"contract\.user line 1: 'message' is undefined"),
        (b'{"id": "a\\u0007", "input": {"message": "m"}, "expected": {"intent": "login"}}', "not printable"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, line, message):
    good = b"".join(json.dumps(row).encode() + b"\n" for row in rows(2, start=1000))
    error = refused(DomainInvalid, r"domains/tickets/eval\.jsonl:3: .*" + message, tmp_path, evaluation=good + line + b"\n")
    assert (error.details["file"], error.details["line"]) == ("domains/tickets/eval.jsonl", 3)


def test_a_reference_answer_that_breaks_the_schema_is_quoted_from_training_rows_and_never_from_evaluation_rows(tmp_path):
    broken = b'{"id": "a", "input": {"message": "m"}, "expected": {"intent": "a secret"}}\n'
    assert "at intent: 'a secret' is not one of" in refused(DomainInvalid, "train", tmp_path / "train", train=broken).message
    error = refused(DomainInvalid, r"eval\.jsonl:1", tmp_path / "eval", evaluation=broken)
    assert "secret" not in json.dumps(error.as_record())


def test_an_empty_file_is_refused(tmp_path):
    refused(DomainInvalid, "holds no rows", tmp_path, evaluation=b"\n \n")


def test_a_stratum_that_a_row_lacks_is_refused(tmp_path):
    data = domain_yaml()["data"] | {"splits": {"stratify": "tags.region"}}
    refused(DomainInvalid, r"eval\.jsonl:1: nothing at 'tags\.region'", tmp_path, domain=domain_yaml(data=data))


@pytest.mark.parametrize("path", ["../../outside.jsonl", "/etc/passwd", "link.jsonl"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    workspace = write_folder(tmp_path, domain=domain_yaml(data={"train": {"path": path}, "evaluation": {"path": "eval.jsonl"}}))
    (tmp_path.parent / "outside.jsonl").write_text("{}")
    os.symlink("/etc/hostname", workspace.domain("tickets") / "link.jsonl")
    with pytest.raises(PathRefused):
        compiled(workspace)


def test_a_file_that_is_not_there_is_named(tmp_path):
    workspace = write_folder(tmp_path)
    (workspace.domain("tickets") / "eval.jsonl").unlink()
    with pytest.raises((NotFound, DomainInvalid), match=r"eval\.jsonl"):
        compiled(workspace)


# ---- where things stand in a row -------------------------------------------------------------------------------------------------------


def test_rows_of_any_layout_are_read_by_their_paths(tmp_path):
    evaluation = [{"meta": {"intent": "login", "lang": "en"}, "message": sentence(n), "n": n} for n in range(6)]
    place = {"path": "eval.jsonl", "id": None, "input": ".", "expected": "meta.intent", "tags": "meta", "source": "n"}
    contract = domain_yaml()["contract"] | {"output": {"kind": "text"}}
    domain = domain_yaml(
        contract=contract,
        data={"train": place | {"path": "train.jsonl"}, "evaluation": place},
        eval={"checks": [{"kind": "choice", "choices": ["login"]}]},
    )
    scenario = compiled(write_folder(tmp_path, domain=domain, train=evaluation, evaluation=evaluation)).scenarios[2]
    assert (scenario.id, scenario.expected, scenario.source) == ("eval-000003", "login", "2")
    assert scenario.input == {"message": sentence(2)}
    assert scenario.tags == {"intent": "login", "lang": "en"}


def test_an_input_that_is_text_becomes_the_field_text(tmp_path):
    evaluation = [{"id": n, "input": sentence(n), "expected": {"intent": "login"}} for n in range(6)]
    contract = domain_yaml()["contract"] | {"user": "{{ text }}"}
    found = compiled(write_folder(tmp_path, domain=domain_yaml(contract=contract), train=evaluation, evaluation=evaluation))
    assert found.scenarios[0].input == {"text": sentence(0)}
    assert found.scenarios[0].id == "0"


# ---- the cache -------------------------------------------------------------------------------------------------------------------------


def test_a_folder_that_changed_after_acceptance_is_refused_and_the_compiled_one_stays(tmp_path):
    workspace = write_folder(tmp_path)
    before = domain_digest(workspace, "tickets")
    compile_domain(workspace, "tickets", before)
    write_folder(tmp_path, evaluation=rows(30, start=2000))
    assert len(compile_domain(workspace, "tickets", before).scenarios) == 60
    later = domain_digest(workspace, "tickets")
    write_folder(tmp_path, evaluation=rows(20, start=2000))
    with pytest.raises(StateConflict, match="changed after this run was accepted"):
        compile_domain(workspace, "tickets", later)


def test_a_damaged_compiled_domain_is_refused_and_made_again(tmp_path):
    workspace = write_folder(tmp_path)
    digest = compiled(workspace).digest
    file = workspace.compiled_domains / digest / "scenarios.jsonl"
    file.write_bytes(file.read_bytes().replace(b"refund", b"login!", 1))
    with pytest.raises(ArtifactCorrupt):
        load_compiled(workspace, digest)
    assert len(compiled(workspace).scenarios) == 60
    load_compiled(workspace, digest)


def test_a_directory_without_its_manifest_is_not_a_compiled_domain(tmp_path):
    workspace = write_folder(tmp_path)
    digest = compiled(workspace).digest
    (workspace.compiled_domains / digest / "manifest.json").unlink()
    with pytest.raises(NotFound):
        load_compiled(workspace, digest)
    assert compiled(workspace).manifest.pool == 60


def test_only_a_digest_names_a_compiled_domain(tmp_path):
    with pytest.raises(PathRefused):
        load_compiled(write_folder(tmp_path), "../" * 21 + "x")


def test_a_pool_of_two_thousand_compiles_in_seconds(tmp_path):
    workspace = write_folder(tmp_path, train=rows(2000), evaluation=rows(900, start=5000))
    started = time.monotonic()
    compiled(workspace)
    assert time.monotonic() - started < 10  # 1 to 2 s on two quiet cores; the margin is for loaded ones
