"""The faults of a simulated month: how each is brought about, for real, while an iterate run works, and the seeded drawing of which run meets which.

A fault gets a scene (`Scene`). It is made ready before the run is asked for, and strikes at one look or several, until it says that it has struck;
whether it befell the run is looked up afterwards. Known faults are rows of `tests/faults/matrix.py`, or of the tests of model servers, and are
brought about by the same means; the unknown ones are in no rule of the product.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from engine.base.files import read_json, write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.errors import RunActive
from tests.faults.arranged import arrange, arranged
from tests.faults.running import Place, flip_a_byte
from tests.generate.helpers import script_faults, server_directory

STEPS = ("0.compile", "0.floor", "0.measure_base", "1.curate", "1.train", "1.measure_challenger")
SERVED = ("1.train", "1.measure_challenger")
"""Steps in which the model server has something to do in every run."""
KINDS = ("compile", "floor", "evaluate", "curate", "train")
LIMITED_SECONDS = 2.0
MANY = 999


class Scene:
    """A run and what befalls it."""

    def __init__(self, place: Place, cluster: str, profile: ScriptedProfile, dice: random.Random, **asked: Any) -> None:
        self.place, self.cluster, self.profile, self.dice = place, cluster, profile, dice
        self.asked = {"cluster": cluster, **asked}
        """With what the run is asked for."""
        self.workspace = place.workspace
        self.run_id = ""
        self.memory: dict[str, Any] = {}
        """What a fault has to remember between two looks."""
        self.undo: list[Callable[[], None]] = []
        """What a person would do about it: put back what was changed."""
        self.wrong: list[str] = []
        """What the product did that it must never do."""

    def running(self, status: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Steps that are worked on, with their runs."""
        return ((step["step"], step["run_id"]) for step in status.get("steps", []) if step["state"] == "running")

    def server_record(self) -> dict[str, Any]:
        """What is recorded of the model server."""
        path = server_directory(self.workspace, self.profile) / "server.json"
        return dict(read_json(path)) if path.is_file() else {}

    def end_servers(self) -> None:
        """SIGKILL to the model servers, so that the run has to start one."""
        for pid in self.place.server_pids():
            os.kill(pid, signal.SIGKILL)


Ready = Callable[[Scene], None]
Strike = Callable[[Scene, dict[str, Any]], bool]
Befell = Callable[[Scene], bool]
Cause = Literal["passes", "lasts", "stays"]
"""How long it is there: it passes by itself; it lasts until the run has ended; it stays until a person undoes it."""


class Fault(NamedTuple):
    """One row of the table."""

    name: str
    known: bool
    injected: str
    cause: Cause
    ready: Ready
    strike: Strike
    befell: Befell
    incumbent: bool = False
    """It takes a cluster that has an accepted version."""
    stubborn: bool = False
    """It takes a cluster whose training moves nothing."""
    replans: bool = False
    """Its remedy trains by another plan, so that the same scores come from other weights than undisturbed."""


def nothing(_: Scene) -> None:
    """What most faults do before the run is asked for."""


def never(_: Scene, __: dict[str, Any]) -> bool:
    """What faults do that were made ready: there is nothing left to do."""
    return True


def struck(name: str) -> Befell:
    """Whether a strike has noted that it struck."""
    return lambda scene: bool(scene.memory.get(name))


# ---- signals -------------------------------------------------------------------------------------------------------------------------


def signalled(victim: str, number: int, steps: Sequence[str]) -> tuple[Ready, Strike, Befell]:
    """A signal to the victim in a step that is drawn, or in the first one after it in which the victim is met."""
    name = f"{victim} {number}"

    def ready(scene: Scene) -> None:
        scene.memory[f"{name} from"] = scene.dice.randrange(len(steps))

    def strike(scene: Scene, status: dict[str, Any]) -> bool:
        wanted = steps[scene.memory[f"{name} from"] :]
        scene.memory[name] = any(step in wanted and scene.place.kill(victim, run_id, number) for step, run_id in scene.running(status))
        return bool(scene.memory[name])

    return ready, strike, struck(name)


