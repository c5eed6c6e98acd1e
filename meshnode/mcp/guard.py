"""Who may talk to the HTTP face, decided before anything that they say is parsed (DESIGN 8, 9).

An ASGI application around others. In this order: only HTTP/1.1, only a loopback Host with our port and a loopback
Origin (a web page that a browser on this machine shows must not reach us: DNS rebinding), only our paths, only the
bearer token (compared in constant time; RFC 6750), and only a body that is small enough and arrives soon enough. What
passes is handed on whole; every refusal says what happened, what it means and what to do next. It holds no state.

The open paths are the exception: what is served there asks for no token and may only be read (`meshnode/observe`).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import trio

from meshnode.mcp.bounds import HTTP_BODY_SECONDS, HTTP_LINGER_BYTES, HTTP_LINGER_SECONDS, REQUEST_BYTES_MAX

PATH = "/mcp"
OPEN_METHODS = ("GET", "HEAD")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    message: str
    next_step: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def body(self) -> bytes:
        error = {"error": self.code, "message": self.message, "next_step": self.next_step}
        return json.dumps(error).encode()


class Guard:
    """Lets through to `application` what comes from an agent on this machine that has the token; None: nothing.

    What is served under the paths of `open_paths` may be read by any user of this machine.
    """

    def __init__(
        self, application: Application | None, *, token: str, port: int, open_paths: Mapping[str, Application]
    ) -> None:
        assert token or application is None, "an empty token would let everybody in"
        self._applications = dict(open_paths)
        if application is not None:
            self._applications[PATH] = application
        self._open = tuple(open_paths)
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in LOOPBACK_NAMES}
        if port == 80:
            self._hosts |= {name.encode() for name in LOOPBACK_NAMES}
        self._base = f"http://127.0.0.1:{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "connection.py lets nothing else through"
        refusal = self.judge(scope)
        if refusal is not None:
            await _refuse(refusal, receive, send)
            return
        body = await _read_body(receive)
        if isinstance(body, Refusal):
            await _refuse(body, receive, send)
        elif body is not None:
            await self._applications[scope["path"]](scope, _replayed(body, receive), send)

    def judge(self, scope: Scope) -> Refusal | None:
        """What is wrong with a request, by its head alone."""
        if scope["http_version"] not in ("1.0", "1.1"):
            return Refusal(505, "http_version", "Only HTTP/1.1 is served here.", "Use HTTP/1.1.")
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.strip())
        return (
            self._judge_source(headers)
            or self._judge_path(scope["path"])
            or (
                _judge_method(scope["method"])
                if scope["path"] in self._open
                else self._judge_token(headers.get(b"authorization", []))
            )
            or _judge_length(headers.get(b"content-length", []))
        )

    def _judge_source(self, headers: dict[bytes, list[bytes]]) -> Refusal | None:
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return Refusal(
                403, "bad_host", "The Host header does not name this machine's loopback.", f"Connect to {self._base}."
            )
        origins = headers.get(b"origin", [])
        if len(origins) > 1 or not all(_is_loopback_origin(origin) for origin in origins):
            return Refusal(
                403,
                "bad_origin",
                "The request comes from a web page of another site; such pages may not use this node.",
                "Use an MCP client on this machine, or a page that is served from its loopback.",
            )
        return None

    def _judge_path(self, path: str) -> Refusal | None:
        if path in self._applications:
            return None
        served = ", ".join(self._applications)
        return Refusal(404, "not_found", "Nothing is served under this path.", f"At {self._base} there are: {served}.")

    def _judge_token(self, values: list[bytes]) -> Refusal | None:
        scheme, _, given = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        if hmac.compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer":
            return None
        reason = b', error="invalid_token"' if values else b""
        return Refusal(
            401,
            "unauthorized",
            "The request has no valid bearer token." if not values else "The bearer token is not the one of this node.",
            "Send `Authorization: Bearer TOKEN` with the token of the node's data directory.",
            ((b"www-authenticate", b'Bearer realm="meshnode"' + reason),),
        )


def _judge_method(method: str) -> Refusal | None:
    if method in OPEN_METHODS:
        return None
    allowed = ", ".join(OPEN_METHODS)
    return Refusal(405, "method", "This path can only be read.", f"Use {allowed}.", ((b"allow", allowed.encode()),))


def _judge_length(values: list[bytes]) -> Refusal | None:
    if any(value.isdigit() and (len(value) > 12 or int(value) > REQUEST_BYTES_MAX) for value in values):
        return _too_large()
    return None


def _is_loopback_origin(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
        host = parts.hostname
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and host in ("127.0.0.1", "localhost", "::1")


def _too_large() -> Refusal:
    return Refusal(
        413,
        "too_large",
        f"The request body is larger than {REQUEST_BYTES_MAX} bytes; nothing was done.",
        "Send less, or put the data where the handler can read it and send its path.",
    )


async def _read_body(receive: Receive) -> bytes | Refusal | None:
    """The whole body; None where the client went away in the middle."""
    body = bytearray()
    with trio.move_on_after(HTTP_BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > REQUEST_BYTES_MAX:
                return _too_large()
            if not message.get("more_body", False):
                return bytes(body)
    return Refusal(408, "slow_body", f"The body did not arrive within {HTTP_BODY_SECONDS:g} s.", "Send it again.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` for the application: the body at once, then whatever the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    """Answer, and go on reading for a moment: closing on a sender would destroy the answer (RFC 9112 section 9.6)."""
    body = refusal.body
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *refusal.headers,
    ]
    read_all = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, receive, read_all)
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(HTTP_LINGER_SECONDS):
            await read_all.wait()
        # The drain goes on meanwhile: closing tells the application, over a queue that a body may have filled.
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        nursery.cancel_scope.cancel()


async def _drain(receive: Receive, read_all: trio.Event) -> None:
    seen = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        seen += len(message.get("body", b""))
        if seen > HTTP_LINGER_BYTES or not message.get("more_body", False):
            read_all.set()
    read_all.set()
