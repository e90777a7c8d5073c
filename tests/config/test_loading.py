"""clusters.json and domain.yaml: what is refused, and in which words."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.base.paths import Workspace
from engine.config import ClustersFile, DomainFile
from engine.errors import ConfigInvalid, DomainInvalid, DuplicateId, ModelsmithError, NotFound, PathRefused
from engine.loading import find_workspace, insert_entry, load_clusters, load_domain, parse_profile, parse_yaml, save_model, schema_at

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A copy of the repository's own configuration, with two rows a file."""
    shutil.copy(ROOT / "clusters.json", tmp_path)
    for name in ("travel", "support"):
        data = tmp_path / "domains" / name / "data"
        data.mkdir(parents=True)
        shutil.copy(ROOT / "domains" / name / "domain.yaml", data.parent)
        for file in ("train", "eval"):
            (data / f"{file}.jsonl").write_text("{}\n")
    return Workspace(tmp_path)


def change_clusters(workspace: Workspace, path: str, value: Any) -> None:
    document = json.loads(workspace.clusters_file.read_text())
    _set(document, path, value)
    workspace.clusters_file.write_text(json.dumps(document))


def change_domain(workspace: Workspace, path: str, value: Any) -> None:
    file = workspace.domain("support") / "domain.yaml"
    document = yaml.safe_load(file.read_text())
    _set(document, path, value)
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def _set(document: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document.setdefault(part, {})
    document[int(last) if isinstance(document, list) else last] = value


def refusal(workspace: Workspace, domain: str | None = None) -> ModelsmithError:
    with pytest.raises((ConfigInvalid, DomainInvalid)) as caught:
        load_domain(workspace, domain) if domain else load_clusters(workspace)
    assert caught.value.code == ("domain_invalid" if domain else "config_invalid")
    assert caught.value.next_step
    return caught.value


def test_the_repository_itself_is_a_valid_workspace() -> None:
    workspace = find_workspace(ROOT / "engine" / "base")
    clusters = load_clusters(workspace)
    assert workspace.root == ROOT
    for cluster in clusters.clusters.values():
        assert load_domain(workspace, cluster.domain).title


def test_the_default_model_is_the_one_that_a_package_ships() -> None:
    clusters = load_clusters(Workspace(ROOT))
    profile = clusters.models[clusters.clusters["travel"].model]
    assert profile.kind == "managed"
    assert profile.weights.kind == "gguf_package"
    package = find_spec(profile.weights.package)
    assert package is not None
    assert (Path(next(iter(package.submodule_search_locations or ()))) / profile.weights.file).is_file()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("clusters.travel.model", "gpt-9", ["clusters.travel.model", '"gpt-9"', "smollm2-135m"]),
        ("clusters.travel.domain", "moon", ["clusters.travel.domain", '"moon"', "support, travel"]),
        ("clusters.travel.budget", "huge", ["clusters.travel.budget", '"huge"', "default, quick"]),
        ("clusters.travel.hosts", ["mars"], ["clusters.travel.hosts[0]", '"mars"', "local"]),
        ("clusters.travel.hosts", [], ["clusters.travel.hosts", "at least one"]),
        ("clusters.travel.chain", "shortcut", ["clusters.travel.chain", '"shortcut"', "'standard'"]),
        ("clusters.travel.policy.signatures.canary", {"approvals": 0}, ["clusters.travel.policy.signatures.canary.approvals", "greater than or equal to 1"]),
        ("clusters.travel.policy.signatures.live", {}, ["clusters.travel.policy.signatures.live", "'canary'"]),
        ("clusters.travel.policy.signatures.customer-deployed", {}, ["clusters.travel.policy.signatures.customer-deployed", "another chain", "canary"]),
        ("clusters.travel.targets", {"accuracy": 0.9}, ["clusters.travel.targets", '"accuracy"', "'score' or 'pass_rate'"]),
        ("clusters.travel.targets", {"score": 2}, ["clusters.travel.targets.score", "2", "less than or equal to 1"]),
        ("models.smollm2-135m.training.epochs", "three", ["models.smollm2-135m.training.epochs", '"three"', "valid number"]),
        ("models.smollm2-135m.training.epochs", "3", ["models.smollm2-135m.training.epochs", '"3"', "valid number"]),
        ("models.smollm2-135m.inference.max_num_seqs", 0, ["models.smollm2-135m.inference.max_num_seqs", "found 0", "greater than or equal to 1"]),
        ("models.smollm2-135m.inference.dtype", "int3", ["models.smollm2-135m.inference.dtype", '"int3"', "'bfloat16'"]),
        ("models.smollm2-135m.kind", "magic", ["models.smollm2-135m.kind", "magic", "'managed'"]),
        ("models.smollm2-135m.weights.kind", "ftp", ["models.smollm2-135m.weights.kind", "ftp", "'hub'"]),
        ("models.smollm2-135m.lora.ranks", 4, ["models.smollm2-135m.lora.ranks", "unknown key", "alpha, dropout"]),
        ("models.smollm2-135m.training.micro_batch_size", 5, ["models.smollm2-135m.training.micro_batch_size", "found 5", "divisor"]),
        ("models.smollm2-135m.weights", {"kind": "hub", "repo": "a/b", "revision": "main"}, ["models.smollm2-135m.weights.revision", '"main"', "branch"]),
        ("models.Bad Name", {"kind": "scripted"}, ["models.Bad Name", "lower-case letters"]),
        ("budgets.default.max_minutes", -1, ["budgets.default.max_minutes", "-1", "greater than 0"]),
        ("hosts.local.hourly_price", {"amount": 2.49, "currency": "EUR"}, ["hosts.local.hourly_price.as_of", "this field is required"]),
        ("hosts.local.hourly_price", {"amount": 0, "currency": "EUR", "as_of": "2026-11-21"}, ["hosts.local.hourly_price.amount", "greater than 0"]),
        ("hosts.local.hourly_price", {"amount": 1, "currency": "euro", "as_of": "2026-11-21"}, ["hosts.local.hourly_price.currency", '"euro"']),
        ("hosts.local.hourly_price", {"amount": 1, "currency": "EUR", "as_of": "2026-02-30"}, ["hosts.local.hourly_price.as_of", '"2026-02-30"', "calendar"]),
        ("surprise", 1, ["surprise", "unknown key", "budgets, clusters"]),
        ("schema_version", 2, ["schema_version", "found 2", "expected 1"]),
    ],
)
def test_a_mistake_in_clusters_json_is_named_by_path_value_and_expectation(workspace: Workspace, path: str, value: Any, says: list[str]) -> None:
    change_clusters(workspace, path, value)
    error = refusal(workspace)
    for part in ["clusters.json", *says]:
        assert part in error.message
    assert error.details["problems"][0]["path"].startswith(path.rsplit(".", 1)[0].split(".hosts")[0])


