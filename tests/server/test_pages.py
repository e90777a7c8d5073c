"""The page on which a passkey signs, over real sockets: what a browser gets, what the policy forbids, and a promotion signed with a passkey in software."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.promote.approvals.statement import challenge_of, statement_of
from engine.promote.approvals.webauthn import parse_assertion
from server.pages import FILES, STATIC
from tests.promote.accepted import accept_one
from tests.promote.keys import SoftPasskey, a_request, base64url, person
from tests.server.site import TOKEN, Site, serving

NODE = shutil.which("node")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Canary needs a passkey's signature."""
    with serving(accept_one(tmp_path_factory.mktemp("site")), {"canary": {"level": "webauthn"}}) as site:
        yield site


@pytest.fixture(scope="module")
def passkey(site: Site) -> SoftPasskey:
    """Dora's, which people with security keys vouch for."""
    made = SoftPasskey(origin=site.origin)
    site.enrol(person("dora", made))
    return made


# ---- what a browser gets ---------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Collects what a page loads and where inline code could stand."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self.within in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.mark.processes
@pytest.mark.parametrize("path", FILES)
def test_a_page_is_ours_alone_and_its_policy_forbids_the_rest(site: Site, path: str) -> None:
    answer = site.http.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert TOKEN not in answer.text
    if path.endswith((".js", ".css")):
        assert not re.search(r"https?://(?!localhost)|innerHTML|\beval\(|\burl\(|@import", answer.text)
        return
    reader = Reader()
    reader.feed(answer.text)
    assert reader.inline == []
    assert set(reader.loaded) <= set(FILES)


def test_every_file_of_the_pages_is_served_and_no_other() -> None:
    assert {name for name, _ in FILES.values()} == {path.name for path in STATIC.iterdir()}


@pytest.mark.processes
def test_the_request_itself_is_shown_to_whoever_has_the_token_and_on_no_other_page(site: Site, passkey: SoftPasskey) -> None:
    path = f"/api/v1/signing/{site.asked().id}"
    assert site.http.get(path).status_code == 401
    foreign = {"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}
    assert site.http.get(path, headers=foreign).json()["error"]["code"] == "origin_refused"
    unknown = site.http.get("/api/v1/signing/promote-1121-00000000", headers={"authorization": f"Bearer {TOKEN}"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")


# ---- signing ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_person_reads_the_evidence_and_signs_what_is_shown_with_a_passkey(site: Site, passkey: SoftPasskey) -> None:
    request = site.asked()
    shown = site.http.get(f"/api/v1/signing/{request.id}", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert hashlib.sha256(shown["statement"].encode()).digest() == challenge_of(request)
    assert (shown["credentials"], shown["user_verification"], shown["evidence_kept"]) == ([passkey.credential], True, True)
    assert (shown["request"]["target"], shown["request"]["status"]) == ("canary", "waiting")

    page = site.http.get(f"/evidence/{shown['evidence']}")
    assert page.status_code == 200
    assert request.evidence[:8] in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for digest, status in (("0" * 64, 404), ("..%2f..%2fclusters.json", 401), (request.evidence[:63], 401)):
        assert site.http.get(f"/evidence/{digest}").status_code == status

    elsewhere = site.tool("approve_promotion", request=request.id, signature=passkey.approve(request, origin="http://localhost:1"), by="page")
    assert elsewhere.json()["error"]["details"]["reason"] == "origin"
    other = passkey.approve(request.model_copy(update={"nonce": "other"}))
    assert site.tool("approve_promotion", request=request.id, signature=other, by="page").json()["error"]["details"]["reason"] == "other_statement"
    moved = site.tool("approve_promotion", request=request.id, signature=passkey.approve(request), by="page").json()
    assert (moved["state"], moved["moved"]) == ("canary", True)
    assert "dora approved request" in moved["summary"]
    assert "(webauthn," in moved["summary"]


@pytest.mark.node
@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_what_the_page_s_script_asks_and_answers_is_what_is_verified(tmp_path: Path) -> None:
    """The script's own functions, in node, between a statement made here and the parser here."""
    request, passkey = a_request(), SoftPasskey()
    answered = json.loads(passkey.approve(request))["response"]
    shutil.copy(STATIC / "signing.js", tmp_path / "signing.mjs")
    given = {"statement": statement_of(request).decode(), "credential": passkey.credential, "response": answered, "key": base64url(passkey.der)}
    script = """
import * as signing from "./signing.mjs";
const given = JSON.parse(process.argv[2]);
const challenge = await signing.challengeOf(given.statement);
const asked = signing.askFor({ credentials: [given.credential], user_verification: true }, challenge, "localhost");
const bytes = Object.fromEntries(Object.entries(given.response).map(([name, text]) => [name, signing.bytesOf(text).buffer]));
const credential = { id: given.credential, type: "public-key", response: bytes };
const made = { id: given.credential, response: { getAuthenticatorData: () => bytes.authenticatorData, getPublicKey: () => signing.bytesOf(given.key).buffer } };
console.log(JSON.stringify({
  challenge: signing.base64url(challenge), hex: signing.hexOf(challenge), asked: signing.base64url(asked.allowCredentials[0].id),
  verification: asked.userVerification, assertion: signing.assertionOf(credential), record: signing.recordOf(made, "localhost", "http://localhost:8123"),
}));
"""
    (tmp_path / "run.mjs").write_text(script)
    done = subprocess.run([str(NODE), "run.mjs", json.dumps(given)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert (said["challenge"], said["hex"]) == (base64url(challenge_of(request)), challenge_of(request).hex())
    assert (said["asked"], said["verification"]) == (passkey.credential, "required")
    assert parse_assertion(said["assertion"]) == parse_assertion(json.dumps({"id": passkey.credential, "type": "public-key", "response": answered}))
    assert said["record"] == passkey.record.model_dump(exclude={"kind"}) | {"counter": 1}
