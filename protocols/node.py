"""The node core: composes membership, detector, ring and tasks, and routes between them (DESIGN 2, 3).

The only file that knows every protocol. A new life begins by saving a generation above the last one; until that is
durable the node says nothing to anybody, for everything it says carries the generation.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import partial
from random import Random
from typing import assert_never

from protocols.config import NodeConfig
from protocols.core import (
    NANOS_PER_S,
    Command,
    Endpoint,
    Event,
    Instant,
    InvariantViolation,
    Message,
    NodeId,
    Perform,
    Performed,
    PerformId,
    Put,
    Received,
    Refused,
    Request,
    RequestId,
    Saved,
    SaveFailed,
    Step,
    Woke,
)
from protocols.detector.confirm import Confirmer
from protocols.detector.inquiries import Inquiries
from protocols.detector.messages import AskReach, Reached
from protocols.detector.why import Explainer, Why
from protocols.invariants import check_node
from protocols.keyring.keeper import KeyringKeeper, keyring_at_start
from protocols.keyring.messages import Keys, KeysAsk, KeysHeld, KeysRefused
from protocols.keyring.views import AddKey, ListKeys, RemoveKey, TellKeys, UseKey
from protocols.membership.event_views import AnswerQuery, AskQuery, ReadEvents, SendEvent
from protocols.membership.events import EVENTS_TAG
from protocols.membership.facts import NodeStarted
from protocols.membership.hints import HungUp, Suggest
from protocols.membership.member import Member
from protocols.membership.membership import Membership
from protocols.membership.messages import Ack, Gossip, Nack, Ping, PingReq, PushPull, StreamAck, StreamPing
from protocols.membership.records import DISK_PROBE, GENERATION_KEY, PEERS_KEY, Generation, Peers
from protocols.membership.rtt import EstimateRtt
from protocols.membership.rumours import EventDigest, Events, EventsWanted, QueryAnswer, QueryAsk
from protocols.membership.tagging import TAGS_TAG, GetTags, SetTags, Tagging
from protocols.membership.views import GetStatus, Leave, Left, ListMembers
from protocols.membership.vitals import Reported, ReportMachine, VitalsBook
from protocols.outbox import NEVER, Journal, Outbox
from protocols.reconfiguring import Reconfigure, Reconfigurer
from protocols.standing import answer_of, is_alive, member_view, members_of, not_serving, status_of
from protocols.tasks.asker import Asker, local, remote, respond
from protocols.tasks.asking import Asking
from protocols.tasks.book import coordinator_prefix
from protocols.tasks.coordinator import ANSWER_TAG, SUBMIT_TAG, TASK_TAG, Coordinator
from protocols.tasks.messages import (
    Answer,
    Ask,
    Assign,
    CheckRuns,
    Concluded,
    RunEnded,
    RunRefused,
    RunStates,
)
from protocols.tasks.refusals import storage_refusal
from protocols.tasks.task import BodyEnded, CancelTask, GetTask, ListTasks, Stopped, Submit
from protocols.tasks.worker import Worker
from protocols.tools import FindTools, ListLocalTools, LocalTools, LocalToolsFor, ToolsFound

VERSION = "0.1.0"
GENERATION_TAG = "generation"
LIVES_AT_ONCE = 8
LIFE_PAUSE = 2 * NANOS_PER_S
"""How often a node outdoes those who speak for a later life of it: so many times, and then once in so long. Who does so
without an end is a broken peer, or a copy that cannot be met (`membership/hints.py`); each time costs a save."""


class Phase(Enum):
    """Where a node is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"


STARTING = Phase.STARTING


def saved_generation(saved: Iterable[Put]) -> int:
    """The generation of the last life that was saved; 0 before the first."""
    return max((put.value.number for put in saved if type(put.value) is Generation), default=0)


