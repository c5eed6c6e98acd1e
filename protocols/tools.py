"""Tools of MCP servers that are attached to nodes: the words for finding them (DESIGN 9). Calling one is a task."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import Action, Command, NodeId, Outcome, Result
from protocols.limits import NAME_CHARS_MAX, TOOL_SCHEMA_BYTES_MAX, TOOLS_PER_FRAME_MAX

Short = Annotated[str, Meta(max_length=NAME_CHARS_MAX * 2)]
Silent = Annotated[str, Meta(max_length=NAME_CHARS_MAX * 4)]
SILENT_MAX = 4096


class ToolInfo(Struct, frozen=True, array_like=True):
    """One tool of one attached server. `input_schema` is JSON Schema text, empty where it was not asked for."""

    node_id: Short
    node_name: Short
    server: Short
    tool: Short
    description: Annotated[str, Meta(max_length=2000)]
    input_schema: Annotated[str, Meta(max_length=TOOL_SCHEMA_BYTES_MAX)] = ""


class FindTools(Command, frozen=True, tag="find_tools"):
    """Tools attached to live nodes. Empty fields match everything; `query` matches words of name and description."""

    query: Annotated[str, Meta(max_length=256)] = ""
    server: Short = ""
    tool: Short = ""
    """Exact name; the answer then carries `input_schema`."""
    limit: Annotated[int, Meta(ge=1, le=TOOLS_PER_FRAME_MAX)] = 50


class ToolsFound(Outcome, frozen=True, tag="tools_found"):
    """`total` counts all matches. `silent` names what did not answer in time and is not in `tools`: a node with MCP
    servers, or `node/server` where the node answered and that server did not (it may still be starting)."""

    tools: Annotated[tuple[ToolInfo, ...], Meta(max_length=TOOLS_PER_FRAME_MAX)]
    total: int
    silent: Annotated[tuple[Silent, ...], Meta(max_length=SILENT_MAX)] = ()


class ListLocalTools(Action, frozen=True):
    """List the tools of the MCP servers attached to this node, answering within two seconds."""

    query: FindTools


class LocalTools(Result, frozen=True):
    """Outcome of `ListLocalTools`: what matched, with the node's id and name left empty, and the servers that did not
    answer."""

    tools: tuple[ToolInfo, ...]
    total: int
    silent: tuple[str, ...] = ()


class LocalToolsFor(Command, frozen=True, tag="local_tools"):
    """A node asks a peer for the peer's own tools on behalf of a caller."""

    query: FindTools
    on_behalf_of: NodeId = ""
