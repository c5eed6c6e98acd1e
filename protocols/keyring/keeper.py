"""One node's keyring, and changes to it that are asked for here (DESIGN 8). Rotation is add, use, remove, as in serf.

- *Everybody learns*: a node says its keyring in front of every table that it sends, so whoever joins or comes back
  holds the mesh's keys before it knows a member to send a packet to.
- *A change* is made at one node and told to all live members at once; each answers when it is durable there. Who is
  silent learns it with the next table.
- *use* is refused unless every live member holds the key durably; *remove* unless every one seals with another, and for
  the primary always. So no packet is sealed with a key that its receiver does not hold. `force` overrules both.
- A key that goes still opens packets for LINGER: they may be under way, or wait in a socket.
- A keyring that no correct member could have changes nothing (`ring.is_sound`).

Without a keyring (NO_KEYRING, where packets are not sealed) it says nothing and refuses everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from protocols.core import NANOS_PER_S, Endpoint, Instant, NodeId, Outcome, Pledge, Put, Reply, RequestId, Send
from protocols.keyring import refusals
from protocols.keyring.messages import KeyringMessage, Keys, KeysAsk, KeysHeld, KeysRefused
from protocols.keyring.ring import (
    KEY_BYTES,
    KEYS_MAX,
    KeyEntry,
    Keyring,
    held,
    is_sound,
    joined,
    key_id,
    was_removed,
    with_added,
    with_primary,
    with_removed,
)
from protocols.keyring.views import (
    AddKey,
    KeyHolder,
    KeyringRejected,
    KeysChanged,
    KeysReport,
    KeysTold,
    KeyView,
    ListKeys,
    RemoveKey,
    TellKeys,
    UseKey,
)
from protocols.membership.member import State
from protocols.membership.swim import Swim
from protocols.outbox import NEVER, Journal, Outbox

KEYRING_KEY = "mesh/keyring"
KEYS_TAG = "keys"
"""Journal tag of what this node tells another that it holds: `keys ASK_ID NODE_ID`."""
REPORT_TAG = "keysreport"
"""Journal tag of a report to a caller: `keysreport REQUEST_ID`."""
ANSWER_WAIT = 5 * NANOS_PER_S
"""How long the members may take to answer one question. A change asks twice, and a caller waits 15 s."""
LINGER = 5 * NANOS_PER_S
TELL_INTERVAL = 1 * NANOS_PER_S
"""How often `TellKeys` is obeyed at most: anybody can send a packet that names any sender."""
OPERATIONS_MAX = 16

KeysCommand = ListKeys | AddKey | UseKey | RemoveKey | TellKeys


def keyring_at_start(given: Keyring, saved: Iterable[Put]) -> Keyring:
    """The keyring that a node begins a life with: the one that was `saved`; before any change, the one it was given."""
    return next((put.value for put in saved if type(put.value) is Keyring), given)


class Operation(Struct):
    """What a caller has asked for and the members are being asked about. `checking`: before the change is made."""

    request_id: RequestId
    action: str
    key: KeyEntry | None
    force: bool
    checking: bool
    deadline: Instant = NEVER
    waiting: dict[NodeId, str] = {}
    """Who has not answered yet, and its name."""
    answers: dict[NodeId, KeyHolder] = {}


class KeyringKeeper:
    """The keyring of one node. `deadline` is when `fire` wants to be called."""

    def __init__(self, node_id: NodeId, name: str, ring: Keyring, swim: Swim, outbox: Outbox, journal: Journal) -> None:
        self.ring = ring
        self.deadline: Instant = NEVER
        self.rejected = 0
        """Keyrings that no correct member could have."""
        self._id = node_id
        self._name = name
        self._swim = swim
        self._outbox = outbox
        self._journal = journal
        self._retiring: dict[bytes, Instant] = {}
        """Secrets that are held no longer and still open packets, each until when."""
        self._operations: dict[int, Operation] = {}
        """By the number of the question that is open."""
        self._next_ask = 1
        self._tell_from: Instant = 0

    def check(self) -> bool:
        """A keyring once had is never without a primary, and what retires is not held."""
        secrets = [key.secret for key in held(self.ring)]
        return bool(secrets) == bool(self.ring.entries) and not any(each in self._retiring for each in secrets)

    # What this node holds.

    def tell(self, to: Endpoint) -> None:
        """Say the keyring to `to`, where there is one."""
        if self.ring.primary is not None:
            self._outbox.send(to, Keys(self.ring))

    def _change(self, now: Instant, ring: Keyring) -> None:
        """Hold what `ring` holds from now on; durable behind a later save."""
        if ring == self.ring:
            return
        before = held(self.ring)
        self.ring = ring
        secrets = tuple(key.secret for key in held(ring))
        for secret in secrets:
            self._retiring.pop(secret, None)
        for key in before:
            if key.secret not in secrets:
                self._retiring[key.secret] = now + LINGER
        self._journal.save((Put(KEYRING_KEY, ring),))
        self._outbox.notify(KeysChanged(secrets, tuple(self._retiring)))
        self._rearm()

    def _take_over(self, now: Instant, sender: Endpoint, ring: Keyring) -> bool:
        """Join what `sender` said it knows. False where it cannot be true."""
        if ring == self.ring:
            return True
        if not is_sound(ring, self.ring):
            self.rejected += 1
            self._outbox.notify(KeyringRejected(sender.node_id))
            return False
        self._change(now, joined(self.ring, ring))
        return True

    # Messages.

    def received(self, now: Instant, sender: Endpoint, message: KeyringMessage) -> None:
        match message:
            case Keys():
                self._told(now, sender, message)
            case KeysAsk():
                self._asked(now, sender, message)
            case KeysHeld():
                keys = tuple(each.hex() for each in message.keys)
                self._answered(now, sender.node_id, message.ask_id, "ok", keys, "")
            case KeysRefused():
                self._answered(now, sender.node_id, message.ask_id, "refused", (), message.why)
            case _:
                assert_never(message)

    def _told(self, now: Instant, sender: Endpoint, message: Keys) -> None:
        if self.ring.primary is None or sender.node_id == self._id:
            return
        if self._take_over(now, sender, message.ring) and self.ring != message.ring:
            self.tell(sender)

    def _asked(self, now: Instant, sender: Endpoint, message: KeysAsk) -> None:
        if message.ring is not None and (self.ring.primary is None or not self._take_over(now, sender, message.ring)):
            self._outbox.send(sender, KeysRefused(message.ask_id, "what it was told is no keyring of this mesh"))
            return
        if message.ring is not None and self.ring != message.ring:
            self.tell(sender)  # in front of the answer: the change that is made on it must outdo all that is known here
        answer = Pledge(sender, KeysHeld(message.ask_id, tuple(key.key_id for key in held(self.ring))))
        tag = f"{KEYS_TAG} {message.ask_id} {sender.node_id}"
        if not self._journal.save((), (answer,), tag=tag, refusable=True):
            self._outbox.send(sender, KeysRefused(message.ask_id, refusals.disk(self._journal.error)))

    def gave_up(self, tag: str, why: str) -> None:
        """The disk failed, and what the save of this tag would have said is not said: say that instead."""
        kind, *rest = tag.split(" ")
        if kind == REPORT_TAG:
            self._outbox.reply(int(rest[0]), refusals.not_durable(why))
        elif kind == KEYS_TAG:
            row = self._swim.table.get(rest[1])
            if row is not None:
                self._outbox.send(row.endpoint, KeysRefused(int(rest[0]), refusals.disk(why)))

    def _answered(
        self, now: Instant, node_id: NodeId, ask_id: int, state: str, keys: tuple[str, ...], detail: str
    ) -> None:
        operation = self._operations.get(ask_id)
        name = operation.waiting.pop(node_id, None) if operation else None
        if operation is None or name is None:
            return
        operation.answers[node_id] = KeyHolder(node_id, name, state, keys, detail)
        if not operation.waiting:
            del self._operations[ask_id]
            self._all_asked(now, operation)
            self._rearm()

    # Callers.

    def requested(self, now: Instant, request_id: RequestId, command: KeysCommand) -> None:
        if type(command) is TellKeys:
            self._tell_stranger(now, command.node_id)
            self._outbox.reply(request_id, KeysTold())
            return
        refusal = self._begin(now, request_id, command)
        if refusal is not None:
            self._outbox.reply(request_id, refusal)
        self._rearm()

    def _tell_stranger(self, now: Instant, node_id: NodeId) -> None:
        row = self._swim.table.get(node_id)
        if row is not None and node_id != self._id and row.state is not State.LEFT and now >= self._tell_from:
            self._tell_from = now + TELL_INTERVAL
            self.tell(row.endpoint)

    def _begin(self, now: Instant, request_id: RequestId, command: KeysCommand) -> Outcome | None:
        """Start what was asked for, or say why not."""
        if self.ring.primary is None:
            return refusals.no_keyring()
        if len(self._operations) >= OPERATIONS_MAX:
            return refusals.busy()
        match command:
            case ListKeys():
                self._ask(now, Operation(request_id, "list", None, False, False), None)
                return None
            case AddKey():
                return self._begin_adding(now, request_id, command.secret)
            case UseKey() | RemoveKey():
                keys = [key for key in held(self.ring) if key.key_id.hex().startswith(command.key.lower())]
                if len(keys) != 1:
                    return refusals.which_key(command.key, [key.key_id.hex() for key in keys or held(self.ring)])
                action = "use" if type(command) is UseKey else "remove"
                if action == "remove" and keys[0] == self.ring.primary:
                    return refusals.is_primary(keys[0].key_id.hex())
                self._ask(now, Operation(request_id, action, keys[0], command.force, True), self.ring)
                return None
            case _:
                raise AssertionError(f"{type(command).__name__} is answered at once")

    def _begin_adding(self, now: Instant, request_id: RequestId, secret: bytes) -> Outcome | None:
        name = key_id(secret)
        if len(secret) != KEY_BYTES:
            return refusals.bad_key(KEY_BYTES)
        holds = any(key.secret == secret for key in held(self.ring))
        if not holds:
            if was_removed(self.ring, name):
                return refusals.was_removed(name.hex())
            if len(held(self.ring)) >= KEYS_MAX:
                return refusals.too_many(KEYS_MAX)
            self._change(now, with_added(self.ring, secret))
        self._ask(now, Operation(request_id, "add", KeyEntry(name, 0, secret), False, False), self.ring)
        return None

    # Asking the members.

    def _ask(self, now: Instant, operation: Operation, ring: Keyring | None) -> None:
        """Ask every live member what it holds, and tell it `ring`, once that is durable here."""
        ask_id = self._next_ask
        self._next_ask += 1
        operation.waiting, operation.answers = {}, {}
        sends: list[Send] = []
        for member in self._swim.table:
            if member is not self._swim.me and member.state <= State.SUSPECT:
                operation.waiting[member.alive.node_id] = member.alive.profile.name
                sends.append(Send(member.endpoint, KeysAsk(ask_id, ring)))
        if not sends:
            self._all_asked(now, operation)
            return
        operation.deadline = now + ANSWER_WAIT
        self._operations[ask_id] = operation
        self._journal.save((), sends)

    def fire(self, now: Instant) -> None:
        for ask_id in [ask_id for ask_id, operation in self._operations.items() if operation.deadline <= now]:
            self._all_asked(now, self._operations.pop(ask_id))
        if any(until <= now for until in self._retiring.values()):
            self._retiring = {secret: until for secret, until in self._retiring.items() if until > now}
            self._outbox.notify(KeysChanged(tuple(key.secret for key in held(self.ring)), tuple(self._retiring)))
        self._rearm()

    def _rearm(self) -> None:
        deadlines = [operation.deadline for operation in self._operations.values()]
        self.deadline = min(*deadlines, *self._retiring.values(), NEVER, NEVER)

    def _all_asked(self, now: Instant, operation: Operation) -> None:
        """Everybody has answered, or had the time to."""
        for node_id, name in operation.waiting.items():
            operation.answers[node_id] = KeyHolder(node_id, name, "silent")
        if not operation.checking:
            self._report(operation)
            return
        assert operation.key is not None
        refusal = self._refusal(operation, operation.key)
        if refusal is not None:
            self._outbox.reply(operation.request_id, refusal)
            return
        operation.checking = False
        if operation.action == "remove":
            self._change(now, with_removed(self.ring, operation.key.key_id))
        elif operation.key.key_id != held(self.ring)[0].key_id:
            self._change(now, with_primary(self.ring, operation.key))
        self._ask(now, operation, self.ring)

    def _refusal(self, operation: Operation, key: KeyEntry) -> Outcome | None:
        """Why the change must not be made now, by what the members have said."""
        if key.key_id not in [each.key_id for each in held(self.ring)]:
            return refusals.which_key(key.key_id.hex(), [each.key_id.hex() for each in held(self.ring)])
        name = key.key_id.hex()
        answers = list(operation.answers.values())
        if operation.action == "use":
            without = [each for each in answers if name not in each.keys]
            if without and not operation.force:
                return self._report_of(operation, False, *refusals.not_everywhere(name, without))
            return None
        if key.key_id == held(self.ring)[0].key_id:
            return refusals.is_primary(name)
        users = [each for each in answers if each.state != "ok" or each.keys[:1] == (name,)]
        if users and not operation.force:
            return self._report_of(operation, False, *refusals.in_use(name, users))
        return None

    # Reports.

    def _report(self, operation: Operation) -> None:
        """Tell the caller how it came out, once all of it is durable here."""
        behind = [each for each in operation.answers.values() if not self._has_followed(operation, each)]
        told = refusals.left_to_do(operation.action, behind) if behind else ("", "", "")
        mine = tuple(key.key_id.hex() for key in held(self.ring))
        counts = self._has_followed(operation, KeyHolder(self._id, self._name, "ok", mine))
        if operation.key is not None and not counts:
            told = refusals.outdone(operation.action, operation.key.key_id.hex(), mine[0])
        report = self._report_of(operation, counts, *told)
        if operation.action == "list":
            self._outbox.reply(operation.request_id, report)
            return
        tag = f"{REPORT_TAG} {operation.request_id}"
        if not self._journal.save((), (Reply(operation.request_id, report),), tag=tag, refusable=True):
            self._outbox.reply(operation.request_id, refusals.not_durable(self._journal.error))

    def _has_followed(self, operation: Operation, holder: KeyHolder) -> bool:
        if operation.key is None or holder.state != "ok":
            return holder.state == "ok"
        name = operation.key.key_id.hex()
        match operation.action:
            case "use":
                return holder.keys[:1] == (name,)
            case "remove":
                return name not in holder.keys
            case _:
                return name in holder.keys

    def _report_of(self, operation: Operation, done: bool, code: str, message: str, next_step: str) -> KeysReport:
        mine = tuple(key.key_id.hex() for key in held(self.ring))
        members = [KeyHolder(self._id, self._name, "ok", mine, is_self=True), *operation.answers.values()]
        for row in self._swim.table:
            if row.state is State.DEAD and row.alive.node_id not in operation.answers:
                members.append(KeyHolder(row.alive.node_id, row.alive.profile.name, "away"))
        members.sort(key=lambda each: (not each.is_self, each.state == "away", each.name, each.node_id))
        names = dict.fromkeys(name for member in members for name in member.keys)
        views = tuple(
            KeyView(
                key=name,
                primary=name == mine[0],
                holders=sum(name in member.keys for member in members),
                users=sum(member.keys[:1] == (name,) for member in members),
            )
            for name in names
        )
        key = operation.key.key_id.hex() if operation.key else ""
        return KeysReport(operation.action, key, done, views, tuple(members), code, message, next_step)
