"""The network of a test: partitions and bad links, for the time of a block (`inforce.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from sim.errors import ScenarioError
from sim.faults.fault import Undo
from sim.network import Change, Cut, LinkProfile, Pairs
from sim.testing.inforce import InForce
from sim.testing.nodes import SimNode

if TYPE_CHECKING:
    from sim.testing.sim import Sim

PROBABILITIES = ("loss", "duplicate", "reorder", "reset")

Group: TypeAlias = Iterable[SimNode | str] | SimNode | str


class Net:
    """The network of a test. Nodes are given as nodes or by name; a group is one of them, or several."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    def partition(self, *groups: Group) -> InForce:
        """Nodes of different groups cannot reach each other. Nodes in none of them are one more group."""
        sides = [self._members(group) for group in groups]
        labels = [len(sides)] * len(self._sim.nodes)
        for side, members in enumerate(sides):
            for node in members:
                if labels[node.index] != len(sides):
                    raise ScenarioError(
                        f"{node.name} is on two sides of a partition. For nodes that reach several sides there is "
                        "sim.fault(Bridge, …) of sim.faults."
                    )
                labels[node.index] = side
        if len(set(labels)) < 2:
            raise ScenarioError("A partition needs at least two sides: sim.net.partition(sim.some(2), sim.rest).")
        parts = [_names(node for node in self._sim.nodes if labels[node.index] == side) for side in sorted(set(labels))]
        return self._cut("sim.net.partition(…)", f"partition {' | '.join(parts)}", Cut(labels))

    def isolate(self, *nodes: Group) -> InForce:
        """Each of the nodes is cut off from everybody, each other included."""
        victims = [node for group in nodes for node in self._members(group)]
        labels = [0] * len(self._sim.nodes)
        for side, node in enumerate(victims, start=1):
            labels[node.index] = side
        return self._cut("sim.net.isolate(…)", f"isolated: {_names(victims)}", Cut(labels))

    def one_way(self, *sources: Group) -> InForce:
        """What the nodes say reaches none of the others; what the others say arrives."""
        victims = [node for group in sources for node in self._members(group)]
        labels = [0] * len(self._sim.nodes)
        for node in victims:
            labels[node.index] = 1
        return self._cut("sim.net.one_way(…)", f"unheard: {_names(victims)}", Cut(labels, one_way=True))

    def link(
        self,
        *nodes: Group,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_ms: float = 0.0,
        reset: float = 0.0,
        delay_ms: float | tuple[float, float] = 0.0,
    ) -> InForce:
        """The links of `nodes` (none: all links) are worse: chances per message, and `delay_ms` more on the way (or
        between two bounds). What is in force already stays so: chances and delays add up."""
        for name, value in zip(PROBABILITIES, (loss, duplicate, reorder, reset), strict=True):
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ScenarioError(f"sim.net.link({name}={value!r}): it is a probability, 0 to 1. For 5 % write 0.05.")
        least, most = delay_ms if isinstance(delay_ms, tuple) else (delay_ms, delay_ms)
        numbers = all(isinstance(each, int | float) for each in (least, most, reorder_ms))
        if not (numbers and 0 <= least <= most and reorder_ms >= 0):
            raise ScenarioError("sim.net.link(): delays are milliseconds, 0 or more, the smaller bound first.")
        count = len(self._sim.nodes)
        members = [node for group in nodes for node in self._members(group)] or list(self._sim.nodes)
        pairs = Pairs.links_of(count, [node.index for node in members])
        network = self._sim.world.network

        def worse(profile: LinkProfile) -> LinkProfile:
            return profile.worse(
                loss=loss,
                duplicate=duplicate,
                reorder=reorder,
                reorder_ms=reorder_ms,
                reset=reset,
                delay_ms_min=least,
                delay_ms_max=most,
            )

        def begin() -> Undo:
            change = Change(pairs, worse)
            network.worsen(change)
            return lambda now: network.mend(change)

        options = {"loss": loss, "duplicate": duplicate, "reorder": reorder, "reset": reset, "delay_ms": most}
        what = ", ".join(f"{name} {value:g}" for name, value in options.items() if value)
        whose = _names(members) if nodes else "everybody"
        return InForce(self._sim, "sim.net.link(…)", f"links of {whose}: {what or 'as they are'}", begin)

    def _cut(self, what: str, words: str, cut: Cut) -> InForce:
        world = self._sim.world

        def begin() -> Undo:
            world.cut(cut)
            return lambda now: world.heal(cut)

        return InForce(self._sim, what, words, begin)

    def _members(self, group: Group) -> list[SimNode]:
        several = (group,) if isinstance(group, str | SimNode) else group
        members = [self._sim.node(each) for each in several]
        if not members:
            raise ScenarioError("A group without nodes: there is nobody to cut off. sim.some(k) draws k nodes.")
        return members


def _names(nodes: Iterable[SimNode]) -> str:
    return " ".join(node.name for node in nodes)
