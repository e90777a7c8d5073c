"""Which module may import which: read from the source, so that a forbidden import is named with its line before anything runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("base", "store", "jobs", "fleet", "generate", "evaluate", "diagnose", "curate", "train", "iterate", "promote", "serve", "escalate", "atlas")
ABOVE = ("views", "showing", "operations", "engine")
"""What stands over the stages, in order: the records that are answered, making them, what the operations do, the facade."""
HEAVY = frozenset({"torch", "transformers", "trl", "peft", "vllm", "sklearn", "bayes_opt", "datasets", "accelerate", "bitsandbytes", "mlflow"})
SURFACES = frozenset({"mcp", "starlette", "uvicorn"})
SQL = re.compile(r"\s*(select\b.+\bfrom|insert\s.*\binto|update\s+\w+\s+set|delete\s+from|create\s+(table|index)|alter\s+table)\b", re.I | re.S)


class Import(NamedTuple):
    """One import statement's target."""

    file: str
    line: int
    target: str
    """Dotted, as far as it names a module of ours or a top-level package."""
    at_top: bool
    """Runs when the module is imported (not in a function, not under TYPE_CHECKING)."""


def sources() -> list[Path]:
    return sorted(path for package in ("engine", "tools", "server") for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = frozenset(module_of(path) for path in sources())


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    lazy: set[ast.AST] = set()
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            lazy.update(ast.walk(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        name = path.relative_to(ROOT).as_posix()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name, node not in lazy)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively; name the module in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(name, node.lineno, full if full in MODULES else str(node.module), node not in lazy)


ALL = [found for path in sources() for found in imports_of(path)]


def listed(found: list[Import]) -> str:
    return "\n".join(f"{one.file}:{one.line} imports {one.target}" for one in found)


def stage_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "engine" and len(parts) > 1 and parts[1] in STAGES else None


def height_of(dotted: str) -> int:
    """How far over the stages a module of the engine stands; 0 for the stages and for what they all use."""
    parts = dotted.split(".")
    return ABOVE.index(parts[1]) + 1 if parts[0] == "engine" and len(parts) > 1 and parts[1] in ABOVE else 0


def test_imports_go_from_server_to_tools_to_engine_and_never_back() -> None:
    allowed = {"engine": {"engine"}, "tools": {"tools", "engine"}, "server": {"server", "tools", "engine"}}
    wrong = [one for one in ALL if (top := one.target.split(".")[0]) in allowed and top not in allowed[one.file.split("/")[0]]]
    assert not wrong, listed(wrong)


def test_a_stage_imports_only_stages_above_it_and_the_types_of_others() -> None:
    wrong = []
    for one in ALL:
        own, other = stage_of(one.file.removesuffix(".py").replace("/", ".")), stage_of(one.target)
        if own and other and STAGES.index(other) > STAGES.index(own) and one.target != f"engine.{other}.types":
            wrong.append(one)
    assert not wrong, listed(wrong)


def test_over_the_stages_each_layer_imports_only_those_below_it() -> None:
    inside = [one for one in ALL if one.file.startswith("engine/")]
    wrong = [one for one in inside if height_of(one.target) > height_of(one.file.removesuffix(".py").replace("/", "."))]
    assert not wrong, listed(wrong)


def test_tools_and_server_reach_operations_through_the_facade_alone() -> None:
    wrong = [one for one in ALL if one.target.startswith(("engine.operations", "engine.showing")) and not one.file.startswith("engine/")]
    assert not wrong, listed(wrong)


def test_what_is_shown_is_made_without_asking_the_store_the_files_or_the_clock() -> None:
    asked = ("engine.store", "engine.loading", "engine.jobs.supervisor", "engine.generate.servers", "time")
    wrong = [one for one in ALL if one.file.startswith("engine/showing/") and one.target.startswith(asked)]
    assert not wrong, listed(wrong)


def test_the_leaves_stay_leaves() -> None:
    """errors.py and base know nothing; the configuration knows base, loading it the configuration; types.py knows base, the configuration and other types."""
    def known(file: str) -> tuple[str, ...] | None:
        if file == "engine/errors.py":
            return ()
        if file.startswith("engine/config/"):
            return ("engine.base", "engine.config")
        if file.startswith("engine/loading/"):
            return ("engine.base", "engine.errors", "engine.config", "engine.loading")
        return ("engine.base", "engine.errors") if file.startswith("engine/base/") else None

    wrong = [one for one in ALL if one.target.startswith("engine.") and (may := known(one.file)) is not None and not one.target.startswith(may)]
    wrong += [
        one
        for one in ALL
        if one.file.endswith("/types.py") and one.target.startswith("engine.") and not re.match(r"engine\.(base\.|config$|\w+\.types$)", one.target)
    ]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("package", ["engine.config", "engine.loading"])
def test_a_package_with_one_surface_is_imported_by_its_own_name(package: str) -> None:
    own = package.replace(".", "/") + "/"
    wrong = [one for one in ALL if one.target.startswith(package + ".") and not one.file.startswith(own)]
    assert not wrong, listed(wrong)


def test_only_the_store_imports_duckdb() -> None:
    wrong = [one for one in ALL if one.target.split(".")[0] == "duckdb" and not one.file.startswith("engine/store/")]
    assert not wrong, listed(wrong)


def test_only_the_server_imports_mcp_and_the_web_framework() -> None:
    wrong = [one for one in ALL if one.target.split(".")[0] in SURFACES and not one.file.startswith("server/")]
    assert not wrong, listed(wrong)


def test_workers_never_import_the_store() -> None:
    workers = ("worker.py", "_worker.py")
    wrong = [one for one in ALL if one.file.endswith(workers) and one.target.startswith("engine.store")]
    assert not wrong, listed(wrong)


def test_heavy_libraries_are_imported_by_nothing_that_a_surface_imports() -> None:
    heavy_modules = {one.file.removesuffix(".py").replace("/", ".") for one in ALL if one.at_top and one.target.split(".")[0] in HEAVY}
    wrong = [one for one in ALL if one.at_top and one.target in heavy_modules and one.file.removesuffix(".py").replace("/", ".") not in heavy_modules]
    wrong += [one for one in ALL if one.target.split(".")[0] in HEAVY and one.file.split("/")[0] != "engine"]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("path", [path for path in sources() if path.parent.name != "store" and path.name != "records.py"], ids=module_of)
def test_sql_stands_only_in_records_and_the_store(path: Path) -> None:
    tree = ast.parse(path.read_text())
    documentation = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            assert not SQL.match(node.value), f"{path.relative_to(ROOT)}:{node.lineno} holds SQL"


def test_every_module_says_why_it_exists() -> None:
    silent = [module_of(path) for path in sources() if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, silent
