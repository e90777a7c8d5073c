"""The base of every record that crosses a boundary."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Record(BaseModel):
    """A frozen record that refuses unknown keys. The string under each field is its description in the generated schemas."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describes the fields when a schema is made, which reads the sources. (Pydantic's `use_attribute_docstrings` reads them at each import: a
        fifth of the time that a worker takes to start.)"""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for base in cls.__mro__:
            if issubclass(base, Record):
                for name, words in _words_under_fields(base.__module__).get(base.__qualname__, {}).items():
                    properties.get(name, {}).setdefault("description", words)
        return schema


@cache
def _words_under_fields(module: str) -> dict[str, dict[str, str]]:
    """The string under each annotated name, by class, of a module that is imported."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _described(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _described(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, below in pairwise(node.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found
