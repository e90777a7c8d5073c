"""One bundle that the tests of evidence look at, and copies of it to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.verify_bundle import synthetic_inputs
from engine.promote.evidence.bundle import make_bundle
from engine.promote.evidence.types import ApprovedRequest, BundleInputs
from tests.promote.evidence.forging import approved, asked

ITEMS, CHANNELS = 200, 3


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def inputs() -> BundleInputs:
    return synthetic_inputs(ITEMS, channels=CHANNELS)


@pytest.fixture(scope="session")
def approvals() -> tuple[ApprovedRequest, ...]:
    return (ApprovedRequest(request=asked(), approvals=(approved(),)),)


@pytest.fixture(scope="session")
def bundle(inputs: BundleInputs, key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read only."""
    return make_bundle(inputs, key, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def public_key_file(key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "evidence.pub"
    file.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return file


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy of the bundle, each time that it is called."""
    made = 0

    def copy() -> Path:
        nonlocal made
        made += 1
        return Path(shutil.copytree(bundle, tmp_path / f"copy-{made}"))

    return copy
