"""Names that change their addresses, have several, or cannot be looked up; and how streams and packets use them."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
import trio

from meshnode.identity import found_mesh
from meshnode.transport.names import ADDRESSES_MAX, LOOKUPS_MAX, WAITING_MAX, Names, ask_the_system
from protocols.core import Endpoint
from tests.meshnode.transport.mesh_party import Party, admit, eventually, serving

EAGER = {"fresh_s": 0.05, "retry_s": 0.02, "lookup_s": 0.5}
ELSEWHERE = "127.0.0.9"
"""Nobody listens there: a connection is refused at once."""


class NameServer:
    """Answers as it is told to. `held`: names whose lookup hangs until `release`."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.at_once = 0
        self.at_once_max = 0
        self.held: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._go = threading.Event()

    def release(self) -> None:
        self._go.set()

    def __call__(self, host: str) -> list[str]:
        with self._lock:
            self.asked[host] += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            if host in self.held:
                self._go.wait(60)
            if host not in self.answers:
                raise OSError("no such name")
            return self.answers[host]
        finally:
            with self._lock:
                self.at_once -= 1


class Lookups:
    """`Names` that run while the block runs."""

    def __init__(self, server: NameServer, **times: float) -> None:
        self.names = Names(server, **{**EAGER, **times})
        self._server = server
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> Names:
        self._nursery = await self._manager.__aenter__()
        await self._nursery.start(self.names.run)
        return self.names

    async def __aexit__(self, *error: object) -> None:
        self._server.release()
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(None, None, None)


# Lookups.


async def test_a_name_that_changes_its_addresses_is_followed_for_ever() -> None:
    server = NameServer(one=["192.0.2.1"])
    async with Lookups(server) as names:
        assert await names.addresses("one") == ("192.0.2.1",)
        for last in range(2, 5):
            server.answers["one"] = [f"192.0.2.{last}"]
            await eventually(lambda last=last: names.known("one") == (f"192.0.2.{last}",))  # type: ignore[misc]


async def test_a_name_is_not_asked_for_more_often_than_it_grows_old() -> None:
    server = NameServer(one=["192.0.2.1"])
    async with Lookups(server, fresh_s=60.0, retry_s=60.0) as names:
        for _ in range(1000):
            assert await names.addresses("one") == ("192.0.2.1",)
            assert await names.addresses("nobody") == ()
        names.useless("one")  # asked for a moment ago: not yet again
        assert await names.addresses("one") == ("192.0.2.1",)
        assert server.asked == {"one": 1, "nobody": 1}


async def test_an_old_answer_serves_while_the_name_server_is_away_or_silent() -> None:
    server = NameServer(one=["192.0.2.1"])
    async with Lookups(server) as names:
        await names.addresses("one")
        del server.answers["one"]
        await eventually(lambda: names.known("one") == ("192.0.2.1",) and server.asked["one"] >= 3)
        server.held = ("one",)
        assert await names.addresses("one") == ("192.0.2.1",)


async def test_addresses_at_which_nobody_was_met_are_asked_for_again_before_their_time() -> None:
    server = NameServer(one=["192.0.2.1"])
    async with Lookups(server, fresh_s=60.0) as names:
        await names.addresses("one")
        server.answers["one"] = ["192.0.2.2"]
        names.useless("one")
        await eventually(lambda: names.known("one") == ("192.0.2.2",))


async def test_lookups_that_hang_take_few_threads_and_the_rest_of_the_node_none() -> None:
    hanging = tuple(f"hang{number}" for number in range(100))
    server = NameServer(**{name: ["192.0.2.1"] for name in hanging})
    server.held = hanging
    async with Lookups(server) as names:
        for name in hanging:
            assert names.known(name) == ()
        await eventually(lambda: server.at_once == LOOKUPS_MAX)
        limiter = trio.to_thread.current_default_thread_limiter()
        assert limiter.borrowed_tokens == 0
        with trio.fail_after(30):
            assert await names.addresses(hanging[0]) == ()
        assert server.at_once_max <= LOOKUPS_MAX
        assert sum(server.asked.values()) <= WAITING_MAX


async def test_what_is_asked_while_the_node_stops_is_answered_with_what_is_known() -> None:
    async with Lookups(NameServer(one=["192.0.2.1"]), fresh_s=0.0) as names:
        await names.addresses("one")
    assert names.known("one") == ("192.0.2.1",)
    assert names.known("two") == ()
    assert await names.addresses("two") == ()


async def test_a_name_with_many_addresses_keeps_a_bounded_number_of_them() -> None:
    server = NameServer(one=[f"192.0.2.{number}" for number in range(200)] * 2)
    async with Lookups(server) as names:
        addresses = await names.addresses("one")
        assert len(addresses) == len(set(addresses)) == ADDRESSES_MAX


