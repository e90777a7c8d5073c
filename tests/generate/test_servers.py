"""The life of a managed server, with the stand-in in vLLM's place."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.base.paths import Workspace
from engine.base.processes import identity_of
from engine.errors import ArtifactCorrupt, FingerprintMismatch, ServerFailed
from engine.generate import plans, servers
from engine.generate.scripted import scripted_base
from engine.generate.scripted_rule import answers_as_expected
from engine.generate.servers import ModelServers
from engine.generate.types import Weights
from tests.generate.conftest import tagged_processes
from tests.generate.helpers import (
    PROFILE,
    Collected,
    pid_of,
    plan_of,
    questions,
    references,
    script_faults,
    scripted,
    server_directory,
    trained,
)

LATER = "2100-01-01T00:00:00.000Z"


def test_a_batch_is_answered_by_the_weights_that_were_asked_for(workspace: Workspace) -> None:
    requests = questions(40)
    expected = references(requests)
    for weights, skill in ((None, 0.3), (trained(workspace, "good", 0.9), 0.9), (None, 0.3)):
        collected = Collected()
        generator = scripted(workspace, requests, weights)
        assert generator.prove().verdict == "match"
        generator.answer(requests, collected)
        assert collected.complete(requests)
        right = {key for key, answer in collected.answers.items() if answer.text == expected[key]}
        assert right == {request.key for request in requests if answers_as_expected(request.key, skill)}


def test_likelihoods_of_answers_are_those_of_the_weights_and_outlive_a_killed_server(workspace: Workspace) -> None:
    (request,) = questions(1)
    answers = ["one", "another", "a third one"]
    generator = scripted(workspace, [request], trained(workspace, "good", 0.9))
    before = generator.likelihoods(request, answers)
    assert before is not None
    assert len(before) == 3
    os.kill(pid_of(workspace), signal.SIGKILL)
    assert generator.likelihoods(request, answers) == before
    assert scripted(workspace, [request], None).likelihoods(request, answers) != before


def test_one_server_carries_every_version_without_a_restart(workspace: Workspace) -> None:
    requests = questions(2)
    pids = set()
    for name in ("a", "b", "c"):
        scripted(workspace, requests, trained(workspace, name, 0.5)).answer(requests, Collected())
        pids.add(pid_of(workspace))
    assert len(pids) == 1


@pytest.mark.parametrize(
    "faults",
    [
        [{"fault": "die", "after": 7}],
        [{"fault": "die", "after": 7}, {"fault": "die", "after": 3}, {"fault": "die", "after": 0}],
        [{"fault": "die", "at": "reload"}],
        [{"fault": "die", "at": "start"}],
        [{"fault": "half", "times": 5}, {"fault": "garbage", "times": 5}, {"fault": "error", "times": 3}],
        [{"fault": "hostile", "times": 5}],
    ],
    ids=["dies once", "dies again and again", "dies while weights are loaded", "does not start at first", "answers nonsense", "answers what nobody asked for"],
)
def test_every_question_is_answered_once_whatever_the_server_does(workspace: Workspace, faults: list[dict[str, object]]) -> None:
    requests, collected = questions(40), Collected()
    script_faults(workspace, *faults)
    scripted(workspace, requests).answer(requests, collected)
    assert collected.complete(requests)
    assert collected.errors == []


def test_a_server_killed_in_the_middle_of_a_batch_is_replaced(workspace: Workspace) -> None:
    requests, collected = questions(60), Collected()
    killed: list[int] = []

    def kill_once(answer: object) -> None:
        collected(answer)  # type: ignore[arg-type]
        if len(collected.answers) == 10 and not killed:
            killed.append(pid_of(workspace))
            os.kill(killed[0], signal.SIGKILL)

    profile = PROFILE.model_copy(update={"delay_seconds": 0.005})
    scripted(workspace, requests, profile=profile).answer(requests, kill_once)
    assert collected.complete(requests)
    assert collected.errors == []
    assert pid_of(workspace) != killed[0]


def test_a_server_that_hangs_is_replaced(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "STAND_IN_HEALTH_SECONDS", 0.5)
    monkeypatch.setattr("engine.generate.open.STAND_IN_TIMEOUT_SECONDS", 0.5)
    requests, collected = questions(30), Collected()
    script_faults(workspace, {"fault": "hang", "after": 12})
    scripted(workspace, requests).answer(requests, collected)
    assert collected.complete(requests)
    assert collected.errors == []


def test_a_slow_answer_is_asked_for_again_without_a_restart(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.generate.open.STAND_IN_TIMEOUT_SECONDS", 0.5)
    requests, collected = questions(10), Collected()
    generator = scripted(workspace, requests)
    generator.prove()
    pid = pid_of(workspace)
    script_faults(workspace, {"fault": "slow", "seconds": 2})
    generator.answer(requests, collected)
    assert collected.complete(requests)
    assert (collected.errors, pid_of(workspace)) == ([], pid)
    assert max(answer.attempts for answer in collected.answers.values()) == 2


def test_a_server_that_never_starts_is_given_up_with_its_log(workspace: Workspace) -> None:
    script_faults(workspace, {"fault": "die", "at": "start", "times": 99})
    with pytest.raises(ServerFailed) as failure:
        scripted(workspace, questions(1)).prove()
    assert "does not start" in failure.value.details["log"]
    assert tagged_processes(workspace) == []


def test_a_server_that_dies_at_every_question_is_given_up_and_what_was_answered_is_kept(workspace: Workspace) -> None:
    requests, collected = questions(400), Collected()
    script_faults(workspace, {"fault": "die", "after": 20, "times": 99})
    with pytest.raises(ServerFailed):
        scripted(workspace, requests).answer(requests, collected)
    assert len(collected.answers) >= 20
    assert set(collected.times.values()) == {1}


def test_wrong_weights_are_never_answered_from(workspace: Workspace) -> None:
    requests, collected = questions(5), Collected()
    script_faults(workspace, {"fault": "ignore", "at": "reload", "times": 99})
    with pytest.raises(FingerprintMismatch):
        scripted(workspace, requests, trained(workspace, "good", 0.9)).answer(requests, collected)
    assert collected.answers == {}


def test_weights_that_were_not_loaded_at_first_are_loaded_again(workspace: Workspace) -> None:
    script_faults(workspace, {"fault": "ignore", "at": "reload"})
    assert scripted(workspace, questions(1), trained(workspace, "good", 0.9)).prove().verdict == "match"


def test_a_cache_that_a_request_still_holds_is_asked_for_again_without_a_restart(workspace: Workspace) -> None:
    scripted(workspace, questions(1)).prove()
    started = pid_of(workspace)
    script_faults(workspace, {"fault": "busy", "at": "reset", "times": 3})
    assert scripted(workspace, questions(1), trained(workspace, "good", 0.9)).prove().verdict == "match"
    assert pid_of(workspace) == started


def test_weights_exchanged_behind_our_back_are_noticed_by_the_proof(workspace: Workspace) -> None:
    generator = scripted(workspace, questions(1))
    generator.prove()
    record = json.loads((server_directory(workspace) / "server.json").read_text())
    other = trained(workspace, "other", 0.9)
    with_key = servers.ServerAddress(record["port"], record["api_key"], record["served_name"])
    servers.server_control.load_merged(with_key, str(other.adapter_dir))
    with pytest.raises(FingerprintMismatch):
        generator.prove()
    assert generator.prove().verdict == "match"  # the server that lied was replaced


def test_a_crash_between_loading_and_recording_means_that_the_weights_are_loaded_again(workspace: Workspace) -> None:
    requests, collected = questions(20), Collected()
    good = trained(workspace, "good", 1.0)
    scripted(workspace, requests).prove()
    code = (
        "import os; from pathlib import Path; from engine.base.paths import Workspace; from engine.generate import servers\n"
        "from tests.generate.helpers import questions, scripted, trained\n"
        f"w = Workspace(Path({str(workspace.root)!r}))\n"
        "servers.ModelServers._record_proved = lambda *a: os._exit(7)\n"
        "scripted(w, questions(1), trained(w, 'good', 1.0)).prove()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    record = json.loads((server_directory(workspace) / "server.json").read_text())
    assert record["loaded"] is None
    scripted(workspace, requests).answer(requests, collected)  # the base: not what the crashed process had loaded
    assert {a.text == references(requests)[k] for k, a in collected.answers.items()} == {True, False}
    assert scripted(workspace, requests, good).prove().verdict == "match"


def test_a_version_without_its_files_is_refused_before_the_server_is_told(workspace: Workspace) -> None:
    generator = scripted(workspace, questions(1), Weights(digest="0" * 64, adapter_dir=str(workspace.root / "gone")))
    with pytest.raises(ArtifactCorrupt):
        generator.prove()


def test_a_version_whose_bytes_have_changed_on_disk_is_never_loaded(workspace: Workspace) -> None:
    weights = trained(workspace, "good", 0.9)
    directory = Path(str(weights.adapter_dir))
    merged = weights.model_copy(update={"merged_dir": str(directory), "merged_digest": weights.digest})
    spoilt = next(path for path in directory.iterdir() if path.suffix == ".json")
    spoilt.write_bytes(spoilt.read_bytes() + b" ")
    with pytest.raises(ArtifactCorrupt, match="bytes have changed"):
        scripted(workspace, questions(1), merged).prove()


def test_two_processes_share_one_server(workspace: Workspace) -> None:
    code = (
        "from pathlib import Path; from engine.base.paths import Workspace\n"
        "from tests.generate.helpers import Collected, pid_of, questions, scripted\n"
        f"w = Workspace(Path({str(workspace.root)!r})); c = Collected(); r = questions(30)\n"
        "scripted(w, r).answer(r, c); assert c.complete(r); print(pid_of(w))\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({worker.communicate(timeout=60)[0] for worker in workers}) == 1
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(tagged_processes(workspace)) == 1


def test_batches_with_different_weights_take_turns_and_each_gets_its_own(workspace: Workspace) -> None:
    requests = questions(60)
    profile = PROFILE.model_copy(update={"delay_seconds": 0.003})
    results: dict[str, Collected] = {}

    def measure(name: str, skill: float) -> None:
        for round_number in range(3):
            collected = results[f"{name}{round_number}"] = Collected()
            scripted(workspace, requests, trained(workspace, name, skill), profile).answer(requests, collected)

    threads = [threading.Thread(target=measure, args=entry) for entry in (("all", 1.0), ("none", 0.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = references(requests)
    for name, collected in results.items():
        assert collected.complete(requests)
        assert {answer.text == expected[key] for key, answer in collected.answers.items()} == {name.startswith("all")}


@pytest.mark.parametrize("says", [(b'{"data": [{"id": "gpt"}]}',), itertools.repeat(b" " * 65536)], ids=["another model", "without end"])
def test_a_stranger_on_the_port_is_not_taken_for_our_server(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, says: Iterable[bytes]) -> None:
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked has heard enough
                for part in says:
                    self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    stranger = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=stranger.serve_forever, args=(0.01,), daemon=True).start()
    ports = [stranger.server_port, servers.free_port()]
    monkeypatch.setattr(servers, "free_port", lambda: ports.pop(0) if ports else servers.free_port())
    try:
        assert scripted(workspace, questions(1)).prove().verdict == "match"
    finally:
        stranger.shutdown()
        stranger.server_close()
    assert ports == []


def test_a_server_that_lists_other_models_is_replaced(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "STAND_IN_START_SECONDS", 1.0)
    script_faults(workspace, {"fault": "stranger", "at": "models", "times": 5})
    assert scripted(workspace, questions(1)).prove().verdict == "match"


def test_a_recycled_pid_is_never_signalled(workspace: Workspace) -> None:
    generator = scripted(workspace, questions(1))
    generator.prove()
    path = server_directory(workspace) / "server.json"
    record = json.loads(path.read_text())
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path.write_text(json.dumps(record | {"pid": bystander.pid}))
    assert generator.prove().verdict == "match"
    assert bystander.poll() is None
    bystander.communicate(b"\n", timeout=10)


def test_a_record_of_before_the_last_boot_names_no_server(workspace: Workspace) -> None:
    scripted(workspace, questions(1)).prove()
    path = server_directory(workspace) / "server.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    assert ModelServers(workspace).status() == []


def test_a_start_that_was_killed_before_it_was_recorded_leaves_no_server(workspace: Workspace) -> None:
    generator = scripted(workspace, questions(1))
    generator.prove()
    orphan = pid_of(workspace)
    (server_directory(workspace) / "server.json").unlink()
    generator.prove()
    assert tagged_processes(workspace) == [pid_of(workspace)]
    assert pid_of(workspace) != orphan


def test_a_changed_profile_replaces_the_server(workspace: Workspace) -> None:
    scripted(workspace, questions(1)).prove()
    first = pid_of(workspace)
    scripted(workspace, questions(1), profile=PROFILE.model_copy(update={"delay_seconds": 0.001})).prove()
    assert pid_of(workspace) != first
    assert len(tagged_processes(workspace)) == 1


def test_warming_starts_a_server_without_waiting_and_the_next_use_finds_it(workspace: Workspace) -> None:
    ModelServers(workspace).warm("double", PROFILE, scripted_base(workspace, "double", PROFILE), "cpu")
    assert [line.state for line in ModelServers(workspace).status()] == ["starting"]
    pid = pid_of(workspace)
    scripted(workspace, questions(1)).prove()
    assert pid_of(workspace) == pid


def test_status_says_what_runs_and_what_it_answers_as(workspace: Workspace) -> None:
    good = trained(workspace, "good", 0.9)
    assert ModelServers(workspace).status() == []
    scripted(workspace, questions(1), good).prove()
    (line,) = ModelServers(workspace).status()
    assert (line.base, line.state, line.answers_as, line.pid) == ("double", "healthy", good.digest, pid_of(workspace))
    assert line.memory_bytes is not None
    assert line.memory_bytes > 1 << 20
    os.kill(pid_of(workspace), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while identity_of(pid_of(workspace)) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [line.state for line in ModelServers(workspace).status()] == ["stopped"]


def test_an_idle_server_is_stopped_and_a_used_one_is_not(workspace: Workspace) -> None:
    requests = questions(1)
    generator = scripted(workspace, requests)
    seen: list[list[str]] = []
    generator.answer(requests, lambda _: seen.append(ModelServers(workspace).stop_idle(LATER)))
    assert seen == [[]]
    assert ModelServers(workspace).stop_idle("2000-01-01T00:00:00.000Z") == []
    assert ModelServers(workspace).stop_idle(LATER) == [plan_of(workspace).key]
    assert tagged_processes(workspace) == []
    generator.answer(requests, Collected())


def test_servers_make_room_for_training_unless_they_are_answering(workspace: Workspace) -> None:
    requests = questions(1)
    generator = scripted(workspace, requests)
    during: list[list[str]] = []
    generator.answer(requests, lambda _: during.append(ModelServers(workspace).stop_for_training(1 << 60, "cpu")))
    assert during == [[]]
    assert ModelServers(workspace).stop_for_training(1, "cpu") == []
    assert ModelServers(workspace).stop_for_training(1 << 60, "cpu") == [plan_of(workspace).key]


def test_on_a_gpu_every_free_server_makes_room_because_vllm_takes_its_share_whole(workspace: Workspace) -> None:
    scripted(workspace, questions(1)).prove()
    assert ModelServers(workspace).stop_for_training(1, "cuda") == [plan_of(workspace).key]


def test_waiting_for_a_server_ends_when_the_caller_is_cancelled(workspace: Workspace) -> None:
    class Stopped(Exception):
        pass

    def cancelled() -> None:
        raise Stopped

    script_faults(workspace, {"fault": "stranger", "at": "models", "times": 999})
    weights = trained(workspace, "a", 0.5)
    with pytest.raises(Stopped), ModelServers(workspace).answering(plan_of(workspace), weights, check_cancelled=cancelled):
        pass


def test_the_key_stands_in_no_command_line_and_in_no_readable_file(workspace: Workspace) -> None:
    scripted(workspace, questions(1)).prove()
    path = server_directory(workspace) / "server.json"
    key = json.loads(path.read_text())["api_key"]
    assert path.stat().st_mode & 0o077 == 0
    assert key.encode() not in Path(f"/proc/{pid_of(workspace)}/cmdline").read_bytes()
    assert key not in (server_directory(workspace) / "server.log").read_text()


def test_versions_answer_as_adapters_beside_each_other_each_under_the_hash_of_its_content(workspace: Workspace) -> None:
    plan = plan_of(workspace)._replace(adapters=True)
    fleet = ModelServers(workspace)
    good, bad = trained(workspace, "good", 0.9), trained(workspace, "bad", 0.1)
    base = Weights(digest=plan.base.digest, fingerprint=plan.base.fingerprint)
    names = {}
    for weights in (base, good, bad, good):
        with fleet.answering(plan, weights) as session:
            names[weights.digest] = session.answers_to
            assert fleet.measure(session, weights).verdict == "match"
    assert names[good.digest] == f"adapter-{good.digest[:32]}"
    assert len(set(names.values())) == 3
    with fleet.answering(plan, bad) as session:
        assert fleet.measure(session, good).verdict == "mismatch"
    record = json.loads((server_directory(workspace) / "server.json").read_text())
    assert record["adapters"] == [base.digest, good.digest, bad.digest]


def test_a_server_that_serves_is_apart_from_the_one_that_measurements_change(workspace: Workspace) -> None:
    measuring, fleet = plan_of(workspace), ModelServers(workspace)
    serving = measuring._replace(slot="serve-good")
    good, other = trained(workspace, "good", 0.9), trained(workspace, "other", 0.1)
    with fleet.answering(serving, merged(good)):
        pass
    with fleet.answering(measuring, merged(other)):
        pass
    hold = fleet.hold(serving, merged(good))
    assert hold is not None
    assert fleet.measure(hold.session, good).verdict == "match"
    assert fleet.hold(serving, merged(other)) is None
    assert fleet.stop_idle(LATER) == [measuring.key]
    hold.release()
    assert fleet.stop_idle(LATER) == [serving.key]
    assert fleet.hold(serving, merged(good)) is None


def test_where_versions_serve_an_adapter_is_loaded_while_others_answer_and_a_wrong_one_costs_them_nothing(workspace: Workspace) -> None:
    plan, fleet = plan_of(workspace)._replace(adapters=True, slot="serve"), ModelServers(workspace)
    good, other, broken = (trained(workspace, name, 0.5) for name in ("good", "other", "broken"))
    with fleet.answering(plan, good):
        pass
    hold = fleet.hold(plan, good)
    assert hold is not None
    with fleet.answering(plan, other) as session:
        assert session.address == hold.session.address
        assert fleet.measure(session, other).verdict == "match"
    with pytest.raises(FingerprintMismatch), fleet.answering(plan, broken.model_copy(update={"fingerprint": good.fingerprint})):
        pass
    assert fleet.measure(hold.session, good).verdict == "match"
    hold.release()


def merged(weights: Weights) -> Weights:
    """The double's adapter directory is also its merged checkpoint."""
    return weights.model_copy(update={"merged_dir": weights.adapter_dir})
