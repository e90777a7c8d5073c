"""A small package, sealed: what an export of an adapter leaves, with synthetic evidence about that adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.verify_bundle import synthetic_inputs
from engine.base.digests import tree_sha256
from engine.config import Inference, ModelProfile, PackageWeights
from engine.generate.types import FingerprintReport
from engine.promote.evidence.bundle import make_bundle, read_bundle
from engine.promote.package.card import CARD, model_card
from engine.promote.package.folder import ADAPTER, EVIDENCE, seal
from engine.promote.package.parity import Replayed, parity_of
from engine.promote.package.types import PackageStatement
from engine.promote.types import FormParity
from engine.train.records import version_id
from tests.promote.package.test_parity import answers

ITEMS, CHANNELS = 160, 3
MATCH = FingerprintReport(verdict="match", mean_difference=0.02, limit=0.2)
PROFILE = ModelProfile(
    title="Small",
    license="Apache-2.0",
    parameters_billion=0.1,
    weights=PackageWeights(package="p", file="f.gguf"),
    inference=Inference(max_model_len=512, enforce_eager=True),
)


def adapter_parity(other: int = 0) -> FormParity:
    return parity_of("adapter", "same", answers(), Replayed("engine 1 (adapter)", MATCH, answers(other=other), 1.0))


def fill(folder: Path, key: Ed25519PrivateKey, *, forms: Sequence[FormParity] = (), adapter: bytes = b"weights") -> PackageStatement:
    """Everything but the signatures, and what they would state."""
    (folder / ADAPTER).mkdir(parents=True)
    (folder / ADAPTER / "adapter_model.safetensors").write_bytes(adapter)
    (folder / ADAPTER / "adapter_config.json").write_text("{}")
    digest = tree_sha256(folder / ADAPTER)
    inputs = synthetic_inputs(ITEMS, channels=CHANNELS)
    inputs = replace(inputs, version=version_id(digest), lineage=inputs.lineage.model_copy(update={"adapter": digest}))
    make_bundle(inputs, key, folder).rename(folder / EVIDENCE)
    evidence = read_bundle(folder / EVIDENCE, key.public_key())
    found = tuple(forms) or (adapter_parity(),)
    (folder / CARD).write_text(model_card(evidence.predicate, evidence.evidence, found, ("Nothing else.",), base_repository="", served=False))
    return PackageStatement(
        cluster=inputs.cluster, version=inputs.version, adapter=digest, evidence=evidence.evidence, forms=found, absent=("Nothing else.",),
        modelsmith="0.1.0", code="c" * 64,
    )  # fmt: skip


def sealed(folder: Path, key: Ed25519PrivateKey, *, forms: Sequence[FormParity] = ()) -> Path:
    seal(folder, fill(folder, key, forms=forms), key)
    return folder
