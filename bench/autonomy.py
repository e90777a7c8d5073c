"""A simulated month: iterate runs that meet faults, and how many of them needed a person.

    python -m bench.autonomy --place DIR [--runs 100] [--seed 17] [--parallel 1]
    python -m bench.autonomy --page FILE.json        writes docs/autonomy.md from the document that a month printed

One workspace lives through the month, so that store, ledger, escalations and versions pile up as they do; in a second one each run is made
without a fault, and is what the first has to come to. All is as users have it, a daemon, its workers and a model server as processes, but for
the scripted double in a model's place and a daemon that loses patience in seconds (`tests/faults/arranged.py`). Clusters of four shapes live for
three runs each, of which each is to find a better version. `--parallel 2` makes the undisturbed run beside the other. A month that was stopped
goes on at its next run.

What befalls whom is drawn (`bench/befalling.py`); what came of it is judged from outside (`bench/outcomes.py`). A run that failed of something
known is met by an agent: the runbook that its error names, the run again. One that failed of something unknown, and whatever the runbook leaves
to a person, waits as an escalation; the bench then plays the person, who takes away the cause and lets the escalation's check be made. Prints
progress to stderr, and one JSON document last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from bench.autonomy_page import PAGE, page
from bench.befalling import FAULTS, Fault, Scene, clear_servers, draw
from bench.outcomes import Acted, artefact, judged, same_results, summed
from engine.base.files import read_json, write_atomic, write_json
from engine.base.paths import Workspace
from engine.config import ScriptedProfile
from engine.errors import ModelsmithError
from engine.escalate.runbooks.catalogue import runbook
from engine.jobs.types import FINAL_STATES
from server import client as reaching
from tests.faults import arranged
from tests.faults.leftovers import processes_of
from tests.faults.running import Ending, Place
from tests.server.daemons import Terminal
from tests.workspaces import LABELS, domain_file, rows, write_domain

SKILLS = (0.1, 0.4, 0.7, 0.97)
"""Of the base, and of the versions that the runs of a cluster are to find."""
TARGETS = (0.25, 0.55, 0.84)
STUBBORN_ROUNDS = 3
ESCALATED_SECONDS = 60.0
SETTLED_SECONDS = 1.0
GONE_SECONDS = 10.0
LOOKED_BACK = 10


class Shape(NamedTuple):
    """A kind of workflow."""

    train: int
    labels: tuple[str, ...] = LABELS
    fields: int = 1
    slices: tuple[str, ...] = ("channel",)


SHAPES = {
    "tickets": Shape(train=80),
    "queues": Shape(train=120, labels=(*LABELS, "warranty", "address", "feedback", "abuse")),
    "forms": Shape(train=80, fields=2),
    "few": Shape(train=40, labels=LABELS[:3], slices=()),
}
EVALUATED = 200


class Cluster(NamedTuple):
    """A cluster of the month, and how many of its runs are over."""

    name: str
    shape: str
    number: int
    runs: int = 0


# ---- the month -----------------------------------------------------------------------------------------------------------------------


class Month:
    """Two workspaces, and what has happened in them."""

    def __init__(self, root: Path, seed: int, parallel: int) -> None:
        self.root, self.seed, self.parallel = root, seed, parallel
        self.place, self.undisturbed = (Place(Workspace(root / name)) for name in ("month", "undisturbed"))
        for each in (self.place, self.undisturbed):
            each.workspace.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.alive: dict[str, Cluster] = {}
        self.acknowledged: dict[str, str] = {}
        """Runs that a caller was told of, and how they ended."""

    def play(self, number: int, faults: tuple[Fault, ...]) -> dict[str, Any]:
        """One run of the month, from the request to the last thing that anybody did about it."""
        cluster = self._cluster(number, faults)
        stubborn = any(fault.stubborn for fault in faults)
        profile = self._arrange_world(cluster, number, stubborn)
        rounds, key = STUBBORN_ROUNDS if stubborn else 1, f"run-{number}-{cluster.name}"
        with ThreadPoolExecutor(1) as beside:
            plain = (lambda: None) if stubborn else (lambda: undisturbed_run(self.undisturbed, cluster.name, key))
            waiting = beside.submit(plain) if self.parallel > 1 else None
            dice = random.Random(f"{self.seed} {number}")
            scene = Scene(self.place, cluster.name, profile, dice, max_iterations=rounds, idempotency_key=key)
            acted = self._disturbed(scene, faults, known=all(fault.known for fault in faults))
            wanted = waiting.result() if waiting is not None else plain()
        self.acknowledged |= {status["run_id"]: status["state"] for status in acted.runs}
        problems = (*scene.wrong, *self._lost(), *left_over(self.place.workspace))
        replanned = any(fault.replans for fault in faults)
        wrong = () if wanted is None else self._wrong_results(acted, wanted, replanned)
        seen = (*problems, *(wrong if acted.succeeded else ()))
        verdict = judged(acted, same=not wrong, problems=seen, stuck=self._stuck(acted) if stubborn else 0)
        goes_on = wanted is not None and acted.succeeded and not wrong and not replanned
        self._aged(cluster, goes_on)
        return {
            "run": number,
            "run_ids": [status["run_id"] for status in acted.runs],
            "cluster": cluster.name,
            "faults": [fault.name for fault in faults],
            "befell": [fault.name for fault, befell in zip(faults, acted.befell, strict=True) if befell],
            "outcome": verdict.outcome,
            "why": verdict.why,
            "error": acted.error,
            "escalations": list(acted.escalations),
            "by_person": acted.by_person,
            "attempts": attempts_of(self.place.workspace, acted.runs),
            "load": round(os.getloadavg()[0], 1),
            "seconds": round(acted.seconds, 1),
            "seconds_lost": round(max(0.0, acted.seconds - (0.0 if wanted is None else wanted["took"])), 1),
        }

    # -- the world -----------------------------------------------------------------------------------------------------------------

    def _cluster(self, number: int, faults: Sequence[Fault]) -> Cluster:
        """The cluster whose turn it is; for a fault of an accepted version one that has a version, if there is one."""
        if any(fault.stubborn for fault in faults):
            return self._new("stubborn", "tickets", number)
        shapes = list(SHAPES)
        turn = shapes[number % len(shapes) :] + shapes[: number % len(shapes)]
        if any(fault.incumbent for fault in faults):
            turn = sorted(turn, key=lambda shape: not (shape in self.alive and self.alive[shape].runs))
        shape = turn[0]
        return self.alive.setdefault(shape, self._new(shape, shape, number))

    def _new(self, name: str, shape: str, number: int) -> Cluster:
        """A cluster that nobody has used, though this run was begun before."""
        name = f"{name}-{number:03d}"
        while self.place.workspace.domain(name).exists():
            name += "-again"
        return Cluster(name, shape, number)

    def _aged(self, cluster: Cluster, goes_on: bool) -> None:
        """A cluster ends after its runs, or when it no longer is where the undisturbed one is."""
        if self.alive.get(cluster.shape, cluster).name == cluster.name:
            self.alive.pop(cluster.shape, None)
            if goes_on and cluster.runs + 1 < len(TARGETS):
                self.alive[cluster.shape] = cluster._replace(runs=cluster.runs + 1)

    def _arrange_world(self, cluster: Cluster, number: int, stubborn: bool) -> ScriptedProfile:
        """Both workspaces as they are before this run: its cluster, what it is to reach, and how able training makes the model."""
        skill = SKILLS[0] if stubborn else SKILLS[cluster.runs + 1]
        target = 0.9 if stubborn else TARGETS[cluster.runs]
        profile = ScriptedProfile(server=True, base_skill=SKILLS[0], trained_skill=skill, delay_seconds=0.005, training_steps=20)
        for each in (self.place, self.undisturbed):
            if not each.workspace.domain(cluster.name).exists():
                write_shape(each.workspace, cluster)
            file = read_json(each.workspace.clusters_file) if each.workspace.clusters_file.is_file() else {"clusters": {}}
            file["models"] = {"double": profile.model_dump(mode="json")}
            file["clusters"][cluster.name] = {"domain": cluster.name, "model": "double", "targets": {"pass_rate": target}}
            file |= {"budgets": {"default": {"max_iterations": 1, "max_minutes": 30}}, "defaults": {"seed": self.seed * 1000 + number}}
            write_json(each.workspace.clusters_file, file)
        return profile

    # -- a run and its faults ------------------------------------------------------------------------------------------------------

    def _disturbed(self, scene: Scene, faults: Sequence[Fault], *, known: bool) -> Acted:
        """The run with its faults, and what an agent and, after it, a person did where it failed."""
        self._pass(scene)  # of a month that was stopped
        self.place.call("fleet_status")  # the daemon runs before anything strikes
        for fault in faults:
            fault.ready(scene)
        began = time.monotonic()
        scene.run_id = self.place.call("iterate", **scene.asked)["run_id"]
        coming = list(faults)

        def look(status: dict[str, Any]) -> None:
            coming[:] = [fault for fault in coming if not fault.strike(scene, status)]

        status = self.place.watch(scene.run_id, look, look_seconds=0.2)
        befell = tuple(fault.befell(scene) for fault in faults)
        self._pass(scene)
        acted = Acted(runs=(status,), befell=befell, seconds=time.monotonic() - began)
        if status["state"] != "succeeded":
            acted = self._remedied(scene, acted, agent=known)
        elif any(fault.stubborn for fault in faults):
            acted = self._escalated(acted)._replace(by_person=True)
        for put_back in scene.undo:
            put_back()
        return acted._replace(seconds=time.monotonic() - began)

    def _pass(self, scene: Scene) -> None:
        """What lasts as long as a run is over."""
        arranged.clear(scene.workspace)
        clear_servers(scene.workspace, scene.profile)
        scene.memory.pop("leave", lambda: None)()

    def _remedied(self, scene: Scene, acted: Acted, *, agent: bool) -> Acted:
        """What was done about a run that failed: by an agent, who executes the runbook that the error names; else by the person who is asked."""
        failed = acted.runs[0]
        acted = acted._replace(error=f"{failed['error']['code']}: {failed['error']['message']}"[:300])
        acted = self._escalated(acted)
        if agent:
            acted = acted._replace(runbook=carried_out(self.place.workspace, scene.cluster, failed))
        if acted.runbook != "verified":
            acted = acted._replace(by_person=True)
            for put_back in scene.undo:
                put_back()
        for each in acted.escalations:
            acted = acted._replace(unresolved=(*acted.unresolved, *resolve(self.place, each)))
        return acted._replace(runs=(failed, *self._runs_after(scene.cluster, failed["run_id"])))

    def _escalated(self, acted: Acted) -> Acted:
        """The same with the escalations that the run gave rise to."""
        opened = self._escalations_of(acted.runs[0]["run_id"])
        return acted._replace(escalations=opened, incomplete=tuple(what for each in opened for what in artefact(self.place.workspace, each)))

    def _runs_after(self, cluster: str, failed: str) -> list[dict[str, Any]]:
        """Iterate runs of the cluster that were asked for after the failed one, oldest first."""
        found = [read_json(path) for path in self.place.workspace.runs.glob("iterate-*/config.json")]
        names = [each["run_id"] for each in found if each["cluster"] == cluster and each["run_id"] not in (*self.acknowledged, failed)]
        return sorted((self.place.call("run_status", run_id=name) for name in names), key=lambda status: status["created_at"])

    # -- looking -------------------------------------------------------------------------------------------------------------------

    def _escalations_of(self, run_id: str) -> tuple[str, ...]:
        """Escalations in which the run or a step of it is named, when there is one and no more come."""
        before: tuple[str, ...] = ()
        deadline = time.monotonic() + ESCALATED_SECONDS
        steps = [step["run_id"] for step in self.place.call("run_status", run_id=run_id).get("steps", [])]
        while True:
            self.place.call("fleet_status")
            whole = [path.parent for path in self.place.workspace.escalations.glob("*/manifest.json")]
            found = [read_json(folder / "escalation.json") for folder in whole]
            sources = {each["id"]: {seen["source"] for seen in each["latest"]} for each in found}
            named = tuple(name for name, seen in sources.items() if seen & {run_id, *steps})
            if (named and named == before) or time.monotonic() > deadline:
                return named
            before = named
            time.sleep(SETTLED_SECONDS)

    def _stuck(self, acted: Acted) -> int:
        """How many patterns of the cluster nothing explains or has moved, as everybody can see."""
        cluster = str(acted.runs[0]["cluster"])
        patterns = self.place.call("diagnose", cluster=cluster, limit=20)["patterns"]
        return min(5, sum(line["failure_class"] in ("unknown", "persistent") for line in patterns))

    def _lost(self) -> list[str]:
        """Acknowledged runs that are gone or ended differently when asked for again."""
        lost = []
        for run_id, state in list(self.acknowledged.items())[-LOOKED_BACK:]:
            try:
                found = self.place.call("run_status", run_id=run_id)["state"]
            except ModelsmithError as error:
                found = error.code
            if found != state:
                lost.append(f"{run_id} had ended as {state}, and is {found}")
        return lost

    def _wrong_results(self, acted: Acted, wanted: dict[str, Any], replanned: bool) -> tuple[str, ...]:
        """In what the first run that succeeded differs from the undisturbed one. One that was `replanned` may come to the same scores by other
        weights."""
        status = next((each for each in acted.runs if each["state"] == "succeeded"), None)
        if status is None:
            return ("no run succeeded",)
        came, plain = Ending.of(status), Ending.of(wanted)
        if came != (plain._replace(accepted=came.accepted) if replanned and len(came.accepted) == len(plain.accepted) else plain):
            return (f"the run came to {came}, undisturbed to {plain}",)
        return same_results((self.place.workspace, status), (self.undisturbed.workspace, wanted), weights=not replanned)

    def close(self) -> tuple[str, ...]:
        """Stops both workspaces' processes; whatever is left of them then."""
        for each in (self.place, self.undisturbed):
            for run in each.call("fleet_status")["active_runs"]:
                each.call("cancel", run_id=run["run_id"])
                each.watch(run["run_id"], lambda _: None, look_seconds=1.0)
            each.stop()
        return tuple(left for each in (self.place, self.undisturbed) for left in gone(lambda each=each: processes_of(each.workspace.root)))


