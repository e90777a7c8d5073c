"""A model's files on a Hugging Face hub, at one commit: what an entry of the atlas is made from, and no weights."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.atlas.reading import MAX_CARD_BYTES, MAX_CONFIG_BYTES, MOST_PARAMETERS, entry_of, read_files
from engine.config import CatalogueModel
from engine.errors import DependencyMissing, NotFound, TooLarge

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

READ = {"config.json": MAX_CONFIG_BYTES, "README.md": MAX_CARD_BYTES}
"""Files that are fetched, and the largest size of each."""
TIMEOUT_SECONDS = 20.0
"""For one answer of the hub."""


def fetch_model(name: str, revision: str | None) -> CatalogueModel:
    """The entry of `owner/name` on the hub (`HF_ENDPOINT`, or else huggingface.co) at a commit, tag or branch. Its source names the commit.

    Raises NotFound where the hub has no such model or shows it to nobody without a token, TooLarge where its files cannot be a model's,
    DependencyMissing where the hub does not answer.
    """
    from huggingface_hub import HfApi, constants  # takes most of a second, so only where it is wanted

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)
    with tempfile.TemporaryDirectory() as folder:
        found = _asked(hub, name, revision, Path(folder))
        files = read_files(Path(folder), ".")
    if not files.config.get("quantization_config"):
        files = files._replace(parameters=_parameters(found))
    return entry_of(files, name=name, label=f"{name}/config.json", source=f"{name}/config.json on {_host(hub)} at {found.sha}, imported")


def _asked(hub: HfApi, name: str, revision: str | None, folder: Path) -> ModelInfo:
    """What the hub says of the model, its small files left in `folder`."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    at = "" if revision is None else f" at {revision}"
    try:
        found = hub.model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        for each in found.siblings or ():
            if each.rfilename in READ:
                _refuse_large(name, each.rfilename, each.size)
                hub.hf_hub_download(name, each.rfilename, revision=found.sha, local_dir=folder)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise NotFound(
            f"{_host(hub)} has no model {name}{at}, or shows it only to some",
            next_step="Check owner, name and revision; for a private or gated model start the daemon with HF_TOKEN set. "
            "Or give the folder of its files: import-model NAME PATH.",
        ) from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as reason:
        raise DependencyMissing(
            f"{name} cannot be read from {_host(hub)}: {' '.join(str(reason).split())[:300]}",
            next_step="Check the network and HF_ENDPOINT, or bring config.json and README.md here and give their folder: import-model NAME PATH.",
        ) from reason
    return found


def _refuse_large(name: str, file: str, size: int | None) -> None:
    if size is not None and size > READ[file]:
        raise TooLarge(f"{file} of {name} has {size} bytes, more than {READ[file]}", next_step="Name a language model; this is no such file.")


def _parameters(found: ModelInfo) -> int | None:
    """As the hub has counted them in the heads of the safetensors files."""
    total: Any = None if found.safetensors is None else found.safetensors.total
    return total if isinstance(total, int) and 0 < total < MOST_PARAMETERS else None


def _host(hub: HfApi) -> str:
    return hub.endpoint.partition("://")[2]
