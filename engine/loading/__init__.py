"""Reading clusters.json, domain.yaml and atlas.json: from bytes that somebody wrote to records that everything else may trust.

Promises: what is returned is valid in itself and in its cross references; everything else is ConfigInvalid or DomainInvalid with the file,
the path inside it, the value found and what was expected, for every problem (the first few are listed). Nothing is guessed: `"3"` is not a
number, an unknown key is an error, a key given twice is an error. Hostile files (too large, nested too deeply, YAML aliases that unfold to
gigabytes, a schema that points to another machine) are refused before they cost anything. A value under an unknown key is never repeated in
an error, because a misplaced secret would be.

Everybody imports from here. Inside: `workspace.py` finds and reads, `plain_yaml.py` and `validation.py` make values and records of the bytes,
`clusters.py` and `domains.py` say what is wrong beyond the shape, `saving.py` adds an entry.

Not here: the rows of a domain (`engine/evaluate/compile.py` reads them), and rendering templates (`engine/evaluate/prompts.py`).
"""

from __future__ import annotations

from engine.loading.domains import domain_problems, schema_at
from engine.loading.plain_yaml import parse_yaml
from engine.loading.saving import insert_entry, save_atlas_entry, save_cluster, save_model
from engine.loading.workspace import domain_names, find_workspace, load_atlas, load_clusters, load_domain, parse_atlas, parse_domain, parse_profile

__all__ = [
    "domain_names",
    "domain_problems",
    "find_workspace",
    "insert_entry",
    "load_atlas",
    "load_clusters",
    "load_domain",
    "parse_atlas",
    "parse_domain",
    "parse_profile",
    "parse_yaml",
    "save_atlas_entry",
    "save_cluster",
    "save_model",
    "schema_at",
]