def torn_checkpoint(scene: Scene, status: dict[str, Any]) -> bool:
    """The trainer is killed, and the files of its newest checkpoint end in the middle."""
    for step, run_id in scene.running(status):
        checkpoints = scene.workspace.run(run_id).work / "checkpoints"
        if step == "1.train" and any(checkpoints.glob("*/verified.json")) and scene.place.kill("worker", run_id, signal.SIGSTOP):
            newest = max(checkpoints.iterdir(), key=lambda each: int(each.name.partition("-")[2]))
            for file in newest.iterdir():
                file.write_bytes(file.read_bytes()[:20])
            scene.memory["torn"] = scene.place.kill("worker", run_id)
    return bool(scene.memory.get("torn"))


def damaged_database(scene: Scene, status: dict[str, Any]) -> bool:
    """The daemon is killed, and a page in the middle of its database is other bytes."""
    if any(step in STEPS[2:] for step, _ in scene.running(status)) and scene.place.kill("daemon", scene.run_id):
        data = bytearray(scene.workspace.database.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4096] = os.urandom(4096)
        scene.workspace.database.write_bytes(data)
        scene.memory["damaged"] = True
    return bool(scene.memory.get("damaged"))


def limited_files(scene: Scene, _: dict[str, Any]) -> bool:
    """The daemon's files may not grow for two seconds."""
    if "limited" not in scene.memory:
        (pid,) = scene.place.daemon_pids()
        limit(pid, scene.workspace.journal.stat().st_size)
        scene.memory["limited"] = (pid, time.monotonic())
        return False
    pid, since = scene.memory["limited"]
    if time.monotonic() - since < LIMITED_SECONDS:
        return False
    limit(pid, None)
    return True


def limit(pid: int, most: int | None) -> None:
    """The longest file that a process may write; a process that is gone needs none."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most is None else most, hard))
    except ProcessLookupError:
        return


# ---- workers -------------------------------------------------------------------------------------------------------------------------


def arranged_worker(does: str, kinds: Sequence[str], times: int = 1) -> tuple[Ready, Strike, Befell]:
    """Something befalls the next workers of a kind that is drawn (`tests/faults/arranged_worker.py`)."""

    def ready(scene: Scene) -> None:
        arrange(scene.workspace, worker={"kind": scene.dice.choice(kinds), "does": does, "times": times})

    return ready, never, worker_befell


def worker_befell(scene: Scene) -> bool:
    """Whether a worker took up what was arranged."""
    return bool(arranged(scene.workspace).get("worker", {}).get("befell"))


def room_again(scene: Scene, status: dict[str, Any]) -> bool:
    """A worker has met a full disk, and the daemon sees one; there is room when the run says that it waits for it."""
    if not (arranged(scene.workspace).get("full") and "waits for disk" in status["summary"]):
        return False
    arrange(scene.workspace, full=False)
    return True


def clock_jumps(scene: Scene, status: dict[str, Any]) -> bool:
    """The wall clock is set by days, and back when the next step works."""
    steps = [step for step, _ in scene.running(status)]
    if "set in" not in scene.memory:
        if any(step in STEPS[1:] for step in steps):
            arrange(scene.workspace, days=scene.dice.choice((3.0, -3.0, 30.0)))
            scene.memory["set in"] = steps
        return False
    if not steps or set(steps) & set(scene.memory["set in"]):
        return False
    arrange(scene.workspace, days=0.0)
    return True


# ---- model servers -------------------------------------------------------------------------------------------------------------------


def scripted(*faults: dict[str, Any], fresh: bool = False) -> tuple[Ready, Strike, Befell]:
    """Faults of the stand-in server (`engine/generate/stand_in_server.py`). `fresh`: of one that has to be started."""

    def ready(scene: Scene) -> None:
        if fresh:
            scene.end_servers()
        script_faults(scene.workspace, *faults, profile=scene.profile)

    def befell(scene: Scene) -> bool:
        left = read_json(server_directory(scene.workspace, scene.profile) / "faults.json")
        return any(after["times"] < before.get("times", 1) for before, after in zip(faults, left, strict=True) if "times" in after)

    return ready, never, befell


class Stranger(socketserver.StreamRequestHandler):
    """Answers everything with 200 and an empty document."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


