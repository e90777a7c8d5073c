"""A model of a Hugging Face hub as an entry of the atlas. The hub here is one of our own on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.engine import Engine
from engine.errors import ArgumentInvalid, DependencyMissing, NotFound, TooLarge
from tests.atlas.test_importing import LLAMA
from tests.workspaces import make_workspace
from tools.atlas import IMPORT_MODEL
from tools.tool import call

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlicense: apache-2.0\nlanguage: [en, de]\n---\n# Desk\n"


class Hub(NamedTuple):
    """A hub of one model."""

    files: dict[str, bytes]
    about: dict[str, Any]
    """What its API says of the model besides its files."""
    asked: list[str]
    """Paths that were asked for."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    kept = Hub({"config.json": json.dumps(LLAMA).encode(), "README.md": CARD.encode(), "model.safetensors": b"weights"}, {}, [])
    kept.about["safetensors"] = {"parameters": {"BF16": 8_030_261_248}, "total": 8_030_261_248}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            kept.asked.append(self.path)
            path = self.path.partition("?")[0]
            if path in ("/api/models/acme/desk-8b", "/api/models/acme/desk-8b/revision/v1.0"):
                listed = [{"rfilename": name, "size": len(data)} for name, data in kept.files.items()]
                self.send(json.dumps({"id": "acme/desk-8b", "sha": COMMIT, "siblings": listed, **kept.about}).encode())
            elif path.startswith(f"/acme/desk-8b/resolve/{COMMIT}/"):
                self.send(kept.files[path.rpartition("/")[2]])
            else:
                self.send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

        def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            told = {"Content-Length": str(len(body)), "ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
            for name, value in (told | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine.open(make_workspace(tmp_path / "workspace"))
    yield opened
    opened.close()


def imported(engine: Engine, **arguments: Any) -> dict[str, Any]:
    return call(engine, IMPORT_MODEL, {"name": "acme/desk-8b", **arguments})


def test_a_model_of_the_hub_joins_the_atlas_and_its_source_names_the_commit(engine: Engine, hub: Hub) -> None:
    sheet = imported(engine)["imported"]
    assert (sheet["parameters_billion"], sheet["licence"], sheet["languages"]) == (8.0303, "apache-2.0", ["en", "de"])
    assert COMMIT in json.loads(engine.workspace.atlas_file.read_text())["models"]["acme/desk-8b"]["source"]


def test_no_weights_are_fetched_and_nothing_is_left_in_the_workspace_but_the_entry(engine: Engine, hub: Hub) -> None:
    before = {path for path in engine.workspace.root.rglob("*") if path.is_file()}
    imported(engine)
    assert not [path for path in hub.asked if path.endswith(".safetensors")]
    assert {path for path in engine.workspace.root.rglob("*") if path.is_file()} - before == {engine.workspace.atlas_file}


def test_a_revision_is_asked_for_by_its_name(engine: Engine, hub: Hub) -> None:
    imported(engine, revision="v1.0")
    assert any("/revision/v1.0" in path for path in hub.asked)
    with pytest.raises(NotFound, match="has no model acme/desk-8b at v9"):
        imported(engine, revision="v9")


def test_parameters_that_are_packed_four_bits_each_are_computed_and_not_counted(engine: Engine, hub: Hub) -> None:
    hub.files["config.json"] = json.dumps(LLAMA | {"quantization_config": {"quant_method": "awq", "bits": 4}}).encode()
    hub.about["safetensors"] = {"parameters": {"I32": 10**9}, "total": 10**9}
    assert "computed" in imported(engine)["imported"]["sources"]["parameters_billion"]


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"config.json": b"[" * (4 << 20) + b"]"}, TooLarge, "config.json of acme/desk-8b has 4194305 bytes"),
        ({"config.json": b"{}"}, ArgumentInvalid, "acme/desk-8b/config.json is of no language model"),
        ({"config.json": b"no"}, ArgumentInvalid, "config.json"),
    ],
)
def test_files_of_no_language_model_are_refused_and_nothing_is_written(
    engine: Engine, hub: Hub, files: dict[str, bytes], error: type[Exception], words: str
) -> None:
    hub.files.update(files)
    with pytest.raises(error, match=words):
        imported(engine)
    assert not engine.workspace.atlas_file.exists()


def test_a_model_without_a_config_is_not_taken(engine: Engine, hub: Hub) -> None:
    del hub.files["config.json"]
    with pytest.raises(NotFound, match=r"config\.json"):
        imported(engine)


def test_a_model_that_the_hub_lacks_or_hides_says_what_to_try(engine: Engine, hub: Hub) -> None:
    with pytest.raises(NotFound, match="has no model acme/other") as caught:
        imported(engine, name="acme/other")
    assert "HF_TOKEN" in str(caught.value.as_record())


def test_without_a_hub_the_way_by_a_folder_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DependencyMissing, match=r"acme/desk-8b cannot be read from 127\.0\.0\.1:9") as caught:
        imported(engine)
    assert "give their folder" in str(caught.value.as_record())


def test_a_folder_has_no_revision(engine: Engine) -> None:
    with pytest.raises(ArgumentInvalid, match="a folder has no revision"):
        imported(engine, path="models/desk", revision="v1")
