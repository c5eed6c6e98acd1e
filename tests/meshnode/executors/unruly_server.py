"""An MCP server with tools that misbehave.

`python unruly_server.py MODE [FILE]`: MODE "serve" writes its pid to FILE (appending), "noisy" serves as well but first
prints lines that are no messages.
"""

from __future__ import annotations

import os
import sys
import time

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("unruly")


@server.tool()
def pid() -> int:
    """The process id of the server."""
    return os.getpid()


@server.tool()
def refuse(why: str) -> str:
    """Fails as a tool should."""
    raise ToolError(why)


@server.tool()
def die(status: int) -> str:
    """Takes the server with it."""
    print("last words", file=sys.stderr, flush=True)
    os._exit(status)


@server.tool()
async def block() -> str:
    """Keeps the whole server from answering, once it has made FILE.blocked."""
    open(sys.argv[2] + ".blocked", "w").close()  # noqa: ASYNC230  # to block is what it is for
    time.sleep(1000)  # noqa: ASYNC251  # as above
    return ""


@server.tool()
async def linger() -> str:
    """Takes long, without keeping others waiting."""
    await anyio.sleep(1000)
    return ""


@server.tool(structured_output=False)
def much(size: int) -> str:
    """Returns that many characters."""
    return "x" * size


@server.tool()
def environment() -> dict[str, str]:
    """The server's environment."""
    return dict(os.environ)


def main() -> None:
    mode = sys.argv[1]
    if len(sys.argv) > 2:
        with open(sys.argv[2], "a") as file:
            file.write(f"{os.getpid()}\n")
    if mode == "noisy":
        print("Welcome!\n\n{}\n[1, 2]\n" + "x" * 100_000, flush=True)
    server.run("stdio")


if __name__ == "__main__":
    main()
