"""Which signature approves a request: each one that does not is refused with a reason that says how to mend it."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SignatureRefused
from engine.promote.approvals.approvers import Approvers
from engine.promote.approvals.roster import PersonAdded
from engine.promote.approvals.ssh import BEGIN, END, SK_ECDSA, SK_ED25519, packed, parse_public_key, parse_signature, signed_data
from engine.promote.approvals.statement import NAMESPACE, policy_digest, statement_of
from engine.promote.approvals.verify import counters_of, verify_approval
from engine.promote.types import Approval, Chain, PromotionRequest
from tests.promote.keys import (
    LATER,
    NOW,
    PIN,
    TOUCH,
    FileKey,
    Signer,
    SoftSecurityKey,
    a_request,
    after,
    armoured,
    founded_by,
    person,
    signature_over,
)

MEANING = "I approve that version v-5f0c of cluster travel goes from canary to production-accepted."


@pytest.fixture(scope="module")
def approvers(ada: FileKey, bob: FileKey) -> Approvers:
    """Ada may approve, Bob may only review."""
    return after(founded_by("ada", ada), PersonAdded(person=person("bob", bob, roles=("reviewer",))), ada)


@pytest.fixture(scope="module")
def request_(approvers: Approvers) -> PromotionRequest:
    return a_request(approvers_head=approvers.head)


def refusal(request: PromotionRequest, text: str, approvers: Approvers, **more: object) -> SignatureRefused:
    with pytest.raises(SignatureRefused) as refused:
        verify_approval(request, text, approvers, str(more.pop("now", NOW)), **more)
    assert refused.value.next_step
    return refused.value


# ---- what is signed ------------------------------------------------------------------------------------------------------------------


def test_the_statement_is_what_a_person_reads_and_never_changes_its_spelling() -> None:
    assert statement_of(a_request(approvers_head="0f" * 32, revision=3, replaces="v-0001")).decode() == (
        "{\n"
        f' "adapter": "{"ad" * 32}",\n'
        ' "approvals": 1,\n'
        f' "approvers_head": "{"0f" * 32}",\n'
        ' "chain": "standard",\n'
        ' "cluster": "travel",\n'
        f' "created_at": "{NOW}",\n'
        f' "evidence": "{"e1" * 32}",\n'
        f' "expires_at": "{LATER}",\n'
        ' "from": "canary",\n'
        ' "level": "ssh",\n'
        f' "meaning": "{MEANING}",\n'
        f' "nonce": "{"c0ffee" * 5}",\n'
        f' "policy": "{"b0" * 32}",\n'
        ' "proposed_by": "mcp",\n'
        ' "replaces": "v-0001",\n'
        ' "request": "promote-1121-a1b2c3",\n'
        ' "revision": 3,\n'
        ' "role": "approver",\n'
        ' "separate_duties": true,\n'
        f' "statement": "{NAMESPACE}",\n'
        ' "to": "production-accepted",\n'
        ' "version": "v-5f0c"\n'
        "}\n"
    )


@pytest.mark.parametrize("field", sorted(PromotionRequest.model_fields))
def test_every_field_of_a_request_is_in_what_is_signed(field: str) -> None:
    before = a_request()
    other = {"approvals": 2, "level": "ssh-sk", "revision": 7, "separate_duties": False}.get(field, "another")
    assert statement_of(before.model_copy(update={field: other})) != statement_of(before)


def test_a_hostile_name_cannot_forge_a_line_or_hide_in_a_terminal() -> None:
    hostile = 'mcp",\n "approvals": 0,\n "x": "\x1b[2J\u202egnp.exe'
    text = statement_of(a_request(proposed_by=hostile)).decode()
    assert text.isascii()
    assert all(letter.isprintable() for line in text.splitlines() for letter in line)
    assert sum(line.startswith(' "approvals"') for line in text.splitlines()) == 1


def test_the_policy_digest_changes_with_the_chain_and_with_the_approver_list() -> None:
    chain = Chain(name="standard", states=("a", "b"), first="a", serving="b", transitions=())
    digests = {policy_digest(chain, "h1"), policy_digest(chain, "h2"), policy_digest(chain.model_copy(update={"name": "other"}), "h1")}
    assert len(digests) == 3


# ---- the right key -------------------------------------------------------------------------------------------------------------------


def test_the_signature_of_a_listed_key_approves_the_request(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    text = signature_over(request_, ada)
    fingerprint = subprocess.run(["ssh-keygen", "-lf", str(ada.path)], capture_output=True, text=True, check=True).stdout.split()[1]
    assert verify_approval(request_, text, approvers, NOW) == Approval(
        request=request_.id,
        approver="ada",
        role="approver",
        level="ssh",
        key=fingerprint,
        signature=text,
        approvers_head=approvers.head,
        received_at=NOW,
    )


@pytest.mark.parametrize(
    "options",
    [("ecdsa", "-b", "256"), ("ecdsa", "-b", "384"), ("ecdsa", "-b", "521"), ("rsa", "-b", "2048"), ("ed25519",)],
    ids=lambda options: "-".join(options),
)
def test_every_kind_of_key_that_ssh_keygen_makes_for_signing_is_taken(tmp_path: Path, options: tuple[str, ...]) -> None:
    key = FileKey(tmp_path, "key", *options)
    approvers = founded_by("ada", key)
    request = a_request(approvers_head=approvers.head)
    assert verify_approval(request, signature_over(request, key), approvers, NOW).level == "ssh"
    refused = refusal(request, signature_over(request.model_copy(update={"nonce": "other"}), key), approvers)
    assert refused.details["reason"] == "other_statement"


# ---- signatures that approve nothing -------------------------------------------------------------------------------------------------


def test_a_key_that_nobody_in_the_list_has_is_refused_by_its_fingerprint(request_: PromotionRequest, approvers: Approvers, mallory: FileKey) -> None:
    refused = refusal(request_, signature_over(request_, mallory), approvers)
    assert refused.details["reason"] == "unknown_key"
    assert parse_public_key(mallory.line).fingerprint in refused.message
    assert "modelsmith approvers show" in refused.next_step


@pytest.mark.parametrize("namespace", ["file", "git", "modelsmith-approvers@v1"])
def test_a_signature_made_for_another_purpose_is_refused(request_: PromotionRequest, approvers: Approvers, ada: FileKey, namespace: str) -> None:
    refused = refusal(request_, signature_over(request_, ada, namespace=namespace), approvers)
    assert refused.details["reason"] == "namespace"
    assert namespace in refused.message
    assert NAMESPACE in refused.next_step


@pytest.mark.parametrize("change", [{"approvals": 2}, {"adapter": "00" * 32}, {"target": "deprecated"}, {"expires_at": "2036-11-22T12:00:00.000Z"}])
def test_a_request_that_was_altered_after_signing_is_refused(
    request_: PromotionRequest, approvers: Approvers, ada: FileKey, change: dict[str, object]
) -> None:
    refused = refusal(request_.model_copy(update=change), signature_over(request_, ada), approvers)
    assert refused.details["reason"] == "other_statement"
    assert f"modelsmith approve {request_.id}" in refused.next_step


def test_a_signature_over_another_request_is_refused(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    twin = request_.model_copy(update={"id": "promote-1121-d4e5f6", "nonce": "0ddba11" * 4})
    refused = refusal(twin, signature_over(request_, ada), approvers)
    assert refused.details["reason"] == "other_statement"
    assert "another request" in refused.message


def test_an_expired_request_is_refused_to_the_millisecond(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    text = signature_over(request_, ada)
    refused = refusal(request_, text, approvers, now=LATER)
    assert (refused.details["reason"], LATER in refused.message) == ("expired", True)
    assert verify_approval(request_, text, approvers, "2026-11-22T11:59:59.999Z").approver == "ada"


def test_a_person_without_the_role_is_refused(request_: PromotionRequest, approvers: Approvers, bob: FileKey) -> None:
    refused = refusal(request_, signature_over(request_, bob), approvers)
    assert refused.details["reason"] == "role"
    assert "bob has the role reviewer" in refused.message
    assert "approver" in refused.next_step


def test_one_person_counts_once_whatever_keys_they_sign_with(tmp_path: Path, ada: FileKey, bob: FileKey) -> None:
    second = FileKey(tmp_path, "second")
    list_ = after(founded_by("bob", bob), PersonAdded(person=person("ada", ada, second)), bob)
    request = a_request(approvers_head=list_.head, approvals=2)
    first = verify_approval(request, signature_over(request, ada), list_, NOW)
    for key in (ada, second):
        refused = refusal(request, signature_over(request, key), list_, earlier=[first])
        assert (refused.details["reason"], "2 different people" in refused.message) == ("same_person", True)
    assert verify_approval(request, signature_over(request, bob), list_, NOW, earlier=[first]).approver == "bob"


@pytest.mark.parametrize("level", ["ssh-sk", "webauthn"])
def test_a_key_file_does_not_reach_a_level_that_needs_a_touch(request_: PromotionRequest, approvers: Approvers, ada: FileKey, level: str) -> None:
    high = request_.model_copy(update={"level": level})
    refused = refusal(high, signature_over(high, ada), approvers)
    assert refused.details["reason"] == "level"
    assert "key in a file" in refused.message
    assert level in refused.next_step


def test_a_request_made_under_another_approver_list_is_refused(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    for head in ("", "00" * 32):
        foreign = request_.model_copy(update={"approvers_head": head})
        assert refusal(foreign, signature_over(foreign, ada), approvers).details["reason"] == "other_list"


def test_no_damage_to_a_signature_goes_through(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    text = signature_over(request_, ada)
    body = text.removeprefix(f"{BEGIN}\n").removesuffix(f"{END}\n").replace("\n", "")
    for place in range(len(body.rstrip("=")) - 1):  # the bits of the last letter that lie outside the bytes mean nothing
        other = "A" if body[place] != "A" else "B"
        damaged = "\n".join([BEGIN, body[:place] + other + body[place + 1 :], END])
        assert refusal(request_, damaged, approvers).code == "signature_refused"


@given(text=st.text(max_size=300) | st.binary(max_size=200).map(lambda data: armoured(data, NAMESPACE, data)))
def test_no_text_does_worse_than_a_clear_refusal(request_: PromotionRequest, approvers: Approvers, text: str) -> None:
    assert refusal(request_, text, approvers).details["reason"] in ("malformed", "unknown_key")


def test_old_and_foreign_forms_of_ssh_signatures_are_refused(request_: PromotionRequest, approvers: Approvers, ada: FileKey) -> None:
    blob, name = parse_public_key(ada.line).blob, packed(b"ssh-ed25519")
    forms = {
        "version 1": armoured(blob, NAMESPACE, name, version=2),
        "sha256": armoured(blob, NAMESPACE, name, hash_name="sha1"),
        "reserved": armoured(blob, NAMESPACE, name, reserved=b"x"),
        "ends in the middle": armoured(blob, NAMESPACE, name[:-1]),
        "left over": armoured(blob, NAMESPACE, name + packed(b"x" * 64) + b"more"),
        "at most": "x" * 20_000,
        "base64": f"{BEGIN}\n????\n{END}",
    }
    for said, text in forms.items():
        refused = refusal(request_, text, approvers)
        assert (refused.details["reason"], said in refused.message) == ("malformed", True), refused.message


def test_an_rsa_signature_with_sha1_is_refused(tmp_path: Path) -> None:
    key = FileKey(tmp_path, "key", "rsa", "-b", "2048")
    approvers = founded_by("ada", key)
    request = a_request(approvers_head=approvers.head)
    private = load_ssh_private_key(key.path.read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    weak = private.sign(signed_data(NAMESPACE, "sha512", statement_of(request)), PKCS1v15(), SHA1())
    text = armoured(parse_public_key(key.line).blob, NAMESPACE, packed(b"ssh-rsa", weak))
    assert refusal(request, text, approvers).details["reason"] == "other_statement"


def line_of(kind: str, blob: bytes) -> str:
    return f"{kind} {base64.b64encode(blob).decode()}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (line_of("ssh-rsa", packed(b"ssh-rsa", b"\x01\x00\x01", b"\xff" * 256)), "not positive"),
        (line_of("ssh-ed25519", packed(b"ssh-ed25519", b"\x01" * 32, b"more")), "left over"),
        (line_of("ssh-ed25519", packed(b"ssh-rsa", b"\x03", b"\x7f" * 256)), "no usable|of the kind ssh-rsa"),
        (line_of("ecdsa-sha2-nistp256", packed(b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" * 65)), "not that of the key's kind"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "not a kind of key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "not a kind of key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAQA=", "no usable"),
        ("ssh-ed25519 !!!!", "base64"),
        ("", "not a kind of key"),
    ],
)
def test_a_public_key_that_cannot_be_trusted_is_refused_in_a_sentence(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_public_key(line)


def test_a_short_rsa_key_and_a_security_key_of_a_website_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1024 bits"):
        parse_public_key(FileKey(tmp_path, "short", "rsa", "-b", "1024").line)
    with pytest.raises(ValueError, match="other than SSH"):
        parse_public_key(SoftSecurityKey(application=b"example.com").line)


# ---- security keys -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[SK_ED25519, SK_ECDSA])
def security_key(request: pytest.FixtureRequest) -> SoftSecurityKey:
    return SoftSecurityKey(request.param)


def test_openssh_itself_verifies_what_the_security_key_of_these_tests_signs(tmp_path: Path, security_key: SoftSecurityKey) -> None:
    """So what the tests below refuse and accept is OpenSSH's format, not one of our own."""
    message = statement_of(a_request())
    (tmp_path / "allowed").write_text(f"carol {security_key.line}\n")
    (tmp_path / "signature").write_text(security_key.sign(message))
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "carol", "-n", NAMESPACE, "-s", str(tmp_path / "signature")]
    assert b"Good" in subprocess.run(command, input=message, capture_output=True, check=True).stdout
    assert parse_signature(security_key.sign(message, flags=TOUCH)).touched


