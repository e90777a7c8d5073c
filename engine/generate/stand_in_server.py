"""A model server without a model: the managed-server half of the scripted double.

    python -m engine.generate.stand_in_server --model DIR --served-model-name NAME --port PORT --reference FILE --faults FILE [--delay SECONDS]

It speaks the part of vLLM's interface that the engine uses, by the rule of `scripted_rule.py`, and starts in a fraction of a second: standard
library only. The key comes in VLLM_API_KEY, as with vLLM. The reference file says what the questions are and what is expected:
{"keys": {digest of the messages: [key, name]}, "texts": {name: {key: expected text}}}; a name stands for one domain's questions.

Faults are scripted by a JSON file, a list of {"fault": ..., "at": place, "after": n, "times": m, "seconds": s}, read at every request. A fault
happens from the (n+1)-th request at its place on, m times (1 unless given) over all starts of the server: what has happened is counted down in the
file. Places: `start`, `chat`, `reload`, `models`. Faults:

    die         the process ends at once                      garbage     200 with something that is not JSON
    hang        this and all later requests get no answer     half        half a reply, then the connection is cut
    slow        the reply comes `seconds` later               error       HTTP 500
    refuse      HTTP 400                                      hostile     a reply full of NUL, surrogates and a million characters
    ignore      (reload) the old weights stay, silently       stranger    (models) the list of another server
    wrong       (chat) the answer of weights without skill    busy      (reset) the cache is still held
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from engine.generate.scripted_rule import messages_digest, read_weights, scripted_logprobs, scripted_text

MAX_BODY_BYTES = 8 << 20


class Faults:
    """The faults still to come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: dict[str, int] = {}

    def take(self, place: str) -> dict[str, Any] | None:
        """The fault that happens at this request, counted down."""
        with self._lock:
            self._seen[place] = self._seen.get(place, 0) + 1
            try:
                faults = json.loads(self._path.read_bytes())
            except FileNotFoundError:
                return None
            for fault in faults:
                times = int(fault.get("times", 1))
                if fault.get("at", "chat") == place and times > 0 and self._seen[place] > int(fault.get("after", 0)):
                    fault["times"] = times - 1
                    temporary = self._path.with_suffix(".tmp")
                    temporary.write_text(json.dumps(faults))
                    temporary.replace(self._path)
                    return dict(fault)
        return None


