"""Two processes with one identity meet on a stream: both conclude the same, and nobody else concludes anything."""

from __future__ import annotations

import msgspec

from meshnode.identity import found_mesh
from meshnode.transport.hello import decode_hello, encode_hello
from meshnode.transport.twins import Life, Twin
from protocols.core import Endpoint
from tests.meshnode.transport.mesh_party import Party, eventually, serving, two_parties


async def test_both_ends_agree_on_who_came_later() -> None:
    identity, secrets = found_mesh("testmesh", "alice")
    first, second = Party(identity, secrets), Party(identity, secrets)
    async with serving(first, second):
        await second.transport.greet(first.transport.address)
        await first.drop("self_connection")
        (met_by_first,), (met_by_second,) = first.twins, second.twins
        assert (met_by_first.address, met_by_second.address) == (second.transport.address, first.transport.address)
        assert met_by_first.is_earlier != met_by_second.is_earlier
        # Whoever dials: the mesh may have told either of the other.
        first.say(Endpoint("", second.transport.address), "anybody there?")
        await first.drop("self_connection", 2)
        await eventually(lambda: len(second.twins) == 2)
        assert first.twins[1].is_earlier != second.twins[1].is_earlier
        assert first.received == second.received == []


async def test_a_process_that_meets_itself_under_another_name_has_no_twin() -> None:
    identity, secrets = found_mesh("testmesh", "alice")
    party = Party(identity, secrets, listen=("0.0.0.0", 0), advertise="192.0.2.1:0")
    async with serving(party):
        await party.transport.greet(f"127.0.0.1:{party.port}")
        await party.drop("self_connection")
        assert party.twins == []


async def test_other_members_are_no_twins_and_a_silent_address_costs_nothing() -> None:
    alice, bob = two_parties()
    async with serving(alice, bob):
        await alice.transport.greet(bob.transport.address)
        await alice.transport.greet("127.0.0.1:1")
        await alice.transport.greet("no address")
        assert alice.twins == bob.twins == []
        bob.say(alice.endpoint, "hello")
        await alice.heard(1)


def test_nothing_is_concluded_from_the_hello_of_an_older_version() -> None:
    met: list[Twin] = []
    life = Life(met.append)
    hello = decode_hello(encode_hello("mesh", "192.0.2.1:7400", "desk"))
    assert (hello.life, hello.up_ms) == ("", 0)
    life.met(5, hello)
    assert met == []


def test_who_has_been_up_for_less_time_came_later() -> None:
    met: list[Twin] = []
    life = Life(met.append)
    hello = decode_hello(encode_hello("mesh", "192.0.2.1:7400", "desk", "another life", up_ms=100))
    life.met(99, hello)
    life.met(101, hello)
    assert met == [Twin("192.0.2.1:7400", is_earlier=True), Twin("192.0.2.1:7400", is_earlier=False)]
    assert life.up_ms() < 60_000


def test_a_tie_is_broken_in_the_same_way_at_both_ends() -> None:
    met_by_one: list[Twin] = []
    met_by_two: list[Twin] = []
    one, two = Life(met_by_one.append), Life(met_by_two.append)
    hello = decode_hello(encode_hello("mesh", "192.0.2.1:7400", "desk"))
    one.met(5, msgspec.structs.replace(hello, life=two.name, up_ms=5))
    two.met(5, msgspec.structs.replace(hello, life=one.name, up_ms=5))
    assert [met_by_one[0].is_earlier, met_by_two[0].is_earlier].count(True) == 1
