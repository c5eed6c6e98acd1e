"""Who the guard lets in, by the head of a request alone."""

from __future__ import annotations

import pytest

from meshnode.mcp.bounds import REQUEST_BYTES_MAX
from meshnode.mcp.guard import Guard, Receive, Scope, Send

PORT = 7401
GOOD = {"host": f"127.0.0.1:{PORT}", "authorization": "Bearer secret"}


async def unreached(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("the application was reached")


def status_of(
    headers: dict[str, str] | list[tuple[str, str]],
    *,
    path: str = "/mcp",
    version: str = "1.1",
    method: str = "GET",
) -> int:
    """The status with which such a request is refused; 0 where it is let through."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    scope = {
        "type": "http",
        "http_version": version,
        "path": path,
        "method": method,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }
    open_paths = {"/open": unreached}
    refusal = Guard(unreached, token="secret", port=PORT, open_paths=open_paths).judge(scope)
    return refusal.status if refusal else 0


@pytest.mark.parametrize("host", ["127.0.0.1:7401", "localhost:7401", "LOCALHOST:7401", "[::1]:7401"])
def test_loopback_names_with_our_port_are_let_through(host: str) -> None:
    assert status_of(GOOD | {"host": host}) == 0


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", "127.0.0.1:7402", "localhost", "evil.example:7401", "127.0.0.1.evil.example:7401", "::1:7401"],
)
def test_any_other_host_is_forbidden(host: str) -> None:
    assert status_of(GOOD | {"host": host}) == 403


def test_a_host_that_is_missing_or_given_twice_is_forbidden() -> None:
    assert status_of({"authorization": "Bearer secret"}) == 403
    assert status_of([*GOOD.items(), ("host", "evil.example")]) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:6274", 0),
        ("http://127.0.0.1", 0),
        ("https://[::1]:1", 0),
        ("null", 403),
        ("", 403),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("file://localhost", 403),
        ("http://[::1", 403),
        ("http://löcalhost", 403),
    ],
)
def test_an_origin_must_be_loopback(origin: str, status: int) -> None:
    assert status_of(GOOD | {"origin": origin}) == status


def test_a_second_origin_is_forbidden() -> None:
    assert status_of([*GOOD.items(), ("origin", "http://localhost"), ("origin", "http://localhost")]) == 403


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("Bearer secret", 0),
        ("bearer  secret ", 0),
        ("Bearer secre", 401),
        ("Bearer secret2", 401),
        ("Bearer", 401),
        ("secret", 401),
        ("Basic secret", 401),
        ("Bearer \xff\xfe", 401),
        ("", 401),
    ],
)
def test_only_the_bearer_token_itself_lets_in(value: str, status: int) -> None:
    assert status_of(GOOD | {"authorization": value}) == status


def test_no_token_or_two_of_them_do_not_let_in() -> None:
    assert status_of({"host": GOOD["host"]}) == 401
    assert status_of([*GOOD.items(), ("authorization", "Bearer secret")]) == 401


@pytest.mark.parametrize("path", ["/", "/mcp/", "/mcp/x", "/.well-known/oauth-protected-resource", "/MCP"])
def test_only_one_path_is_served(path: str) -> None:
    assert status_of(GOOD, path=path) == 404


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 0), ("HEAD", 0), ("POST", 405), ("DELETE", 405), ("OPTIONS", 405), ("get", 405)]
)
def test_open_paths_may_be_read_without_a_token_and_nothing_else(method: str, status: int) -> None:
    assert status_of({"host": GOOD["host"]}, path="/open", method=method) == status
    assert status_of({"host": GOOD["host"]}, path="/open/", method=method) == 404
    assert status_of({"host": "evil.example"}, path="/open", method=method) == 403
    assert status_of({"host": GOOD["host"], "origin": "http://evil.example"}, path="/open", method=method) == 403
    assert status_of({"host": GOOD["host"]}, path="/mcp", method=method) == 401


def test_without_an_application_only_the_open_paths_are_there() -> None:
    guard = Guard(None, token="", port=PORT, open_paths={"/open": unreached})
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "headers": [(b"host", GOOD["host"].encode())]}
    assert guard.judge({**scope, "path": "/open"}) is None
    refusal = guard.judge({**scope, "path": "/mcp"})
    assert refusal is not None
    assert (refusal.status, "/mcp" in refusal.next_step, "/open" in refusal.next_step) == (404, False, True)


def test_an_application_needs_a_token() -> None:
    with pytest.raises(AssertionError):
        Guard(unreached, token="", port=PORT, open_paths={})


@pytest.mark.parametrize(
    ("length", "status"), [(str(REQUEST_BYTES_MAX), 0), (str(REQUEST_BYTES_MAX + 1), 413), ("9" * 5000, 413)]
)
def test_a_body_that_announces_itself_as_too_large_is_refused_unread(length: str, status: int) -> None:
    assert status_of(GOOD | {"content-length": length}) == status


def test_only_http_1_is_served() -> None:
    assert status_of(GOOD, version="2") == 505
