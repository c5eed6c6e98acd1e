"""Runs tests of a user's own without pytest around them: one seed, or many, of a coroutine over a small mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sim import Sim
from sim.testing.decorator import plan_of
from sim.testing.drive import Ended, Plan, run_seed

Body = Callable[[Sim], Awaitable[object]]


def plan(**options: Any) -> Plan:
    """A plan for three nodes, unless told otherwise."""
    own = {name: options.pop(name) for name in ("handlers", "checkers") if name in options}
    rest = {name: options.pop(name) for name in ("settle", "limit_s", "core_factory") if name in options}
    scenario = options.pop("scenario", None)
    return plan_of(scenario, options if scenario or options else {"nodes": 3}, **own, **rest)


def play(body: Body, seed: int = 0, **options: Any) -> Ended:
    """One seed; what it came to."""

    async def run(sim: Sim) -> None:
        await body(sim)

    return run_seed(plan(**options), seed, run)


def passes(body: Body, seed: int = 0, **options: Any) -> Ended:
    """One seed that must pass."""
    ended = play(body, seed, **options)
    if ended.error is not None:
        raise ended.error
    return ended


def fails(body: Body, kind: type[BaseException], seed: int = 0, **options: Any) -> str:
    """One seed that must fail by an error of `kind`; its words."""
    ended = play(body, seed, **options)
    assert type(ended.error) is kind, f"{ended.error!r}"
    return str(ended.error)
