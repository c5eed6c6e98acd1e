"""Callers: what they ask for is drawn apart from what becomes of it."""

from __future__ import annotations

from protocols.core import Command, Instant, Outcome
from protocols.tasks.task import Submit
from sim.faults import Crash, Fault, Halves
from sim.process import Process
from sim.scenario import Scenario, run
from sim.world import World


def asked_for(*faults: Fault) -> dict[str, tuple[str, str, str]]:
    """By idempotency key, what every task that was handed in was to be."""
    asked: dict[str, tuple[str, str, str]] = {}

    def on_reply(now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
        if isinstance(command, Submit):
            asked[command.idempotency_key] = (command.handler, command.payload, command.key)

    def watch(world: World) -> None:
        world.watch.on_reply.append(on_reply)

    assert run(Scenario(nodes=4, seconds=20, tasks_per_s=5, faults=faults), watch=watch).held  # type: ignore[arg-type]
    return asked


def test_what_is_asked_for_does_not_hang_on_what_goes_wrong() -> None:
    calm = asked_for()
    rough = asked_for(Halves(1, 6), Crash(3, 9, 2), Crash(12, 13, 4))
    assert len(rough) > 80
    assert {key: calm.get(key) for key in rough} == rough