class StrangersServer(socketserver.ThreadingTCPServer):
    """Takes a port that was just left."""

    allow_reuse_address = True
    daemon_threads = True


def squat(scene: Scene) -> None:
    """The server is gone, and somebody else answers on its port until the run has ended."""
    port = scene.server_record().get("port")
    if port is None:
        return
    scene.end_servers()
    try:
        server = StrangersServer(("127.0.0.1", port), Stranger)
    except OSError:  # the undisturbed workspace's server has taken it meanwhile
        return
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    scene.memory["squatted"] = port

    def leave() -> None:
        server.shutdown()
        server.server_close()

    scene.memory["leave"] = leave


def squatted(scene: Scene) -> bool:
    """Whether the server that answered had to take another port."""
    return "squatted" in scene.memory and scene.server_record().get("port") != scene.memory["squatted"]


# ---- bytes ---------------------------------------------------------------------------------------------------------------------------


def changed(name: str, found: Callable[[Scene], Path | None]) -> tuple[Ready, Strike, Befell]:
    """A byte of a file is another one before the run begins; sound bytes are a person's to put back, if nobody has."""

    def ready(scene: Scene) -> None:
        path = found(scene)
        if path is None:
            return
        sound = path.read_bytes()
        flip_a_byte(path)
        scene.undo.append(lambda: None if path.read_bytes() == sound else flip_a_byte(path))
        scene.memory[name] = True

    return ready, never, struck(name)


def base_file(scene: Scene) -> Path:
    """Weights of the base."""
    return scene.workspace.models / f"double-scripted-{scene.profile.base_skill:g}" / "weights" / "adapter_model.safetensors"


def adapter_file(scene: Scene) -> Path | None:
    """Weights of the version that the cluster goes on from; None where that is the base."""
    clusters = scene.place.call("fleet_status")["clusters"]
    incumbent = next(line["incumbent"] for line in clusters if line["cluster"] == scene.cluster)
    found = list(scene.workspace.artifacts.glob(f"*/{incumbent.removeprefix('v-')}*"))
    return found[0] / "adapter_model.safetensors" if found else None


# ---- callers and people --------------------------------------------------------------------------------------------------------------


def submitted_twice(scene: Scene, _: dict[str, Any]) -> bool:
    """The same request under the same key."""
    answer = scene.place.call("iterate", **scene.asked)
    if answer["run_id"] != scene.run_id:
        scene.wrong.append(f"one key made two runs: {scene.run_id} and {answer['run_id']}")
    scene.memory["twice"] = True
    return True


def submissions_race(scene: Scene, _: dict[str, Any]) -> bool:
    """Another request while the run works."""
    try:
        answer = scene.place.call("iterate", **{**scene.asked, "idempotency_key": f"{scene.asked['idempotency_key']}-other"})
        scene.wrong.append(f"{answer['run_id']} was taken in beside {scene.run_id}")
    except RunActive:
        scene.memory["raced"] = True
    return True


def half_a_domain(scene: Scene, _: dict[str, Any]) -> bool:
    """Somebody's editor saved half of domain.yaml."""
    file = scene.workspace.domain(scene.cluster) / "domain.yaml"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2] + "\n  - {")
    scene.undo.append(lambda: _written(file, whole))
    scene.memory["half"] = True
    return True


def rows_added(scene: Scene, _: dict[str, Any]) -> bool:
    """Somebody adds a row while the run works."""
    file = scene.workspace.domain(scene.cluster) / "data" / "train.jsonl"
    whole = file.read_text()
    row = json.loads(whole.splitlines()[0])
    file.write_text(whole + json.dumps(row | {"id": "added", "input": {"message": "something else entirely, said by nobody"}}) + "\n")
    scene.undo.append(lambda: _written(file, whole))
    scene.memory["added"] = True
    return True


def _written(file: Path, text: str) -> None:
    file.write_text(text)


