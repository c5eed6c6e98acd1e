"""The membership component: probes, gossip and table exchanges of one node, composed (DESIGN 4).

Routes messages and due timers to the parts that decide: `swim.py` what to believe, `probe.py` whom to probe,
`gossip.py` what to pass on, `healing.py` whom to exchange tables with.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from protocols.config import NodeConfig
from protocols.core import Endpoint, Instant, NodeId, Put
from protocols.detector.asleep import asleep_min, late_min
from protocols.detector.evidence import Evidence
from protocols.detector.probe import Prober
from protocols.limits import MEMBERS_PER_FRAME_MAX, UPDATES_BYTES_MAX
from protocols.membership.disputes import Disputes
from protocols.membership.facts import JoinedMesh, Overslept, ReachedByStreamOnly
from protocols.membership.farewell import Farewell
from protocols.membership.healing import Healer, peers_to_remember
from protocols.membership.hints import HungUp, Suggest, Suggested
from protocols.membership.member import STATE_MASK, Member, Profile, State, Update, size_bound
from protocols.membership.messages import NO_PROBE, Ack, Gossip, Nack, Ping, PingReq, PushPull, StreamAck, StreamPing
from protocols.membership.nearness import Nearness
from protocols.membership.records import PEERS_KEY, Peers
from protocols.membership.retention import forget_the_gone
from protocols.membership.rtt_answers import RttDesk
from protocols.membership.rumours import Rumour
from protocols.membership.spreading import Spreading
from protocols.membership.swim import DEAD, SUSPECT, Swim
from protocols.membership.telling import answer_to, news_for
from protocols.membership.vitals import VitalsBook
from protocols.meter import PerMinute
from protocols.outbox import NEVER, Journal, Outbox

TOLD_THOUGH_GONE = 12
"""About so many nodes at a time tell one that is said to have left what they tell others: all of a small mesh."""


class Membership:
    """One node's share of the membership protocol. `deadline` is when `fire` wants to be called."""

    __slots__ = (
        "_armed_at",
        "_aside",
        "_asleep_min",
        "_disputes",
        "_healer",
        "_journal",
        "_late_min",
        "_next_gossip",
        "_next_housekeeping",
        "_outbox",
        "_rng",
        "_rumours",
        "_rumours_wait",
        "_saved_peers",
        "_swim_config",
        "_view_kept",
        "before_table",
        "config",
        "deadline",
        "evidence",
        "farewell",
        "nearness",
        "prober",
        "rtt",
        "spreading",
        "swim",
        "table",
        "tables_answered",
        "tables_offered",
        "view_changes",
        "views",
        "vitals",
    )

    def __init__(
        self,
        config: NodeConfig,
        outbox: Outbox,
        journal: Journal,
        rng: Random,
        peers: Peers | None,
        vitals: VitalsBook,
    ) -> None:
        self.config = config
        self.before_table: Callable[[Endpoint], None] = lambda to: None
        """Says what whoever gets a table must have got before it."""
        self._swim_config = config.swim
        self._outbox = outbox
        self._journal = journal
        self._rng = rng
        self.swim = Swim(config, outbox)
        self.table = self.swim.table
        self._disputes = Disputes(self.swim)
        self.prober = Prober(config.swim, rng, self.swim.health)
        self.swim.on_met = self.prober.add
        self.evidence = Evidence()
        self.farewell = Farewell(config.swim, self.swim, outbox, rng)
        self.view_changes = PerMinute()
        self.views = PerMinute()
        self.tables_offered = 0
        """Push-pulls: tables sent that ask for the other's in return."""
        self.tables_answered = 0
        self._saved_peers = peers.addresses if peers else ()
        self._healer = Healer(config, rng, self._saved_peers)
        self.spreading = Spreading(config, self.swim, outbox, journal)
        self.spreading.on_rearm = self._spreading_rearmed
        self._rumours = self.spreading.queue
        self._rumours_wait = False
        self.vitals = vitals
        self.nearness = Nearness(config.node_id) if config.probe_payloads else None
        self.rtt = RttDesk(config.node_id, self.table, self.nearness, config.swim.probe_interval)
        self._view_kept = 0
        """The `view` for which vitals and coordinates were last gone through for members that are forgotten."""
        self._next_gossip: Instant = NEVER
        self._next_housekeeping: Instant = NEVER
        self._late_min, self._asleep_min = late_min(config.swim), asleep_min(config.swim)
        self._armed_at: Instant = 0
        self._aside: Instant = NEVER
        """The earliest deadline of everything but probes and gossip, as of the last `rearm` at which something had
        `touched` what is believed. Most steps of a large mesh do not, and it feels each look elsewhere."""
        self.deadline: Instant = NEVER

    @property
    def joined(self) -> bool:
        """Somebody has answered, or there was nobody to ask."""
        return self._healer.joined

    @property
    def must_join(self) -> bool:
        return self._healer.must_join

    @property
    def has_to_join(self) -> bool:
        """There is somebody to ask for the mesh: a seed that is not this node itself, or a remembered peer."""
        places = (*self.config.seeds, *self._saved_peers)
        return any(place != self.config.address for place in places)

    def start(self, now: Instant, generation: int, profile: Profile) -> None:
        """Begin to take part; the generation is durable."""
        self.swim.come_alive(now, generation, profile)
        self.prober.start(now)
        self._healer.start(now)
        self._next_gossip = now + int(self._rng.random() * self._swim_config.gossip_interval)
        self._next_housekeeping = now + self._swim_config.push_pull_interval
        self.rearm(now)

    def leave(self, now: Instant) -> Instant:
        """Leave the mesh; returns when it may go at the latest: at once where nobody is there to hear."""
        self.save_peers(now)  # nobody looks for one who has left: it has to find the others when it comes back
        self.swim.leave(now)
        self._next_housekeeping = self.farewell.say(now)
        self.prober.stop()
        self._healer.stop()
        self._next_gossip = now
        self.rearm(now)
        return now + self._swim_config.leave_linger if self.table.present else now

    def rearm(self, now: Instant) -> None:
        """Work out the next deadline; called at the end of every step that changed anything in this component."""
        self._armed_at = now
        swim = self.swim
        if swim.touched:
            self._aside = self._first_aside()
        deadline = self.prober.deadline
        if self._aside < deadline:
            deadline = self._aside
        to_say = self._rumours_wait or swim.queue.size or swim.to_ask
        if to_say and self._next_gossip < deadline and len(self.table.rows) > 1:
            deadline = self._next_gossip
        self.deadline = deadline

    def _first_aside(self) -> Instant:
        swim = self.swim
        judgement = NEVER if swim.leaving else swim.suspicions.deadline
        first = min(judgement, swim.hearsay.deadline, swim.steady.deadline)
        return min(first, self._healer.deadline, self._next_housekeeping, self.spreading.deadline)

    def check(self) -> bool:
        """Whether nothing is due before `deadline`, as far as it was not asked for anew at every step."""
        return self.swim.touched or self._first_aside() >= self._aside

    def _spreading_rearmed(self) -> None:
        self.swim.touched = True
        self._rumours_wait = self._rumours.size > 0

    # Timers.

    def fire(self, now: Instant) -> Instant:
        """Do what is due. Returns for how long this node has not run, where that was too long to judge anybody by; 0
        where it runs on time."""
        swim = self.swim
        late = now - (self.deadline if self.deadline > self._armed_at else self._armed_at)
        if late >= self._late_min:
            self._ran_late(now, late)
        swim.touched = swim.touched or now >= self._aside
        if swim.touched:
            if now >= swim.suspicions.deadline and not swim.leaving:
                swim.judge(now)
            if now >= swim.hearsay.deadline:
                swim.pass_on_hearsay(now)
        if now >= self.prober.deadline:
            self._probe(now)
        if swim.touched:
            if now >= self._healer.deadline:
                self._exchange(now)
            if now >= self.spreading.deadline:
                self.spreading.fire(now)
        if (self._rumours_wait or swim.queue.size or swim.to_ask) and now >= self._next_gossip:
            for at, shown in self._disputes.next_to_ask(self._swim_config.gossip_fanout):
                self._outbox.send(at, Ping(NO_PROBE, (shown,)))
            self._gossip(now)
            self._next_gossip = now + self._swim_config.gossip_interval
        if swim.touched:
            if now >= self._next_housekeeping:
                self._housekeep(now)
            if now >= swim.steady.deadline:
                self._publish(now)
        return late if late >= self._asleep_min else 0

    def _publish(self, now: Instant) -> None:
        view = self.swim.steady.fire(now)
        if view is not None:
            self.views.add(now)
            self._outbox.notify(view)

    def _ran_late(self, now: Instant, late: Instant) -> None:
        """Judge nobody by what expired while this node itself did not run (`asleep.py`)."""
        self.swim.touched = True
        self.swim.hearsay.put_off(now, late)
        if late < self._asleep_min:
            self.swim.suspicions.slept(now, late)
            self.prober.put_off(now, late)
            return
        self._outbox.notify(Overslept(late))
        self.prober.slept(now)
        self.swim.slept(now, late)
        self._show_hearsay()

    def _probe(self, now: Instant) -> None:
        due = self.prober.fire(now, self.table.list_ids, self._probeable)
        for relay in due.nack:
            self._outbox.send(relay.asker, Nack(relay.asker_probe))
        if due.over_stream:
            self._outbox.notify(ReachedByStreamOnly(due.over_stream))
        if due.failed:
            self.swim.touched = True
            self.evidence.probe_failed(now, due.failed, due.sent, due.helpers, due.helpers_heard)
            self.swim.suspect(now, due.failed)
        if due.ask_others_about:
            self._probe_indirectly(due.ask_others_about)
        if due.ping:
            target = self.table.get(due.ping)
            assert target is not None, "only members are probed"
            self._ping(target.endpoint, self.prober.seq)

    def _ping(self, to: Endpoint, seq: int) -> None:
        vitals = None if self.nearness is None else self.vitals.own
        self._outbox.send(to, Ping(seq, news_for(self.swim, to.node_id), vitals))

    def _probe_indirectly(self, target_id: NodeId) -> None:
        target = self.table.get(target_id)
        if target is None:
            return
        me = self.swim.me
        helpers = self.table.sample(
            self._rng,
            self._swim_config.indirect_probes,
            lambda member: member is not me and member is not target and member.state is State.ALIVE,
        )
        if self._swim_config.stream_probe:
            self._outbox.send(target.endpoint, StreamPing(self.prober.seq))
        self.prober.asked(tuple(helper.alive.node_id for helper in helpers))
        request = PingReq(self.prober.seq, target_id, target.endpoint.address)
        for helper in helpers:
            self._outbox.send(helper.endpoint, request)

    def _probeable(self, node_id: NodeId) -> bool:
        row = self.table.get(node_id)
        return row is not None and row is not self.swim.me and row.precedence & STATE_MASK <= SUSPECT

    def _gossip(self, now: Instant) -> None:
        swim = self.swim
        me = swim.me
        recently_dead = now - self._swim_config.gossip_to_the_dead

        def worth_telling(member: Member) -> bool:
            if member is me:
                return False
            state = member.precedence & STATE_MASK
            return state <= SUSPECT or (state == DEAD and member.since > recently_dead)

        members = self.table.sample(self._rng, self._swim_config.gossip_fanout, worth_telling)
        if not members or not (self._rumours_wait or swim.queue.size):
            return
        limit = swim.retransmits()
        if self._rumours_wait:
            gossip = Gossip(*self._news_and_rumours(now, limit, len(members)))
        else:
            gossip = Gossip(swim.queue.take(limit, len(members)))
        for member in members:
            self._outbox.send(member.endpoint, gossip)
        if self.table.count(State.LEFT) and self._rng.random() * self.table.present < TOLD_THOUGH_GONE:
            # Beside the others and uncounted: somebody else may have said that it has left, and then it objects.
            for member in self.table.sample(
                self._rng, 1, lambda each: each.state is State.LEFT and each is not me and each.since > recently_dead
            ):
                self._outbox.send(member.endpoint, gossip)

    def _news_and_rumours(self, now: Instant, limit: int, copies: int) -> tuple[tuple[Update, ...], tuple[Rumour, ...]]:
        """One packet of both: news of members first, what users say in the room that is left."""
        updates = self.swim.queue.take(limit, copies, UPDATES_BYTES_MAX - self._rumours.claim())
        left = UPDATES_BYTES_MAX - sum(map(size_bound, updates))
        rumours = self._rumours.take(now, limit, copies, left)
        self._rumours_wait = self._rumours.size > 0
        return updates, rumours

    def _exchange(self, now: Instant) -> None:
        me = self.swim.me
        assert me is not None
        for target in self._healer.fire(now, self.table, me):
            self._send_table(now, target, answer=True)
            self.spreading.events.exchange(target)

    def _send_table(self, now: Instant, to: Endpoint, *, answer: bool) -> None:
        self.before_table(to)
        if answer:
            self.tables_offered += 1
        else:
            self.tables_answered += 1
        rows = self.swim.rows(now)
        for start in range(0, len(rows), MEMBERS_PER_FRAME_MAX):
            last = start + MEMBERS_PER_FRAME_MAX >= len(rows)
            self._outbox.send(to, PushPull(tuple(rows[start : start + MEMBERS_PER_FRAME_MAX]), answer and last))

    def _housekeep(self, now: Instant) -> None:
        if self.swim.leaving:
            self._next_housekeeping = self.farewell.say(now)
            return
        self._next_housekeeping = now + self._swim_config.push_pull_interval
        self._healer.forgot(forget_the_gone(self.swim, now))
        self.evidence.fold()
        if self._view_kept != self.swim.view:
            self._view_kept = self.swim.view
            self.vitals.keep(self.table.rows.__contains__)
            if self.nearness is not None:
                self.nearness.keep(self.table.rows.__contains__)
        self.save_peers(now)

    def save_peers(self, now: Instant) -> None:
        """Keep the addresses of members for the next start, where they have changed."""
        me = self.swim.me
        if me is None or self.swim.leaving:
            return
        unmet = self._healer.still_unmet(now, self.table)
        peers = peers_to_remember(self.table, me, unmet, self._healer.lost)
        if peers and peers != self._saved_peers:
            self._saved_peers = peers
            self._journal.save((Put(PEERS_KEY, Peers(peers)),))

    def suggest(self, now: Instant, command: Suggest | HungUp) -> Suggested:
        """Take in what somebody outside of the mesh suggests (`hints.py`)."""
        if type(command) is HungUp:
            # No failure, but a reason to probe that member next instead of when its turn comes.
            self.prober.probe_next(command.peer)
            return Suggested(1)
        assert type(command) is Suggest
        self.swim.touched = True
        return Suggested(0 if self.swim.leaving else self._healer.suggest(now, command.hints, self.table))

    def face_rival(self, now: Instant) -> None:
        """See who announces this node's id at another address: a copy of its data directory, or its own past."""
        self.swim.touched = True
        self._healer.face(now, self.swim.rival)
        self.swim.rival = ""

    # Messages.

    def _in_touch(self) -> None:
        """Somebody can be heard again."""
        target = self.table.get(self.prober.in_touch())
        if target is not None:
            self._ping(target.endpoint, self.prober.seq)

    def on_ping(self, now: Instant, sender: Endpoint, message: Ping) -> bool:
        """Whether more may have come of it than the ack: if not, every deadline is what it was."""
        swim = self.swim
        more = swim.touched or self.prober.out_of_touch or bool(message.updates) or swim.queue.size > 0
        if self.prober.out_of_touch:
            self._in_touch()
        answer = self._hear_from(now, sender, message.updates) if message.updates else None
        if swim.leaving and message.probe == NO_PROBE:
            return (
                more  # it is told that it has left: its word is passed on so often and no more, and not to who has it
            )
        news = news_for(swim, sender.node_id, answer)
        near = self.nearness
        if near is None:
            self._outbox.send(sender, Ack(message.probe, news))
            return more
        if message.vitals is not None:
            self.vitals.heard(now, sender.node_id, message.vitals)
        self._outbox.send(sender, Ack(message.probe, news, self.vitals.own, near.vivaldi.coordinate))
        return more

    def _hear_from(self, now: Instant, sender: Endpoint, updates: tuple[Update, ...]) -> Update | None:
        """Take in what came with a probe or its ack. Returns what the sender has to be told of us, if anything."""
        self._heard(now, sender, updates)
        word = self._disputes.insistence(updates[0])
        if word is not None:
            self._outbox.send(sender, PushPull((word,), answer=False))
        return answer_to(self.swim, now, updates[0])

    def on_ping_req(self, now: Instant, sender: Endpoint, message: PingReq) -> None:
        if self.prober.out_of_touch:
            self._in_touch()
        self._heard(now, sender, message.updates)
        if message.target == self.config.node_id:
            self._outbox.send(sender, Ack(message.probe))
            return
        self.farewell.tell_asker(sender, message.target)
        seq = self.prober.relay(now, sender, message.probe, message.target)
        if seq:
            self._ping(Endpoint(message.target, message.target_address), seq)

    def on_ack(self, now: Instant, sender: Endpoint, message: Ack) -> bool:
        """Whether it answers a probe, or a ping on behalf of another member."""
        answer = self._hear_from(now, sender, message.updates) if message.updates else None
        if answer is not None:
            self._outbox.send(sender, Gossip((answer,)))
        if self.nearness is not None:
            if message.vitals is not None:
                self.vitals.heard(now, sender.node_id, message.vitals)
            rtt = self.prober.round_trip(now, sender.node_id, message.probe)
            self.nearness.heard(now, sender.node_id, message.coordinate, rtt)
        if self.prober.acked(sender.node_id, message.probe):
            if sender.node_id == self.prober.pinged:  # else a helper has heard of it, and this node has not
                self.evidence.note((sender.node_id, self.prober.pinged_at, now))
            return True
        if self.prober.out_of_touch:
            self._in_touch()
        relay = self.prober.relayed(sender.node_id, message.probe)
        if relay is not None:
            self._outbox.send(relay.asker, Ack(relay.asker_probe))
        return relay is not None

    def on_nack(self, sender: Endpoint, message: Nack) -> None:
        self.prober.nacked(sender.node_id, message.probe)

    def on_stream_ping(self, sender: Endpoint, message: StreamPing) -> None:
        if not self.swim.leaving or message.probe != NO_PROBE:
            self._outbox.send(sender, StreamAck(message.probe))

    def on_stream_ack(self, sender: Endpoint, message: StreamAck) -> None:
        self.farewell.acknowledged(message.probe)
        self.prober.acked_over_stream(sender.node_id, message.probe)

    def on_gossip(self, now: Instant, sender: Endpoint, message: Gossip) -> bool:
        """Whether any of it was news, or made this node say something; if not, nothing at all has changed."""
        in_touch_again = self.prober.out_of_touch
        if in_touch_again:
            self._in_touch()
        news = self._heard(now, sender, message.updates)
        return self._disputes.objects_to(sender, message.updates) or news or in_touch_again

    def _heard(self, now: Instant, sender: Endpoint, updates: tuple[Update, ...]) -> bool:
        """Take in what `sender` says of members; whether any of it was news."""
        if not self.swim.hear(now, updates, sender.node_id):
            return False
        self.swim.touched = True
        self.farewell.correct(sender, updates)
        self._show_hearsay()
        return True

    def on_push_pull(self, now: Instant, sender: Endpoint, message: PushPull) -> None:
        if sender.node_id == self.config.node_id:
            return  # a seed that is this node itself by another address: it has joined nobody
        self.swim.touched = True
        if self.prober.out_of_touch:
            self._in_touch()
        self._disputes.take_its_word(now, sender.node_id, message.rows)
        self.swim.merge(now, message.rows, sender.node_id)
        self._show_hearsay()
        if message.answer:
            self._send_table(now, sender, answer=False)
        if self._healer.answered():
            self._outbox.notify(JoinedMesh(sender.node_id))
        if not self._saved_peers:
            self.save_peers(now)  # the first addresses at once: a crash must not leave this node with none

    def _show_hearsay(self) -> None:
        """Tell the accused what is held against them."""
        for accusation in self.swim.hearsay.to_show():
            accused = self.table.get(accusation.node_id)
            if accused is not None:
                # Without other news: that is sent so often and no more, and the accused may well be dead.
                self._outbox.send(accused.endpoint, Ping(NO_PROBE, (accusation,)))