async def test_the_address_that_proved_good_comes_first_and_without_one_they_take_turns() -> None:
    server = NameServer(one=["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    async with Lookups(server) as names:
        first: Counter[str] = Counter()

        def all_had_their_turn() -> bool:
            first[names.known("one")[0] if names.known("one") else ""] += 1
            return len(+first) >= 4  # the three, and nothing before the first answer

        await eventually(all_had_their_turn)
        names.greeted("one", "192.0.2.2")
        asked = server.asked["one"]

        def it_stays_first() -> bool:
            assert names.known("one")[0] == "192.0.2.2"
            return server.asked["one"] >= asked + 4

        await eventually(it_stays_first)
        server.answers["one"] = ["192.0.2.3"]
        await eventually(lambda: names.known("one") == ("192.0.2.3",))


@pytest.mark.parametrize("host", ["x" * 300, "a..b", "no-such-name.invalid"])
def test_the_system_refuses_what_is_no_name_with_one_of_two_errors(host: str) -> None:
    with pytest.raises((OSError, UnicodeError)):
        ask_the_system(host)


def test_the_system_knows_this_machine() -> None:
    assert "127.0.0.1" in ask_the_system("localhost") or "::1" in ask_the_system("localhost")


# Streams and packets.


def mesh_with(server: NameServer, *hosts: str) -> list[Party]:
    """A dialler whose names `server` knows, and one member of its mesh on each of `hosts`."""
    identity, secrets = found_mesh("testmesh", "dialler")
    dialler = Party(identity, secrets, names=Names(server, **EAGER))
    others = [Party(*admit(identity, secrets, f"m{n}"), listen=(host, 0)) for n, host in enumerate(hosts)]
    return [dialler, *others]


async def test_a_peer_whose_name_gets_a_new_address_is_found_there() -> None:
    server = NameServer(peer=[ELSEWHERE])
    dialler, peer = mesh_with(server, "127.0.0.2")
    async with serving(dialler, peer):
        dialler.say(Endpoint("", f"peer:{peer.port}"), "first")
        await eventually(lambda: server.asked["peer"] >= 2)  # for nobody was there
        server.answers["peer"] = ["127.0.0.2"]
        await peer.until(lambda: peer.texts == ["first"])


async def test_all_addresses_of_a_name_are_tried_until_the_right_peer_says_hello() -> None:
    """One is silent, one refuses, one is another mesh's by now, one another node's; the last is the peer."""
    server = NameServer(peer=["203.0.113.9", ELSEWHERE, "127.0.0.3", "127.0.0.4", "127.0.0.2"])
    dialler, peer, other = mesh_with(server, "127.0.0.2", "127.0.0.4")
    stranger = Party(*found_mesh("testmesh", "stranger"), listen=("127.0.0.3", peer_port(peer)))
    other = at_port(other, peer)
    async with serving(dialler, peer, stranger, other):
        dialler.say(Endpoint(peer.identity.node_id, f"peer:{peer.port}"), "it is you")
        await peer.until(lambda: peer.texts == ["it is you"])
        assert other.received == stranger.received == []


async def test_packets_go_to_the_address_at_which_a_stream_met_the_peer() -> None:
    server = NameServer(peer=[ELSEWHERE, "127.0.0.2"])
    dialler, peer = mesh_with(server, "127.0.0.2")
    async with serving(dialler, peer):
        to = Endpoint(peer.identity.node_id, f"peer:{peer.port}")
        dialler.say(to, "hello")
        await peer.heard(1)
        for number in range(1, 51):
            dialler.ping(to, number)
        await peer.heard(51)


async def test_packets_to_a_name_with_a_bad_address_get_through_in_time_without_a_stream_too() -> None:
    server = NameServer(peer=[ELSEWHERE, "127.0.0.2"])
    dialler, peer = mesh_with(server, "127.0.0.2")
    async with serving(dialler, peer):
        to = Endpoint(peer.identity.node_id, f"peer:{peer.port}")

        def came() -> bool:
            dialler.ping(to, 1)
            return bool(peer.received)

        await eventually(came)


async def test_a_seed_name_that_stands_for_several_nodes_leads_to_all_of_them_in_time() -> None:
    """Two halves of a mesh behind one name: whoever only ever met the same half would never join them."""
    server = NameServer(seeds=["127.0.0.2", "127.0.0.3"])
    dialler, one, two = mesh_with(server, "127.0.0.2", "127.0.0.3")
    two = at_port(two, one)
    async with serving(dialler, one, two):
        met: set[int] = set()
        with trio.fail_after(120):
            while met != {0, 1}:
                before = len(one.received) + len(two.received)
                dialler.say(Endpoint("", f"seeds:{one.port}"), "anybody?")
                await eventually(lambda before=before: len(one.received) + len(two.received) > before)  # type: ignore[misc]
                met.update(number for number, party in enumerate((one, two)) if party.received)
                await eventually(lambda: dialler.transport.streams_open == 0)  # let go soon


def peer_port(peer: Party) -> int:
    """The port that `peer` will listen at; it is taken now."""
    peer.transport.bind()
    return peer.port


def at_port(party: Party, peer: Party) -> Party:
    """`party`, which is not running yet, at its own host and the port of `peer`."""
    return Party(party.identity, party.secrets, listen=(party.listen[0], peer_port(peer)))
