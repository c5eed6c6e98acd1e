"""A seed that is a name, which gets another address while a node runs: on a LAN of network namespaces."""

from __future__ import annotations

import pytest
import trio

from tests.e2e.e2e_lan import lan_of, why_no_lan
from tests.e2e.e2e_support import (
    all_see,
    nodes_in,
    sees,
    short_directory,
    status_of,
    token_of,
)

pytestmark = [
    pytest.mark.xdist_group("e2e-names"),
    pytest.mark.skipif(bool(why_no_lan()), reason=why_no_lan()),
]
LISTEN = ("--listen", "0.0.0.0:7400")
WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
"""Runs a command that sees the file $0 as its /etc/hosts, in a mount namespace of its own."""


async def test_a_seed_whose_name_gets_another_address_is_found_there_by_a_node_that_runs() -> None:
    """Nothing else could lead to it: it has lost its disk, and no longer knows of anybody."""
    with lan_of(2) as machines, short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        hosts = trio.Path(root / "hosts")
        await hosts.write_text("127.0.0.1 localhost\n10.77.0.1 desk.test\n")
        desk.prefix = machines[0].prefix
        shelf.prefix = (*machines[1].prefix, "unshare", "--mount", "sh", "-c", WITH_HOSTS, str(hosts))
        await desk.start(*LISTEN)
        await shelf.start(*LISTEN, "--join", await token_of(desk), "--seed", "desk.test:7400")
        await all_see(nodes, 2)
        before = await status_of(shelf)

        desk.kill()
        for file in desk.directory.glob("node.db*"):
            file.unlink()
        machines[0].move_to("10.77.0.101")
        await sees(shelf, "desk", "dead")
        await desk.start(*LISTEN)
        assert desk.ready["listen"] == "10.77.0.101:7400"
        # Several addresses, as while a record is being changed: an old one, one that nobody has, and the right one.
        await hosts.write_text("127.0.0.1 localhost\n10.77.0.1 desk.test\n10.77.0.9 desk.test\n10.77.0.101 desk.test\n")
        await all_see(nodes, 2)
        assert (await status_of(shelf)).generation == before.generation, "it was never restarted"
