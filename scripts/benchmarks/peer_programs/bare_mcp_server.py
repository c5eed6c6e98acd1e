"""The least that an MCP server can be: one trivial tool, served by the SDK as it comes.

    python bare_mcp_server.py stdio
    python bare_mcp_server.py http       prints its URL, then serves until it is stopped

Run in the project's own environment. Over HTTP it stands on hypercorn's trio worker, as the daemon does.
"""

from __future__ import annotations

import logging
import sys
from functools import partial

import hypercorn.trio
import trio
from hypercorn.config import Config
from mcp.server.mcpserver import MCPServer

server = MCPServer("bare", log_level="CRITICAL")


@server.tool()
def ping(text: str) -> dict[str, str]:
    """Say it again."""
    return {"text": text}


async def serve_http() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.silent")
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(hypercorn.trio.serve, server.streamable_http_app(), config))  # type: ignore[arg-type]  # hypercorn's type of an ASGI application is narrower than starlette's
        print(f"{binds[0]}/mcp", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        trio.run(server.run_stdio_async)
    else:
        trio.run(serve_http)
