"""Every bound of the MCP face, and JSON text in and out of it under those bounds (DESIGN 8, 9).

What an agent sends becomes JSON text on the wire of the mesh; what a body answered comes back as JSON text. Both are
foreign. Rules:

- Outward, nothing is changed to make it fit: a value that is too deep, too large or no JSON is refused with a reason.
- Inward, a text that is no plain JSON within the bounds is handed on as the text that it is. It is never an error of
  the call, and never reaches an encoder that it could break (lone surrogates, NaN, thousands of levels).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from protocols.limits import PAYLOAD_BYTES_MAX

CALL_SECONDS_MAX = 50.0
"""No tool call takes longer, whatever it waits for: MCP clients give up at about 60 s."""
WAIT_SECONDS_MAX = 50.0
ANSWER_SECONDS = 1.0
"""Kept back from a wait, so that the answer that ends it is still read within CALL_SECONDS_MAX."""
CALLS_IN_FLIGHT_MAX = 256
"""Calls that one server works on at once; past it a call is refused as `busy`."""

JSON_DEPTH_MAX = 32
"""Levels of arrays and objects in a payload or in arguments."""
RESULT_DEPTH_MAX = 64
"""Levels in what a body answered; deeper results are handed on as text."""

REQUEST_BYTES_MAX = 1 << 20
"""One JSON-RPC message. Escapes make a payload of PAYLOAD_BYTES_MAX at most three times as long, so each one fits."""

HTTP_CONNECTIONS_MAX = 128
HTTP_SESSIONS_MAX = 128
HTTP_SESSION_IDLE_SECONDS = 30 * 60.0
HTTP_BODY_SECONDS = 10.0
"""A request body that takes longer to arrive is given up (408)."""
HTTP_KEEP_ALIVE_SECONDS = 20.0
"""An idle connection is closed after it. Above the 5 s after which common clients drop theirs, so they never race."""
HTTP_SEND_SECONDS = 30.0
"""A client that takes none of a response for so long has it cut off."""
HTTP_LEFTOVER_SECONDS = 2.0
"""What a request gets to end, once its client is gone."""
HTTP_LINGER_SECONDS = 1.0
HTTP_LINGER_BYTES = 4 << 20
"""How much of a refused request is still read, so that its sender gets to see the refusal (RFC 9112 section 9.6)."""
HTTP_GRACE_SECONDS = 0.3
"""What calls in flight get to end by themselves when the server stops."""
HTTP_FLUSH_SECONDS = 0.3
"""What the answers to those that did not get to reach their clients, before every connection is closed."""

STDIO_WAITING_WRITES_MAX = 64
"""Responses that wait for the client to read; past it no further request is read from it."""


class UnfitJson(ValueError):
    """A value cannot become a payload; the message says why and what fits."""


def encode_json(value: Any, *, what: str) -> str:
    """`value` as compact JSON text of at most PAYLOAD_BYTES_MAX bytes of UTF-8. Raises `UnfitJson`, naming `what`."""
    if depth_exceeds(value, JSON_DEPTH_MAX):
        raise UnfitJson(f"{what} is nested deeper than {JSON_DEPTH_MAX} levels.")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UnfitJson(f"{what} has text that is not Unicode (a lone surrogate).") from error
    except (ValueError, TypeError) as error:
        raise UnfitJson(f"{what} is no JSON value: {error}.") from error
    if size > PAYLOAD_BYTES_MAX:
        raise UnfitJson(f"{what} is {size} bytes of JSON; the limit is {PAYLOAD_BYTES_MAX} bytes.")
    return text


def decode_json(text: str) -> Any:
    """What `text` says where it is plain JSON of at most RESULT_DEPTH_MAX levels, else `text` itself."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if "\\u" in text:  # an escaped lone surrogate passes json.loads and would break the encoder of the answer
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text.encode("utf-8", "replace").decode()
    return text if depth_exceeds(value, RESULT_DEPTH_MAX) else value


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether arrays and objects in `value` nest deeper than `limit`; a scalar has depth 0."""
    pending: list[tuple[Iterator[Any], int]] = [(iter((value,)), 0)]
    while pending:
        children, depth = pending[-1]
        for child in children:
            if isinstance(child, dict | list):
                if depth + 1 > limit:
                    return True
                pending.append((iter(child.values() if isinstance(child, dict) else child), depth + 1))
                break
        else:
            pending.pop()
    return False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
