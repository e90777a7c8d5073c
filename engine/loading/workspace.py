"""A workspace and its files: found, read up to a limit, parsed, and checked as a whole.

Parsed files are kept by their bytes, so that asking again for one that did not change costs a read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.base.files import inside, parse_strict
from engine.base.ids import check_identifier
from engine.base.paths import Workspace
from engine.config import AtlasFile, ClustersFile, DomainFile, Profile
from engine.errors import NotFound
from engine.loading.clusters import cluster_problems, profile_problems
from engine.loading.domains import domain_problems, row_file_problems
from engine.loading.plain_yaml import parse_yaml
from engine.loading.problems import FileKind, Problem, names_in_words, refusal, refuse, show
from engine.loading.validation import as_json, validate

MAX_CLUSTERS_BYTES = 4 << 20
MAX_DOMAIN_BYTES = 1 << 20
MAX_ATLAS_BYTES = 4 << 20


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
    clusters = parse_clusters(read_clusters(workspace.clusters_file))
    refuse("clusters", "clusters.json", list(_absent_domains(workspace, clusters)))
    return clusters


def _absent_domains(workspace: Workspace, file: ClustersFile) -> Iterator[Problem]:
    for name, cluster in file.clusters.items():
        if not (workspace.domains / cluster.domain / "domain.yaml").is_file():
            there = names_in_words(domain_names(workspace))
            yield Problem(f"clusters.{name}.domain", show(cluster.domain), f"a folder in domains/ with a domain.yaml ({there})")


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
            next_step=f"Name one of: {names_in_words(domain_names(workspace))}; or make one with `modelsmith domain new {name} --from rows.jsonl`.",
            domain=name,
        )
    domain = parse_domain(_read("domain", label, path, MAX_DOMAIN_BYTES), label)
    refuse("domain", label, list(row_file_problems(path.parent, domain)))
    return domain


def parse_profile(name: str, profile: Mapping[str, Any]) -> Profile:
    """A model profile that a person or an agent handed in; ConfigInvalid names the path as it would be in clusters.json."""
    check_identifier(name, "model name")
    checked: Profile = validate("clusters", "clusters.json", Profile, as_json("clusters", "clusters.json", dict(profile)), prefix=("models", name))
    refuse("clusters", "clusters.json", list(profile_problems(name, checked)))
    return checked


def load_atlas(workspace: Workspace) -> AtlasFile:
    """atlas.json, checked; without one, nothing of the workspace's own."""
    path = workspace.atlas_file
    return parse_atlas(_read("atlas", path.name, path, MAX_ATLAS_BYTES), path.name) if path.is_file() else AtlasFile()


@lru_cache(maxsize=8)
def parse_atlas(data: bytes, label: str) -> AtlasFile:
    """Entries of the atlas, checked; `label` names the file in errors."""
    file: AtlasFile = validate("atlas", label, AtlasFile, json.dumps(_parsed_json("atlas", label, data)))
    return file


@lru_cache(maxsize=8)
def parse_clusters(data: bytes) -> ClustersFile:
    """clusters.json, checked in itself."""
    clusters: ClustersFile = validate("clusters", "clusters.json", ClustersFile, json.dumps(_parsed_json("clusters", "clusters.json", data)))
    refuse("clusters", "clusters.json", list(cluster_problems(clusters)))
    return clusters


@lru_cache(maxsize=64)
def parse_domain(data: bytes, label: str) -> DomainFile:
    """A domain.yaml, checked in itself; `label` names it in errors."""
    try:
        value = parse_yaml(data)
    except ValueError as error:
        raise refusal("domain", label, [Problem("", str(error), "a YAML document")]) from None
    domain: DomainFile = validate("domain", label, DomainFile, as_json("domain", label, value))
    refuse("domain", label, list(domain_problems(domain)))
    return domain


def _parsed_json(kind: FileKind, label: str, data: bytes) -> Any:
    try:
        return parse_strict(data)
    except ValueError as error:
        raise refusal(kind, label, [Problem("", _spelling(error), "a JSON document")]) from None


def read_clusters(path: Path) -> bytes:
    """clusters.json as it is written."""
    return _read("clusters", "clusters.json", path, MAX_CLUSTERS_BYTES)


def _read(kind: FileKind, label: str, path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise refusal(kind, label, [Problem("", f"a file that cannot be read ({error.strerror})", "a readable file")]) from None
    if len(data) > limit:
        raise refusal(kind, label, [Problem("", f"more than {limit} bytes", f"at most {limit} bytes")])
    return data


def _spelling(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"a byte that is not UTF-8 at offset {error.start}"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate in a string"
    return str(error)[:200]
