"""The command line. Each tool is a command made from the tool table; a few more manage the daemon, the store and files.

Exit codes: 0 done and passed, 1 done and below target (or cancelled, or stopped by a gate), 2 bad request, 3 infrastructure; 130 after Ctrl-C, which
stops watching and never the run. With `--json` the last line of stdout is one JSON document: the result, or {"error": ...}. Progress goes to stderr.

Commands talk to the daemon over HTTP and start it when there is none; so this imports neither MCP nor the database.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.base.files import write_atomic
from engine.base.paths import Workspace
from engine.errors import ArgumentInvalid, DaemonUnavailable
from engine.loading import find_workspace
from server import approver_list, fix_approving
from server.approving import approve, passkey_page
from server.client import Client, daemon_command, daemon_environment, ensure_daemon, running_daemon, wait_until_gone
from server.failures import EXIT_BELOW_TARGET, EXIT_DONE, exit_code_of, failure_of
from server.opening import NAMES, open_page
from server.render import evaluate_summary, iterate_summary, plain, render
from server.runbook_commands import add_runbook
from server.terminal import Told, read_object
from server.version import VERSION
from server.watch import Display, watch
from tools import TOOLS
from tools.escalate import ESCALATIONS
from tools.export import EXPORT
from tools.onboard import ONBOARD_DOMAIN, ONBOARD_MODEL
from tools.schema import input_schema
from tools.tool import Tool

EXIT_INTERRUPTED = 130
STOP_SECONDS = 60.0
HELP_COLUMNS = 98

EPILOG = """\
exit codes: 0 done and passed, 1 done and below target, 2 bad request, 3 infrastructure
with --json the last line of stdout is one JSON document; progress goes to stderr"""

KEY_HELP = "the key to sign with: a private key, or the .pub file of one that an ssh-agent holds"

SUMMARIES = {"iterate": iterate_summary, "evaluate": evaluate_summary}
"""How the end of a watched run is told; other kinds are shown field by field."""

Command = Callable[[argparse.Namespace, Workspace], int]
Telling = Callable[[argparse.Namespace, Workspace], Told]
Exiting = Callable[[argparse.Namespace, Workspace], tuple[int, Told]]


class Parser(argparse.ArgumentParser):
    """argparse whose refusals are errors like all others."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentInvalid(f"{self.prog}: {message}", next_step=f"See `{self.prog} --help`.")


# ---- the commands made from the table ------------------------------------------------------------------------------------------------


def command_name(tool: Tool) -> str:
    """`fleet_status` as a command: `fleet-status`. The underscored form works too."""
    return tool.name.replace("_", "-")


