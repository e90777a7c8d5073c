"""What agents read over MCP beside tools: resources by their URIs' scheme, and runbooks as prompts.

`PROVIDERS` is the table of schemes: what a kind of resource lists, and how one is read. A provider gets `call`, so that what the daemon knows is
asked for through a tool, the same in the daemon as behind it. An unknown URI or prompt, and inputs that do not fit, are refused with the
protocol's code for bad parameters and our own error as data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import anyio.to_thread
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)

from engine.errors import BadInput, NotFound
from engine.escalate.runbooks.catalogue import catalogue, runbook
from engine.escalate.runbooks.execution import checked_inputs
from engine.escalate.runbooks.types import Runbook
from server.calls import Call
from server.failures import failure_of
from server.runbooks import as_text
from tools.escalate import ESCALATIONS

Context = ServerRequestContext[Any, Any]
MARKDOWN, JSON = "text/markdown", "application/json"
SEPARATOR = "://"
ESCALATIONS_LISTED = 20


class Entry(NamedTuple):
    """A resource in the list."""

    name: str
    """What stands after the scheme."""
    title: str
    description: str


class Provider(NamedTuple):
    """One kind of resource."""

    scheme: str
    title: str
    """Of a resource whose name is to be filled in."""
    description: str
    mime_type: str
    entries: Callable[[Call], list[Entry]]
    read: Callable[[Call, str], str]
    """The text of the resource with this name; NotFound where there is none."""


def _runbook_entries(_call: Call) -> list[Entry]:
    return [Entry(each.id, each.title, each.summary) for each in catalogue().values()]


def _read_runbook(_call: Call, name: str) -> str:
    return as_text(runbook(name))


def _escalation_entries(call: Call) -> list[Entry]:
    """The newest that are not closed, without a word that users or models wrote: what failed is read as data, in the resource."""
    page = call(ESCALATIONS, {"limit": ESCALATIONS_LISTED})
    return [_escalation_entry(**{name: line[name] for name in ("escalation", "state", "severity", "occurrences")}) for line in page["escalations"]]


def _escalation_entry(escalation: str, state: str, severity: str, occurrences: int) -> Entry:
    return Entry(escalation, f"Escalation {escalation}", f"{state}, {severity} severity, seen {occurrences} times.")


def _read_escalation(call: Call, name: str) -> str:
    return json.dumps(call(ESCALATIONS, {"escalation": name}), ensure_ascii=False, indent=1)


PROVIDERS: tuple[Provider, ...] = (
    Provider("runbook", "Runbook", "What to do, by a runbook's id, an error code or a failure class.", MARKDOWN, _runbook_entries, _read_runbook),
    Provider("escalation", "Escalation", "What no rule mended: question, check, what may follow.", JSON, _escalation_entries, _read_escalation),
)


class Readable:
    """The handlers, over one way to call tools."""

    def __init__(self, call: Call, providers: tuple[Provider, ...] = PROVIDERS) -> None:
        self._call = call
        self._providers = providers

    async def list_resources(self, _context: Context, _params: PaginatedRequestParams | None) -> ListResourcesResult:
        """Everything that can be read, in the order of the table."""
        found = [(each, entry) for each in self._providers for entry in await _in_thread(each.entries, self._call)]
        return ListResourcesResult(resources=[_listed(provider, entry) for provider, entry in found])

    async def list_templates(self, _context: Context, _params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        """One template a scheme."""
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    name=each.scheme,
                    title=each.title,
                    uri_template=f"{each.scheme}{SEPARATOR}{{name}}",
                    description=each.description,
                    mime_type=each.mime_type,
                )
                for each in self._providers
            ]
        )

    async def read_resource(self, _context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """One resource's text."""
        uri = str(params.uri)
        try:
            provider, name = self._named(uri)
            text = await _in_thread(provider.read, self._call, name)
        except Exception as error:
            raise _refused(error, uri) from error
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=provider.mime_type, text=text)])

    def _named(self, uri: str) -> tuple[Provider, str]:
        scheme, separator, name = uri.partition(SEPARATOR)
        for provider in self._providers:
            if separator and provider.scheme == scheme:
                return provider, name
        schemes = ", ".join(f"{each.scheme}{SEPARATOR}NAME" for each in self._providers)
        raise NotFound(f"there is no resource {uri[:120]!r}", next_step=f"resources/list has them all: {schemes}.", uri=uri[:120])


def _listed(provider: Provider, entry: Entry) -> Resource:
    return Resource(
        uri=f"{provider.scheme}{SEPARATOR}{entry.name}",
        name=entry.name,
        title=entry.title,
        description=entry.description,
        mime_type=provider.mime_type,
    )


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True)


def _refused(error: Exception, what: str) -> MCPError:
    """The protocol's error for ours, which goes along as data."""
    record = failure_of(error, what[:100]).record
    code = INVALID_PARAMS if isinstance(error, BadInput) else INTERNAL_ERROR
    return MCPError(code, record["message"], {"uri": what[:120], "error": record})


# ---- runbooks as prompts -------------------------------------------------------------------------------------------------------------


async def list_prompts(_context: Context, _params: PaginatedRequestParams | None) -> ListPromptsResult:
    """Each runbook, with what it has to know."""
    return ListPromptsResult(prompts=[_prompt(each) for each in catalogue().values()])


def _prompt(book: Runbook) -> Prompt:
    arguments = [PromptArgument(name=name, description=about.about, required=about.required) for name, about in book.inputs.items()]
    return Prompt(name=book.id, title=book.title, description=book.summary, arguments=arguments)


async def get_prompt(_context: Context, params: GetPromptRequestParams) -> GetPromptResult:
    """A runbook with its inputs filled in, as what a user asks an agent to do."""
    given: Mapping[str, str] = params.arguments or {}
    try:
        book = runbook(params.name)
        text = as_text(book, checked_inputs(book, given))
    except Exception as error:
        raise _refused(error, params.name) from error
    asked = f"Follow this runbook step by step, and stop where a step is for a person.\n\n{text}"
    return GetPromptResult(description=book.summary, messages=[PromptMessage(role="user", content=TextContent(type="text", text=asked))])