def test_a_missing_field_is_named(workspace: Workspace) -> None:
    document = json.loads(workspace.clusters_file.read_text())
    del document["models"]["smollm2-135m"]["title"]
    workspace.clusters_file.write_text(json.dumps(document))
    assert "models.smollm2-135m.title: found nothing; expected a value" in refusal(workspace).message


def test_several_mistakes_are_all_counted_and_the_first_few_listed(workspace: Workspace) -> None:
    for number in range(8):
        change_clusters(workspace, f"clusters.c{number}", {"domain": "travel", "model": "none"})
    error = refusal(workspace)
    assert error.details["problems_total"] == 8
    assert len(error.details["problems"]) == 5
    assert "and 3 more" in error.message


def test_the_value_under_an_unknown_key_is_not_repeated(workspace: Workspace) -> None:
    change_clusters(workspace, "models.smollm2-135m.api_key", "sk-very-secret")
    error = refusal(workspace)
    assert "models.smollm2-135m.api_key" in error.message
    assert "sk-very-secret" not in json.dumps(error.as_record())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"models": {}, "models": {}}', "occurs twice"),
        (b'{"models": NaN}', "NaN"),
        (b'{"models": 1e999}', "larger than any"),
        (b'{"models": {', "line 1"),
        (b"", "line 1"),
        (b"[]", "expected an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"models": "\\ud800"}', "surrogate"),
        (b'{"models": "\\u0000"}', "NUL"),
        (b"[" * 100_000, "nesting"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nesting"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "clusters.json"),
        (b" " * (5 << 20), "more than"),
    ],
)
def test_a_clusters_json_that_is_not_strict_json_is_refused(workspace: Workspace, text: bytes, says: str) -> None:
    workspace.clusters_file.write_bytes(text)
    assert says in refusal(workspace).message


def test_a_clusters_json_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clusters.json").mkdir()
    assert "cannot be read" in refusal(Workspace(tmp_path)).message


