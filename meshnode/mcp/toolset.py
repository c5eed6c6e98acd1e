"""From described functions to one MCP server: the frame around every tool call (DESIGN 9).

A tool is a `ToolSpec`: name, texts, hints, a model of its arguments, a model of its answer, and a coroutine. The frame
decides what all of them share:

- Arguments are checked by the model before the tool sees them; what is wrong, and with what, is told in one line each.
- A call ends within CALL_SECONDS_MAX, and at most CALLS_IN_FLIGHT_MAX are worked on at once.
- What the mesh refuses, does not answer, or cannot be reached for is a tool error (`isError`) that says what happened,
  what it means and what to do next. It is never a success and never a protocol error, so the agent gets to read it.
- A defect of ours is logged with its traceback; the agent is told that it is one, and none of its inside.

It stands on the SDK's low-level `Server`, not on `MCPServer`: that one configures the logging of the whole process when
it is built, announces prompts and resources that are not there, re-parses strings that look like JSON (a payload "[1]"
would arrive as a list), and can be served only over its own transports.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from meshnode.calls import Caller, CallerCommand
from meshnode.errors import ExitCode, MeshError
from meshnode.mcp.bounds import CALL_SECONDS_MAX, CALLS_IN_FLIGHT_MAX
from meshnode.mcp.schemas import Answer, Arguments
from protocols.core import Outcome, Refused, Unknown

logger = logging.getLogger(__name__)

ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)
AnswerT = TypeVar("AnswerT", bound=Answer)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


class ToolFailure(Exception):
    """A call that did not do what was asked: becomes a tool error."""

    def __init__(self, code: str, message: str, next_step: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step or "Look at mesh_get_status, then try again."
        self.retry_after_s = retry_after_s

    @property
    def text(self) -> str:
        """For the agent: what happened, its stable code, what to do next."""
        after = f" Retry after {math.ceil(self.retry_after_s * 10) / 10:g} s." if self.retry_after_s > 0 else ""
        return f"{_sentence(self.message)} [{self.code}]\nNext step: {_sentence(self.next_step)}{after}"


class NoAnswer(ToolFailure):
    """It is not known whether the request took effect. Asking again is safe."""


@dataclass(frozen=True, slots=True)
class Hints:
    """The four annotation hints of MCP, each stated (their defaults are the worst case)."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


READS = Hints(read_only=True, destructive=False, idempotent=True, open_world=False)


@dataclass(frozen=True, slots=True)
class ToolSpec(Generic[ArgumentsT, AnswerT]):
    """One tool. `run` answers or raises `ToolFailure`; `content` renders an answer for which JSON text would not do."""

    name: str
    title: str
    description: str
    hints: Hints
    arguments: type[ArgumentsT]
    answer: type[AnswerT]
    run: Callable[[ArgumentsT], Awaitable[AnswerT]]
    content: Callable[[AnswerT], list[ContentBlock]] | None = None
    if_unknown: str = ""
    """What to do where it is not known whether a call took effect, if asking again is not the thing."""

    def announce(self) -> Tool:
        """The tool as `tools/list` shows it."""
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=_without_titles(self.arguments.model_json_schema()),
            output_schema=_without_titles(self.answer.model_json_schema(mode="serialization")),
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.hints.read_only,
                destructive_hint=self.hints.destructive,
                idempotent_hint=self.hints.idempotent,
                open_world_hint=self.hints.open_world,
            ),
        )

    async def call(self, raw: dict[str, Any]) -> CallToolResult:
        """Check `raw`, run the tool, render its answer. Raises `ToolFailure`."""
        try:
            arguments = self.arguments.model_validate(raw)
        except ValidationError as error:
            self._refuse(error)
        answer = await self.run(arguments)
        if self.content is None:
            content: list[ContentBlock] = [TextContent(type="text", text=answer.model_dump_json())]
        else:
            content = self.content(answer)
        return CallToolResult(content=content, structured_content=answer.model_dump(mode="json"))

    def _refuse(self, error: ValidationError) -> NoReturn:
        known = list(self.arguments.model_fields)
        lines = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            where = ".".join(str(part) for part in problem["loc"]) or "arguments"
            what = problem["msg"]
            if problem["type"] == "extra_forbidden":
                near = difflib.get_close_matches(where, known, n=1)
                what = f"there is no such argument{f'; did you mean {near[0]}' if near else ''}"
            lines.append(f"{where[:80]}: {what}")
        takes = f"It takes {', '.join(known)}" if known else "It takes no arguments"
        raise ToolFailure(
            "bad_arguments",
            f"Nothing was done: {self.name} cannot use these arguments. {'; '.join(lines[:8])}",
            f"Call it again with the arguments put right. {takes}",
        )