def test_a_touch_with_a_pin_on_a_security_key_proves_its_level(security_key: SoftSecurityKey) -> None:
    approvers = founded_by("carol", security_key)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    assert verify_approval(request, signature_over(request, security_key), approvers, NOW).level == "ssh-sk"


@pytest.mark.parametrize(("flags", "said"), [(0, "no touch"), (PIN, "no touch"), (TOUCH, "neither PIN nor fingerprint")])
def test_a_security_key_that_was_not_touched_or_given_its_pin_is_refused_where_that_is_needed(
    security_key: SoftSecurityKey, flags: int, said: str
) -> None:
    approvers = founded_by("carol", security_key)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    refused = refusal(request, signature_over(request, security_key, flags=flags), approvers)
    assert (refused.details["reason"], said in refused.message) == ("level", True)
    assert "verify-required" in refused.next_step
    low = request.model_copy(update={"level": "ssh"})
    assert verify_approval(low, signature_over(low, security_key, flags=flags), approvers, NOW).level == "ssh"


def test_a_list_may_ask_for_the_touch_alone(security_key: SoftSecurityKey) -> None:
    approvers = founded_by("carol", security_key, user_verification=False)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    assert verify_approval(request, signature_over(request, security_key, flags=TOUCH), approvers, NOW).level == "ssh-sk"
    assert refusal(request, signature_over(request, security_key, flags=0), approvers).details["reason"] == "level"