# ---- the table -----------------------------------------------------------------------------------------------------------------------


def known(name: str, injected: str, cause: Cause, means: tuple[Ready, Strike, Befell], **more: bool) -> Fault:
    return Fault(name, True, injected, cause, *means, **more)


def unknown(name: str, injected: str, cause: Cause, means: tuple[Ready, Strike, Befell], **more: bool) -> Fault:
    return Fault(name, False, injected, cause, *means, **more)


FAULTS: tuple[Fault, ...] = (
    known("worker killed in any step", "SIGKILL in a random step", "passes", signalled("worker", signal.SIGKILL, STEPS)),
    known("worker alive but stalled", "SIGSTOP in a random step", "passes", signalled("worker", signal.SIGSTOP, STEPS)),
    known("worker that always dies", "SIGKILL in each attempt of a random step", "lasts", arranged_worker("dies", KINDS, MANY)),
    known("daemon killed in any step", "SIGKILL in a random step", "passes", signalled("daemon", signal.SIGKILL, STEPS)),
    known("damaged database", "daemon killed, a page overwritten", "passes", (nothing, damaged_database, struck("damaged"))),
    known("files of the store may not grow", "RLIMIT_FSIZE for two seconds", "passes", (nothing, limited_files, struck("limited"))),
    known("training out of memory", "RLIMIT_AS below what a micro batch takes", "lasts", arranged_worker("hungry", ("train",), MANY)),
    known("training out of memory however small", "RLIMIT_AS below every rung", "lasts", arranged_worker("starved", ("train",), MANY)),
    known("loss that is no number", "the first training diverges", "passes", arranged_worker("diverges", ("train",)), replans=True),
    known("loss that is no number at any rate", "each training diverges", "lasts", arranged_worker("diverges", ("train",), MANY), replans=True),
    known("torn checkpoint", "trainer killed, its checkpoint cut short", "passes", (nothing, torn_checkpoint, struck("torn"))),
    known("disk full while a worker writes", "/dev/full, and room later", "passes", (arranged_worker("fills", KINDS)[0], room_again, worker_befell)),
    known("disk full again and again", "/dev/full in each attempt", "lasts", arranged_worker("disk", KINDS, MANY)),
    known("changed base", "a flipped bit on the disk", "stays", changed("base", base_file)),
    known("changed version", "a flipped bit on the disk", "stays", changed("version", adapter_file), incumbent=True),
    known("model server killed in any step", "SIGKILL in a random step", "passes", signalled("server", signal.SIGKILL, SERVED)),
    known("server hangs", "accepts and is silent", "passes", scripted({"fault": "hang", "times": 1})),
    known("server slow", "an answer after 12 s", "passes", scripted({"fault": "slow", "seconds": 12, "times": 1})),
    known(
        "server answers nonsense",
        "half replies, replies that are no JSON, HTTP 500",
        "passes",
        scripted({"fault": "half", "times": 5}, {"fault": "garbage", "times": 5}, {"fault": "error", "times": 3}),
    ),
    known("server never starts", "exits at each start", "lasts", scripted({"fault": "die", "at": "start", "times": MANY}, fresh=True)),
    known("wrong weights answer", "keeps the old weights, once", "passes", scripted({"fault": "ignore", "at": "reload", "times": 1})),
    known("stranger on the port", "another server where ours was", "lasts", (squat, never, squatted)),
    known("wall clock set by days, forward and back", "a clock shim under the daemon", "passes", (nothing, clock_jumps, struck("set in"))),
    known("submitted twice", "one key, twice", "passes", (nothing, submitted_twice, struck("twice"))),
    known("submissions that race", "another request while the run works", "passes", (nothing, submissions_race, struck("raced"))),
    unknown("exception that nobody foresaw", "a worker raises KeyError", "lasts", arranged_worker("raises", KINDS, MANY)),
    unknown("error of no known code", "a worker ends with a code of no rule", "lasts", arranged_worker("raises_code", KINDS, MANY)),
    unknown("result without what it should hold", "a worker hands in an empty result", "lasts", arranged_worker("hands_in_nothing", KINDS, MANY)),
    unknown("pattern that training does not move", "trained is as able as untrained", "lasts", (nothing, never, lambda _: True), stubborn=True),
    unknown("server refuses every question", "HTTP 400", "lasts", scripted({"fault": "refuse", "times": MANY})),
    unknown("server answers what no text is", "NUL, a surrogate, a million letters", "lasts", scripted({"fault": "hostile", "times": MANY})),
    unknown("half a configuration", "domain.yaml saved half-way", "stays", (nothing, half_a_domain, struck("half"))),
    unknown("rows that change while they are read", "a training row is added", "stays", (nothing, rows_added, struck("added"))),
)
KNOWN, UNKNOWN = ([fault for fault in FAULTS if fault.known is wanted] for wanted in (True, False))
KINDS_MET = {
    "worker killed": ("worker killed in any step", "worker that always dies"),
    "stalled or stale process": ("worker alive but stalled",),
    "daemon killed": ("daemon killed in any step",),
    "damaged store": ("damaged database",),
    "failing system call": ("files of the store may not grow",),
    "out of memory": ("training out of memory", "training out of memory however small"),
    "diverging training": ("loss that is no number", "loss that is no number at any rate"),
    "damaged checkpoint": ("torn checkpoint",),
    "disk full": ("disk full while a worker writes", "disk full again and again"),
    "changed weights": ("changed base", "changed version", "wrong weights answer"),
    "model server killed": ("model server killed in any step",),
    "sick model server": ("server hangs", "server slow", "server answers nonsense", "server never starts"),
    "port taken": ("stranger on the port",),
    "clock": ("wall clock set by days, forward and back",),
    "repeated request": ("submitted twice",),
    "races": ("submissions that race",),
}
"""By kind of the matrix, the known faults that are drawn."""
NOT_DRAWN = {
    "orphans": "the workers of a month start no others",
    "signals": "they are of a terminal",
    "power cut": "it takes a disk that is put together again",
    "odd file system": "the month has one",
    "repeating failure": "it is about the runs of one failure",
    "damaged journal": "nothing works in a workspace until a person has put the journal back",
    "altered package": "an iterate run makes none",
    "pickles and archives": "an iterate run takes none in",
    "oversized input": "it is refused before there is a run",
    "path traversal": "it is refused before there is a run",
    "malformed configuration": "half a configuration is among the unknown ones: the run is there already",
    "bad rows": "rows that change are among the unknown ones",
    "hostile text": "it is no fault to a run",
    "version skew": "the month has one version of the code",
    "request that cannot be": "it is refused before there is a run",
}
"""Kinds of the matrix that cannot befall an iterate run here, and why."""
MIX = ("none",) * 2 + ("two",) * 2 + ("unknown",) * 3 + ("one",) * 13
"""Of each twenty runs."""


