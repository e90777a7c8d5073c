"""Reading clusters.json and domain.yaml: from bytes that somebody wrote to records that everything else may trust.

Promises: what is returned is valid in itself and in its cross references; everything else is ConfigInvalid or DomainInvalid with the file,
the path inside it, the value found and what was expected, for every problem (the first few are listed). Nothing is guessed: `"3"` is not a
number, an unknown key is an error, a key given twice is an error. Hostile files (too large, nested too deeply, YAML aliases that unfold to
gigabytes, a schema that points to another machine) are refused before they cost anything. A value under an unknown key is never repeated in
an error, because a misplaced secret would be.

Not here: the rows of a domain (`engine/evaluate/compile.py` reads them), and rendering templates (`engine/evaluate/prompts.py`).
"""

from __future__ import annotations

import json
import re
import stat
import threading
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import jinja2
import jinja2.nodes
import jinja2.sandbox
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.base.files import inside, parse_strict, write_atomic
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.base.urls import url_problem
from engine.config import (
    Check,
    ChoiceCheck,
    Cluster,
    ClustersFile,
    ContainsCheck,
    DomainFile,
    JsonFieldsCheck,
    JsonSchemaCheck,
    Profile,
    RegexCheck,
)
from engine.errors import BadInput, ConfigInvalid, DomainInvalid, DuplicateId, NotFound

MAX_CLUSTERS_BYTES = 4 << 20
MAX_DOMAIN_BYTES = 1 << 20
MAX_YAML_DEPTH = 64
MAX_YAML_NODES = 100_000
LISTED_PROBLEMS = 5
BRANCHES = ("main", "master", "HEAD", "")

FileKind = Literal["clusters", "domain"]

_saving = threading.Lock()
"""Two requests that add an entry at once both find it in the file afterwards."""


class Problem(NamedTuple):
    """One thing that is wrong in a file."""

    path: str
    found: str
    expected: str

    def sentence(self) -> str:
        return f"{self.path or 'the file'}: found {self.found}; expected {self.expected}"


# ---- what others call --------------------------------------------------------------------------------------------------------------


def find_workspace(start: Path) -> Workspace:
    """The workspace that `start` lies in: the nearest folder, from `start` upwards, with a clusters.json."""
    folder = start.absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / "clusters.json").is_file():
            return Workspace(candidate.resolve())
    raise NotFound(
        f"no clusters.json in {folder} or in any folder above it",
        next_step="Run this inside a workspace (a folder with clusters.json), or name one with --workspace.",
        start=str(folder),
    )


def load_clusters(workspace: Workspace) -> ClustersFile:
    """clusters.json, checked in itself and against the domain folders that it names."""
    data = _read("clusters", "clusters.json", workspace.clusters_file, MAX_CLUSTERS_BYTES)
    clusters = _parse_clusters(data)
    problems = [
        Problem(f"clusters.{name}.domain", _show(cluster.domain), f"a folder in domains/ with a domain.yaml ({_names(domain_names(workspace))})")
        for name, cluster in clusters.clusters.items()
        if not (workspace.domains / cluster.domain / "domain.yaml").is_file()
    ]
    _refuse("clusters", "clusters.json", problems)
    return clusters


def domain_names(workspace: Workspace) -> list[str]:
    """The domains of a workspace, whether or not they load."""
    return [path.parent.name for path in sorted(workspace.domains.glob("*/domain.yaml"))]


def load_domain(workspace: Workspace, name: str) -> DomainFile:
    """`domains/<name>/domain.yaml`, checked in itself; its row files are there."""
    check_identifier(name, "domain name")
    label = f"domains/{name}/domain.yaml"
    path = inside(workspace.root, label)
    if not path.is_file():
        raise NotFound(
            f"there is no domain {name!r}: {label} does not exist",
            next_step=f"Name one of: {_names(domain_names(workspace))}; or make one with `modelsmith domain new {name} --from rows.jsonl`.",
            domain=name,
        )
    domain = _parse_domain(_read("domain", label, path, MAX_DOMAIN_BYTES), label)
    _refuse("domain", label, list(_row_file_problems(path.parent, domain)))
    return domain


