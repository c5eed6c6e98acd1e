"""A member that is broken and lies: what it says is well-formed, authentic, and false (`sim/lies.py`)."""

from __future__ import annotations

from typing import ClassVar, get_args

from protocols.core import Instant
from sim.errors import ScenarioError, nearest
from sim.faults.fault import NodeFault, Stage, Undo, nanos
from sim.inspect import rows_of
from sim.lies import Lies, Topic

PER_S_MAX = 1000.0


class Liar(NodeFault, frozen=True, tag="liar", forbid_unknown_fields=True):
    """Some running nodes say false things of everybody, `per_s` times a second each, to one member or to all.

    It is a broken program, not the cleverest of enemies: at the usual rate nobody stays forgotten for over a second,
    and at thirty lies a second for little more than the pause that a new life costs (`node.LIFE_PAUSE`). One that so
    often claims the next life of everybody, and dies once all take all for gone and elsewhere, leaves them apart until
    they try seeds and remembered peers (`membership/healing.py`).

    At the end each of them is killed and started again, and tells the truth from then on. What is promised meanwhile
    is that nobody is forgotten for long (`checkers/nobody_forgotten.py`), and that nothing breaks; no random mix has
    it, for beliefs about members that nobody lies about are another promise.
    """

    per_s: float = 10.0
    tells: Topic = "everything"

    misleads: ClassVar[bool] = False
    """What a liar excuses is asked of `World.lying` and `World.has_lied`: it cuts nobody off, and slows nobody down."""

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        about = "" if self.tells == "everything" else f" about {self.tells}"
        return f"{self.whom} tell(s) lies{about}, {self.per_s:g} a second, {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not 0 < self.per_s <= PER_S_MAX:
            raise ScenarioError(f"liar: per_s {self.per_s:g} must be more than 0, and at most {PER_S_MAX:g}.")
        if self.tells not in get_args(Topic):
            raise ScenarioError(f"liar: nobody tells lies about {self.tells!r}. {nearest(self.tells, get_args(Topic))}")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        world = stage.world
        liars = stage.victims(self, world.running())
        lies = Lies(stage.random, self.tells)
        pause = max(1, nanos(1 / self.per_s))

        def tell(now: Instant) -> None:
            for liar in liars:
                others = [process for process in world.processes if process is not liar]
                known = rows_of(liar.core)
                rows = [known[each.config.node_id] for each in others if each.config.node_id in known]
                me = known.get(liar.config.node_id)
                if me is None or not rows or liar.stopped:
                    continue
                lie = lies.next(me, rows)
                for other in others if stage.random.random() < 0.5 else [stage.random.choice(others)]:
                    liar.say(now, other.station.endpoint, lie)
            stage.after(pause, tell)

        def stop(now: Instant) -> None:
            for liar in liars:
                world.believe_again(liar)

        for liar in liars:
            world.distrust(liar)
        if liars:
            tell(now)
        return stop if liars else None
