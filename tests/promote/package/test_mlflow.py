"""A package in a real MLflow registry: a SQLite database and a folder, as `mlflow server` keeps them."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.errors import DependencyMissing, PackageRefused
from engine.promote.evidence.types import ApprovedRequest
from engine.promote.package.folder import Package, read_package
from engine.promote.package.mlflow_registry import alias_of, register
from engine.promote.package.verify import verify_package
from engine.promote.types import Approval
from server import cli
from tests.promote.evidence.forging import approved, asked
from tests.promote.package.sealing import adapter_parity, sealed

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two packages of one cluster; to be read only."""
    root = tmp_path_factory.mktemp("packages")
    return sealed(root / "one", KEY), sealed(root / "two", KEY, forms=[adapter_parity(other=2)])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("mlflow", reason="the extra mlflow is not in this environment")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def client_of(registry: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=registry, registry_uri=registry)


def test_a_package_becomes_a_model_version_with_tags_figures_an_alias_and_files_that_verify(packages: tuple[Path, Path], registry: str) -> None:
    made = register(packages[0], KEY.public_key(), tracking_uri=registry)
    assert (made.name, made.number, made.alias, made.created) == ("tickets", "1", "challenger", True)
    client = client_of(registry)
    version = client.get_model_version_by_alias("tickets", "challenger")
    stated = read_package(packages[0], KEY.public_key()).stated
    assert str(version.version) == "1"
    assert version.tags["modelsmith.version"] == stated.version
    assert version.tags["modelsmith.adapter"] == stated.adapter
    assert version.tags["modelsmith.evidence"] == stated.evidence
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["parity.adapter"] == 1.0
    assert 0.0 < metrics["held_out.score"] < 1.0
    assert verify_package(Path(version.source.removeprefix("file://")), KEY.public_key()).verified


def test_the_same_package_is_registered_once_and_an_alias_moves_to_the_next(packages: tuple[Path, Path], registry: str) -> None:
    client = client_of(registry)
    first = register(packages[0], KEY.public_key(), tracking_uri=registry, name="moved")
    again = register(packages[0], KEY.public_key(), tracking_uri=registry, name="moved", alias="champion")
    assert (again.number, again.created, again.source) == (first.number, False, first.source)
    assert client.get_model_version_by_alias("moved", "champion").version == client.get_model_version_by_alias("moved", "challenger").version
    second = register(packages[1], KEY.public_key(), tracking_uri=registry, name="moved", alias="champion")
    assert (second.created, second.number != first.number) == (True, True)
    assert str(client.get_model_version_by_alias("moved", "champion").version) == second.number
    assert len(client.search_model_versions("name = 'moved'")) == 2


def test_a_package_that_does_not_verify_is_not_registered(packages: tuple[Path, Path], registry: str, tmp_path: Path) -> None:
    broken = sealed(tmp_path / "broken", KEY)
    (broken / "adapter/adapter_config.json").write_text('{"r": 1}')
    with pytest.raises(PackageRefused):
        register(broken, KEY.public_key(), tracking_uri=registry, name="broken")
    assert client_of(registry).search_registered_models("name = 'broken'") == []


def test_a_version_that_people_let_answer_is_the_champion(packages: tuple[Path, Path]) -> None:
    package = read_package(packages[0], KEY.public_key())
    assert alias_of(package) == "challenger"

    def with_request(target: str, *signatures: Approval) -> Package:
        request = asked().model_copy(update={"chain": "standard", "target": target})
        given = (ApprovedRequest(request=request, approvals=signatures),)
        return package._replace(evidence=package.evidence._replace(approvals=given))

    assert alias_of(with_request("canary", approved())) == "challenger"
    assert alias_of(with_request("production-accepted")) == "challenger"
    assert alias_of(with_request("production-accepted", approved())) == "champion"


def test_the_terminal_registers_a_package(packages: tuple[Path, Path], registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence.pub").write_bytes(KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = cli.main(["register", str(packages[0]), "--mlflow", registry, "--name", "by-hand", "--key", "evidence.pub", "--json"])
    document = json.loads(out.getvalue().splitlines()[-1])
    assert (code, document["name"], document["alias"]) == (0, "by-hand", "challenger")
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.pub"], "nothing is left where the command was given"


def test_without_mlflow_it_says_what_to_install(packages: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlflow", "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyMissing) as refusal:
        register(packages[0], KEY.public_key(), tracking_uri="sqlite:///nowhere.db")
    assert "modelsmith[mlflow]" in refusal.value.next_step