def parse_profile(name: str, profile: Mapping[str, Any]) -> Profile:
    """A model profile that a person or an agent handed in; ConfigInvalid names the path as it would be in clusters.json."""
    check_identifier(name, "model name")
    checked: Profile = _validate("clusters", "clusters.json", Profile, _as_json("clusters", "clusters.json", dict(profile)), prefix=("models", name))
    _refuse("clusters", "clusters.json", list(_problems_of_profile(name, checked)))
    return checked


def save_model(workspace: Workspace, name: str, profile: Profile) -> None:
    """Adds one model profile to clusters.json. The same entry again changes nothing; another one under that name is DuplicateId."""
    check_identifier(name, "model name")
    with _saving:
        _save_entry(workspace, "models", name, profile)


def save_cluster(workspace: Workspace, name: str, cluster: Cluster) -> None:
    """Adds one cluster to clusters.json, by the same rules as `save_model`."""
    check_identifier(name, "cluster name")
    with _saving:
        _save_entry(workspace, "clusters", name, cluster)


# ---- clusters.json -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _parse_clusters(data: bytes) -> ClustersFile:
    try:
        value = parse_strict(data)
    except ValueError as error:
        raise _refusal("clusters", "clusters.json", [Problem("", _spelling(error), "a JSON document")]) from None
    clusters: ClustersFile = _validate("clusters", "clusters.json", ClustersFile, json.dumps(value))
    _refuse("clusters", "clusters.json", [*_dangling_names(clusters), *_profile_problems(clusters)])
    return clusters


def _dangling_names(file: ClustersFile) -> Iterator[Problem]:
    for name, cluster in file.clusters.items():
        where = f"clusters.{name}"
        if cluster.model not in file.models:
            yield Problem(f"{where}.model", _show(cluster.model), f"a key of models ({_names(file.models)})")
        if cluster.budget not in file.budgets:
            yield Problem(f"{where}.budget", _show(cluster.budget), f"a key of budgets ({_names(file.budgets)})")
        if not cluster.hosts:
            yield Problem(f"{where}.hosts", "an empty list", f"at least one key of hosts ({_names(file.hosts)})")
        for number, host in enumerate(cluster.hosts):
            if host not in file.hosts:
                yield Problem(f"{where}.hosts[{number}]", _show(host), f"a key of hosts ({_names(file.hosts)})")


def _profile_problems(file: ClustersFile) -> Iterator[Problem]:
    for name, profile in file.models.items():
        yield from _problems_of_profile(name, profile)


def _problems_of_profile(name: str, profile: Profile) -> Iterator[Problem]:
    if profile.kind == "endpoint" and (problem := url_problem(profile.base_url)):
        expected = "an https:// URL up to and including /v1; the key belongs into the variable that api_key_env names"
        yield Problem(f"models.{name}.base_url", problem, expected)
    if profile.kind != "managed":
        return
    training, weights = profile.training, profile.weights
    if training.batch_size % training.micro_batch_size:
        path = f"models.{name}.training.micro_batch_size"
        yield Problem(path, str(training.micro_batch_size), f"a divisor of batch_size ({training.batch_size})")
    if weights.kind == "hub" and weights.revision in BRANCHES:
        yield Problem(f"models.{name}.weights.revision", _show(weights.revision), "a commit hash or a tag: a branch moves under its name")


def _save_entry(workspace: Workspace, section: str, name: str, entry: BaseModel) -> None:
    """Rewrites clusters.json with one more entry in `section`; every other character of the file stays as it was."""
    path = workspace.clusters_file.resolve()
    text = _read("clusters", "clusters.json", path, MAX_CLUSTERS_BYTES).decode()
    before = load_clusters(workspace)
    existing = getattr(before, section).get(name)
    if existing == entry:
        return
    if existing is not None:
        raise DuplicateId(
            f"clusters.json already has another entry {section}.{name}",
            next_step=f"Choose another name, or edit {section}.{name} in clusters.json by hand.",
            section=section,
            name=name,
        )
    data = insert_entry(text, section, name, _as_written(entry)).encode()
    _parse_clusters(data)
    write_atomic(path, data, mode=stat.S_IMODE(path.stat().st_mode))