class Node:
    """One node of the mesh, without its world. See `protocols.core.Core` for the contract of `step`."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        self.config = config
        self.phase = STARTING
        records = {put.key: put for put in saved}
        self.generation = saved_generation(records.values())
        peers = records.get(PEERS_KEY)
        seed = rng.getrandbits(128)
        self._outbox = Outbox()
        self._journal = Journal(self._outbox, DISK_PROBE)
        self.worker = Worker(config.handlers, self._outbox, self._new_perform_id, partial(is_alive, self))
        self.vitals = VitalsBook(sum(handler.concurrency for handler in config.handlers), self.worker)
        self.membership = Membership(
            config,
            self._outbox,
            self._journal,
            Random(f"{seed}/membership"),
            peers.value if peers and type(peers.value) is Peers else None,
            self.vitals,
        )
        self.swim = self.membership.swim
        evidence = self.membership.evidence
        self.confirmer = Confirmer(config, self.swim, evidence, self._outbox)
        view = partial(member_view, self)
        explainer = Explainer(self.swim, evidence, self.confirmer, self._outbox, f"{seed}/why", view)
        self._inquiries = Inquiries(self.confirmer, explainer)
        self.keyring = KeyringKeeper(
            config.node_id,
            config.name,
            keyring_at_start(config.keyring, records.values()),
            self.swim,
            self._outbox,
            self._journal,
        )
        self.membership.before_table = self.keyring.tell
        self.spreading = self.membership.spreading
        self.spreading.events.recall(records.values())
        self.spreading.queries.answer = partial(answer_of, self)
        self._tagging = Tagging(config, records.values(), self.swim, VERSION, self._outbox, self._journal)
        self._reconfigurer = Reconfigurer(self._tagging, self.worker, self.vitals, self._outbox)
        self.tasks = Coordinator(
            config, self.swim, self._outbox, self._journal, Random(f"{seed}/tasks"), records.values()
        )
        self.asking = Asking(config.node_id, config.tasks, self.swim, self._outbox)
        self._perform_id: PerformId = 0
        self._tool_asks: dict[PerformId, Asker] = {}
        self._leavers: list[RequestId] = []
        self._left_at: Instant = NEVER
        self._started_at: Instant = 0
        self._lives_paid_until: Instant = 0
        self._seldom = (self._journal, self.asking, self.worker, self._inquiries, self.keyring, self._tagging)
        """Whatever has a deadline but membership and tasks. In the order in which they fire."""
        self._aside: Instant = NEVER
        """The earliest deadline of those and of the tasks, as of the last step in which one of them had something to do
        (`_touched`): most steps are membership's, and a large mesh feels each look elsewhere."""
        self._touched = False
        self._deadline: Instant = NEVER
        self._wake_at: Instant | None = None

    # The contract.

    def step(self, now: Instant, event: Event) -> Step:
        """Fire what is due at `now`, then handle `event`."""
        if type(event) is SaveFailed:
            self._touched = True
            self._save_failed(now, event)  # before the timers: what they save must not overtake what has failed
        fires = now >= self._deadline
        if fires:
            self._fire(now)
        match event:
            case Received():
                if self.phase is not STARTING:
                    changed = self._received(now, event.sender, event.message)
                    if not changed and not fires:
                        return self._outbox.drain(), self._wake_at
            case Woke():
                if not self._started_at:
                    self._started_at = max(1, now)
                    self._begin_generation(self.generation + 1)
            case Saved():
                self._touched = True
                self._saved(now, self._journal.saved(event.seq))
            case SaveFailed():
                pass
            case Performed():
                self._touched = True
                self._performed(now, event)
            case Request():
                self._touched = True
                self._requested(now, event.id, event.command)
            case _:
                assert_never(event)
        wake_at = self._rearm(now)  # first, for what it starts belongs to this step
        return self._outbox.drain(), wake_at

    def check(self) -> None:
        """Raise `InvariantViolation` where the state breaks a promise."""
        check_node(self)
        if self._first_aside() < self._aside:
            raise InvariantViolation("something is due before the node looks at it")

    # Time.

    def _fire(self, now: Instant) -> None:
        aside = now >= self._aside
        if aside:
            self._touched = True
            for part in self._seldom:
                if now >= part.deadline:
                    part.fire(now)
        if now >= self.membership.deadline:
            slept = self.membership.fire(now)
            if slept:
                self.tasks.book.excuse(slept)
        if aside and now >= self.tasks.deadline:
            self.tasks.fire(now)

    def _rearm(self, now: Instant) -> Instant | None:
        swim, membership = self.swim, self.membership
        if swim.touched:
            self._look_around(now)
        if self._touched:
            self._touched = False
            self._rearm_aside(now)
        membership.rearm(now)
        if swim.touched:  # who leaves, or was outgrown and may not say so yet, looks around at every step
            swim.touched = bool(self._leavers) or swim.outgrown > self.generation
        deadline = membership.deadline
        if self._aside < deadline:
            deadline = self._aside
        self._deadline = deadline
        self._wake_at = None if deadline == NEVER else deadline
        return self._wake_at

    def _rearm_aside(self, now: Instant) -> None:
        tasks = self.tasks
        if tasks.book.open or tasks.deadline != NEVER:
            tasks.rearm(now)
        self._aside = self._first_aside()

    def _first_aside(self) -> Instant:
        tasks, worker = self.tasks, self.worker
        first = min(self._left_at, tasks.deadline, self._journal.deadline, self.asking.deadline, worker.deadline)
        return min(first, self._inquiries.deadline, self.keyring.deadline, self._tagging.deadline)

    def _look_around(self, now: Instant) -> None:
        """Do what follows from a change of what this node believes, or from the time that it takes its leave."""
        swim, tasks, membership = self.swim, self.tasks, self.membership
        if (
            swim.outgrown > self.generation
            and self.phase is Phase.SERVING
            and self._lives_paid_until <= now + LIVES_AT_ONCE * LIFE_PAUSE
        ):
            # An older copy of this node's data spoke for a later life; only a later one still can take the name back.
            self._lives_paid_until = max(now, self._lives_paid_until) + LIFE_PAUSE
            self._begin_generation(swim.outgrown + 1)
        if swim.rival:
            membership.face_rival(now)
        if tasks.view_seen != swim.view:
            self._touched = True
            membership.view_changes.add(now)
            tasks.on_view(now)
        if self._leavers and (now >= self._left_at or membership.farewell.is_said):
            self._left_at = NEVER
            self._touched = True
            for request_id in self._leavers:
                self._outbox.reply(request_id, Left(len(tasks.book.open)))
            self._leavers.clear()

    # Life.

    def _begin_generation(self, number: int) -> None:
        self.generation = number
        self._journal.save((Put(GENERATION_KEY, Generation(number)),), tag=f"{GENERATION_TAG} {number}")

    def _generation_saved(self, now: Instant) -> None:
        if self.phase is Phase.LEAVING:
            return
        profile = self._tagging.profile
        self._outbox.notify(NodeStarted(self.config.node_id, self.generation))
        self.spreading.begin(self.generation, joining=self.membership.has_to_join)
        if self.phase is Phase.SERVING:
            self.swim.come_alive(now, self.generation, profile)
            return
        self.phase = Phase.SERVING
        self.membership.start(now, self.generation, profile)
        self.tasks.start(now)

    def _leave(self, now: Instant, request_id: RequestId) -> None:
        if self.phase is Phase.LEAVING and self._left_at == NEVER:
            self._outbox.reply(request_id, Left(len(self.tasks.book.open)))
            return
        self._leavers.append(request_id)
        if self.phase is not Phase.LEAVING:
            self.phase = Phase.LEAVING
            self.worker.leaving = True
            self._tagging.hurry(now)
            self._left_at = self.membership.leave(now)

    # Storage.

    def _saved(self, now: Instant, tag: str) -> None:
        kind, _, rest = tag.partition(" ")
        if kind in (TASK_TAG, SUBMIT_TAG):
            self.tasks.saved(now, rest.partition(" ")[0])
        elif kind == EVENTS_TAG:
            self.spreading.saved(now)
        elif kind == GENERATION_TAG and int(rest) == self.generation:
            # Any other was outgrown while it was saved, and the one that replaces it is not durable yet.
            self._generation_saved(now)
        elif kind == TAGS_TAG:
            self._tagging.saved(now)

    def _save_failed(self, now: Instant, event: SaveFailed) -> None:
        given_up = self._journal.failed(now, event.seq, event.why)
        kind, _, rest = given_up.partition(" ")
        task_id, _, token = rest.rpartition(" ")
        if kind == SUBMIT_TAG:
            self.tasks.give_up(task_id)
        if kind in (SUBMIT_TAG, ANSWER_TAG) and int(token) >= 0:
            self._outbox.reply(int(token), storage_refusal(event.why))
        self.keyring.gave_up(given_up, event.why)
        if kind == TAGS_TAG:
            self._tagging.not_saved(event.why)

    # Messages.

    def _received(self, now: Instant, sender: Endpoint, message: Message) -> bool:
        """Whether any deadline may have changed: most of what goes round in a large mesh tells what is known."""
        match message:
            case Ping():
                return self.membership.on_ping(now, sender, message)
            case Gossip():
                told = self.membership.on_gossip(now, sender, message)
                if message.rumours:
                    self.spreading.heard(now, sender.node_id, message.rumours)
                return told or bool(message.rumours)
            case Ack():
                if not self.membership.on_ack(now, sender, message):
                    self._touched = True
                    self._inquiries.on_ack(now, sender.node_id, message.probe)
            case Nack():
                self.membership.on_nack(sender, message)
            case PingReq():
                self.membership.on_ping_req(now, sender, message)
            case PushPull():
                self.membership.on_push_pull(now, sender, message)
            case _:
                self._touched = True
                self._received_aside(now, sender, message)
        return True

    def _received_aside(self, now: Instant, sender: Endpoint, message: Message) -> None:
        match message:
            case Assign():
                self.worker.on_assign(now, sender, message)
            case RunEnded():
                self.tasks.on_run_ended(now, sender, message)
            case Concluded():
                self.worker.on_concluded(sender, message)
            case CheckRuns():
                self.worker.on_check(now, sender, message)
            case RunStates():
                self.tasks.on_run_states(now, sender, message)
            case RunRefused():
                self.tasks.on_run_refused(now, sender, message)
            case StreamPing():
                self.membership.on_stream_ping(sender, message)
            case StreamAck():
                self.membership.on_stream_ack(sender, message)
                self._inquiries.on_ack(now, sender.node_id, message.probe)
            case AskReach() | Reached():
                self._inquiries.received(now, sender, message)
            case EventDigest() | EventsWanted() | Events() | QueryAsk() | QueryAnswer():
                self.spreading.received(now, sender, message)
            case Ask():
                self._asked(now, remote(sender, message.ask_id), message.command)
            case Answer():
                self.asking.on_answer(sender, message)
            case Keys() | KeysAsk() | KeysHeld() | KeysRefused():
                self.keyring.received(now, sender, message)
            case _:
                raise InvariantViolation(
                    f"the codec let through a message that nobody handles: {type(message).__name__}"
                )

    def _asked(self, now: Instant, asker: Asker, command: GetTask | CancelTask | LocalToolsFor) -> None:
        """Another node asks on behalf of one of its callers."""
        match command:
            case GetTask():
                self.tasks.get(now, asker, command)
            case CancelTask():
                self.tasks.cancel(now, asker, command)
            case LocalToolsFor():
                perform_id = self._new_perform_id()
                self._tool_asks[perform_id] = asker
                self._outbox.perform(Perform(perform_id, ListLocalTools(command.query)))
            case _:
                assert_never(command)

    def _performed(self, now: Instant, event: Performed) -> None:
        match event.result:
            case BodyEnded():
                self.worker.on_body_ended(now, event.id, event.result)
            case LocalTools():
                asker = self._tool_asks.pop(event.id, None)
                if asker is None:
                    self.asking.on_local_tools(-event.id, event.result)
                else:
                    found = ToolsFound(event.result.tools, event.result.total, event.result.silent)
                    self._journal.save((), (respond(asker, found),), tag=f"{ANSWER_TAG} {asker.token}", refusable=True)
            case Stopped():
                pass  # the run that was stopped reports its own end
            case _:
                raise InvariantViolation(f"nobody waits for a {type(event.result).__name__}")

    def _new_perform_id(self) -> PerformId:
        self._perform_id += 1
        return self._perform_id

    # Callers.

    def _requested(self, now: Instant, request_id: RequestId, command: Command) -> None:
        if type(command) is ReportMachine:
            self.vitals.report(command)
            self._outbox.reply(request_id, Reported())
            return
        if self.phase is STARTING:
            self._outbox.reply(request_id, not_serving("starting", "Try again in a moment."))
            return
        asker = local(request_id)
        match command:
            case Submit():
                if self.phase is Phase.LEAVING:
                    self._outbox.reply(request_id, not_serving("leaving", "Submit through another node."))
                else:
                    self.tasks.submit(now, asker, command)
            case GetTask() | CancelTask():
                if self.config.node_id.startswith(coordinator_prefix(command.task_id) or "-"):
                    self._asked(now, asker, command)
                else:
                    self.asking.pass_on(now, request_id, command)
            case ListTasks():
                self.tasks.list_tasks(asker, command)
            case FindTools():
                self.asking.find_tools(now, request_id, command)
            case ListKeys() | AddKey() | UseKey() | RemoveKey() | TellKeys():
                self.keyring.requested(now, request_id, command)
            case SendEvent() | AskQuery() if self.phase is Phase.LEAVING:
                self._outbox.reply(request_id, not_serving("leaving", "Say it through another node."))
            case SendEvent() | ReadEvents() | AskQuery() | AnswerQuery():
                self.spreading.requested(now, request_id, command)
            case EstimateRtt():
                self._outbox.reply(request_id, self.membership.rtt.estimate(now, command))
            case ListMembers():
                self._outbox.reply(request_id, members_of(self, now))
            case Why():
                self._inquiries.why(now, request_id, command)
            case GetTags():
                self._outbox.reply(request_id, self._tagging.view())
            case SetTags() | Reconfigure() if self.phase is Phase.LEAVING:
                self._outbox.reply(request_id, not_serving("leaving", "Do it when it has been started again."))
            case SetTags():
                self._tagging.change(now, request_id, command)
            case Reconfigure():
                self._reconfigurer.requested(now, request_id, command)
            case GetStatus():
                self._outbox.reply(request_id, status_of(self, now))
            case Suggest() | HungUp():
                self._outbox.reply(request_id, self.membership.suggest(now, command))
            case Leave():
                self._leave(now, request_id)
            case _:
                refused = Refused("unknown_command", f"This node does not know {type(command).__name__}.")
                self._outbox.reply(request_id, refused)

    # Views.

    def uptime(self, now: Instant) -> Instant:
        """Nanoseconds since the first event of this life."""
        return now - self._started_at

    @property
    def storage_error(self) -> str:  # empty while the disk is well
        return self._journal.error

    def members(self) -> list[Member]:
        """The rows of this node's member table."""
        return list(self.swim.table)

    def owner_of(self, handler: str, key: str) -> NodeId | None:
        """Where this node would run a task of `key` now."""
        return self.tasks.routing.ring(handler).owner(key)