def test_a_folder_outside_any_workspace_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        find_workspace(tmp_path)
    assert "--workspace" in caught.value.next_step


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("contract.user", "{{ message ", ["contract.user", "does not parse", "line 1"]),
        ("contract.system", "{% for x in y %}", ["contract.system", "does not parse"]),
        ("contract.user", "{% include '/etc/passwd' %}", ["contract.user", "reads another file"]),
        ("contract.output.json_schema", {"type": "objekt"}, ["contract.output.json_schema.type", '"objekt"']),
        ("contract.output.json_schema", {"$ref": "http://example.com/x"}, ["contract.output.json_schema.$ref", "nothing is fetched"]),
        ("contract.output.kind", "text", ["contract.output.json_schema", "kind is text"]),
        ("contract.output.max_tokens", 0, ["contract.output.max_tokens", "found 0"]),
        ("eval.checks.0.path", "intnet", ["eval.checks[0].path", '"intnet"', "intent"]),
        ("eval.checks.0.kind", "vibes", ["eval.checks[0].kind", "vibes", "'exact'"]),
        ("eval.checks.0.weight", 0, ["eval.checks", "sum to 0"]),
        ("eval.checks.0.weigth", 1, ["eval.checks[0].weigth", "unknown key", "weight"]),
        ("eval.checks", [], ["eval.checks", "at least 1 item"]),
        ("eval.checks", [{"kind": "exact"}, {"kind": "exact"}], ["eval.checks[1].name", "no other check"]),
        ("eval.checks", [{"kind": "regex", "pattern": "("}], ["eval.checks[0].pattern", "regular expression"]),
        ("eval.checks", [{"kind": "choice"}], ["eval.checks[0].choices", "enum"]),
        ("eval.checks", [{"kind": "contains"}], ["eval.checks[0].texts", "found none", "a path at which"]),
        ("eval.checks", [{"kind": "json_fields", "fields": {"inte": 1}}], ["eval.checks[0].fields.inte", "intent"]),
        ("eval.safety_nets.0.check.kind", "choice", ["eval.safety_nets[0].check.choices"]),
        ("data.splits.core", 0.9, ["data.splits", "sum to 1"]),
        ("data.train.path", "data/none.jsonl", ["data.train.path", "data/none.jsonl", "a file"]),
        ("data.train.path", "data/eval.jsonl", ["data.evaluation.path", "another file"]),
        ("data.licence", float("nan"), ["data.licence", "finite"]),
        ("title", 7, ["title", "found 7", "valid string"]),
        ("eval.floor", ["magic"], ["eval.floor[0]", '"magic"', "'majority'"]),
    ],
)
def test_a_mistake_in_domain_yaml_is_named_by_path_value_and_expectation(workspace: Workspace, path: str, value: Any, says: list[str]) -> None:
    change_domain(workspace, path, value)
    error = refusal(workspace, "support")
    for part in ["domains/support/domain.yaml", *says]:
        assert part in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title: a\ntitle: b\n", "'title' twice"),
        ("1: a\n", "not text"),
        ("title: [a\n", "line 2"),
        ("a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "".join(
            f"c{n}: &c{n} [{', '.join(['*' + ('b' if n == 0 else f'c{n - 1}')] * 10)}]\n" for n in range(8)), "unfolds"),
        ("a: &a [*a]\n", "contains itself"),
        ("[" * 50_000, "nesting"),
        ("- " * 20_000 + "x", "nesting"),
        ("title: !!python/object/apply:os.system ['true']\n", "python/object"),
        ("a: 2026-01-01\n", "in quotes"),
        ("title: \x00\n", "characters"),
        ("", "expected an object"),
        ("# " + "x" * (1 << 20), "more than"),
    ],
)  # fmt: skip
def test_a_domain_yaml_that_is_not_plain_yaml_is_refused_before_it_costs_anything(workspace: Workspace, text: str, says: str) -> None:
    (workspace.domain("support") / "domain.yaml").write_text(text)
    assert says in refusal(workspace, "support").message


def test_a_domain_name_or_row_file_that_leaves_the_workspace_is_refused(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(PathRefused):
        load_domain(workspace, "../support")
    change_domain(workspace, "data.train.path", "../../../etc/passwd")
    with pytest.raises(PathRefused):
        load_domain(workspace, "support")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "domain.yaml").write_text("title: x")
    (workspace.domains / "link").symlink_to(outside)
    with pytest.raises(PathRefused):
        load_domain(workspace, "link")


def test_a_domain_that_is_not_there_lists_those_that_are(workspace: Workspace) -> None:
    with pytest.raises(NotFound) as caught:
        load_domain(workspace, "moon")
    assert "support, travel" in caught.value.next_step


def test_a_changed_file_is_seen_at_the_next_load(workspace: Workspace) -> None:
    assert load_domain(workspace, "support").title == "Support triage"
    change_domain(workspace, "title", "Desk")
    assert load_domain(workspace, "support").title == "Desk"


# ---- adding entries ------------------------------------------------------------------------------------------------------------------------

ENDPOINT = {"kind": "endpoint", "title": "Local", "base_url": "http://127.0.0.1:8080/v1", "model": "m"}


def test_a_saved_model_is_loaded_again_and_every_other_character_of_the_file_stays(workspace: Workspace) -> None:
    before = workspace.clusters_file.read_text()
    save_model(workspace, "local", parse_profile("local", ENDPOINT))
    after = workspace.clusters_file.read_text()
    assert load_clusters(workspace).models["local"] == parse_profile("local", ENDPOINT)
    assert after.replace(" ", "").replace("\n", "") == before.replace(" ", "").replace("\n", "").replace(
        '}},"clusters"', '},"local":' + json.dumps(ENDPOINT).replace(" ", "") + '},"clusters"'
    )
    assert set(before.splitlines()) - set(after.splitlines()) <= {"    }"}


