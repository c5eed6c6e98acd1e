"""Starts that can not succeed: what `meshnode up` says, and that whatever was there before is untouched."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from scripts.localmesh import LocalNode, StartError
from tests.e2e.e2e_support import (
    DEADLINE_S,
    LISTEN,
    all_see,
    at,
    command,
    eventually,
    finished,
    meshnode,
    nodes_in,
    popen,
    short_directory,
    start_mesh,
    status_of,
    submit,
    up,
)

WITHOUT_ROOTS_PRIVILEGE = """\
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
libc = ctypes.CDLL(None)
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that file modes hold for, root's too. For another user it changes nothing."""


@pytest.fixture
def node() -> Iterator[LocalNode]:
    with short_directory() as root, nodes_in(root, "desk") as [desk]:
        yield desk


async def test_a_second_daemon_on_one_directory_is_told_who_serves_it(node: LocalNode) -> None:
    await node.start(*LISTEN)
    assert node.process is not None
    task_id = await submit(node, "echo", "mine")

    run = await up(node.directory)
    run.assert_told(1, f"pid {node.process.pid}", str(node.directory), "--dir")
    run = await meshnode("init", "--dir", node.directory)
    run.assert_told(1, f"pid {node.process.pid}")

    assert (await finished(node, task_id)).output == '"mine"'
    assert (await at(node, "status")).document["storage_error"] == ""


async def test_a_port_that_was_asked_for_and_is_busy_is_named(node: LocalNode) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        where = f"127.0.0.1:{busy.getsockname()[1]}"
        run = await meshnode("up", "--dir", node.directory, "--listen", where)
        run.assert_told(1, where, "TCP or UDP", "--listen")
    with socket.socket(type=socket.SOCK_DGRAM) as busy:
        busy.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{busy.getsockname()[1]}"
        run = await meshnode("up", "--dir", node.directory, "--listen", where)
        run.assert_told(1, where, "--listen")
    await node.start(*LISTEN)


async def test_a_busy_mcp_port_stops_the_start_and_nothing_else(node: LocalNode) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        run = await up(node.directory, "--mcp", str(busy.getsockname()[1]))
    run.assert_told(1, "MCP over HTTP is not served", "--mcp")
    await node.start(*LISTEN)


async def test_a_port_that_was_only_remembered_is_replaced_and_the_mesh_finds_the_node_again() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        await shelf.stop()
        before = shelf.ready["listen"]
        host, _, port = before.rpartition(":")
        with socket.socket() as busy:
            busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            busy.bind((host, int(port)))
            busy.listen()
            await shelf.start(*LISTEN)
            assert shelf.ready["listen"] != before
            await all_see(nodes, 2)
            assert (await finished(desk, await submit(shelf, "echo", 1))).output == "1"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('listn = "127.0.0.1:0"\n', ("listn", "Did you mean `listen`")),
        ('[handlers.x]\nexecutor = "python"\ntarget = "a:b"\nconcurency = 3\n', ("concurency", "concurrency")),
        ('[mcp_servers.x]\ncomand = "true"\n', ("comand", "command")),
        ("weight = 1000\n", ("weight",)),
        ("[handlers\n", ("not TOML", "line 1")),
    ],
    ids=["key", "key of a handler", "key of a server", "value", "syntax"],
)
async def test_a_configuration_that_is_not_understood_is_named_with_the_nearest_valid_key(
    node: LocalNode, toml: str, words: tuple[str, ...]
) -> None:
    node.configure(toml)
    run = await up(node.directory)
    run.assert_told(2, "meshnode.toml", *words)
    assert not (node.directory / "node.db").exists()


async def test_a_data_directory_that_can_not_be_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    for place in (file, file / "below"):
        run = await up(place)
        run.assert_told(1, str(place), "--dir")
    assert file.read_text() == "precious"


