"""A server of the first MCP era without any SDK, whose answers have their `id` last, as some SDKs write them."""

from __future__ import annotations

import json
import sys

TOOLS = [
    {"name": "size", "description": "Returns SIZE bytes.", "inputSchema": {"type": "object"}},
    {"name": "nameless", "description": "Sends a huge line that is no answer.", "inputSchema": {"type": "object"}},
    {"name": "large-schema", "inputSchema": {"type": "object", "description": "x" * 70_000}},
]
listings = 0


def answer(request: dict[str, object], result: object) -> None:
    print(json.dumps({"result": result, "jsonrpc": "2.0", "id": request["id"]}), flush=True)


def main() -> None:
    global listings
    for line in sys.stdin:
        request = json.loads(line)
        match request["method"]:
            case "initialize":
                version = request["params"]["protocolVersion"]
                info = {"name": "handmade", "version": "1"}
                answer(request, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
            case "tools/list":
                listings += 1
                TOOLS[0]["description"] = f"Listed {listings} times."
                answer(request, {"tools": TOOLS})
            case "tools/call" if request["params"]["name"] == "nameless":
                print("x" * (5 << 20), flush=True)
            case "tools/call":
                size = request["params"]["arguments"]["size"]
                answer(request, {"content": [{"type": "text", "text": "x" * size}]})
            case method if "id" in request:
                error = {"code": -32601, "message": f"no method {method}"}
                print(json.dumps({"error": error, "jsonrpc": "2.0", "id": request["id"]}), flush=True)


if __name__ == "__main__":
    main()
