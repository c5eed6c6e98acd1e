"""A network for one mesh under test, out of which one member can be cut.

Two network namespaces and a cable between them: everybody is in the one, at the address of `common`, but the member
that is to be cut off, which is alone in the other. To cut, both ends are told a hardware address that nobody has: what
is sent is lost without a word, in both directions, as in a switch that has failed; no interface goes down, no route is
withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from scripts.namespaces import Namespace, namespace

COMMON, ALONE = "10.77.0.1", "10.77.0.2"
NOBODY = "02:00:00:00:00:99"
"""A locally administered hardware address."""


class Place:
    """Where processes run: run them by `prefix`, and they listen at `host`."""

    def __init__(self, host: str, prefix: tuple[str, ...] = ()) -> None:
        self.host = host
        self.prefix = prefix


LOOPBACK = Place("127.0.0.1")


class Network:
    """`common` for all, `alone` for the one that is to be cut off."""

    def __init__(self, common: Namespace, alone: Namespace) -> None:
        self.common = Place(COMMON, common.prefix)
        self.alone = Place(ALONE, alone.prefix)
        self._ends = (common, "cable0", ALONE), (alone, "cable1", COMMON)

    async def cut(self) -> None:
        for end, device, other in self._ends:
            script = f"ip neigh replace {other} lladdr {NOBODY} dev {device} nud permanent"
            await trio.to_thread.run_sync(end.run, script)

    async def heal(self) -> None:
        for end, device, other in self._ends:
            await trio.to_thread.run_sync(end.run, f"ip neigh del {other} dev {device}")


@contextmanager
def network() -> Iterator[Network]:
    """Two namespaces, connected. Raises `NoNamespaces`."""
    with namespace() as common, namespace(common) as alone:
        common.run(f"ip link add cable0 type veth peer name cable1 netns {alone.pid}")
        for end, device, host in ((common, "cable0", COMMON), (alone, "cable1", ALONE)):
            end.run(f"ip link set lo up && ip address add {host}/30 dev {device} && ip link set {device} up")
        yield Network(common, alone)