def draw(runs: int, seed: int) -> list[tuple[Fault, ...]]:
    """Which faults befall each run. All known ones are met before one is met again; two at once are such as pass by themselves."""
    dice = random.Random(f"month {seed}")
    mix, one, new = (_deck(cards, dice) for cards in (MIX, KNOWN, UNKNOWN))
    passing = [fault for fault in KNOWN if fault.cause == "passes" and not _arranges(fault)]
    dealt: dict[str, Callable[[], list[Fault]]] = {
        "none": list,
        "one": lambda: [next(one)],
        "two": lambda: dice.sample(passing, 2),
        "unknown": lambda: [next(new)],
    }
    return [tuple(dealt[next(mix)]()) for _ in range(runs)]


def _arranges(fault: Fault) -> bool:
    """It needs the one place for what is arranged, or for what a server is told: two such would overwrite each other."""
    return fault.strike in (never, room_again)


def _deck(cards: Sequence[Any], dice: random.Random) -> Iterator[Any]:
    """The cards in a new order each time that they are all dealt."""
    while True:
        yield from dice.sample(cards, len(cards))


def clear_servers(workspace: Workspace, profile: ScriptedProfile) -> None:
    """No fault of the model server is left over."""
    write_json(server_directory(workspace, profile) / "faults.json", [])