class Mesh:
    """What the tools ask of the mesh: one command, one outcome of the expected kind."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def ask(self, command: CallerCommand, expected: type[OutcomeT]) -> OutcomeT:
        """The outcome of `command`. Raises `ToolFailure` for a refusal, `NoAnswer` where none came."""
        try:
            outcome = await self._caller.call(command)
        except MeshError as error:
            kind = NoAnswer if error.exit_code is ExitCode.UNKNOWN else ToolFailure
            raise kind(error.code, error.message, error.next_step, error.retry_after_s) from error
        if isinstance(outcome, expected):
            return outcome
        if isinstance(outcome, Refused):
            raise ToolFailure(outcome.code, outcome.message, outcome.next_step, outcome.retry_after_s)
        if isinstance(outcome, Unknown):
            raise NoAnswer("no_answer", outcome.message, outcome.next_step or "Ask again: that is safe.")
        raise TypeError(f"{type(command).__name__} was answered by {type(outcome).__name__}")


def build_toolset(
    specs: Sequence[ToolSpec[Any, Any]], *, name: str, title: str, version: str, instructions: str
) -> Server[dict[str, Any]]:
    """An MCP server that offers exactly `specs`, over any transport and in both protocol eras."""
    by_name = {spec.name: spec for spec in specs}
    assert len(by_name) == len(specs), "two tools of one name"
    announced = {spec.name: spec.announce() for spec in specs}
    in_flight = 0

    async def list_tools(
        _context: ServerRequestContext[dict[str, Any]], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=list(announced.values()))

    async def call_tool(
        _context: ServerRequestContext[dict[str, Any]], params: CallToolRequestParams
    ) -> CallToolResult:
        nonlocal in_flight
        if in_flight >= CALLS_IN_FLIGHT_MAX:
            return _error(_busy(in_flight))
        in_flight += 1
        try:
            return await _bounded_call(by_name, params)
        except ToolFailure as failure:
            return _error(failure)
        except Exception:
            logger.exception("MCP tool %s failed by a defect of meshnode", params.name[:80])
            return _error(_defect())
        finally:
            in_flight -= 1

    return Server(
        name,
        title=title,
        version=version,
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda tool: announced[tool].input_schema if tool in announced else None,
    )


async def _bounded_call(by_name: dict[str, ToolSpec[Any, Any]], params: CallToolRequestParams) -> CallToolResult:
    spec = by_name.get(params.name)
    if spec is None:
        raise ToolFailure(
            "no_such_tool", f"There is no tool named {params.name[:80]}", f"Use one of {', '.join(by_name)}"
        )
    try:
        with anyio.move_on_after(CALL_SECONDS_MAX):
            return await spec.call(params.arguments or {})
        raise _late(spec)
    except NoAnswer as failure:
        failure.next_step = spec.if_unknown or failure.next_step
        raise


def _late(spec: ToolSpec[Any, Any]) -> NoAnswer:
    late = f"The mesh did not answer within {CALL_SECONDS_MAX:g} s"
    if spec.hints.read_only:
        return NoAnswer("no_answer", late, "Look at mesh_get_status, then ask again")
    next_step = "Look at mesh_list_tasks; asking again with the same idempotency_key runs nothing twice"
    if spec.hints.idempotent:
        next_step = "Look at mesh_get_status, then ask again: that is safe"
    return NoAnswer("no_answer", f"{late}. What was asked may or may not have taken effect", next_step)


def _error(failure: ToolFailure) -> CallToolResult:
    # The text may quote what the agent sent, lone surrogates included, which no encoder of the answer would take.
    text = failure.text.encode("utf-8", "replace").decode()
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _busy(in_flight: int) -> ToolFailure:
    return ToolFailure(
        "busy", f"Nothing was done: {in_flight} calls are being worked on already", "Wait for some of them to end", 1.0
    )


def _defect() -> ToolFailure:
    return ToolFailure(
        "internal_error",
        "The call failed by a defect of meshnode; its log has the details. It may or may not have taken effect",
        "Look at mesh_list_tasks before you try again, and report the defect",
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without the titles that pydantic derives from field names: they cost tokens and say nothing."""

    def lean(value: Any, *, names: bool) -> Any:
        # `names`: the keys of `value` are names of properties or definitions, and one of those may be "title".
        if isinstance(value, dict):
            return {
                key: lean(item, names=key in ("properties", "$defs") and not names)
                for key, item in value.items()
                if names or key != "title"
            }
        if isinstance(value, list):
            return [lean(item, names=False) for item in value]
        return value

    leaned: dict[str, Any] = lean(schema, names=False)
    return leaned
