"""Network namespaces: networks of one's own on this machine, which reach nothing else.

Each lives as long as the processes in it. It is held by one that waits for the end of its input, that is, for the end
of this process, however it ends.

Needs Linux, `unshare` and `nsenter` (util-linux), `ip` (iproute2), and the right to make namespaces: that of root, or
of users where the system lets them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

COMMAND_S_MAX = 10.0


class NoNamespaces(Exception):
    """This machine does not let us make networks. The text says why."""


class Namespace:
    """Commands behind `prefix` run in it; `pid` is that of its holder, by which `ip` names it."""

    def __init__(self, pid: int, enter: tuple[str, ...]) -> None:
        self.pid = pid
        self.prefix = (*enter, "--net", "--target", str(pid), "--")

    def run(self, script: str) -> None:
        """Run a line of shell in it, such as `ip link set lo up`. Raises `NoNamespaces` where that fails."""
        done = subprocess.run(
            [*self.prefix, "sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        if done.returncode:
            raise NoNamespaces(f"{script}: {done.stderr.strip()}")


@contextmanager
def namespace(within: Namespace | None = None) -> Iterator[Namespace]:
    """A new one, with nothing in it but a loopback that is down. Raises `NoNamespaces`.

    `within`: made from there, so that one user namespace owns both, and links may join them.
    """
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        raise NoNamespaces(f"{' and '.join(missing)} not found (Linux: util-linux and iproute2)")
    root = os.geteuid() == 0
    made_by = within.prefix if within else ()
    owned = () if root or within else ("--user", "--map-root-user")
    enter = ("nsenter",) if root else ("nsenter", "--user", "--preserve-credentials")
    process = subprocess.Popen(
        [*made_by, "unshare", *owned, "--net", "sh", "-c", "echo there && exec cat"],
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
            yield Namespace(process.pid, enter)
        finally:
            process.kill()