class StandIn:
    """What the server knows: its weights, adapters and questions."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.name: str = options.served_model_name
        self.delay_seconds: float = options.delay
        self.faults = Faults(options.faults)
        self.hung = threading.Event()
        self.weights = read_weights(options.model)
        self.adapters: dict[str, dict[str, Any]] = {}
        self._reference_path: Path = options.reference
        self._reference: dict[str, Any] = {"keys": {}, "texts": {}}
        self._stamp = 0

    def reference(self) -> dict[str, Any]:
        """The reference file as it is now."""
        try:
            stamp = self._reference_path.stat().st_mtime_ns
        except FileNotFoundError:
            return self._reference
        if stamp != self._stamp:
            self._reference, self._stamp = json.loads(self._reference_path.read_bytes()), stamp
        return self._reference

    def weights_of(self, model: str) -> dict[str, Any] | None:
        """The weights that answer under a name."""
        return self.weights if model == self.name else self.adapters.get(model)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stand_in: StandIn
    key: bytes

    def do_GET(self) -> None:
        if not self._may_answer():
            return
        if self.path == "/health":
            self._reply(200, {})
        elif self.path == "/v1/models":
            fault = self.stand_in.faults.take("models")
            names = ["somebody-else"] if fault else [self.stand_in.name, *self.stand_in.adapters]
            self._reply(200, {"data": [{"id": name} for name in names]})
        else:
            self._reply(404, {"error": "no such path"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY_BYTES)) or b"{}")
        if not self._may_answer():
            return
        routes = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._complete,
            "/tokenize": self._tokenize,
            "/collective_rpc": self._reload,
            "/reset_prefix_cache": self._reset,
            "/v1/load_lora_adapter": self._load_adapter,
        }
        route = routes.get(self.path)
        if route is None:
            self._reply(404, {"error": "no such path"})
        else:
            route(body)

    def _may_answer(self) -> bool:
        if self.stand_in.hung.is_set():
            _wait_forever()
        if hmac.compare_digest(self.headers.get("Authorization", "").encode(), self.key):
            return True
        self._reply(401, {"error": "unauthorised"})
        return False

    def _chat(self, body: dict[str, Any]) -> None:
        fault = self.stand_in.faults.take("chat")
        if fault is not None and self._act(fault):
            return
        weights = self.stand_in.weights_of(body["model"])
        if weights is None:
            self._reply(404, {"error": "no such model"})
            return
        time.sleep(self.stand_in.delay_seconds)
        reference = self.stand_in.reference()
        key, name = reference["keys"].get(messages_digest(body["messages"]), ("", ""))
        skill = 0.0 if fault is not None and fault["fault"] == "wrong" else float(weights["skill"])
        text = scripted_text(key, reference["texts"].get(name, {}), skill, structured="response_format" in body)
        if fault is not None and fault["fault"] == "hostile":
            text = "\x00\ud800" + "A" * 1_000_000
        usage = {"prompt_tokens": 10, "completion_tokens": len(text) // 4 + 1}
        self._reply(200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage})

    def _act(self, fault: dict[str, Any]) -> bool:
        """Does what a fault says; True when that was the reply."""
        kind = fault["fault"]
        if kind == "die":
            os._exit(9)
        elif kind == "hang":
            self.stand_in.hung.set()
            _wait_forever()
        elif kind == "slow":
            time.sleep(float(fault["seconds"]))
        elif kind == "error":
            self._reply(500, {"error": "scripted"})
        elif kind == "refuse":
            self._reply(400, {"error": "scripted refusal"})
        elif kind == "garbage":
            self._send(200, b"<html>not JSON</html>")
        elif kind == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
        return kind in ("error", "refuse", "garbage", "half")

    def _complete(self, body: dict[str, Any]) -> None:
        weights = self.stand_in.weights_of(body["model"])
        if weights is None:
            self._reply(404, {"error": "no such model"})
            return
        tokens = body["prompt"]
        rows = [None, *({str(token): {"logprob": value}} for token, value in zip(tokens[1:], scripted_logprobs(weights, tokens), strict=True))]
        self._reply(200, {"choices": [{"text": "", "prompt_logprobs": rows, "finish_reason": "length"}]})

    def _tokenize(self, body: dict[str, Any]) -> None:
        text = body["prompt"] if "prompt" in body else messages_digest(body["messages"])
        self._reply(200, {"tokens": list(text.encode())})

    def _reload(self, body: dict[str, Any]) -> None:
        fault = self.stand_in.faults.take("reload")
        if fault is not None and self._act(fault):
            return
        if fault is None or fault["fault"] != "ignore":
            self.stand_in.weights = read_weights(Path(body["kwargs"]["weights_path"]))
        self._reply(200, {"results": [None]})

    def _reset(self, body: dict[str, Any]) -> None:
        self._reply(200, {"success": self.stand_in.faults.take("reset") is None})

    def _load_adapter(self, body: dict[str, Any]) -> None:
        if body["lora_name"] in self.stand_in.adapters:
            self._reply(400, {"error": "already loaded"})
            return
        self.stand_in.adapters[body["lora_name"]] = read_weights(Path(body["lora_path"]))
        self._reply(200, {})

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class Server(ThreadingHTTPServer):
    """Takes many connections at once, and never a port that is taken."""

    request_queue_size = 256
    allow_reuse_address = False
    daemon_threads = True


def _wait_forever() -> None:
    threading.Event().wait()


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description="A model server without a model, for tests.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--faults", type=Path, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    Handler.stand_in = StandIn(options)
    Handler.key = b"Bearer " + os.environ["VLLM_API_KEY"].encode()
    fault = Handler.stand_in.faults.take("start")
    if fault is not None:
        raise SystemExit("scripted: does not start")
    Server(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
