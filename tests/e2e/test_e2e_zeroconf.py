"""Nodes that find each other by real multicast: on loopback, and on a LAN of network namespaces."""

from __future__ import annotations

import pytest
import trio

from meshnode.discovery.lan import Discovery, Lan, announced_as
from meshnode.identity import load_identity
from protocols.membership.hints import Hint
from scripts.localmesh import LocalNode, form_mesh
from tests.e2e.e2e_lan import Machine, lan_of, why_no_lan, why_no_loopback_multicast
from tests.e2e.e2e_support import (
    LISTEN,
    all_see,
    drops_of,
    eventually,
    nodes_in,
    short_directory,
    start_mesh,
    states_seen,
    status_of,
    token_of,
)

pytestmark = pytest.mark.xdist_group("e2e-zeroconf")
on_loopback = pytest.mark.skipif(bool(why_no_loopback_multicast()), reason=why_no_loopback_multicast())
on_a_lan = pytest.mark.skipif(bool(why_no_lan()), reason=why_no_lan())


def forget_the_port(node: LocalNode) -> None:
    """The next start listens elsewhere, as on a machine that was given another address."""
    (node.directory / "listen").unlink()


@on_loopback
async def test_a_mesh_that_is_restarted_at_other_addresses_meets_again_by_multicast() -> None:
    """What the peers files, the seeds and the tokens say is wrong for every node; nothing but the LAN knows better."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "rack") as nodes:
        await start_mesh(nodes, *LISTEN, "--zeroconf")
        before = [node.ready["listen"] for node in nodes]
        for node in nodes:
            node.kill()
            forget_the_port(node)
        for node in nodes:
            await node.start(*LISTEN, "--zeroconf")
        assert not {node.ready["listen"] for node in nodes} & set(before)
        await all_see(nodes, 3)


@on_loopback
async def test_a_token_whose_addresses_are_wrong_by_now_leads_to_the_mesh_by_multicast() -> None:
    """The founder was given another address after it made the token; the LAN suggests it, and it proves who it is."""
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await desk.start(*LISTEN)
        token = await token_of(desk)
        desk.kill()
        forget_the_port(desk)
        await desk.start(*LISTEN, "--zeroconf")
        await shelf.start(*LISTEN, "--zeroconf", "--join", token)
        await all_see(nodes, 2)


@on_loopback
async def test_a_node_that_was_not_asked_to_says_nothing_to_the_lan_and_finds_nobody() -> None:
    heard: list[Hint] = []

    async def suggest(hints: tuple[Hint, ...]) -> int:
        heard.extend(hints)
        return len(hints)

    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        for node in nodes:
            node.kill()
            forget_the_port(node)
        await desk.start(*LISTEN, "--zeroconf")
        await shelf.start(*LISTEN)
        identity, secrets = load_identity(desk.directory)
        listener = announced_as(
            "z" * 26, secrets.mesh, identity.ca_fingerprint, bound="127.0.0.1:1", address="127.0.0.1:1"
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Discovery(listener, suggest).run)

            async def desk_is_there() -> bool:
                return bool(heard)

            await eventually(desk_is_there)
            nursery.cancel_scope.cancel()
        assert {(hint.address, hint.node_id) for hint in heard} == {(desk.ready["listen"], desk.ready["id"])}
        assert list((await states_seen(shelf)).values()).count("alive") == 1


@on_loopback
async def test_forged_announcements_cost_a_bounded_number_of_tries_and_change_nothing() -> None:
    """Somebody on the LAN who knows the digest names addresses of strangers, of another mesh's node, and of nobody."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "stranger") as nodes:
        desk, shelf, stranger = nodes
        await start_mesh([desk, shelf], *LISTEN, "--zeroconf")
        await stranger.start(*LISTEN)  # a mesh of its own
        before = await states_seen(desk)
        identity, secrets = load_identity(desk.directory)
        of_stranger = ("q" * 26, stranger.ready["listen"])
        of_nobody = [("r" * 25 + letter, f"127.0.0.1:{number}") for number, letter in enumerate("abc", 1)]
        lies = [
            announced_as(node_id, secrets.mesh, identity.ca_fingerprint, bound=address, address=address)
            for node_id, address in (of_stranger, *of_nobody)
        ]
        liars = [(Lan(["127.0.0.1"]), lie) for lie in lies]
        try:
            async with trio.open_nursery() as nursery:
                for lan, lie in liars:
                    nursery.start_soon(trio.to_thread.run_sync, lan.announce, lie)

            async def tried_the_stranger() -> bool:
                """It is of another mesh, and TLS says so."""
                drops = {**(await drops_of(desk)), **(await drops_of(shelf))}
                return drops.get("untrusted_peer", 0) + drops.get("handshake_failed", 0) > 0

            await eventually(tried_the_stranger)
            assert await states_seen(desk) == await states_seen(shelf) == before
            # One is tried every 10 s, and dialled for 10 s at most, with growing pauses.
            dialled = (await drops_of(desk)).get("connect_failed", 0)
            assert dialled <= 20 * (1 + (await status_of(desk)).uptime_s / 10)
            assert list((await states_seen(stranger)).values()) == ["alive"]
        finally:
            for lan, _ in liars:
                await trio.to_thread.run_sync(lan.close)


