"""The decision history as pages: what was kept, one in full with what would be answered otherwise now, two side by side, and notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from engine.base.files import parse_strict
from engine.errors import ArgumentInvalid
from server.atlas_pages.asking import AtlasPages, Drawn, Query, answered, link
from server.atlas_pages.drawing import drawn
from server.atlas_pages.forms import arguments_of
from server.render import command
from tools.decisions import DECISION_HISTORY, RECORD_DECISION

MOST_BYTES = 64 << 10
"""Of a form that is sent."""
TEXTS = ("question", "decision", "note", "by")


def history_page(pages: AtlasPages, query: Query) -> Drawn:
    """All of them, or one."""
    given = arguments_of(DECISION_HISTORY, query)
    asked = answered(pages.call, DECISION_HISTORY, given)
    page = asked.result
    values = {
        "page": page,
        "error": asked.error,
        "one": given.get("decision"),
        "against": given.get("against"),
        "again": {line["decision"]: command(line["question"], line["arguments"]) for line in page["decisions"]} if page else {},
        "document": (page or {}).get("answer", {}).get("document"),
        "answer": json.dumps(_without_document(page["answer"]), indent=2, ensure_ascii=False) if page and page.get("answer") else None,
        "after": link("history", given, cursor=page["next_cursor"]) if page and page.get("next_cursor") else None,
        "others": _others(pages, given) if page and given.get("decision") else [],
    }
    return Drawn(drawn("history.html", "history", values), asked.status)


def kept(pages: AtlasPages, body: bytes) -> str:
    """Does what a form asks for: keeps a question's answer, or adds a note. Where to go on, relative to the pages."""
    made = pages.call(RECORD_DECISION, _read(body))
    return link("history", {"decision": made["decisions"][0]["decision"]})


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > MOST_BYTES:
        raise ArgumentInvalid(f"a form has at most {MOST_BYTES} bytes", next_step="Write a shorter note.")
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
        arguments = parse_strict(fields.get("arguments", ["{}"])[-1].encode())
    except ValueError as error:
        raise ArgumentInvalid(f"the form cannot be read: {error}", next_step="Send it from the page.") from None
    given: dict[str, Any] = {name: fields[name][-1] for name in TEXTS if name in fields}
    return {**given, "arguments": arguments} if "question" in given else given


def _without_document(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "document"}


def _others(pages: AtlasPages, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Others to hold one against: id and what was said."""
    found = pages.call(DECISION_HISTORY, {"limit": 20})["decisions"]
    return [(line["decision"], f"{line['decision']}: {line['said']}") for line in found if line["decision"] != given["decision"]]
