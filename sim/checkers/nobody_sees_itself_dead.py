"""A node that runs takes itself for alive, or has said that it leaves (SWIM section 4.2: only it can refute).

Looked at after every step in which a node was told of members: nothing else can make it doubt itself. Between two steps
nobody can see a state, so a doubt that is refuted within the step is none.
"""

from __future__ import annotations

from protocols.core import Instant
from protocols.membership.member import STATE_MASK, State
from protocols.membership.messages import Ack, Gossip, Ping, PingReq, PushPull
from sim.checkers.checker import Checker
from sim.inspect import rows_of
from sim.process import Process

DOUBTED = (int(State.SUSPECT), int(State.DEAD))


class NobodySeesItselfDead(Checker):
    """No running node takes itself for suspect or dead."""

    name = "nobody_sees_itself_dead"
    messages = (PushPull,)
    news = (Ack, Ping, Gossip, PingReq)

    def on_message(self, now: Instant, process: Process, message: Ack | Ping | Gossip | PingReq | PushPull) -> None:
        me = rows_of(process.core).get(process.config.node_id)
        if me is not None and me.precedence & STATE_MASK in DOUBTED:
            self.violated(now, process, f"takes itself for {me.state.name.lower()}")
