"""Who is who, with real processes: copied data directories, names at other addresses, addresses under other names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from meshnode.datadir import read_note, write_note
from meshnode.joining import join_mesh
from meshnode.token import format_token, parse_token
from meshnode.transport.addresses import split_address
from scripts.localmesh import LocalNode, StartError
from tests.e2e.e2e_lan import lan_of, why_no_lan
from tests.e2e.e2e_relay import Relay
from tests.e2e.e2e_support import (
    DEADLINE_S,
    LISTEN,
    all_see,
    command,
    drops_of,
    eventually,
    finished,
    meshnode,
    nodes_in,
    popen,
    sees,
    short_directory,
    start_mesh,
    states_seen,
    status_of,
    submit,
    token_of,
    up,
)

pytestmark = pytest.mark.xdist_group("e2e-identity")


def copy_of(node: LocalNode, place: Path, *but: str) -> Path:
    """The data directory of a running node, copied as a backup does it, without its sockets and without `but`."""
    left_out = shutil.ignore_patterns("*.sock", *but)
    return Path(shutil.copytree(node.directory, place, ignore=left_out))


async def test_the_copy_of_a_running_nodes_directory_is_told_and_stops_and_the_node_goes_on() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        before = await status_of(shelf)
        task_id = await submit(shelf, "echo", "mine")
        run = await up(copy_of(shelf, root / "copy"))
        run.assert_told(1, "is running already", shelf.ready["id"], shelf.ready["listen"], "--dir NEW --join")
        assert run.out == "", "it never served"
        # It was found out before it said anything: the mesh has not even seen a new generation.
        after = await status_of(shelf)
        assert (after.generation, after.phase) == (before.generation, "serving")
        assert await states_seen(desk) == {"desk": "alive", "shelf": "alive"}
        assert (await finished(shelf, task_id)).output == '"mine"'


class Hesitant(Relay):
    """Lets streams through once it is told to."""

    def __init__(self, target: Callable[[], int]) -> None:
        super().__init__(target)
        self.dialled = trio.Event()
        self.go_on = trio.Event()

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.dialled.set()
        await self.go_on.wait()
        await super()._serve(stream)


async def test_the_copy_of_the_founder_lets_nobody_in_before_it_has_looked_for_the_founder() -> None:
    with short_directory() as root, nodes_in(root, "desk") as [desk]:
        await desk.start(*LISTEN)
        token = parse_token(await token_of(desk))
        copied = copy_of(desk, root / "copy")
        relay = Hesitant(lambda: split_address(desk.ready["listen"])[1])
        write_note(copied / "address", relay.address)
        async with trio.open_nursery() as nursery:
            await nursery.start(relay.run)
            process = popen("up", "--dir", copied, *LISTEN, stdout=-1, stderr=-1)
            try:
                with trio.fail_after(DEADLINE_S):
                    await relay.dialled.wait()
                    listen = read_note(copied / "listen")
                    assert listen is not None
                    with trio.move_on_after(0.5) as patience:
                        await join_mesh(format_token(replace(token, seeds=(listen,))), "rack")
                    relay.go_on.set()
                    _, told = await trio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
            finally:
                process.kill()
                process.wait()
            nursery.cancel_scope.cancel()
        assert process.returncode == 1
        assert b"is running already" in told
        assert patience.cancelled_caught, "it has let a newcomer in"


async def test_a_copy_that_can_not_know_where_the_node_runs_finds_out_through_the_mesh() -> None:
    """Copied before the node was given its present address: the two meet because each hears of the other."""
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        copied = copy_of(shelf, root / "copy", "address")
        process = popen("up", "--dir", copied, *LISTEN, stdout=-1, stderr=-1)
        try:
            with trio.fail_after(DEADLINE_S):
                _, told = await trio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 1
        assert b"is running already" in told
        assert shelf.ready["listen"].encode() in told

        async def settled() -> bool:
            at_desk = await states_seen(desk)
            return at_desk == {"desk": "alive", "shelf": "alive"} and (await status_of(shelf)).phase == "serving"

        await eventually(settled)
        assert (await finished(desk, await submit(shelf, "echo", 1))).output == "1"
        assert "came later and was told to stop" in shelf.log_path.read_text()


@pytest.mark.skipif(bool(why_no_lan()), reason=why_no_lan())
async def test_a_disk_image_on_another_machine_is_told_although_it_claims_the_very_same_address() -> None:
    """Both were told by hand what to tell their peers, and only one of them can be found there."""
    flags = ("--listen", "0.0.0.0:7400", "--advertise", "10.77.0.1:7400")
    with lan_of(2) as machines, short_directory() as root, nodes_in(root, "desk") as [desk]:
        desk.prefix = machines[0].prefix
        await desk.start(*flags)
        image = copy_of(desk, root / "image")
        run = await meshnode(argv=[*machines[1].prefix, *command("up", "--dir", image, *flags)])
        run.assert_told(1, "is running already", "10.77.0.1:7400")
        assert (await status_of(desk)).phase == "serving"
        await desk.stop()
        # Once the first is gone, the copy may take its place.
        desk.prefix, desk.directory = machines[1].prefix, image
        before = desk.ready["id"]
        await desk.start(*flags)
        assert desk.ready["id"] == before


async def test_of_two_copies_that_start_at_the_same_time_one_goes_on() -> None:
    """Neither is a later life of the other: both begin the very same generation."""
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        await shelf.stop()
        (shelf.directory / "address").unlink()
        twins = [LocalNode(copy_of(shelf, root / name), "shelf", shelf.workdir) for name in ("one", "two")]
        for twin in twins:
            (twin.directory / "ready").unlink(missing_ok=True)
            (twin.directory / "log").unlink(missing_ok=True)
        try:
            async with trio.open_nursery() as nursery:
                for twin in twins:
                    nursery.start_soon(start_or_stop, twin)

            async def one_is_left() -> bool:
                return [twin.running for twin in twins].count(True) == 1

            await eventually(one_is_left)
            (left,) = [twin for twin in twins if twin.running]
            (gone,) = [twin for twin in twins if not twin.running]
            assert gone.process is not None
            assert gone.process.returncode == 1
            assert "is running already" in gone.log_path.read_text()
            await all_see([desk, left], 2)
            assert (await finished(desk, await submit(left, "echo", 1))).output == "1"
        finally:
            for twin in twins:
                twin.kill()


async def start_or_stop(node: LocalNode) -> None:
    """Start a node that may find out that it has to stop before it is up."""
    with suppress(StartError):
        await node.start(*LISTEN)


async def test_a_directory_that_was_moved_while_its_node_was_down_just_works() -> None:
    """As after a restore on another machine: the old address is silent, or another node's by now."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "rack") as nodes:
        desk, shelf, rack = nodes
        await start_mesh([desk, shelf])
        await shelf.stop()
        old = shelf.ready["listen"]
        await rack.start("--join", await token_of(desk), "--listen", old)
        moved = LocalNode(copy_of(shelf, root / "moved"), "shelf", shelf.workdir)
        try:
            await moved.start(*LISTEN)
            assert moved.ready["id"] == shelf.ready["id"]
            assert moved.ready["listen"] != old
            await all_see([desk, rack, moved], 3)
        finally:
            moved.kill()


