"""A network for one mesh under test, out of which one member can be cut.

Two network namespaces and a cable between them: everybody is in the one, at the address of `common`, but the member
that is to be cut off, which is alone in the other. To cut, both ends are told a hardware address that nobody has: what
is sent is lost without a word, in both directions, as in a switch that has failed; no interface goes down, no route is
withdrawn. The namespaces live as long as the processes that hold them, and those end with this one, however it ends.

Needs Linux, `unshare` and `nsenter` (util-linux), `ip` (iproute2), and the right to make namespaces: that of root, or
of users where the system lets them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import trio

COMMAND_S_MAX = 10.0
COMMON, ALONE = "10.77.0.1", "10.77.0.2"
NOBODY = "02:00:00:00:00:99"
"""A locally administered hardware address."""


class NoNamespaces(Exception):
    """This machine does not let us make networks. The text says why."""


class Place:
    """Where processes run: run them by `prefix`, and they listen at `host`."""

    def __init__(self, host: str, prefix: tuple[str, ...] = ()) -> None:
        self.host = host
        self.prefix = prefix


LOOPBACK = Place("127.0.0.1")


class Network:
    """`common` for all, `alone` for the one that is to be cut off."""

    def __init__(self, common: Place, alone: Place) -> None:
        self.common = common
        self.alone = alone

    async def cut(self) -> None:
        for place, device, other in self._ends():
            await trio.to_thread.run_sync(
                _ip, place, ["neigh", "replace", other, "lladdr", NOBODY, "dev", device, "nud", "permanent"]
            )

    async def heal(self) -> None:
        for place, device, other in self._ends():
            await trio.to_thread.run_sync(_ip, place, ["neigh", "del", other, "dev", device])

    def _ends(self) -> tuple[tuple[Place, str, str], ...]:
        return (self.common, "cable0", ALONE), (self.alone, "cable1", COMMON)


@contextmanager
def network() -> Iterator[Network]:
    """Two namespaces, connected. Raises `NoNamespaces`."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        raise NoNamespaces(f"{' and '.join(missing)} not found (Linux: util-linux and iproute2)")
    mine = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    enter = ("nsenter", *(("--user", "--preserve-credentials") if mine else ()))
    with _holder(("unshare", *mine, "--net")) as common_pid:
        common = Place(COMMON, (*enter, "--net", "--target", str(common_pid), "--"))
        # The second is made from within the first: one user namespace owns both.
        with _holder((*common.prefix, "unshare", "--net")) as alone_pid:
            alone = Place(ALONE, (*enter, "--net", "--target", str(alone_pid), "--"))
            cable = ["link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", str(alone_pid)]
            _ip(common, cable)
            for place, device in ((common, "cable0"), (alone, "cable1")):
                _ip(place, ["link", "set", "lo", "up"])
                _ip(place, ["address", "add", f"{place.host}/30", "dev", device])
                _ip(place, ["link", "set", device, "up"])
            yield Network(common, alone)


@contextmanager
def _holder(command: tuple[str, ...]) -> Iterator[int]:
    """A process in a namespace of its own, which waits for the end of its input: that is, for ours."""
    process = subprocess.Popen(
        [*command, "sh", "-c", "echo there && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:  # closes its input, and waits
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "there\n":
            raise NoNamespaces(process.stderr.read().strip() or "no namespace could be made")
        try:
            yield process.pid
        finally:
            process.kill()


def _ip(place: Place, arguments: list[str]) -> None:
    done = subprocess.run(
        [*place.prefix, "ip", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