def _as_written(record: BaseModel) -> dict[str, Any]:
    """A record as a person would write it: the fields that were set, and the discriminators."""
    dumped = record.model_dump(mode="json")
    written = [name for name in dumped if name in record.model_fields_set or name == "kind"]
    return {name: _as_written(value) if isinstance(value := getattr(record, name), BaseModel) else dumped[name] for name in written}


def insert_entry(text: str, section: str, name: str, value: dict[str, Any]) -> str:
    """`text`, a JSON object in valid spelling, with `name: value` as the last entry of the object under `section`."""
    start, end = _span_of_object(text, section)
    inner = text[start + 1 : end].rstrip()
    lines = json.dumps({name: value}, indent=2, ensure_ascii=False).splitlines()[1:-1]
    comma = "," if inner.strip() else ""
    return text[: start + 1] + inner + comma + "\n" + "\n".join("  " + line for line in lines) + "\n  " + text[end:]


def _span_of_object(text: str, section: str) -> tuple[int, int]:
    """Where the braces of the top-level object `section` are."""
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        key, at = decoder.raw_decode(text, at)
        at = re.compile(r"\s*:\s*").match(text, at).end()  # type: ignore[union-attr]  # the text was parsed before
        _, after = decoder.raw_decode(text, at)
        if key == section:
            return at, after - 1
        at = after


# ---- domain.yaml ---------------------------------------------------------------------------------------------------------------------


_SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser where PyYAML has it: ten times faster."""


@lru_cache(maxsize=64)
def _parse_domain(data: bytes, label: str) -> DomainFile:
    try:
        value = parse_yaml(data)
    except ValueError as error:
        raise _refusal("domain", label, [Problem("", str(error), "a YAML document")]) from None
    domain: DomainFile = _validate("domain", label, DomainFile, _as_json("domain", label, value))
    _refuse("domain", label, list(domain_problems(domain)))
    return domain


def parse_yaml(data: bytes) -> Any:
    """One YAML document of plain data. Raises ValueError in a sentence; never builds more than `MAX_YAML_NODES` values."""
    try:
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=_SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise ValueError(f"nesting deeper than {MAX_YAML_DEPTH} levels")
        loader = _SafeLoader(text)
        try:
            node = loader.get_single_node()
            _check_nodes(node, {}, set())
            return loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise ValueError(f"a byte that is not UTF-8 at offset {error.start}") from None
    except yaml.YAMLError as error:
        raise ValueError(_yaml_sentence(error)) from None


def _check_nodes(node: Any, counted: dict[int, int], open_nodes: set[int]) -> int:
    """How many values `node` unfolds to, each alias counted in full, which stops an alias bomb before it is built; and no surprising keys."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    line = node.start_mark.line + 1
    if id(node) in open_nodes:
        raise ValueError(f"an alias at line {line} that contains itself")
    if id(node) not in counted:
        open_nodes.add(id(node))
        children = node.value
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [child for pair in node.value for child in pair]
        counted[id(node)] = 1 + sum(_check_nodes(child, counted, open_nodes) for child in children)
        open_nodes.discard(id(node))
    if counted[id(node)] > MAX_YAML_NODES:
        raise ValueError(f"a document that unfolds to more than {MAX_YAML_NODES} values")
    return counted[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            raise ValueError(f"the key {str(key.value)[:80]!r} (line {key.start_mark.line + 1}), which is not text; put it in quotes")
        if key.value in seen:
            raise ValueError(f"the key {key.value[:80]!r} twice in one mapping (line {key.start_mark.line + 1})")
        seen.add(key.value)


def _yaml_sentence(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a document that cannot be read"
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else str(problem)


def domain_problems(domain: DomainFile) -> Iterator[Problem]:
    """What is wrong in a domain beyond the shape of its file: templates, schema, splits and checks that do not fit together."""
    contract = domain.contract
    for role in ("system", "user"):
        yield from _template_problems(f"contract.{role}", getattr(contract, role))
    yield from _schema_problems(domain)
    splits = domain.data.splits
    if abs(splits.core + splits.held_out + splits.reserve - 1.0) > 1e-6:
        yield Problem("data.splits", f"{splits.core} + {splits.held_out} + {splits.reserve}", "core, held_out and reserve that sum to 1")
    if splits.held_out == 0:
        yield Problem("data.splits.held_out", "0", "a share above 0: nothing can be decided without it")
    if domain.data.train is not None and domain.data.train.path == domain.data.evaluation.path:
        yield Problem("data.evaluation.path", _show(domain.data.train.path), "another file than data.train.path: no row is for both")
    teachers = [teacher.name for teacher in domain.teachers]
    if len(set(teachers)) < len(teachers):
        yield Problem("teachers", _show(teachers), "each teacher once")
    if domain.train.source == "teacher" and not teachers:
        yield Problem("train.source", _show("teacher"), "`labels`, or at least one entry in `teachers`")
    yield from _check_problems(domain)


def _template_problems(path: str, template: str) -> Iterator[Problem]:
    try:
        tree = jinja2.sandbox.ImmutableSandboxedEnvironment().parse(template)
    except (jinja2.TemplateSyntaxError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        yield Problem(path, f"a template that does not parse{place}: {str(error)[:200]}", "a Jinja2 template")
        return
    for node in tree.find_all((jinja2.nodes.Include, jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Extends)):
        yield Problem(path, f"a template that reads another file (line {node.lineno})", "a template that stands on its own")


def _schema_problems(domain: DomainFile) -> Iterator[Problem]:
    import jsonschema  # a tenth of a second to import, which commands that only find the workspace need not pay

    output = domain.contract.output
    path = "contract.output.json_schema"
    if output.json_schema is None:
        return
    if output.kind == "text":
        yield Problem(path, "a schema", "none, because contract.output.kind is text")
        return
    validator = jsonschema.validators.validator_for(output.json_schema, default=jsonschema.Draft202012Validator)
    try:
        validator.check_schema(output.json_schema)
    except jsonschema.SchemaError as error:
        place = "".join(f".{part}" for part in error.absolute_path)
        yield Problem(path + place, _show(error.instance), f"a valid JSON Schema: {error.message[:200]}")
    except (RecursionError, re.error) as error:
        yield Problem(path, "a schema that cannot be checked", f"a valid JSON Schema: {str(error)[:200]}")
    for place, reference in _references(output.json_schema, path):
        if not reference.startswith("#"):
            yield Problem(place, _show(reference), "a reference inside this schema (#/...): nothing is fetched")


def _references(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield f"{path}.{key}", value
            else:
                yield from _references(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from _references(value, f"{path}[{number}]")


def _check_problems(domain: DomainFile) -> Iterator[Problem]:
    rubric = domain.eval
    names: set[str] = set()
    for number, check in enumerate(rubric.checks):
        name = check.name or check.kind
        if name in names:
            yield Problem(f"eval.checks[{number}].name", _show(check.name), f"a name that no other check has ({name!r} is taken)")
        names.add(name)
        yield from _one_check_problems(domain, f"eval.checks[{number}]", check)
    if sum(check.weight for check in rubric.checks) <= 0:
        yield Problem("eval.checks", "weights that sum to 0", "at least one weight above 0")
    nets: set[str] = set()
    for number, net in enumerate(rubric.safety_nets):
        if net.name in nets:
            yield Problem(f"eval.safety_nets[{number}].name", _show(net.name), "a name that no other safety net has")
        nets.add(net.name)
        yield from _one_check_problems(domain, f"eval.safety_nets[{number}].check", net.check)


def _one_check_problems(domain: DomainFile, where: str, check: Check) -> Iterator[Problem]:
    output = domain.contract.output
    if output.kind == "text":
        if isinstance(check, JsonSchemaCheck | JsonFieldsCheck):
            yield Problem(f"{where}.kind", _show(check.kind), "a check for text answers, because contract.output.kind is text")
        elif check.path:
            yield Problem(f"{where}.path", _show(check.path), "no path: a text answer has no fields")
    if isinstance(check, JsonSchemaCheck) and output.kind == "json" and output.json_schema is None:
        yield Problem(f"{where}.kind", _show(check.kind), "contract.output.json_schema to check against")
    if isinstance(check, RegexCheck):
        try:
            re.compile(check.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            yield Problem(f"{where}.pattern", _show(check.pattern), f"a regular expression: {error}")
    if isinstance(check, ContainsCheck) and output.kind == "json" and not check.texts and not check.path:
        yield Problem(f"{where}.texts", "none", "texts to look for, or a path at which the reference answer has one: as a whole it is no text")
    if isinstance(check, JsonFieldsCheck) and sum(check.fields.values()) <= 0:
        yield Problem(f"{where}.fields", _show(check.fields), "at least one field with a weight above 0")
    if output.json_schema is not None and output.kind == "json":
        yield from _path_problems(output.json_schema, where, check)
    if isinstance(check, ChoiceCheck) and check.choices is None:
        target = schema_at(output.json_schema or {}, check.path)
        if not (isinstance(target, dict) and ("enum" in target or "const" in target)):
            yield Problem(f"{where}.choices", "none", f"a list of choices, or an enum in the output schema at {check.path or 'its top'!r}")


def _path_problems(schema: dict[str, Any], where: str, check: Check) -> Iterator[Problem]:
    paths = {f"{where}.path": check.path}
    if isinstance(check, JsonFieldsCheck):
        paths |= {f"{where}.fields.{field}": ".".join(part for part in (check.path, field) if part) for field in check.fields}
    for place, path in paths.items():
        if isinstance(schema_at(schema, path), str):
            yield Problem(place, _show(path), f"a path in the output schema; {schema_at(schema, path)}")


_UNDECIDABLE = ("$ref", "anyOf", "oneOf", "allOf", "if", "patternProperties", "$dynamicRef")


def schema_at(schema: dict[str, Any], path: str) -> dict[str, Any] | str | None:
    """The subschema at a dotted path; None where the schema does not decide it; a sentence where the path cannot be."""
    place: Any = schema
    for part in path.split(".") if path else []:
        if not isinstance(place, dict) or any(key in place for key in _UNDECIDABLE):
            return None
        properties = place.get("properties")
        if isinstance(properties, dict) and part in properties:
            place = properties[part]
        elif part.isdigit() and isinstance(place.get("items"), dict):
            place = place["items"]
        elif place.get("additionalProperties") not in (None, False):
            place = place["additionalProperties"]
        elif isinstance(properties, dict):
            return f"{part!r} is not one of {_names(properties)}"
        elif place.get("type") in ("string", "number", "integer", "boolean", "null"):
            return f"{part!r} is below a {place['type']}"
        else:
            return None
    return place if isinstance(place, dict) else None


def _row_file_problems(folder: Path, domain: DomainFile) -> Iterator[Problem]:
    for name in ("train", "evaluation"):
        rows = getattr(domain.data, name)
        if rows is not None and not inside(folder, rows.path).is_file():
            yield Problem(f"data.{name}.path", _show(rows.path), "a file of JSON lines in the domain's folder")


# ---- from values to records, and the sentences -----------------------------------------------------------------------------------------

T = TypeVar("T")


def _read(kind: FileKind, label: str, path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise _refusal(kind, label, [Problem("", f"a file that cannot be read ({error.strerror})", "a readable file")]) from None
    if len(data) > limit:
        raise _refusal(kind, label, [Problem("", f"more than {limit} bytes", f"at most {limit} bytes")])
    return data


def _as_json(kind: FileKind, label: str, value: Any) -> str:
    """`value` as JSON text; what JSON does not have (a YAML date, NaN) is refused with its path."""
    problems = list(_not_json(value, ""))
    _refuse(kind, label, problems)
    return json.dumps(value, allow_nan=False)


def _not_json(value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from _not_json(item, f"{path}.{key}" if path else key)
            else:
                yield Problem(path, _show(key), "keys that are text")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _not_json(item, f"{path}[{number}]")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        yield Problem(path, str(value), "a finite number")
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value):
            yield Problem(path, "text with a NUL or a lone surrogate", "text")
    elif value is not None and not isinstance(value, bool | int | float):
        yield Problem(path, f"{_show(str(value))} read as a {type(value).__name__}", "text (put it in quotes), a number, true, false or null")


def _validate(kind: FileKind, label: str, shape: Any, text: str, prefix: tuple[str, ...] = ()) -> Any:
    """The record, strictly: JSON's own types only, arrays for tuples."""
    try:
        return TypeAdapter(shape).validate_json(text, strict=True)
    except ValidationError as error:
        value = json.loads(text)
        problems = [_problem_of(item, shape, value, prefix) for item in error.errors(include_url=False)]
        raise _refusal(kind, label, problems) from None


def _problem_of(error: Any, shape: Any, value: Any, prefix: tuple[str, ...]) -> Problem:
    path, place = _path_in(error["loc"], value, missing=error["type"] == "missing")
    path = ".".join([*prefix, path] if path else prefix)
    expected = str(error["msg"])
    for opening in ("Input should be ", "Value error, ", "Input should "):
        expected = expected.removeprefix(opening)
    if error["type"] == "missing":
        return Problem(path, "nothing", "a value: this field is required")
    if error["type"] == "extra_forbidden":
        known = sorted(_fields(shape, error["loc"][:-1]))
        return Problem(path, "an unknown key", f"one of: {', '.join(known)}" if known else "no such key")
    if "[key]" in error["loc"]:
        return Problem(path, f"the key {_show(error['input'])}", "lower-case letters, digits, '.', '_' and '-', starting with a letter or digit")
    if error["type"] == "union_tag_invalid":
        return Problem(f"{path}.kind", str(error["ctx"]["tag"])[:80].__repr__(), f"one of: {error['ctx']['expected_tags']}")
    if error["type"] == "union_tag_not_found":
        return Problem(f"{path}.kind", "nothing", "a kind: this field is required")
    return Problem(path, _show(place), expected)


def _path_in(location: tuple[int | str, ...], value: Any, *, missing: bool) -> tuple[str, Any]:
    """A pydantic location as a path into the file, without the union tags that pydantic puts between; and the value there."""
    path = ""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            path, value = (f"{path}.{part}" if path else str(part)), value[part]
        elif last and missing:
            path = f"{path}.{part}" if path else str(part)
    return path, value


def _fields(shape: Any, location: tuple[int | str, ...]) -> set[str]:
    """The keys that the record at a pydantic location has."""
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if get_origin(shape) in (Union, types.UnionType):
        members = [member for member in get_args(shape) if member is not types.NoneType]
        tagged = [member for member in members if location and _tag(member) == location[0]]
        if tagged:
            return _fields(tagged[0], location[1:])
        return _fields(members[0], location) if len(members) == 1 else set()
    if not location:
        return set(shape.model_fields) if isinstance(shape, type) and issubclass(shape, BaseModel) else set()
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        field = shape.model_fields.get(str(location[0]))
        return _fields(field.annotation, location[1:]) if field is not None else set()
    arguments = get_args(shape)
    if get_origin(shape) in (dict, tuple) and arguments:
        return _fields(arguments[1] if get_origin(shape) is dict else arguments[0], location[1:])
    return set()


def _tag(member: Any) -> Any:
    record = isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields
    return member.model_fields["kind"].default if record else None


def _refuse(kind: FileKind, label: str, problems: list[Problem]) -> None:
    if problems:
        raise _refusal(kind, label, problems)


def _refusal(kind: FileKind, label: str, problems: list[Problem]) -> BadInput:
    listed = problems[:LISTED_PROBLEMS]
    more = f"; and {len(problems) - len(listed)} more" if len(problems) > len(listed) else ""
    error = ConfigInvalid if kind == "clusters" else DomainInvalid
    schema = "docs/schema/clusters.schema.json" if kind == "clusters" else "docs/schema/domain.schema.json"
    return error(
        f"{label}: " + "; ".join(problem.sentence() for problem in listed) + more,
        next_step=f"Correct {label} at {listed[0].path or 'the place named'}; every field is described in {schema}.",
        file=label,
        problems=[problem._asdict() for problem in listed],
        problems_total=len(problems),
    )


def _spelling(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"a byte that is not UTF-8 at offset {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate in a string"
    return str(error)[:200]


def _show(value: Any) -> str:
    """A value as JSON, short."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _names(names: Any) -> str:
    listed = sorted(str(name) for name in names)
    return ", ".join(listed[:12]) + (f", ... {len(listed)} in all" if len(listed) > 12 else "") if listed else "there are none"
