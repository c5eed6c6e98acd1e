"""Another configuration for a daemon that runs: `meshnode reload` and SIGHUP (DESIGN 2).

The file is read and judged as at the start, with the same flags and environment above it. What is wrong with it is told
and nothing changes. Else the executors start what is new beside what runs, the core takes all of it at once or refuses
it, and only then do runs go to what is new. So no task finds a handler that is announced and not there.

What a node is built around cannot change while it runs; those keys are named, and count at the next start. Nothing is
kept of a reload: the file is the truth.

One reload at a time. Who asks while one is under way shares the next, which reads the file later than it was asked for.
Where the file cannot be read in time (its disk hangs), that is told, and the node can be stopped all the same. A caller
that goes away changes nothing about what it asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

import trio

from meshnode.calls import Reloaded
from meshnode.config import Config, parse_address
from meshnode.errors import MeshError
from meshnode.executors.pool import Executors
from meshnode.logs import Log
from protocols.core import Outcome, Refused
from protocols.membership.tagging import Reconfigured
from protocols.reconfiguring import Reconfigure

READ_S_MAX = 10.0
"""Less than a caller on the control socket waits for its answer."""

log = Log(__name__)


class _Job:
    """One reload that somebody waits for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome: Reloaded | Refused | None = None


class Reloader:
    """Applies configurations, one at a time. `serve` must run for the rest to work."""

    def __init__(
        self,
        load: Callable[[], Config],
        config: Config,
        executors: Executors,
        request: Callable[[Reconfigure], Awaitable[Outcome]],
    ) -> None:
        self._load = load
        self._started_with = config
        self._config = config
        self._executors = executors
        self._request = request
        self._next: _Job | None = None
        self._wanted = trio.Event()
        self._reader = trio.CapacityLimiter(1)
        """One thread, however often a file that hangs is tried: those of others are wanted by the disk."""

    async def serve(self) -> None:
        """Carry out reloads as they are asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            assert self._next is not None
            job, self._next, self._wanted = self._next, None, trio.Event()
            job.outcome = await self._carry_out()
            job.done.set()

    async def reload(self) -> Reloaded | Refused:
        """What came of a reload that began after this call. Cancelling gives up the wait alone."""
        job = self._next
        if job is None:
            job = self._next = _Job()
            self._wanted.set()
        await job.done.wait()
        assert job.outcome is not None
        return job.outcome

    async def watch_hangups(self) -> NoReturn:
        """Reload on SIGHUP; what comes of it stands in the log."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # holds again once nobody listens: none may cut the closing short
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _ in signals:
                await self.reload()
        raise AssertionError("signals do not end")

    async def _carry_out(self) -> Reloaded | Refused:
        config: Config | None = None
        try:
            with trio.move_on_after(READ_S_MAX):
                config = await trio.to_thread.run_sync(self._load, abandon_on_cancel=True, limiter=self._reader)
        except MeshError as error:
            return _unchanged(Refused(error.code, error.message, error.next_step))
        if config is None:
            text = f"The configuration could not be read within {READ_S_MAX:.0f} s."
            hint = "See that meshnode.toml is a plain file, on a disk that answers."
            return _unchanged(Refused("slow_config", text, hint))
        replacement = await self._executors.prepare(config)
        outcome = await self._request(Reconfigure(config.capabilities, config.zone, config.weight, config.tags))
        if not isinstance(outcome, Reconfigured):
            replacement.abandon()
            assert isinstance(outcome, Refused), outcome
            return _unchanged(outcome)
        replacement.commit()
        before, self._config = self._config, config
        reloaded = Reloaded(
            applied_by(before, config),
            needing_restart(self._started_with, config),
            outcome.left_out,
            outcome.generation,
            outcome.incarnation,
        )
        log.info(
            "configuration reloaded",
            applied=", ".join(f"{key} {what}" for key, what in reloaded.applied.items()) or "nothing new",
            needs_restart=", ".join(reloaded.needs_restart) or "nothing",
        )
        return reloaded


def _unchanged(refused: Refused) -> Refused:
    log.error("configuration not reloaded, nothing has changed", why=refused.message, next=refused.next_step)
    return refused


def applied_by(before: Config, after: Config) -> dict[str, str]:
    """What changes while the node runs when `after` takes the place of `before`, by key."""
    changes = {key: "changed" for key in ("zone", "weight", "tags", "workdir") if _differs(before, after, key)}
    changes.update(_tables("handlers", before.handlers, after.handlers))
    changes.update(_tables("mcp_servers", before.mcp_servers, after.mcp_servers))
    return changes


def needing_restart(started_with: Config, now: Config) -> tuple[str, ...]:
    """Keys of which the daemon can only take another value when it starts, and has not the one of `now`."""
    keys = ("name", "advertise", "seeds", "mcp", "metrics", "zeroconf")
    found = [key for key in keys if _differs(started_with, now, key)]
    if _listen_setting(started_with) != _listen_setting(now):
        found.append("listen")
    if started_with.swim != now.swim:
        found.append("membership")
    return tuple(sorted(found))


def _differs(one: Config, other: Config, key: str) -> bool:
    return bool(getattr(one, key) != getattr(other, key))


def _tables(key: str, before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, str]:
    changes = {f"{key}.{name}": "removed" for name in before if name not in after}
    for name, table in after.items():
        if name not in before:
            changes[f"{key}.{name}"] = "added"
        elif table != before[name]:
            changes[f"{key}.{name}"] = "changed"
    return changes


def _listen_setting(config: Config) -> tuple[str, int]:
    """As it was asked for: the port of the last start is not, where any one will do."""
    host, port = parse_address(config.listen)
    return host, 0 if config.listen_remembered else port
