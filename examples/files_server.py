"""An MCP server over stdio with three tools that look at files below one directory, and never outside it.

    [mcp_servers.files]
    command = "python"
    args = ["-m", "examples.files_server", "--root", "."]

Attach it to one node, and every node of the mesh can call its tools. Paths are relative to the root; a path that leaves
it, by dots or by a symbolic link, is refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel

ENTRIES_MAX = 1000
LINES_MAX = 1000
HEAD_BYTES_MAX = 64 * 1024

READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


class Listing(BaseModel):
    """Names in a directory; those of directories end in a slash."""

    entries: list[str]
    truncated: bool


class Head(BaseModel):
    """The first lines of a file, without line ends."""

    lines: list[str]
    truncated: bool


class Stats(BaseModel):
    """Size of a file, and how many lines it has."""

    bytes: int
    lines: int


def build_server(root: Path) -> MCPServer:
    """The server for files below `root`."""
    root = root.resolve(strict=True)
    server = MCPServer("files", instructions=f"Looks at files below {root.name}/. Paths are relative to it.")

    def inside(path: str) -> Path:
        try:
            resolved = (root / path).resolve()
            if not resolved.is_relative_to(root):
                raise ToolError(f"{path!r} lies outside of the root, which is all that this server shows.")
            resolved.lstat()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise ToolError(f"There is no {path!r} here. Call list_files to see what there is.") from error
        return resolved

    def file(path: str) -> Path:
        place = inside(path)
        if not place.is_file():
            raise ToolError(f"{path!r} is not a regular file.")
        return place

    @server.tool(annotations=READ_ONLY)
    def list_files(directory: str = ".") -> Listing:
        """List a directory: names in order, directories with a slash behind them."""
        place = inside(directory)
        if not place.is_dir():
            raise ToolError(f"{directory!r} is not a directory.")
        names = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir())
        return Listing(entries=names[:ENTRIES_MAX], truncated=len(names) > ENTRIES_MAX)

    @server.tool(annotations=READ_ONLY)
    def read_head(path: str, lines: int = 10) -> Head:
        """Read the first lines of a text file (at most 1000 lines and 64 KiB)."""
        if not 1 <= lines <= LINES_MAX:
            raise ToolError(f"`lines` must be from 1 to {LINES_MAX}.")
        with open(file(path), "rb") as stream:
            raw = stream.read(HEAD_BYTES_MAX + 1)
        found = raw[:HEAD_BYTES_MAX].decode(errors="replace").splitlines()
        return Head(lines=found[:lines], truncated=len(found) > lines or len(raw) > HEAD_BYTES_MAX)

    @server.tool(annotations=READ_ONLY)
    def file_stats(path: str) -> Stats:
        """Count the bytes and the lines of a file."""
        size = lines = 0
        with open(file(path), "rb") as stream:
            while chunk := stream.read(1 << 16):
                size += len(chunk)
                lines += chunk.count(b"\n")
        return Stats(bytes=size, lines=lines)

    return server


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve files below a directory as MCP tools over stdio.")
    parser.add_argument("--root", type=Path, default=Path("."), help="the directory to show (default: the current one)")
    build_server(parser.parse_args().root).run("stdio")


if __name__ == "__main__":
    main()
