"""YAML that holds plain data: one document without surprises, refused before it costs anything."""

from __future__ import annotations

from typing import Any

import yaml

MAX_YAML_DEPTH = 64
MAX_YAML_NODES = 100_000

_SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser where PyYAML has it: ten times faster."""


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
