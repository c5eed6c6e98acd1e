"""A mesh of real processes that rotates its packet keys while it talks: not one packet is lost for an unknown key."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from meshnode.identity import load_identity
from meshnode.storage import Storage
from protocols.keyring.keeper import keyring_at_start
from protocols.keyring.ring import first_keyring, held
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    LISTEN,
    Run,
    all_see,
    at,
    drops_of,
    eventually,
    finished,
    nodes_in,
    sees,
    short_directory,
    start_mesh,
    submit,
    token_of,
)

pytestmark = pytest.mark.xdist_group("e2e-keys")

KEY_DROPS = ("packet_unknown_key", "packet_tampered", "packet_replayed")


async def keys(node: LocalNode, *arguments: str) -> Run:
    return await at(node, "keys", *arguments)


async def done(node: LocalNode, *arguments: str) -> dict[str, Any]:
    """The report of a change that reached every live member."""
    run = await keys(node, *arguments)
    assert run.status == 0, (run.out, run.err)
    assert run.document["done"]
    return run.document


async def added(node: LocalNode) -> str:
    return str((await done(node, "add"))["key"])


async def primary_of(node: LocalNode) -> str:
    return str((await done(node))["members"][0]["keys"][0])


async def talk_on(nodes: Iterable[LocalNode], opened: int = 3) -> None:
    """Let probes pass between all of them: everybody goes on being seen alive, and tasks go through."""
    nodes = list(nodes)
    for _ in range(opened):
        for node in nodes:
            await finished(node, await submit(node, "echo", 1))
    await all_see(nodes, len(nodes))


async def assert_none_lost(nodes: Iterable[LocalNode], reasons: tuple[str, ...] = KEY_DROPS) -> None:
    for node in nodes:
        drops = await drops_of(node)
        assert {reason: drops.get(reason, 0) for reason in reasons} == dict.fromkeys(reasons, 0), node.name


def keys_on_disk(directory: Path) -> list[bytes]:
    """What a node that starts on `directory` would hold."""
    _, secrets = load_identity(directory)
    storage = Storage.open(directory / "node.db")
    try:
        ring = keyring_at_start(first_keyring(secrets.keyring), storage.load())
    finally:
        storage.close()
    return [key.secret for key in held(ring)]


async def test_a_rotation_under_traffic_with_a_member_that_is_down_for_all_of_it() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf", "attic") as nodes:
        desk, shelf, attic = nodes
        await start_mesh(nodes)
        token = await token_of(desk)
        old = await primary_of(desk)
        new = await added(shelf)
        assert new != old
        await talk_on(nodes)

        attic.kill()
        await sees(desk, "attic", "dead")
        await sees(shelf, "attic", "dead")
        for command in (("use", new), ("remove", old)):  # one behind the other, packets under the old key under way
            report = await done(desk, *command)
            assert {each["name"]: each["state"] for each in report["members"]} == {
                "desk": "ok",
                "shelf": "ok",
                "attic": "away",
            }
        newer = await added(desk)
        await done(shelf, "use", newer)
        await done(shelf, "remove", new)
        await talk_on([desk, shelf])
        await assert_none_lost([desk, shelf])

        await attic.start(*LISTEN)  # with nothing but the first key and the second
        await all_see(nodes, 3)
        assert await primary_of(attic) == newer
        await talk_on(nodes)
        await assert_none_lost(nodes)

        with nodes_in(root, "late") as [late]:
            await late.start(*LISTEN, "--join", token)  # made before the rotation
            await all_see([*nodes, late], 4)
            assert await primary_of(late) == newer
            await talk_on([*nodes, late])
            await assert_none_lost([*nodes, late])
            for node in (*nodes, late):
                await node.stop()
        assert len({tuple(keys_on_disk(node.directory)) for node in nodes}) == 1


async def test_a_restart_keeps_the_keys_and_a_disk_that_was_lost_gets_them_back() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        old = await primary_of(desk)
        new = await added(desk)
        await done(desk, "use", new)
        await done(shelf, "remove", old)
        for node in nodes:
            node.kill()
        for node in nodes:
            await node.start(*LISTEN)
        await all_see(nodes, 2)
        assert [await primary_of(node) for node in nodes] == [new, new]
        shelf.kill()
        for file in shelf.directory.glob("node.db*"):
            file.unlink()
        await shelf.start(*LISTEN, "--seed", desk.ready["listen"])

        async def caught_up() -> bool:
            return await primary_of(shelf) == new

        await eventually(caught_up)
        await all_see(nodes, 2)
        # The generation went with the disk: what it says counts as replayed until it is told of its former lives.
        await assert_none_lost(nodes, ("packet_unknown_key",))


async def test_what_would_lose_packets_is_refused() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        old = await primary_of(desk)
        (await keys(desk, "remove", old, "--force")).assert_told(1, "is the primary")
        (await keys(desk, "use", "nosuchkey")).assert_told(1, "no key 'nosuchkey'")
        new = await added(desk)
        assert shelf.process is not None
        shelf.process.send_signal(signal.SIGSTOP)
        try:
            run = await keys(desk, "use", new)
        finally:
            shelf.process.send_signal(signal.SIGCONT)
        run.assert_told(1, "shelf gave no answer", "--force")
        assert run.document["error"]["code"] == "key_not_everywhere"
        assert await primary_of(desk) == old
        await sees(desk, "shelf", "alive")
        await done(desk, "use", new)
        await assert_none_lost(nodes)
