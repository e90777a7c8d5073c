"""JSON Schemas of the tools, short enough to be read with every conversation.

What a caller must get right is kept whole: each argument with its description, example, bounds and pattern (of a name only where one is to be
made; names that are there are copied). Of results the names are kept, and of their outermost fields the types other than text, because that is
what code written against a tool needs; the generated docs have the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from engine.base.ids import IDENTIFIER_PATTERN
from tools.tool import Tool

NEW = "name"
"""The argument that names something new."""
TEXT = {"type": "string"}
LISTED_VALUES = 6
"""A result's field with more possible values than this is shown as text."""
_NEVER = ("title", "required")
_SOMETIMES = ("description", "default", "enum")
_EMPTY = (("default", None), ("additionalProperties", False), ("additionalProperties", True))
_LITERAL = ("const", "enum", "examples", "pattern", "default")


def input_schema(tool: Tool, hidden: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a tool's arguments, without those that the surface fills in itself."""
    full = tool.arguments.model_json_schema()
    if "$defs" in full:
        raise ValueError(f"the arguments of {tool.name} hold a nested record; keep tool arguments flat")
    shown = {name: node for name, node in full.get("properties", {}).items() if name not in hidden}
    properties = {name: _shortened(node, keep=("description", "default", "enum")) for name, node in shown.items()}
    for name, node in properties.items():
        if name != NEW and str(node.get("pattern")).endswith(IDENTIFIER_PATTERN.removeprefix("^")):
            del node["pattern"]
    needed = [name for name in full.get("required", []) if name in shown]
    required = {"required": needed} if needed else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def output_schema(tool: Tool, like: str = "", described: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a tool's result as it is sent: nulls left out. `like` names another tool that answers the same, where that is described;
    `described` are records inside results that stand in the schema of a tool before this one, and are not said again.

    Which fields are required is not said: a result leaves out what it does not have, and each has `summary` and `next`.
    """
    if like:
        return {"type": "object", "description": f"As of {like}.", "properties": {"summary": {}, "next": {"type": "array"}}}
    full = tool.result.model_json_schema()
    known = {f"#/$defs/{name}" for name in described}
    definitions = {name: _names(node, known) for name, node in full.get("$defs", {}).items() if name not in {"NextCall", *described}}
    properties = {name: _without(known, _shortened(node, keep=("enum",))) for name, node in full["properties"].items() if name != "next"}
    return {
        "type": "object",
        "properties": {**{name: {} if node == TEXT else node for name, node in properties.items()}, "next": {"type": "array"}},
        **({"$defs": definitions} if definitions else {}),
    }


def records_in(tool: Tool) -> set[str]:
    """The records inside a tool's result, by name."""
    return set(tool.result.model_json_schema().get("$defs", {}))


def _names(definition: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """A record inside a result: its fields, and which of them are records again."""
    short = _shortened(definition, keep=())
    return {"properties": {name: _without(known, _structure(node)) for name, node in short.get("properties", {}).items()}}


def _without(known: Collection[str], node: dict[str, Any]) -> dict[str, Any]:
    """A field without the record that it holds, where that one is known already."""
    if node.get("$ref") in known:
        return {}
    return {name: value for name, value in node.items() if name != "items" or not (isinstance(value, dict) and value.get("$ref") in known)}


def _structure(node: dict[str, Any]) -> dict[str, Any]:
    """Of a field the record that it holds, or a list of records."""
    inner = node.get("items")
    return {"items": inner} if isinstance(inner, dict) and "$ref" in inner else {"$ref": node["$ref"]} if "$ref" in node else {}


def _shortened(node: Any, keep: tuple[str, ...]) -> Any:
    """`node` without titles, nested lists of required names, and whatever of descriptions, defaults and enumerations is not kept."""
    if isinstance(node, list):
        return [_shortened(item, keep) for item in node]
    if not isinstance(node, dict):
        return node
    short: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            short[key] = {name: _shortened(item, keep) for name, item in value.items()}
        elif _left_out(key, value, keep):
            continue
        elif key == "anyOf":
            short.update(_without_null([_shortened(item, keep) for item in value]))
        else:
            short[key] = value if key in _LITERAL else _shortened(value, keep)
    return short


def _left_out(key: str, value: Any, keep: tuple[str, ...]) -> bool:
    if key == "enum" and "description" not in keep and len(value) > LISTED_VALUES:
        return True
    return key in _NEVER or (key in _SOMETIMES and key not in keep) or (key, value) in _EMPTY


def _without_null(choices: list[Any]) -> dict[str, Any]:
    """`T or null` as plain T: in arguments it may be left out, in results it is."""
    real = [choice for choice in choices if choice != {"type": "null"}]
    return real[0] if len(real) == 1 and isinstance(real[0], dict) else {"anyOf": real}