async def test_an_address_under_a_new_name_is_the_new_node_and_the_old_one_stays_dead() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf", "rack") as nodes:
        desk, shelf, rack = nodes
        await start_mesh([desk, shelf])
        old = shelf.ready["listen"]
        shelf.kill()
        await rack.start("--join", await token_of(desk), "--listen", old)
        assert rack.ready["listen"] == old
        for node in (desk, rack):
            await sees(node, "rack", "alive")
            await sees(node, "shelf", "dead")

        async def tried() -> bool:
            """The remembered dead is looked for at its address, where the new node must not be taken for it."""
            return (await drops_of(desk)).get("wrong_peer", 0) > 0

        await eventually(tried)
        assert await states_seen(desk) == {"desk": "alive", "rack": "alive", "shelf": "dead"}
        await shelf.start(*LISTEN)  # at an address of its own this time
        assert shelf.ready["listen"] != old
        await all_see(nodes, 3)


async def test_a_name_at_a_new_address_is_the_same_node_at_once() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        old = shelf.ready["listen"]
        shelf.kill()
        (shelf.directory / "listen").unlink()
        await shelf.start(*LISTEN)
        assert shelf.ready["listen"] != old
        await all_see(nodes, 2)
        assert await states_seen(desk) == {"desk": "alive", "shelf": "alive"}
