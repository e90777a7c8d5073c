"""What is wrong in a domain.yaml beyond its shape: templates, schema, splits, teachers and checks that do not fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import jinja2.sandbox

from engine.base.files import inside
from engine.config import Check, ChoiceCheck, ContainsCheck, DomainFile, JsonFieldsCheck, JsonSchemaCheck, RegexCheck
from engine.loading.problems import Problem, names_in_words, show

_UNDECIDABLE = ("$ref", "anyOf", "oneOf", "allOf", "if", "patternProperties", "$dynamicRef")


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
        yield Problem("data.evaluation.path", show(domain.data.train.path), "another file than data.train.path: no row is for both")
    teachers = [teacher.name for teacher in domain.teachers]
    if len(set(teachers)) < len(teachers):
        yield Problem("teachers", show(teachers), "each teacher once")
    if domain.train.source == "teacher" and not teachers:
        yield Problem("train.source", show("teacher"), "`labels`, or at least one entry in `teachers`")
    yield from _check_problems(domain)


def row_file_problems(folder: Path, domain: DomainFile) -> Iterator[Problem]:
    """Row files that the domain names and that its folder does not hold."""
    for name in ("train", "evaluation"):
        rows = getattr(domain.data, name)
        if rows is not None and not inside(folder, rows.path).is_file():
            yield Problem(f"data.{name}.path", show(rows.path), "a file of JSON lines in the domain's folder")


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
        yield Problem(path + place, show(error.instance), f"a valid JSON Schema: {error.message[:200]}")
    except (RecursionError, re.error) as error:
        yield Problem(path, "a schema that cannot be checked", f"a valid JSON Schema: {str(error)[:200]}")
    for place, reference in _references(output.json_schema, path):
        if not reference.startswith("#"):
            yield Problem(place, show(reference), "a reference inside this schema (#/...): nothing is fetched")


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
            yield Problem(f"eval.checks[{number}].name", show(check.name), f"a name that no other check has ({name!r} is taken)")
        names.add(name)
        yield from _one_check_problems(domain, f"eval.checks[{number}]", check)
    if sum(check.weight for check in rubric.checks) <= 0:
        yield Problem("eval.checks", "weights that sum to 0", "at least one weight above 0")
    nets: set[str] = set()
    for number, net in enumerate(rubric.safety_nets):
        if net.name in nets:
            yield Problem(f"eval.safety_nets[{number}].name", show(net.name), "a name that no other safety net has")
        nets.add(net.name)
        yield from _one_check_problems(domain, f"eval.safety_nets[{number}].check", net.check)


def _one_check_problems(domain: DomainFile, where: str, check: Check) -> Iterator[Problem]:
    output = domain.contract.output
    if output.kind == "text":
        if isinstance(check, JsonSchemaCheck | JsonFieldsCheck):
            yield Problem(f"{where}.kind", show(check.kind), "a check for text answers, because contract.output.kind is text")
        elif check.path:
            yield Problem(f"{where}.path", show(check.path), "no path: a text answer has no fields")
    if isinstance(check, JsonSchemaCheck) and output.kind == "json" and output.json_schema is None:
        yield Problem(f"{where}.kind", show(check.kind), "contract.output.json_schema to check against")
    if isinstance(check, RegexCheck):
        try:
            re.compile(check.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            yield Problem(f"{where}.pattern", show(check.pattern), f"a regular expression: {error}")
    if isinstance(check, ContainsCheck) and output.kind == "json" and not check.texts and not check.path:
        yield Problem(f"{where}.texts", "none", "texts to look for, or a path at which the reference answer has one: as a whole it is no text")
    if isinstance(check, JsonFieldsCheck) and sum(check.fields.values()) <= 0:
        yield Problem(f"{where}.fields", show(check.fields), "at least one field with a weight above 0")
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
            yield Problem(place, show(path), f"a path in the output schema; {schema_at(schema, path)}")


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
            return f"{part!r} is not one of {names_in_words(properties)}"
        elif place.get("type") in ("string", "number", "integer", "boolean", "null"):
            return f"{part!r} is below a {place['type']}"
        else:
            return None
    return place if isinstance(place, dict) else None
