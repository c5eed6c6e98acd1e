"""What this node announces about itself, and how callers change its tags while it runs.

A change is durable before it is announced, and announced in an incarnation of its own: what others have seen is not
taken back by a restart, and one incarnation never means two profiles. Changes that come close together go into one save
and one incarnation, so that a caller in a loop does not make the whole mesh gossip: there are at most
1 s / `ANNOUNCE_INTERVAL` a second. The last value of a key wins, and each caller is told how the tags stand then.

What was set at run time is kept on disk and wins over the configuration, key by key, until it is unset; then what the
configuration says of that key shows again. To unset what was never set changes nothing and is no error.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from protocols.config import NodeConfig
from protocols.core import NANOS_PER_MS, Command, Instant, Outcome, Put, Refused, RequestId
from protocols.membership.facts import TagsLeftOut
from protocols.membership.member import Profile
from protocols.membership.records import TAGS_KEY, ChangedTags
from protocols.membership.swim import Swim
from protocols.membership.tags import BadTags, Tags, check_key, merged, own_tags
from protocols.outbox import NEVER, Journal, Outbox

ANNOUNCE_INTERVAL = 500 * NANOS_PER_MS
CHANGES_MAX = 64
"""Keys that one command may set, and may unset: twice what a node can have."""
TEXT_CHARS_MAX = 1024
"""One key or value in a command: far more than is allowed, so that the refusal can say by how much."""
TAGS_TAG = "tags"
"""Of the journal's entries."""

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]


class GetTags(Command, frozen=True, tag="get_tags"):
    """The tags of this node."""


class SetTags(Command, frozen=True, tag="set_tags"):
    """Set and unset tags of this node, all of them or none. A key may not be in both."""

    set: Annotated[dict[Text, Text], Meta(max_length=CHANGES_MAX)] = field(default_factory=dict)
    unset: Annotated[tuple[Text, ...], Meta(max_length=CHANGES_MAX)] = ()


class NodeTags(Outcome, frozen=True, tag="node_tags"):
    """The tags of this node, in order of their keys, and in which life and incarnation it announced them."""

    tags: dict[str, str]
    changed: tuple[str, ...]
    """Keys that were set at run time; the others are those of the configuration."""
    generation: int
    incarnation: int


class Tagging:
    """The profile of one node. `deadline` is when `fire` wants to be called."""

    def __init__(
        self, config: NodeConfig, saved: ChangedTags | None, version: str, outbox: Outbox, journal: Journal
    ) -> None:
        self._config = config
        self._version = version
        self._outbox = outbox
        self._journal = journal
        self._wanted: Tags = saved.tags if saved is not None else ()
        """What was set at run time, as it was asked for last."""
        self._durable = self._wanted
        self._saving: Tags | None = None
        """What is on its way to the disk; None: nothing is."""
        self._waiting: list[RequestId] = []
        """Callers whose changes are in `_wanted`, and not on their way to the disk yet."""
        self._answered_by_save: list[RequestId] = []
        self._next_save_at: Instant = 0
        self._profile = self._make_profile()
        self.deadline: Instant = NEVER

    @property
    def profile(self) -> Profile:
        """What the node announces: only what is durable."""
        return self._profile

    def _make_profile(self) -> Profile:
        config = self._config
        tags, left_out = merged(config.tags, self._durable)
        if left_out:
            self._outbox.notify(TagsLeftOut(left_out))
        return Profile(
            name=config.name,
            address=config.address,
            handlers=tuple(handler.name for handler in config.handlers),
            zone=config.zone,
            weight=config.weight,
            version=self._version,
            tags=tags,
        )

    def view(self, swim: Swim) -> NodeTags:
        """How the tags stand: those that are durable."""
        me = swim.me
        assert me is not None, "asked before the node has begun its life"
        changed = tuple(key for key, _ in self._durable)
        return NodeTags(dict(self._profile.tags), changed, me.generation, me.incarnation)

    def change(self, now: Instant, request_id: RequestId, command: SetTags, swim: Swim) -> None:
        """Take in a change; it is answered once it is durable, or at once where it is refused or changes nothing."""
        try:
            wanted = self._after(command)
        except BadTags as bad:
            self._outbox.reply(request_id, Refused(bad.code, bad.message, bad.next_step))
            return
        if wanted == self._wanted and not self._waiting:
            # What it asks for is durable, or will be with the save that is under way.
            if self._saving is None:
                self._outbox.reply(request_id, self.view(swim))
            else:
                self._answered_by_save.append(request_id)
            return
        self._wanted = wanted
        self._waiting.append(request_id)
        if self._saving is None:
            self.deadline = max(now, self._next_save_at)

    def _after(self, command: SetTags) -> Tags:
        """What is set at run time once `command` is carried out. Raises `BadTags`."""
        changed = dict(self._wanted)
        for key in command.unset:
            check_key(key)
            if key in command.set:
                raise BadTags("bad_tags", f"The tag {key!r} is to be set and unset at once.", "Leave out one of them.")
            changed.pop(key, None)
        changed.update(command.set)
        if command.set:
            own_tags({**dict(self._config.tags), **changed})  # what it would announce: nothing is left out unsaid
        return own_tags(changed)

    def fire(self, now: Instant) -> None:
        """Hand what is wanted to the disk."""
        if now < self.deadline:
            return
        self.deadline = NEVER
        self._next_save_at = now + ANNOUNCE_INTERVAL
        self._saving, self._answered_by_save, self._waiting = self._wanted, self._waiting, []
        if not self._journal.save((Put(TAGS_KEY, ChangedTags(self._wanted)),), tag=TAGS_TAG, refusable=True):
            self.not_saved(self._journal.error)

    def hurry(self, now: Instant) -> None:
        """The node leaves: do not wait for more changes."""
        if self.deadline != NEVER:
            self.deadline = now

    def saved(self, now: Instant, swim: Swim) -> None:
        """The save that `fire` asked for is durable: announce what it says, and tell everybody who waited for it."""
        assert self._saving is not None
        self._durable, self._saving = self._saving, None
        profile = self._make_profile()
        if profile != self._profile:
            self._profile = profile
            if not swim.leaving:
                swim.announce(now, profile)
        callers, self._answered_by_save = self._answered_by_save, []
        for request_id in callers:
            self._outbox.reply(request_id, self.view(swim))
        if self._waiting:
            self.deadline = max(now, self._next_save_at)

    def not_saved(self, why: str) -> None:
        """The disk refused: everything stays as it is on the disk, and every caller is told so."""
        callers = [*self._answered_by_save, *self._waiting]
        self._answered_by_save, self._waiting = [], []
        self._saving = None
        self._wanted = self._durable
        self.deadline = NEVER
        refused = Refused(
            "storage_failed",
            f"This node can not write to its data directory: {why}.",
            "Its tags are as they were. Free or repair the disk, then set them again.",
            retry_after_s=5.0,
        )
        for request_id in callers:
            self._outbox.reply(request_id, refused)