def placed(nodes: list[LocalNode], machines: list[Machine]) -> None:
    for node, machine in zip(nodes, machines, strict=True):
        node.prefix = machine.prefix


@on_a_lan
async def test_a_lan_whose_machines_all_get_other_addresses_forms_its_mesh_again() -> None:
    """Three machines on a bridge, listening everywhere at the same port; the router hands out new addresses."""
    flags = ("--listen", "0.0.0.0:7400", "--zeroconf")
    with lan_of(3) as machines, short_directory() as root, nodes_in(root, "desk", "shelf", "rack") as nodes:
        placed(nodes, machines)
        await form_mesh(nodes, *flags)
        await all_see(nodes, 3)
        assert [node.ready["listen"] for node in nodes] == [f"10.77.0.{number}:7400" for number in (1, 2, 3)]
        for node in nodes:
            node.kill()
        for number, machine in enumerate(machines, 1):
            machine.move_to(f"10.77.0.{100 + number}")
        for node in nodes:
            await node.start(*flags)
        assert [node.ready["listen"] for node in nodes] == [f"10.77.0.{number}:7400" for number in (101, 102, 103)]
        await all_see(nodes, 3)


@on_a_lan
async def test_a_node_that_starts_before_its_network_is_up_is_found_once_it_is() -> None:
    flags = ("--listen", "0.0.0.0:7400", "--zeroconf")
    with lan_of(2) as machines, short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        placed(nodes, machines)
        await form_mesh(nodes, *flags)
        await all_see(nodes, 2)
        for node in nodes:
            node.kill()
        machines[0].move_to("10.77.0.101")  # so that only the LAN can tell where desk is
        await desk.start(*flags)
        machines[1].run("ip link set lan0 down")
        await shelf.start("--advertise", "10.77.0.2:7400", *flags)
        assert list((await states_seen(shelf)).values()) == ["alive"]
        machines[1].run("ip link set lan0 up")
        await all_see(nodes, 2)


@on_a_lan
async def test_nodes_that_lose_their_network_are_announced_again_when_it_is_back() -> None:
    """The sockets of the old network are of no use in the new one: a laptop is carried from one to another."""
    flags = ("--listen", "0.0.0.0:7400", "--zeroconf")
    with lan_of(2) as machines, short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        shelf = nodes[1]
        placed(nodes, machines)
        await form_mesh(nodes, *flags)
        await all_see(nodes, 2)

        async def announced(address: str) -> bool:
            return f"announced on the LAN interfaces={address}" in shelf.log_path.read_text()

        await eventually(lambda: announced("10.77.0.2"))
        machines[1].move_to("10.77.0.102")
        await eventually(lambda: announced("10.77.0.102"))
        assert (await status_of(shelf)).phase == "serving"
