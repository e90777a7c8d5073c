"""JSON Schemas of the tools, short enough to be read with every conversation.

What a caller must get right is kept whole: each argument with its description, example, bounds and pattern. Of results the names are kept, and of
their outermost fields the types other than text, because that is what code written against a tool needs; the generated docs have the rest.
"""

from __future__ import annotations

from typing import Any

from tools.tool import Tool

TEXT = {"type": "string"}
LISTED_VALUES = 6
"""A result's field with more possible values than this is shown as text."""
_NEVER = ("title", "required")
_SOMETIMES = ("description", "default", "enum")
_EMPTY = (("default", None), ("additionalProperties", False), ("additionalProperties", True))
_LITERAL = ("const", "enum", "examples", "pattern", "default")


def input_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments."""
    full = tool.arguments.model_json_schema()
    if "$defs" in full:
        raise ValueError(f"the arguments of {tool.name} hold a nested record; keep tool arguments flat")
    properties = {name: _shortened(node, keep=("description", "default", "enum")) for name, node in full.get("properties", {}).items()}
    required = {"required": full["required"]} if "required" in full else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def output_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's result as it is sent: nulls left out. Required is what every result has."""
    full = tool.result.model_json_schema()
    definitions = {name: _names(node) for name, node in full.get("$defs", {}).items() if name != "NextCall"}
    properties = {name: _shortened(node, keep=("enum",)) for name, node in full["properties"].items() if name != "next"}
    return {
        "type": "object",
        "properties": {**{name: {} if node == TEXT else node for name, node in properties.items()}, "next": {"type": "array"}},
        "required": ["summary", "next"],
        **({"$defs": definitions} if definitions else {}),
    }


def _names(definition: dict[str, Any]) -> dict[str, Any]:
    """A record inside a result: its fields, and which of them are records again."""
    short = _shortened(definition, keep=())
    return {"properties": {name: _structure(node) for name, node in short.get("properties", {}).items()}}


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