def test_the_same_model_again_changes_nothing_and_another_under_its_name_is_refused(workspace: Workspace) -> None:
    save_model(workspace, "local", parse_profile("local", ENDPOINT))
    once = workspace.clusters_file.read_bytes()
    save_model(workspace, "local", parse_profile("local", ENDPOINT))
    assert workspace.clusters_file.read_bytes() == once
    with pytest.raises(DuplicateId):
        save_model(workspace, "local", parse_profile("local", ENDPOINT | {"model": "other"}))
    assert workspace.clusters_file.read_bytes() == once


def test_entries_saved_at_once_are_all_there(workspace: Workspace) -> None:
    names = [f"m{number}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda name: save_model(workspace, name, parse_profile(name, ENDPOINT)), names))
    assert set(names) <= set(load_clusters(workspace).models)


def test_a_bad_profile_is_named_by_the_path_that_it_would_have(workspace: Workspace) -> None:
    with pytest.raises(ConfigInvalid, match=r"models\.local\.base_url: found \"ftp://x\""):
        parse_profile("local", ENDPOINT | {"base_url": "ftp://x"})


@pytest.mark.parametrize("url", ["https://user:hunter2@example.org/v1", "http://example.org/v1?key=hunter2"])
def test_a_url_that_would_leak_is_refused_before_it_is_stored_and_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"models\.local\.base_url") as refused:
        parse_profile("local", ENDPOINT | {"base_url": url})
    assert "hunter2" not in refused.value.message
    with pytest.raises(PathRefused):
        parse_profile("../local", ENDPOINT)


@pytest.mark.parametrize("text", ['{"models": {}}', '{ "models":{ } , "x": [1]}', '{"x": {"models": {"no": 1}}, "models" : {"a": {"b": "}"}}}'])
def test_an_entry_is_inserted_into_any_spelling_of_the_file(text: str) -> None:
    before, after = json.loads(text), json.loads(insert_entry(text, "models", "new", {"a": [1]}))
    assert after["models"].pop("new") == {"a": [1]}
    assert after == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["models", "clusters", "clusters.travel", "models.smollm2-135m.weights", "hosts.local", "budgets.default"]),
    value=json_values,
)
def test_no_value_anywhere_in_clusters_json_does_worse_than_a_clear_refusal(workspace: Workspace, path: str, value: Any) -> None:
    shutil.copy(ROOT / "clusters.json", workspace.root)
    change_clusters(workspace, path, value)
    try:
        load_clusters(workspace)
    except ConfigInvalid as error:
        assert error.details["problems"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        ["contract", "contract.output", "contract.output.json_schema", "data.splits", "eval", "eval.checks", "eval.checks.0", "eval.floor"]
    ),
    value=json_values,
)
def test_no_value_anywhere_in_domain_yaml_does_worse_than_a_clear_refusal(workspace: Workspace, path: str, value: Any) -> None:
    shutil.copy(ROOT / "domains" / "support" / "domain.yaml", workspace.domain("support"))
    change_domain(workspace, path, value)
    try:
        load_domain(workspace, "support")
    except DomainInvalid as error:
        assert error.details["problems"]


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text(alphabet="[]{}&*!:-,#'\"\n <ab1|>%@`?", max_size=60).map(str.encode))
def test_no_bytes_do_worse_than_a_sentence(data: bytes) -> None:
    try:
        parse_yaml(data)
    except ValueError as error:
        assert str(error)


def test_a_path_is_decided_by_the_schema_only_where_the_schema_does() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}}, "r": {"$ref": "#/x"}},
    }
    assert schema_at(schema, "a.0.b") == {"type": "string"}
    assert schema_at(schema, "r.anything") is None
    assert isinstance(schema_at(schema, "z"), str)
    assert isinstance(schema_at(schema, "a.0.b.c"), str)
    assert schema_at({"type": "object", "additionalProperties": {"type": "string"}}, "any") == {"type": "string"}


def test_the_records_and_their_generated_schemas_agree_on_the_repository_files() -> None:
    import jsonschema

    from engine.schemas import schemas

    jsonschema.validate(json.loads((ROOT / "clusters.json").read_text()), schemas()["clusters"])
    for name in ("travel", "support"):
        jsonschema.validate(yaml.safe_load((ROOT / "domains" / name / "domain.yaml").read_text()), schemas()["domain"])
    assert set(schemas()["clusters"]["properties"]) == set(ClustersFile.model_fields)
    assert set(schemas()["domain"]["properties"]) == set(DomainFile.model_fields)