async def test_a_directory_without_write_permission_is_refused_and_works_again_with_it(node: LocalNode) -> None:
    await node.start(*LISTEN)
    task_id = await submit(node, "echo", "kept")
    await finished(node, task_id)
    await node.stop()

    start = [sys.executable, "-c", WITHOUT_ROOTS_PRIVILEGE, *command("up", "--dir", node.directory, *LISTEN)]
    node.directory.chmod(0o500)
    try:
        run = await meshnode(argv=start)
    finally:
        node.directory.chmod(0o700)
    run.assert_told(1, str(node.directory), "Permission denied", "writable")

    await node.start(*LISTEN)
    assert (await finished(node, task_id)).output == '"kept"'


async def test_a_database_with_damage_is_refused_and_left_as_it_is(node: LocalNode) -> None:
    await node.start(*LISTEN)
    await finished(node, await submit(node, "echo", "x" * 20_000))
    await node.stop()
    database = node.directory / "node.db"
    whole = database.read_bytes()
    broken = bytearray(whole)
    broken[4096 : 4096 + 64] = b"\xff" * 64  # the root page of the table
    database.write_bytes(broken)

    run = await up(node.directory)
    run.assert_told(1, "node.db is damaged", "backup", ".recover")
    assert database.read_bytes() == broken

    database.write_bytes(whole)
    await node.start(*LISTEN)


async def test_one_flipped_bit_in_a_record_is_found_and_the_record_named(node: LocalNode) -> None:
    """SQLite itself does not look into values: the task would come back with another payload."""
    await node.start(*LISTEN)
    task_id = await submit(node, "echo", "whole and sound")
    await finished(node, task_id)
    await node.stop()
    database = node.directory / "node.db"
    whole = database.read_bytes()
    broken = bytearray(whole)
    broken[whole.index(b"whole and sound")] ^= 0x20
    database.write_bytes(broken)

    run = await up(node.directory)
    run.assert_told(1, task_id, "checksum", "backup")
    database.write_bytes(whole)
    await node.start(*LISTEN)
    assert (await finished(node, task_id)).output == '"whole and sound"'


async def test_a_lost_private_key_is_not_replaced_in_silence(node: LocalNode) -> None:
    """A new key would be another node: the tasks of this one would never be found again."""
    await node.start(*LISTEN)
    await node.stop()
    keys = [file for file in (node.directory / "identity").iterdir() if "key" in file.name]
    assert keys
    kept = {file: file.read_bytes() for file in keys}
    for file in keys:
        file.write_bytes(b"\x00garbage")
    run = await up(node.directory)
    run.assert_told(1, "identity")
    assert all(file.read_bytes() == b"\x00garbage" for file in keys)
    for file, content in kept.items():
        file.write_bytes(content)
    node_id = node.ready["id"]
    await node.start(*LISTEN)
    assert node.ready["id"] == node_id


async def test_a_ready_line_that_nobody_can_take_stops_no_node(node: LocalNode) -> None:
    with open("/dev/full", "wb") as full, open(node.directory / "log", "wb") as log:  # noqa: ASYNC230  # devices
        daemon = popen("up", "--dir", node.directory, *LISTEN, stdout=full, stderr=log)
    try:

        async def serving() -> bool:
            return (await status_of(node)).phase == "serving"

        await eventually(serving)
        assert (await meshnode("leave", "--dir", node.directory)).status == 0
        with trio.fail_after(DEADLINE_S):
            assert await trio.to_thread.run_sync(daemon.wait, abandon_on_cancel=True) == 0
    finally:
        daemon.kill()
        daemon.wait()


async def test_a_start_that_fails_says_so_to_a_program_too(node: LocalNode) -> None:
    node.configure("nam = 1\n")
    run = await up(node.directory, "--json")
    run.assert_told(2, "nam")
    assert run.document["error"]["code"] == "bad_config"
    with pytest.raises(StartError, match="nam"):
        await node.start(*LISTEN)
