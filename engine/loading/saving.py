"""Adding an entry to clusters.json or to atlas.json: every other character of the file stays as somebody wrote it."""

from __future__ import annotations

import json
import re
import stat
import threading
from typing import Any, Literal

from pydantic import BaseModel

from engine.base.files import write_atomic
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.config import Cluster, Profile
from engine.errors import DuplicateId, TooLarge
from engine.loading.workspace import MAX_ATLAS_BYTES, load_atlas, load_clusters, parse_atlas, parse_clusters, read_clusters

_saving = threading.Lock()
"""Two requests that add an entry at once both find it in the file afterwards."""


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


def save_atlas_entry(workspace: Workspace, section: Literal["models", "measurements"], name: str, entry: BaseModel) -> None:
    """Adds one entry to atlas.json, which is made where there is none. The same entry again changes nothing; another one is DuplicateId."""
    path = workspace.atlas_file.resolve()
    with _saving:
        if _is_there(path.name, load_atlas(workspace), section, name, entry):
            return
        text = path.read_bytes().decode() if path.is_file() else '{\n  "schema_version": 1\n}\n'
        if section not in json.loads(text):
            text = text.replace("{", f'{{\n  "{section}": {{}}' + ("," if json.loads(text) else ""), 1)
        data = insert_entry(text, section, name, _as_written(entry)).encode()
        if len(data) > MAX_ATLAS_BYTES:
            raise TooLarge(f"atlas.json would have more than {MAX_ATLAS_BYTES} bytes", next_step="Take out entries that nobody needs any more.")
        parse_atlas(data, path.name)
        write_atomic(path, data, mode=stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o644)


def _save_entry(workspace: Workspace, section: str, name: str, entry: BaseModel) -> None:
    """Rewrites clusters.json with one more entry in `section`; every other character of the file stays as it was."""
    path = workspace.clusters_file.resolve()
    text = read_clusters(path).decode()
    if _is_there("clusters.json", load_clusters(workspace), section, name, entry):
        return
    data = insert_entry(text, section, name, _as_written(entry)).encode()
    parse_clusters(data)
    write_atomic(path, data, mode=stat.S_IMODE(path.stat().st_mode))


def _is_there(label: str, file: BaseModel, section: str, name: str, entry: BaseModel) -> bool:
    """Whether the file has this very entry; DuplicateId where it has another one of that name."""
    existing = getattr(file, section).get(name)
    if existing not in (None, entry):
        raise DuplicateId(
            f"{label} already has another entry {section}.{name}",
            next_step=f"Choose another name, or edit {section}.{name} in {label} by hand.",
            section=section,
            name=name,
        )
    return existing is not None


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
