"""What a LAN is told of a node, and what is made of what a LAN tells: foreign in every bit."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.discovery.announcement import ADDRESSES_MAX, Found, describe, hints_in, mesh_digest
from meshnode.discovery.lan import announced_addresses, announced_as, multicast_interfaces
from meshnode.transport.addresses import split_address
from protocols.limits import ADDRESS_CHARS_MAX, NODE_ID_CHARS
from protocols.membership.hints import Hint
from protocols.wire import VERSION

OWN, OTHER = "a" * NODE_ID_CHARS, "b" * NODE_ID_CHARS
DIGEST = mesh_digest("home", bytes(32))


def found(
    *addresses: str, port: int = 7400, digest: str = DIGEST, node_id: str = OTHER, **changes: str | None
) -> Found:
    properties = {key.encode(): value.encode() for key, value in describe(digest, node_id).items()}
    changed = {key.encode(): None if value is None else value.encode() for key, value in changes.items()}
    return Found({**properties, **changed}, addresses or ("192.0.2.1",), port)


def read(what: Found, *, loopback: bool = False) -> tuple[Hint, ...] | str:
    return hints_in(what, DIGEST, OWN, loopback=loopback)


def test_an_announcement_is_read_as_it_was_made() -> None:
    assert read(found("192.0.2.1", "2001:db8::1")) == (
        Hint("192.0.2.1:7400", OTHER),
        Hint("[2001:db8::1]:7400", OTHER),
    )


def test_nothing_secret_is_said() -> None:
    """Three keys; the label is not to be told from them, and neither is which meshes have the same one."""
    said = describe(mesh_digest("our secret project", b"\1" * 32), OWN)
    assert said.keys() == {"mesh", "id", "v"}
    assert "secret" not in "".join(said.values())
    assert (len(said["mesh"]), said["id"], said["v"]) == (16, OWN, str(VERSION))
    assert mesh_digest("mesh", b"\1" * 32) != mesh_digest("mesh", b"\2" * 32) != mesh_digest("other", b"\2" * 32)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (found(digest=mesh_digest("home", b"\1" * 32)), "other_mesh"),
        (found(mesh=None), "other_mesh"),
        (Found({}, ("192.0.2.1",), 7400), "other_mesh"),
        (found(node_id=OWN), "myself"),
        (found(v="0"), "version"),
        (found(v="²"), "version"),
        (found(v="1" * 1000), "version"),
        (found(v=None), "version"),
        (found(port=0), "no_address"),
        (found(port=65536), "no_address"),
        (found("0.0.0.0"), "no_address"),
        (found("224.0.0.251"), "no_address"),
        (found("255.255.255.255"), "no_address"),
        (found("fe80::1"), "no_address"),
        (found("127.0.0.1", "::1"), "no_address"),
        (found("not an address", "1.2.3"), "no_address"),
    ],
)
def test_what_is_of_no_use_is_passed_over(what: Found, why: str) -> None:
    assert read(what) == why


def test_a_newer_version_is_tried_all_the_same() -> None:
    """The handshake knows what it speaks; the number is its highest version."""
    assert read(found(v=str(VERSION + 5))) == (Hint("192.0.2.1:7400", OTHER),)


def test_an_id_that_is_none_is_left_out_and_the_address_is_tried() -> None:
    assert read(found(node_id="x" * 200)) == (Hint("192.0.2.1:7400", ""),)


def test_addresses_of_one_service_have_a_bound() -> None:
    hints = read(found(*(f"192.0.2.{number}" for number in range(200))))
    assert len(hints) == ADDRESSES_MAX


def test_loopback_is_for_those_who_live_there() -> None:
    assert read(found("127.0.0.1"), loopback=True) == (Hint("127.0.0.1:7400", OTHER),)


texts = st.binary(max_size=300) | st.none()


@given(
    st.dictionaries(st.sampled_from([b"mesh", b"id", b"v", b"x"]), texts),
    st.lists(st.text(max_size=50) | st.ip_addresses().map(str), max_size=20),
    st.integers(-10, 1 << 40),
)
def test_whatever_the_lan_says_only_bounded_hints_come_out(
    properties: dict[bytes, bytes | None], addresses: list[str], port: int
) -> None:
    hints = read(Found({**properties, b"mesh": DIGEST.encode()}, addresses, port))
    if isinstance(hints, str):
        return
    assert 0 < len(hints) <= ADDRESSES_MAX
    for hint in hints:
        host, _ = split_address(hint.address)
        assert not ipaddress.ip_address(host).is_loopback
        assert len(hint.address) <= ADDRESS_CHARS_MAX
        assert len(hint.node_id) <= NODE_ID_CHARS


# Where this node speaks, and what it names.

PRESENT = ["10.0.0.5", "127.0.0.1", "192.0.2.7"]


@pytest.mark.parametrize(
    ("listen", "interfaces"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("::1", ["127.0.0.1"]),
        ("192.0.2.7", ["192.0.2.7"]),
        ("0.0.0.0", ["10.0.0.5", "192.0.2.7"]),
        ("::", ["10.0.0.5", "192.0.2.7"]),
        ("2001:db8::1", ["10.0.0.5", "192.0.2.7"]),
    ],
)
def test_a_node_speaks_only_where_it_listens(listen: str, interfaces: list[str]) -> None:
    assert multicast_interfaces(listen, PRESENT) == interfaces


@pytest.mark.parametrize(
    ("bound", "address", "named", "port"),
    [
        ("192.0.2.7:7400", "192.0.2.7:7400", ["192.0.2.7"], 7400),
        ("0.0.0.0:7400", "10.0.0.5:7400", ["10.0.0.5", "192.0.2.7"], 7400),
        ("10.0.0.5:7400", "198.51.100.1:7000", ["198.51.100.1"], 7000),
        ("0.0.0.0:7400", "one.example:7400", ["10.0.0.5", "192.0.2.7"], 7400),
    ],
    ids=["one", "everywhere", "behind a translator", "a name"],
)
def test_the_addresses_that_are_named_can_be_dialled(bound: str, address: str, named: list[str], port: int) -> None:
    announced = announced_as(OWN, "home", bytes(32), bound=bound, address=address)
    assert announced_addresses(announced, ["10.0.0.5", "192.0.2.7"]) == named
    assert (announced.port, announced.loopback) == (port, False)
