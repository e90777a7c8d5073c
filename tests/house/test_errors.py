"""The tree of errors is the one that is drawn."""

from __future__ import annotations

import re

from engine import errors
from engine.errors import ModelsmithError, error_classes, error_from_record


def test_the_drawing_shows_every_class_under_its_parent_with_its_code_and_exit_status() -> None:
    drawing = re.findall(r"^( {4,})([A-Z]\w+)\b(.*)$", str(errors.__doc__), re.M)
    parents: list[tuple[int, str]] = []
    drawn: dict[str, str] = {}
    for indent, name, rest in drawing:
        while parents and parents[-1][0] >= len(indent):
            parents.pop()
        drawn[name] = parents[-1][1] if parents else "Exception"
        parents.append((len(indent), name))
        cls = getattr(errors, name)
        branch = cls.__subclasses__() != []
        if branch and (status := re.search(r"exit (\d)", rest)):
            assert cls.exit_code == int(status.group(1)), name
        if not branch:
            assert f" {cls.code} " in f"{rest} ", name
    classes = {cls.__name__: cls.__bases__[0].__name__ for cls in error_classes().values() if cls.__module__ == "engine.errors"}
    assert drawn == classes


def test_no_two_errors_share_a_code() -> None:
    def all_of(cls: type[ModelsmithError]) -> list[type[ModelsmithError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in all_of(child))]

    codes = [cls.code for cls in all_of(ModelsmithError) if cls.__module__.startswith("engine")]
    assert len(codes) == len(set(codes))


def test_an_error_survives_the_way_through_json() -> None:
    for cls in error_classes().values():
        error = cls("what", next_step="do", number=1)
        again = error_from_record(error.as_record())
        assert (type(again), again.as_record()) == (cls, error.as_record())