def write_shape(workspace: Workspace, cluster: Cluster) -> None:
    """The domain of a cluster, whose rows are its own."""
    shape = SHAPES[cluster.shape]
    fields = ("intent", "again")[: shape.fields]
    schema = {
        "type": "object",
        "properties": {field: {"type": "string", "enum": list(shape.labels)} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    plain = domain_file()
    contract = plain["contract"] | {"output": {"json_schema": schema, "max_tokens": 32}}
    checks = [{"kind": "choice", "name": field, "path": field} for field in fields]
    judging = {"checks": checks, "slices": list(shape.slices), "floor": ["majority"], "accept": {"floor": "ignore"}}
    train, evaluation = (labelled(shape, fields, cluster.number * 2000 + start, count) for start, count in ((0, shape.train), (1000, EVALUATED)))
    write_domain(workspace, cluster.name, domain_file(contract=contract, eval=judging), train=train, evaluation=evaluation)


def labelled(shape: Shape, fields: Sequence[str], start: int, count: int) -> list[dict[str, Any]]:
    """Rows with the labels of a shape."""
    return [
        row | {"expected": {field: shape.labels[(start + at) * (7 + 4 * place) // 3 % len(shape.labels)] for place, field in enumerate(fields)}}
        for at, row in enumerate(rows(start, count))
    ]


def undisturbed_run(place: Place, cluster: str, key: str) -> dict[str, Any]:
    """The same run without a fault, and its seconds."""
    began = time.monotonic()
    status = place.watch(place.call("iterate", cluster=cluster, max_iterations=1, idempotency_key=key)["run_id"], lambda _: None, look_seconds=5.0)
    if status["state"] != "succeeded":
        raise SystemExit(f"the undisturbed run of {cluster} failed: {status['error']}")
    return status | {"took": time.monotonic() - began}


def carried_out(workspace: Workspace, cluster: str, failed: dict[str, Any]) -> str:
    """What came of the runbook that the error names, executed as an agent does at the command line."""
    book = runbook(failed["error"]["runbook"])
    known = {"cluster": cluster, "run_id": failed["error"].get("details", {}).get("run_id", failed["run_id"])}
    words = [f"{name}={value}" for name, value in known.items() if name in book.inputs]
    return str(Terminal(workspace).terminal("runbook", "run", book.id, *words, "--execute").json.get("outcome", "refused"))


def resolve(place: Place, escalation: str) -> tuple[str, ...]:
    """Has the check of an escalation made, and closes it when that passes; otherwise what is not met."""
    page = place.call("resolve_escalation", escalation=escalation, action="verify")
    while (run_id := page.get("run_id")) is not None:
        while place.call("run_status", run_id=run_id, wait_seconds=5)["state"] not in FINAL_STATES:
            pass
        page = place.call("resolve_escalation", escalation=escalation, action="verify")
    if page["escalations"][0]["state"] == "verified":
        page = place.call("resolve_escalation", escalation=escalation, action="close")
    state = page["escalations"][0]["state"]
    return () if state == "closed" else (f"{escalation} is {state}: {'; '.join(page.get('unmet', ()))}"[:300],)


def left_over(workspace: Workspace) -> list[str]:
    """Processes of runs that are there though every run has ended."""
    return [f"left over: {line}"[:200] for line in gone(lambda: [line for line in processes_of(workspace.root) if str(workspace.runs) in line])]


def gone(look: Callable[[], list[str]]) -> list[str]:
    """What is still there after a while."""
    deadline = time.monotonic() + GONE_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def attempts_of(workspace: Workspace, runs: Sequence[dict[str, Any]]) -> int:
    """The highest attempt of a worker in these runs."""
    announced = (workspace.run(step["run_id"]).root / "process.json" for status in runs for step in status.get("steps", []))
    return max((int(read_json(path)["epoch"]) for path in announced if path.is_file()), default=0)


# ---- the command ---------------------------------------------------------------------------------------------------------------------


def main() -> int:
    """Plays what is missing of the month and prints all; or writes the page."""
    parser = argparse.ArgumentParser(description="A month of iterate runs that meet faults.")
    parser.add_argument("--place", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.page is not None:
        write_atomic(PAGE, page(json.loads(options.page.read_text().splitlines()[-1])).encode())
        return 0
    if options.place is None:
        parser.error("--place names where the month is lived")
    print(json.dumps(month(options.place.resolve(), options.runs, options.seed, options.parallel)))
    return 0


def month(root: Path, runs: int, seed: int, parallel: int, drawn: Sequence[tuple[Fault, ...]] | None = None) -> dict[str, Any]:
    """The document of a month. `drawn`: other faults than those of the seed."""
    started, reaching.daemon_command = reaching.daemon_command, arranged.command
    played = Month(root, seed, parallel)
    left: tuple[str, ...] = ()
    try:
        for number, faults in enumerate(drawn or draw(runs, seed)):
            path = root / "played" / f"{number:03d}.json"
            if not path.is_file():
                write_json(path, played.play(number, faults))
                say(read_json(path))
    finally:
        left = played.close()
        reaching.daemon_command = started
    return document(root, runs, seed, left)


def document(root: Path, runs: int, seed: int, left: Sequence[str] = ()) -> dict[str, Any]:
    """What was played at a place, in figures."""
    played = [read_json(path) for path in sorted((root / "played").glob("*.json"))]
    loose = {"left_over": list(left), **uncounted(Month(root, seed, 1).place.workspace, played)}
    figures = summed(played[:runs], FAULTS)
    return {"bench": "autonomy", "seed": seed, "cores": os.cpu_count(), **figures, **loose, "played": played[:runs]}


def uncounted(workspace: Workspace, records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Escalations that no run of the month was counted with: `strays` of its runs, and those of runs whose play was cut off (the machine stopped) and
    played anew, which went on by themselves when it started again."""
    counted = {name for record in records for name in record["escalations"]}
    runs = {run for record in records for run in record["run_ids"]}
    found: dict[str, list[str]] = {"strays": [], "of_plays_cut_off": []}
    for path in sorted(workspace.escalations.glob("*/escalation.json")):
        if path.parent.name not in counted:
            sources = {each["source"] for each in read_json(path)["latest"]}
            found["strays" if sources & runs else "of_plays_cut_off"].append(path.parent.name)
    return found


def say(record: dict[str, Any]) -> None:
    """Progress, for people."""
    met = " + ".join(record["faults"]) or "no fault"
    print(f"{record['run']:3d}  {record['outcome']:9s} {record['seconds']:6.1f} s  {met}  {record['why']}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