def test_the_flags_and_the_counter_are_covered_by_the_signature(security_key: SoftSecurityKey) -> None:
    approvers = founded_by("carol", security_key)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    honest = parse_signature(signature_over(request, security_key, flags=0, counter=7))
    for flags, counter in ((TOUCH | PIN, 7), (0, 8)):
        tail = bytes([flags]) + counter.to_bytes(4, "big")
        forged = armoured(security_key.blob, NAMESPACE, packed(honest.algorithm.encode(), honest.value) + tail)
        assert refusal(request, forged, approvers).details["reason"] == "other_statement"


def test_a_security_key_that_counts_backwards_was_copied_and_is_refused(security_key: SoftSecurityKey) -> None:
    approvers = founded_by("carol", security_key)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    seen = counters_of([verify_approval(request, signature_over(request, security_key, counter=41), approvers, NOW)])
    assert list(seen.values()) == [41]
    for counter in (41, 3):
        refused = refusal(request, signature_over(request, security_key, counter=counter), approvers, counters=seen)
        assert (refused.details["reason"], "copied" in refused.message) == ("counter", True)
    assert verify_approval(request, signature_over(request, security_key, counter=42), approvers, NOW, counters=seen)


def test_a_list_founded_with_a_key_file_vouches_for_no_security_key(ada: FileKey, security_key: SoftSecurityKey) -> None:
    """Otherwise whoever gets at one key file could enrol a security key made of software and approve with it."""
    approvers = after(founded_by("ada", ada), PersonAdded(person=person("carol", security_key)), ada)
    request = a_request(approvers_head=approvers.head, level="ssh-sk")
    refused = refusal(request, signature_over(request, security_key), approvers)
    assert (refused.details["reason"], "founded with a key in a file" in refused.message) == ("level", True)


def test_a_key_file_beside_security_keys_still_proves_no_more_than_itself(ada: FileKey, security_key: SoftSecurityKey) -> None:
    approvers = after(founded_by("carol", security_key), PersonAdded(person=person("ada", ada)), security_key)
    request = a_request(approvers_head=approvers.head)
    keys: dict[str, Signer] = {"ssh": ada, "ssh-sk": security_key}
    for level, key in keys.items():
        assert verify_approval(request, signature_over(request, key), approvers, NOW).level == level
