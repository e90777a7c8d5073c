"""A package in an MLflow registry: a model version with its files, its figures, and what it is as tags.

MLflow's stages are deprecated, so a version's place is an alias: `champion` where the evidence in the package says that people let it answer,
`challenger` otherwise; MLflow moves an alias from one version to the next. What an alias says is a copy: what counts is the state in the store, and
the signatures in the package, which lies in the registry whole and verifies there.

The same package is registered once however often it is asked for; only its alias moves. MLflow is an optional extra (`pip install
'modelsmith[mlflow]'`), loaded where it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.base.digests import file_sha256
from engine.base.record import Record
from engine.errors import DependencyMissing, RegistryFailed
from engine.promote.chains import serves
from engine.promote.evidence.dsse import fingerprint
from engine.promote.package.folder import MANIFEST, Package, read_package

CHAMPION, CHALLENGER = "champion", "challenger"
EXPERIMENT = "modelsmith"
FILES = "package"
"""Where in its run's artefacts a package lies."""
TAG = "modelsmith."
MANIFEST_TAG = f"{TAG}manifest"
SQLITE = "sqlite:///"


class Registered(Record):
    """A package in a registry."""

    name: str
    number: str
    """MLflow's own version number."""
    alias: str
    source: str
    """Where the registry keeps the files."""
    created: bool
    """False where this very package was there already."""


def register(folder: Path, key: Ed25519PublicKey, *, tracking_uri: str, name: str | None = None, alias: str | None = None) -> Registered:
    """Registers a package that verifies under `key`. PackageRefused where it does not, RegistryFailed where MLflow does not take it."""
    package = read_package(folder, key)
    client = _client(tracking_uri)
    from mlflow.exceptions import MlflowException

    model, chosen = name or package.stated.cluster, alias or alias_of(package)
    try:
        found = _known(client, model, file_sha256(folder / MANIFEST))
        version = found or _add(client, model, package, folder, key, tracking_uri)
        client.set_registered_model_alias(model, chosen, version.version)
    except MlflowException as refusal:
        raise RegistryFailed(
            f"MLflow at {tracking_uri[:200]} refused the package: {str(refusal)[:300]}", next_step="Mend that, then run the same command again."
        ) from refusal
    return Registered(name=model, number=str(version.version), alias=chosen, source=str(version.source), created=found is None)


def alias_of(package: Package) -> str:
    """What the evidence in the package says of it: whether people have signed it into the state that serves."""
    served = any(serves(each.request.chain, each.request.target) and each.approvals for each in package.evidence.approvals)
    return CHAMPION if served else CHALLENGER


def tags_of(package: Package, manifest: str, key: Ed25519PublicKey) -> dict[str, str]:
    """What a model version says of itself in the registry."""
    stated = package.stated
    said = {
        "cluster": stated.cluster,
        "version": stated.version,
        "adapter": stated.adapter,
        "evidence": stated.evidence,
        "verdict": package.evidence.predicate.found.decision.verdict,
        "forms": ",".join(form.form for form in stated.forms),
        "signed_by": fingerprint(key),
    }
    return {f"{TAG}{tag}": value for tag, value in said.items()} | {MANIFEST_TAG: manifest}


def metrics_of(package: Package) -> dict[str, float]:
    """Held-out and core means of the version, and the share of equal answers of each form."""
    challenger = [figures for figures in package.evidence.predicate.found.measured if figures.role == "challenger"]
    means = {f"{split.split}.score": split.score.mean for figures in challenger for split in figures.splits}
    shares = {f"parity.{form.form}": figure.figure for form in package.stated.forms for figure in form.figures if figure.name == "answers"}
    return means | {name: share for name, share in shares.items() if share is not None}


def _client(tracking_uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as missing:
        raise DependencyMissing("MLflow is not installed here", next_step="pip install 'modelsmith[mlflow]'") from missing
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _known(client: Any, model: str, manifest: str) -> Any | None:
    """The model version with this very package."""
    found = client.search_model_versions(f"name = '{model}' and tags.`{MANIFEST_TAG}` = '{manifest}'", max_results=1)
    return found[0] if found else None


def _add(client: Any, model: str, package: Package, folder: Path, key: Ed25519PublicKey, tracking_uri: str) -> Any:
    tags = tags_of(package, file_sha256(folder / MANIFEST), key)
    run = client.create_run(_experiment(client, tracking_uri), run_name=f"{package.stated.cluster} {package.stated.version}", tags=tags)
    for metric, value in metrics_of(package).items():
        client.log_metric(run.info.run_id, metric, value)
    client.log_artifacts(run.info.run_id, str(folder), FILES)
    client.set_terminated(run.info.run_id)
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, tags={f"{TAG}cluster": package.stated.cluster})
    described = f"{package.stated.version}, {package.evidence.predicate.lineage.model}; `modelsmith verify` checks its files."
    return client.create_model_version(model, f"{run.info.artifact_uri}/{FILES}", run_id=run.info.run_id, tags=tags, description=described)


def _experiment(client: Any, tracking_uri: str) -> str:
    """A server says where files go; beside a database file of one's own they lie in its folder, not wherever the command was given."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    place = None
    if tracking_uri.startswith(SQLITE):
        place = (Path(tracking_uri.removeprefix(SQLITE)).resolve().parent / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=place))
