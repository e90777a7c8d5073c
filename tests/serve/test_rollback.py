"""Rolling back over the daemon, with requests in flight: the version before answers, proved, and nobody notices but by the answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.base.files import read_json, write_json
from engine.base.paths import Workspace
from engine.engine import Engine
from engine.errors import ArtifactCorrupt, DaemonUnavailable, FingerprintMismatch, ModelsmithError, StateConflict
from engine.generate.server_control import ServerAddress, load_merged
from engine.promote import records
from engine.store.events import events_of
from engine.train import records as versions
from server.client import SOURCES, daemon_environment, running_daemon
from tests.promote.accepted import configure
from tests.promote.evidence.forging import payload_of
from tests.promote.evidence.test_redaction import everything_in
from tests.promote.notary import Clerk, Notary
from tests.serve.dying_daemon import AFTER, BEFORE
from tests.serve.produced import Caller, Crowd, change_model
from tests.server.daemons import kill_daemon, until

pytestmark = pytest.mark.processes
"""A daemon and model servers (the stand-in), started as users start them."""


def server_of(workspace: Workspace, version: str) -> dict[str, Any]:
    """The record of the server that answers for a version."""
    (path,) = workspace.servers.glob(f"*-serve-{version.removeprefix('v-')}/server.json")
    record: dict[str, Any] = read_json(path)
    return record


def script_faults(workspace: Workspace, *faults: dict[str, Any]) -> None:
    """What every stand-in server of the workspace does next."""
    write_json(faults_file(workspace), list(faults))


def faults_left(workspace: Workspace) -> list[int]:
    """How often each will still happen."""
    return [fault.get("times", 1) for fault in read_json(faults_file(workspace))]


def faults_file(workspace: Workspace) -> Path:
    (reference,) = workspace.servers.glob("*/reference.json")
    return reference.with_name("faults.json")


def weights_directory(workspace: Workspace, version: str) -> Path:
    """Where the weights of a version lie, while no daemon has the store."""
    engine = Engine.open(workspace)
    try:
        return engine.artifacts.path(versions.version(engine.store, version).adapter)
    finally:
        engine.close()


# ---- flips -----------------------------------------------------------------------------------------------------------------------------


def test_a_rollback_under_requests_changes_who_answers_and_fails_none(caller: Caller) -> None:
    change_model(caller.workspace, delay_seconds=0.1)
    with Crowd(caller) as crowd:
        crowd.until(lambda replies: len(replies) > 8)
        caller.call("rollback", cluster="tickets", drill=True)
        page = caller.call("rollback", cluster="tickets", reason="it drifted", by="ada")
        after = len(crowd.replies) + 4  # those that were in flight may end on the version before
        crowd.until(lambda replies: len(replies) > after + 8)
        replies = crowd.stop()
    assert {reply.status for reply in replies} == {200}
    assert {reply.version for reply in replies[after:]} == {caller.before}
    assert {reply.version for reply in replies} == {caller.before, caller.serving}
    assert (page["version"], page["before"], page["proof"], page["warm"]) == (caller.before, caller.serving, "match", True)
    assert page["seconds"] < 5
    assert caller.serves() == caller.before


def test_a_request_in_flight_ends_on_the_server_where_it_began(caller: Caller) -> None:
    caller.call("rollback", cluster="tickets", drill=True)
    script_faults(caller.workspace, {"fault": "slow", "seconds": 8})
    with Crowd(caller, size=1) as crowd:
        until(lambda: faults_left(caller.workspace) == [0], 120)
        caller.call("rollback", cluster="tickets")
        assert crowd.replies == []
        crowd.until(lambda replies: len(replies) == 2)
        assert [(reply.status, reply.version) for reply in crowd.stop()[:2]] == [(200, caller.serving), (200, caller.before)]


def test_a_drill_goes_there_and_back_and_can_be_done_again(caller: Caller) -> None:
    for warm in (False, True):
        page = caller.call("rollback", cluster="tickets", drill=True)
        assert (page["version"], page["before"], page["proof"], page["warm"]) == (caller.serving, caller.before, "match", warm)
        assert page["seconds"] >= page["flip_seconds"] > 0
        assert page["back_seconds"] > 0
        assert page["summary"].startswith(f"Drill: {caller.before} served tickets after ")
        assert caller.serves() == caller.serving
    with pytest.raises(StateConflict, match="v-000000000000 is not among the versions") as refusal:
        caller.call("rollback", cluster="tickets", to="v-000000000000")
    assert refusal.value.next_step == f"There are: {caller.before}."


def test_the_seconds_of_a_drill_are_in_the_log_and_in_the_evidence_and_its_page(caller: Caller) -> None:
    undrilled = caller.call("evidence", cluster="tickets", version=caller.serving)
    assert "No rollback drill is recorded." in undrilled["absent"]
    assert undrilled["last_drill"] == ""
    drilled = caller.call("rollback", cluster="tickets", drill=True, by="ada", reason="quarterly")
    page = caller.call("evidence", cluster="tickets", version=caller.serving)
    bundle = caller.workspace.root / page["bundle"]
    drill = payload_of(bundle)["predicate"]["rollback"]["drill"]
    expected = {"serving": caller.serving, "to": caller.before, "seconds": drilled["seconds"], "back_seconds": drilled["back_seconds"]}
    assert drill == expected | {"warm": drilled["warm"], "proved": True, "drilled_at": drill["drilled_at"]}
    assert f"{drilled['back_seconds']:.2f} s." in (bundle / "page.html").read_text()
    assert f"back in {drilled['back_seconds']:.2f} s" in page["last_drill"]
    assert not any("drill" in sentence for sentence in page["absent"])
    assert b"quarterly" not in everything_in(bundle), "who drilled, and why, stays here"
    caller.stop_daemon(servers=False)
    engine = Engine.open(caller.workspace)
    event = events_of(engine.store, "tickets")[-1]
    engine.close()
    assert (event.kind, event.actor, event.reason, event.data) == ("rollback_drilled", "ada", "quarterly", drill)


def test_what_was_rolled_back_takes_signatures_to_come_back(caller: Caller) -> None:
    page = caller.call("rollback", cluster="tickets", to=caller.before)
    assert page["next"][0]["arguments"] == {"cluster": "tickets", "subject": caller.serving}
    assert caller.call("fleet_status")["clusters"][0]["incumbent"] == caller.before, "the next round begins with what serves"
    with pytest.raises(StateConflict, match="no version served tickets before"):
        caller.call("rollback", cluster="tickets")
    with pytest.raises(StateConflict, match=f"{caller.serving} is not among the versions that served"):
        caller.call("rollback", cluster="tickets", to=caller.serving)
    assert caller.call("promote", cluster="tickets", version=caller.serving)["state"] == "shadow"


# ---- wrong weights ---------------------------------------------------------------------------------------------------------------------


def test_a_target_that_answers_with_other_weights_is_refused_and_what_serves_goes_on(caller: Caller) -> None:
    assert caller.ask().version == caller.serving
    script_faults(caller.workspace, {"fault": "ignore", "at": "reload", "times": 99})
    with pytest.raises(FingerprintMismatch, match="was told to answer with weights"):
        caller.call("rollback", cluster="tickets")
    assert caller.serves() == caller.serving
    assert (caller.ask().status, caller.ask().version) == (200, caller.serving)


def test_weights_that_were_exchanged_behind_a_warm_server_are_found_and_loaded_anew(caller: Caller) -> None:
    other = weights_directory(caller.workspace, caller.serving)
    caller.call("rollback", cluster="tickets", drill=True)
    record = server_of(caller.workspace, caller.before)
    load_merged(ServerAddress(record["port"], record["api_key"], record["served_name"]), str(other))
    page = caller.call("rollback", cluster="tickets")
    assert (page["version"], page["proof"], page["warm"]) == (caller.before, "match", False)
    assert server_of(caller.workspace, caller.before)["pid"] != record["pid"]


def test_a_target_whose_files_were_changed_is_refused(caller: Caller) -> None:
    folder = weights_directory(caller.workspace, caller.before)
    (file,) = folder.glob("*.safetensors")
    file.chmod(0o600)
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(ArtifactCorrupt):
        caller.call("rollback", cluster="tickets")
    assert caller.serves() == caller.serving


def test_a_version_that_does_not_answer_does_not_come_to_serve_and_its_signature_is_not_used(caller: Caller) -> None:
    notary = Notary()
    engine = Engine.open(caller.workspace, signing=notary, evidence=Clerk())
    try:
        engine.rollback("tickets", by="ada")
        engine.promote("tickets", caller.serving, by="agent:mcp")
        for state in ("canary", "production-accepted"):
            page = engine.promote("tickets", caller.serving, by="agent:mcp")
            assert page.request is not None
            request = records.stored_request(engine.store, page.request.request).stored.request
            signature = notary.sign(request, "Ada")
            if state == "production-accepted":
                script_faults(caller.workspace, {"fault": "die", "at": "reload", "times": 99})
                with pytest.raises(ModelsmithError):
                    engine.approve_promotion(request.id, signature, by="cli")
                assert records.serving(engine.store) == {"tickets": caller.before}
                script_faults(caller.workspace)
            assert engine.approve_promotion(request.id, signature, by="cli").state == state
        assert records.serving(engine.store) == {"tickets": caller.serving}
    finally:
        engine.close()


# ---- races and crashes -----------------------------------------------------------------------------------------------------------------


def test_of_rollbacks_at_once_one_wins(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(caller.workspace)
    together, outcomes = threading.Barrier(3), []
    prove = engine.production.prove

    def prove_together(cluster: str, version: str) -> Any:
        proof = prove(cluster, version)
        together.wait()
        return proof

    monkeypatch.setattr(engine.production, "prove", prove_together)

    def roll_back() -> None:
        try:
            outcomes.append(engine.rollback("tickets", by="agent:mcp").version)
        except StateConflict as conflict:
            outcomes.append(conflict.code)

    threads = [threading.Thread(target=roll_back) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["state_conflict", "state_conflict", caller.before]
    assert [event.kind for event in events_of(engine.store, "tickets")].count("serving_rolled_back") == 1
    engine.close()


@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
def test_a_daemon_killed_at_any_step_leaves_the_version_before_or_after(caller: Caller, step: str) -> None:
    command = [sys.executable, "-m", "tests.serve.dying_daemon", step, "--workspace", str(caller.workspace.root)]
    with subprocess.Popen(command, cwd=SOURCES, env=daemon_environment()) as dying:
        until(lambda: running_daemon(caller.workspace), 120)
        with pytest.raises(DaemonUnavailable):
            caller.call("rollback", cluster="tickets")
        assert dying.wait(60) == -signal.SIGKILL
    expected = caller.before if step in AFTER else caller.serving
    assert caller.serves() == expected
    assert (caller.ask().status, caller.ask().version) == (200, expected)
    if step in BEFORE:
        assert caller.call("rollback", cluster="tickets")["version"] == caller.before
        assert caller.ask().version == caller.before


def kill_server(caller: Caller, version: str) -> int:
    pid = int(server_of(caller.workspace, version)["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_server_killed_under_requests_is_replaced_and_none_fails(caller: Caller) -> None:
    with Crowd(caller) as crowd:
        crowd.until(lambda replies: len(replies) > 4)
        killed = kill_server(caller, caller.serving)
        seen = len(crowd.replies)
        crowd.until(lambda replies: len(replies) > seen + 12)
        assert {(reply.status, reply.version) for reply in crowd.stop()} == {(200, caller.serving)}
    assert server_of(caller.workspace, caller.serving)["pid"] != killed


def test_a_server_outlives_the_daemon_and_the_next_one_takes_it_up(caller: Caller) -> None:
    assert caller.ask().status == 200
    pid = server_of(caller.workspace, caller.serving)["pid"]
    kill_daemon(caller.workspace)
    assert (caller.ask().status, caller.ask().version) == (200, caller.serving)
    assert server_of(caller.workspace, caller.serving)["pid"] == pid


def test_what_serves_nobody_and_what_is_not_there_is_said_so(caller: Caller) -> None:
    caller.call("promote", cluster="tickets", version=caller.serving, to="rolled-back")
    assert caller.ask().status == 409
    assert "no version serves tickets" in caller.ask().text
    assert caller.ask(model="nobody").status == 404
    assert caller.call("rollback", cluster="tickets")["version"] == caller.before
    assert caller.ask().version == caller.before


# ---- by policy -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{"rollback_on_regression": True}, {}])
def test_a_version_that_is_measured_worse_than_its_evidence_is_rolled_back_where_the_policy_says_so(caller: Caller, policy: dict[str, Any]) -> None:
    configure(caller.workspace, policy=policy)
    shutil.rmtree(caller.workspace.state / "answers")
    script_faults(caller.workspace, {"fault": "wrong", "times": 10_000})
    run = caller.call("evaluate", cluster="tickets", subject=caller.serving)["run_id"]
    until(lambda: caller.call("run_status", run_id=run, wait_seconds=20)["state"] == "succeeded", 300)
    if not policy:
        assert caller.serves() == caller.serving
        return
    until(lambda: caller.serves() == caller.before, 120)
    caller.stop_daemon(servers=False)
    engine = Engine.open(caller.workspace)
    event = events_of(engine.store, "tickets")[-1]
    engine.close()
    assert (event.kind, event.actor, event.data["proof"]["verdict"]) == ("serving_rolled_back", "policy", "match")
    assert event.reason.startswith(f"{run} measured it worse than its evidence")
