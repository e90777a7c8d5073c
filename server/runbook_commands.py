"""`modelsmith runbook`: list, show, carry out, and write as skills.

Acts go where everybody's go: tools to the daemon, commands to this same command line in a process of its own. What a runbook leaves to somebody is
not done here, and said.

Exit codes: 0 verified, planned or shown; 1 it waits for somebody, or did not come to what was expected; 2 and 3 as everywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, DaemonUnavailable
from engine.escalate.runbooks.catalogue import runbook
from engine.escalate.runbooks.execution import execute, plan
from engine.escalate.runbooks.types import Did, Execution
from server.client import Client, daemon_environment
from server.failures import EXIT_BELOW_TARGET, EXIT_DONE
from server.render import command as command_line
from server.render import plain
from server.runbooks import listing, shown, write_skills
from server.terminal import Told
from tools import TOOLS
from tools.tool import find_tool

COMMAND_SECONDS = 600.0
MARKS = {"planned": "would do", "done": "done", "left_out": "left out", "by_hand": "YOURS", "unexpected": "NOT AS EXPECTED"}

Add = Callable[..., argparse.ArgumentParser]


class Surfaces:
    """Performs acts as a user of this workspace would."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.client = Client(workspace)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A tool's answer, from the daemon."""
        return self.client.call(find_tool(TOOLS, tool), arguments)

    def command(self, words: tuple[str, ...]) -> dict[str, Any]:
        """What the command says with `--json`: its result, or its error."""
        line = [sys.executable, "-P", "-m", "server.cli", *words, "--workspace", str(self.workspace.root), "--json"]
        said = subprocess.run(
            line, cwd=self.workspace.root, env=daemon_environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        try:
            answer = json.loads(said.stdout.rstrip("\n").rsplit("\n", 1)[-1])
        except ValueError:
            raise DaemonUnavailable(f"`modelsmith {' '.join(words)}` ended with {said.returncode} and said nothing that can be read") from None
        return answer if isinstance(answer, dict) else {"answer": answer}


def add_runbook(commands: Any, telling: Add, common: argparse.ArgumentParser, exiting: Callable[..., argparse.ArgumentParser]) -> None:
    """The command group. `telling` adds a command that needs no workspace, `exiting` one with an exit code of its own."""
    group = commands.add_parser("runbook", help="what to do about an error or a failure class").add_subparsers(metavar="COMMAND", required=True)
    telling(group, "list", "list the runbooks with the codes and classes that each covers", list_runbooks, common)
    show = telling(group, "show", "show a runbook", show_runbook, common)
    show.add_argument("name", help="its id, an error code, or a failure class")
    run = exiting(group, "run", "carry out what a runbook leaves to nobody, or show what that would be", run_runbook, common)
    run.add_argument("name", help="its id, an error code, or a failure class")
    run.add_argument("inputs", nargs="*", metavar="NAME=VALUE", help="what the runbook has to know, such as cluster=travel")
    how = run.add_mutually_exclusive_group(required=True)
    how.add_argument("--dry-run", action="store_true", help="do nothing, and show every step with its arguments")
    how.add_argument("--execute", action="store_true", help="carry it out, up to a step that is somebody's to do")
    run.add_argument("--done", type=int, nargs="+", default=[], metavar="STEP", help="steps of yours that are done and that no check shows")
    skills = telling(group, "skills", "write each runbook as a skill for coding agents", skills_of_runbooks, common)
    skills.add_argument("folder", metavar="DIR", help="where the folders of the skills go, such as .claude/skills")


def list_runbooks(_arguments: argparse.Namespace, _workspace: Workspace) -> Told:
    """All runbooks in short."""
    found = listing()
    lines = [found["summary"]]
    for each in found["runbooks"]:
        lines += ["", f"{each['runbook']}  ({each['severity']})  {each['title']}", f"  {', '.join([*each['errors'], *each['classes']])}"]
    return Told(found, "\n".join(lines))


def show_runbook(arguments: argparse.Namespace, _workspace: Workspace) -> Told:
    """One runbook."""
    found = shown(arguments.name)
    return Told(found, found["text"])


def run_runbook(arguments: argparse.Namespace, workspace: Workspace) -> tuple[int, Told]:
    """Carries out a runbook, or plans it."""
    book, inputs = runbook(arguments.name), _inputs(arguments.inputs)
    made = execute(book, inputs, Surfaces(workspace), arguments.done) if arguments.execute else plan(book, inputs)
    code = EXIT_DONE if made.outcome in ("verified", "planned") else EXIT_BELOW_TARGET
    return code, Told(made.model_dump(mode="json", exclude_none=True), execution_text(made))


def skills_of_runbooks(arguments: argparse.Namespace, _workspace: Workspace) -> Told:
    """Writes the skills."""
    names = write_skills(Path(arguments.folder))
    summary = f"Wrote {len(names)} skills to {arguments.folder}."
    return Told({"summary": summary, "skills": names}, "\n".join([summary, *(f"  {name}/SKILL.md" for name in names)]))


def execution_text(made: Execution) -> str:
    """What came of a runbook, step by step."""
    lines = [plain(made.summary)]
    for did in made.steps:
        mark = MARKS["by_hand" if did.by and did.outcome == "planned" else did.outcome]
        lines += ["", f"{did.number or ' '}  {did.title}: {mark}", *(f"   {line}" for line in _told(did))]
    return "\n".join(lines)


def _told(did: Did) -> list[str]:
    call = command_line(did.tool, did.arguments) if did.tool else f"modelsmith {' '.join(did.command)}" if did.command else ""
    return [*([call] if call else []), *plain(did.said).splitlines()]


def _inputs(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if odd := [name for name, equals, _ in pairs if not equals]:
        raise ArgumentInvalid(f"{odd[0][:80]!r} is no input", next_step="Give inputs as NAME=VALUE, such as cluster=travel.")
    return {name: value for name, _, value in pairs}