def add_tool(commands: Any, tool: Tool, common: argparse.ArgumentParser) -> None:
    """A command with the tool's arguments. Values stay text here; the tool's own record checks them, so all surfaces refuse alike."""
    description = textwrap.fill(tool.description, HELP_COLUMNS)
    parser = commands.add_parser(
        command_name(tool), help=tool.title.lower(), description=description, parents=[common], allow_abbrev=False, epilog=EPILOG
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    schema = input_schema(tool)
    for name, about in schema["properties"].items():
        _add_argument(parser, tool, name, about, required=name in schema.get("required", []))
    if tool.starts_run or tool.waits:
        follow = parser.add_mutually_exclusive_group()
        default = tool.starts_run and tool is not ONBOARD_MODEL
        follow.add_argument("--watch", action="store_true", default=default, help="follow the run to its end" + (" (default)" if default else ""))
        follow.add_argument("--no-wait", dest="watch", action="store_false", help="answer at once" + ("" if default else " (default)"))
    if tool is EXPORT:
        parser.add_argument("--out", metavar="DIR", help="when it is made, copy the package to this new folder")
    parser.set_defaults(command=lambda arguments, workspace: run_tool(tool, arguments, workspace), tool=tool)


def _add_argument(parser: argparse.ArgumentParser, tool: Tool, name: str, about: Mapping[str, Any], *, required: bool) -> None:
    help_text = about.get("description", "").replace("%", "%%")
    if examples := about.get("examples"):
        help_text += f" Example: {json.dumps(examples[0]) if isinstance(examples[0], dict) else examples[0]}"
    if "enum" in about:
        help_text += f" One of: {', '.join(about['enum'])}."
    if about.get("default") is not None:
        default = about["default"]
        help_text += f" Default: {' '.join(default) if isinstance(default, list) else json.dumps(default)}."
    if name in tool.positional:
        parser.add_argument(name, help=help_text, nargs=None if required else "?")
        return
    option = f"--{name.replace('_', '-')}"
    kind = about.get("type")
    if kind == "boolean":
        parser.add_argument(option, dest=name, action=argparse.BooleanOptionalAction, default=None, help=help_text)
    elif kind == "array":
        parser.add_argument(option, dest=name, nargs="+", metavar="NAME", help=help_text, required=required)
    elif kind == "object":
        parser.add_argument(option, dest=name, metavar="FILE", help=f"{help_text} A JSON file, or - for standard input.", required=required)
    else:
        parser.add_argument(option, dest=name, metavar=name.rsplit("_", 1)[-1].upper(), help=help_text, required=required)


def run_tool(tool: Tool, arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Calls the tool; follows its run if asked to."""
    client = Client(workspace)
    result = client.call(tool, tool_arguments(tool, arguments, workspace))
    run_id = result.get("run_id")
    if not getattr(arguments, "watch", False) or run_id is None:
        show(arguments, result, render(result))
        return EXIT_BELOW_TARGET if result.get("open") is False else EXIT_DONE
    if tool.starts_run:
        print(plain(result["summary"]), file=sys.stderr)
    status = result
    try:
        status = watch(client, run_id, Display(sys.stderr))
    except KeyboardInterrupt:
        again, end = f"modelsmith run-status {run_id} --watch", f"modelsmith cancel {run_id}"
        print(f"\nno longer watching; the run goes on\n  watch again   {again}\n  end it        {end}", file=sys.stderr)
        show(arguments, status, "")
        return EXIT_INTERRUPTED
    show(arguments, status, SUMMARIES.get(status["kind"], render)(status))
    code = run_exit_code(status)
    if code == EXIT_DONE and getattr(arguments, "out", None) is not None:
        hand_out(status, Path(arguments.out), workspace)
    return code


def hand_out(status: Mapping[str, Any], target: Path, workspace: Workspace) -> None:
    """Copies the package of an export to a new folder, whole or not at all. What is there already stays."""
    from engine.store.artifacts import Artifacts

    if target.exists():
        raise ArgumentInvalid(f"{target} is there already; the package was not copied", next_step="Name a folder that is not there.")
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(Artifacts(workspace.artifacts).path(status["output"]["artifacts"]["package"]), incoming)
    incoming.rename(target)
    print(f"copied to {target}", file=sys.stderr)


def tool_arguments(tool: Tool, arguments: argparse.Namespace, workspace: Workspace) -> dict[str, Any]:
    """What was given, by argument name. Files are read here, where the caller's directory is known."""
    schema = input_schema(tool)["properties"]
    given = {name: getattr(arguments, name) for name in schema if getattr(arguments, name, None) is not None}
    for name, value in given.items():
        if schema[name].get("type") == "object":
            given[name] = read_object(value)
        elif name.endswith("_path"):
            given[name] = in_workspace(value, workspace)
    return given


def in_workspace(given: str, workspace: Workspace) -> str:
    """A path as the daemon wants it: relative to the workspace. One outside is left as it is, and refused there like everywhere."""
    path = Path(os.path.abspath(given))
    if path.is_relative_to(workspace.root):
        return path.relative_to(workspace.root).as_posix()
    return given if not (path.exists() and not Path(given).is_absolute()) else str(path)


def run_exit_code(status: Mapping[str, Any]) -> int:
    """The exit code of a run that has ended. A measurement is held against its cluster's targets, where it has any, a teacher against the floor,
    an export against what was evaluated."""
    if status["state"] == "failed":
        return exit_code_of((status.get("error") or {}).get("code", ""))
    if status["state"] != "succeeded":
        return EXIT_BELOW_TARGET
    output = status.get("output") or {}
    if status["kind"] == "iterate":
        return EXIT_DONE if output.get("targets_met") else EXIT_BELOW_TARGET
    return EXIT_BELOW_TARGET if any(output.get(name) is False for name in ("targets_met", "usable", "agrees")) else EXIT_DONE


def show(arguments: argparse.Namespace, result: Mapping[str, Any], text: str) -> int:
    """The result on stdout: for a person, or as one line of JSON."""
    print(json.dumps(result, ensure_ascii=False) if arguments.json else text)
    return EXIT_DONE


# ---- the other commands --------------------------------------------------------------------------------------------------------------


def serve_mcp(_arguments: argparse.Namespace, workspace: Workspace) -> int:
    """MCP on stdin and stdout, in front of the daemon."""
    from server.mcp_server import serve_stdio

    serve_stdio(Client(workspace).call)
    return EXIT_DONE


def daemon_start(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Makes sure that a daemon runs."""
    daemon = ensure_daemon(workspace)
    result = {"summary": f"The daemon answers at {daemon.url} (pid {daemon.pid}).", "url": daemon.url, "mcp": f"{daemon.url}/mcp", "pid": daemon.pid}
    return show(arguments, result, f"{result['summary']}\nIts token: `modelsmith token`, or .modelsmith/daemon.json.")


def daemon_run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """The daemon in the foreground, in place of this process."""
    command = [*daemon_command(workspace), "--port", str(arguments.port)]
    os.execve(command[0], command, daemon_environment())  # noqa: S606 - our own interpreter, with no shell


def daemon_stop(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Stops the daemon, if there is one; `servers` says whether the model servers stop with it."""
    servers = getattr(arguments, "servers", False)
    daemon = ensure_daemon(workspace) if servers else running_daemon(workspace)
    if daemon is None:
        return show(arguments, {"summary": "No daemon runs.", "stopped": False}, "No daemon runs.")
    Client(workspace).stop_daemon(daemon, servers=servers)
    if not wait_until_gone(daemon.identity, STOP_SECONDS):
        raise DaemonUnavailable(f"the daemon (pid {daemon.pid}) did not stop in {STOP_SECONDS:.0f} s", next_step="Look at .modelsmith/daemon.log.")
    summary = "The daemon and the model servers have stopped." if servers else "The daemon has stopped. Runs and model servers go on."
    return show(arguments, {"summary": summary, "stopped": True}, summary)


def daemon_status(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Whether a daemon runs; starts none."""
    daemon = running_daemon(workspace)
    if daemon is None:
        return show(arguments, {"summary": "No daemon runs.", "running": False}, "No daemon runs; any command starts one.")
    facts = {"running": True, "url": daemon.url, "pid": daemon.pid, "version": daemon.version, "started_at": daemon.started_at}
    summary = f"The daemon answers at {daemon.url} (pid {daemon.pid}, since {daemon.started_at})."
    return show(arguments, {"summary": summary, **facts}, summary)


def print_token(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """The token that HTTP callers send, and how to add the server to a client."""
    daemon = ensure_daemon(workspace)
    result = {"url": f"{daemon.url}/mcp", "token": daemon.token}
    header = f'--header "Authorization: Bearer $(modelsmith token --workspace {workspace.root})"'
    print(f"claude mcp add --transport http modelsmith {daemon.url}/mcp {header}", file=sys.stderr)
    return show(arguments, result, daemon.token)


def domain_new(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """`onboard-domain` by the words that a person looks for."""
    arguments.rows_path = arguments.source
    return run_tool(ONBOARD_DOMAIN, arguments, workspace)


def model_add(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """`onboard-model` by the words that a person looks for."""
    arguments.profile = arguments.source
    return run_tool(ONBOARD_MODEL, arguments, workspace)


def escalation_list(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """`escalations` by the words that a person looks for."""
    return run_tool(ESCALATIONS, arguments, workspace)


def store_command(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Verifies or rebuilds the database. Both need the store to themselves, so the daemon is stopped first."""
    from server.upkeep import rebuild_store, verify_store

    if (daemon := running_daemon(workspace)) is not None:
        Client(workspace).stop_daemon(daemon, servers=False)
        wait_until_gone(daemon.identity, STOP_SECONDS)
    result = verify_store(workspace) if arguments.what == "verify" else rebuild_store(workspace)
    return show(arguments, result, render(result))


def verify_evidence(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Checks an evidence bundle or a package, wherever it lies."""
    from server.verifying import verify

    code, result, text = verify(arguments, workspace)
    show(arguments, result, text)
    return code


def register_package(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Puts a package that verifies into an MLflow registry."""
    from engine.promote.evidence.keys import read_public_key
    from engine.promote.package.mlflow_registry import register
    from server.verifying import key_file

    key = read_public_key(key_file(arguments.key, workspace))
    made = register(Path(arguments.package), key, tracking_uri=arguments.mlflow, name=arguments.name, alias=arguments.alias)
    what = "Registered" if made.created else "Already registered"
    summary = f"{what} as {made.name} version {made.number}, alias {made.alias}."
    return show(arguments, {"summary": summary, **made.model_dump(mode="json")}, f"{summary}\nIts files: {made.source}")


def print_report(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """A measurement as an HTML page, on stdout or in a file."""
    page = Client(workspace).report(arguments.evaluation_id)
    if arguments.out is None:
        print(page)
        return EXIT_DONE
    write_atomic(Path(arguments.out), page.encode())
    return show(arguments, {"summary": f"Wrote {arguments.out}.", "file": arguments.out}, f"Wrote {arguments.out}.")


# ---- the parser ----------------------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = Parser(add_help=False)
    common.add_argument("--workspace", type=Path, default=argparse.SUPPRESS, help="a folder with clusters.json (default: this one or above it)")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document, as the last line of stdout")
    parser = Parser(
        prog="modelsmith",
        description="Turns a small open model into a specialist for one workflow, proves that it is better, and keeps it better.",
        epilog=EPILOG,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"modelsmith {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for tool in TOOLS:
        add_tool(commands, tool, common)
    _add_onboarding(commands, common)
    _add_approvers(commands, common)
    _add_escalations(commands, common)
    add_runbook(commands, _add_telling, common, _add_exiting)
    _add_upkeep(commands, common)
    return parser


def _add(commands: Any, name: str, help_text: str, command: Command, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", parents=[common], allow_abbrev=False
    )
    parser.set_defaults(command=command)
    return parser


def _add_onboarding(commands: Any, common: argparse.ArgumentParser) -> None:
    domain = commands.add_parser("domain", help="scaffold a domain from labelled rows").add_subparsers(metavar="COMMAND", required=True)
    new = _add(domain, "new", "scaffold a domain, and a cluster of its name, from labelled rows", domain_new, common)
    new.add_argument("name", help="folder of the new domain")
    new.add_argument("--from", dest="source", required=True, metavar="ROWS", help="JSON-lines file in the workspace, one labelled row a line")
    model = commands.add_parser("model", help="add a model profile").add_subparsers(metavar="COMMAND", required=True)
    add = _add(model, "add", "validate a model profile and add it to clusters.json", model_add, common)
    add.add_argument("name", help="key of the new entry in `models`")
    add.add_argument("--from", dest="source", required=True, metavar="FILE", help="JSON file with the profile, or - for standard input")
    add.add_argument("--smoke-test", action=argparse.BooleanOptionalAction, default=None, help="also start the model and ask it one question")


def _add_telling(commands: Any, name: str, help_text: str, act: Telling, parent: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A command that needs neither daemon nor workspace."""
    command = _add(commands, name, help_text, lambda arguments, workspace: show(arguments, *act(arguments, workspace)), parent)
    command.set_defaults(anywhere=True)
    return command


def _add_exiting(commands: Any, name: str, help_text: str, act: Exiting, parent: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A command that also says with which code it ends."""

    def told(arguments: argparse.Namespace, workspace: Workspace) -> int:
        code, answer = act(arguments, workspace)
        show(arguments, *answer)
        return code

    return _add(commands, name, help_text, told, parent)


def _add_approvers(commands: Any, common: argparse.ArgumentParser) -> None:
    approving = _add_telling(commands, "approve", "sign a promotion request after showing what is signed, and hand the signature in", approve, common)
    approving.add_argument("request", metavar="REQUEST", help="its id; or a .json file with the whole request, or - for standard input")
    how = approving.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", metavar="PATH", help=KEY_HELP)
    how.add_argument("--page", action="store_true", help="print the address of the page on which a passkey signs")
    approving.add_argument("--sign-only", action="store_true", help="print the signature and hand nothing in")
    group = commands.add_parser("approvers", help="found, change or look at the list of those who may approve").add_subparsers(
        metavar="COMMAND", required=True
    )
    reading = Parser(add_help=False, parents=[common])
    reading.add_argument("--file", metavar="LIST", help="the approver list (default: the one that the environment or clusters.json names)")
    signing = Parser(add_help=False, parents=[reading])
    signing.add_argument("--key", required=True, metavar="PATH", help=KEY_HELP)
    signing.add_argument("--out", metavar="FILE", help="write the result here and leave the list as it is")

    add = functools.partial(_add_telling, group)
    init = add("init", "found a list; its first approver signs themselves in", approver_list.init, signing)
    adding = add("add", "add a person, or one more key of a person in the list", approver_list.add, signing)
    for command in (init, adding):
        command.add_argument("name", help="the person, as shown with every approval")
        command.add_argument("--role", nargs="+", metavar="ROLE", help="what the person may approve as (default: approver)")
    init.add_argument("--touch-only", action="store_true", help="take a security key's touch without its PIN or a fingerprint")
    new_key = adding.add_mutually_exclusive_group(required=True)
    new_key.add_argument("--public-key", metavar="FILE", help="the person's .pub file")
    new_key.add_argument("--passkey", metavar="FILE", help="a JSON file with the person's WebAuthn credential")
    revoke = add("revoke", "remove a person, or one key of theirs", approver_list.revoke, signing)
    revoke.add_argument("name", help="the person")
    revoke.add_argument("--fingerprint", help="only this key, SHA256:...")
    role = add("role", "give a person other roles", approver_list.role, signing)
    role.add_argument("name", help="the person")
    role.add_argument("roles", nargs="+", metavar="ROLE", help="all roles that the person has from now on")
    threshold = add("threshold", "say how many people must sign a change of the list", approver_list.threshold, signing)
    threshold.add_argument("people", type=int, metavar="N", help="different people, at most 5")
    sign = add("sign", "sign a change that waits for more people", approver_list.sign, signing)
    sign.add_argument("change", metavar="FILE", help="what the first signer's command wrote")
    add("passkey", "print the address of the page on which a passkey is made", passkey_page, common)
    add("show", "show who may approve and what their signatures prove", approver_list.show, reading)
    verify = add("verify", "verify every entry of the list", approver_list.verify, reading)
    verify.add_argument("--head", metavar="DIGEST", help="a head that the list must have, or have had")


def _add_escalations(commands: Any, common: argparse.ArgumentParser) -> None:
    """What people do with escalations; agents have `escalate` and `resolve-escalation`."""
    group = commands.add_parser("escalation", help="look at escalations, and approve the fix of one").add_subparsers(metavar="COMMAND", required=True)
    listing = _add(group, "list", "list the escalations that are not closed", escalation_list, common)
    listing.add_argument("--all", action="store_true", default=None, help="also closed ones")
    one = "its id, such as esc-0a1b2c3d4e5f"
    showing = _add(group, "show", "show one escalation", escalation_list, common)
    showing.add_argument("escalation", help=one)
    approving = _add(
        group,
        "approve",
        "sign the fix of an escalation after showing what is signed, and hand the signature in",
        lambda arguments, workspace: show(arguments, *fix_approving.approve(arguments, workspace)),
        common,
    )
    approving.add_argument("escalation", help=one)
    approving.add_argument("--key", required=True, metavar="PATH", help=KEY_HELP)


def _add_upkeep(commands: Any, common: argparse.ArgumentParser) -> None:
    _add(commands, "mcp", "serve MCP on stdin and stdout, for a coding agent", serve_mcp, common)
    report = _add(commands, "report", "print a measurement as an HTML page", print_report, common)
    report.add_argument("evaluation_id", help="a measurement, such as evaluate-1121-a1b2c3")
    report.add_argument("--out", help="write the page to this file")
    verify = _add(commands, "verify", "check an evidence bundle or a package with nothing but its folder and a key", verify_evidence, common)
    verify.add_argument("bundle", help="the folder of a bundle or a package")
    verify.add_argument("--key", metavar="FILE", help="public key of the workspace that made it (default: this workspace's own)")
    verify.add_argument("--approvers", metavar="FILE", help="approver list by which the approvals in the bundle are verified again")
    verify.add_argument("--approved", metavar="STATE", help="also fail unless this evidence was approved for STATE; needs --approvers")
    verify.set_defaults(anywhere=True)
    register = _add(commands, "register", "put a package into an MLflow registry, with tags and an alias", register_package, common)
    register.add_argument("package", help="the package's folder")
    register.add_argument("--mlflow", required=True, metavar="URI", help="tracking server, or sqlite:///PATH")
    register.add_argument("--name", help="registered model (default: the cluster's name)")
    register.add_argument("--alias", help="default: champion where people have signed it into service, else challenger")
    register.add_argument("--key", metavar="FILE", help="public key of the workspace that made it (default: this workspace's own)")
    register.set_defaults(anywhere=True)
    _add(commands, "token", "print the daemon's token for HTTP callers", print_token, common)
    opening = "print the address of the pages about models and hardware"
    pages = _add(commands, "open", opening, lambda arguments, workspace: show(arguments, *open_page(arguments, workspace)), common)
    pages.add_argument("page", nargs="?", choices=NAMES, default=NAMES[0], help=f"which page (default: {NAMES[0]})")
    pages.add_argument("--browser", action="store_true", help="open it in the web browser too")
    daemon = commands.add_parser("daemon", help="start, run, stop or look at the daemon").add_subparsers(metavar="COMMAND", required=True)
    _add(daemon, "start", "start the daemon if none runs", daemon_start, common)
    run = _add(daemon, "run", "run the daemon in the foreground", daemon_run, common)
    run.add_argument("--port", type=int, default=0, help="loopback port (default: the one used before, or any free one)")
    _add(daemon, "stop", "stop the daemon; runs and model servers go on", daemon_stop, common)
    _add(daemon, "status", "say whether a daemon runs", daemon_status, common)
    _add(commands, "stop", "stop the daemon and the model servers", daemon_stop, common).set_defaults(servers=True)
    store = commands.add_parser("store", help="verify or rebuild the database").add_subparsers(metavar="COMMAND", required=True)
    _add(store, "verify", "rebuild the database beside the one in use, and compare them", store_command, common).set_defaults(what="verify")
    _add(store, "rebuild", "make the database again from the journal", store_command, common).set_defaults(what="rebuild")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0].replace("_", "-") in {command_name(tool) for tool in TOOLS}:
        words[0] = words[0].replace("_", "-")
    as_json = "--json" in words
    try:
        arguments = build_parser().parse_args(words)
        arguments.json = getattr(arguments, "json", False)
        place = getattr(arguments, "workspace", Path.cwd())
        workspace = Workspace(place) if getattr(arguments, "anywhere", False) else find_workspace(place)
        code: int = arguments.command(arguments, workspace)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception as error:
        return _failed(error, as_json)


def _failed(error: Exception, as_json: bool) -> int:
    """Says what happened and what to do; the exit code."""
    record = failure_of(error, "this command").record
    lines = [f"{record['code']}: {plain(record['message'])}", plain(record["next_step"])]
    lines += [f"What to do: modelsmith runbook show {record['runbook']}"] if record["runbook"] else []
    print("\n".join(filter(None, lines)), file=sys.stderr)
    if as_json:
        print(json.dumps({"error": record}, ensure_ascii=False, default=str))
    return exit_code_of(record["code"])


if __name__ == "__main__":
    sys.exit(main())
