"""What this node announces about itself, and how callers change it while it runs.

A change is durable before it is announced, and announced in an incarnation of its own: what others have seen is not
taken back by a restart, and one incarnation never means two profiles. Changes that come close together go into one save
and one incarnation, so that a caller in a loop does not make the whole mesh gossip: there are at most
1 s / `ANNOUNCE_INTERVAL` a second. The last value of a key wins, and each caller is told how the tags stand then.

What was set at run time is kept on disk and wins over the configuration, key by key, until it is unset; then what the
configuration says of that key shows again. To unset what was never set changes nothing and is no error.

The configuration itself may be replaced (`protocols/reconfiguring.py`). It is announced at the same pace, and nothing
of it is saved: whoever replaces it has it from where the next start finds it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, field
from msgspec.structs import replace

from protocols.config import HandlerSpec, NodeConfig
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


class Reconfigured(Outcome, frozen=True, tag="reconfigured"):
    """The configuration counts, and in which life and incarnation this node announces it."""

    generation: int
    incarnation: int
    left_out: tuple[str, ...] = ()
    """Keys of configured tags that are not announced, for they do not fit beside those that were set at run time."""


class Tagging:
    """The profile of one node. `deadline` is when `fire` wants to be called."""

    def __init__(
        self, config: NodeConfig, saved: Iterable[Put], swim: Swim, version: str, outbox: Outbox, journal: Journal
    ) -> None:
        self._config = config
        self._swim = swim
        self._version = version
        self._outbox = outbox
        self._journal = journal
        self._wanted: Tags = next((put.value.tags for put in saved if type(put.value) is ChangedTags), ())
        """What was set at run time, as it was asked for last."""
        self._durable = self._wanted
        self._saving: Tags | None = None
        """What is on its way to the disk; None: nothing is."""
        self._waiting: list[RequestId] = []
        """Callers whose changes are in `_wanted`, and not on their way to the disk yet."""
        self._answered_by_save: list[RequestId] = []
        self._reconfigurers: list[RequestId] = []
        """Callers whose configuration counts, and is not announced yet."""
        self._next_at: Instant = 0
        """Nothing is saved or announced sooner."""
        self._save_at: Instant = NEVER
        self._announce_at: Instant = NEVER
        """When the configuration is announced, if no save takes it along before."""
        self._profile, left_out = self._make_profile()
        self._tell_of(left_out)

    @property
    def deadline(self) -> Instant:
        return self._save_at if self._save_at < self._announce_at else self._announce_at

    @property
    def profile(self) -> Profile:
        """What the node announces: only what is durable."""
        return self._profile

    def _make_profile(self) -> tuple[Profile, tuple[str, ...]]:
        """What is configured and durable, and the keys of tags that do not fit."""
        config = self._config
        tags, left_out = merged(config.tags, self._durable)
        profile = Profile(
            name=config.name,
            address=config.address,
            handlers=tuple(handler.name for handler in config.handlers),
            zone=config.zone,
            weight=config.weight,
            version=self._version,
            tags=tags,
        )
        return profile, left_out

    def _tell_of(self, left_out: tuple[str, ...]) -> None:
        if left_out:
            self._outbox.notify(TagsLeftOut(left_out))

    def view(self) -> NodeTags:
        """How the tags stand: those that are durable."""
        me = self._swim.me
        assert me is not None, "asked before the node has begun its life"
        changed = tuple(key for key, _ in self._durable)
        return NodeTags(dict(self._profile.tags), changed, me.generation, me.incarnation)

    def reconfigure(
        self,
        now: Instant,
        request_id: RequestId,
        *,
        handlers: tuple[HandlerSpec, ...],
        zone: str,
        weight: int,
        tags: Tags,
    ) -> None:
        """Another configuration counts from now on; it is answered once it is announced, or at once where the node
        announces nothing else than before."""
        self._config = replace(self._config, handlers=handlers, zone=zone, weight=weight, tags=tags)
        self._reconfigurers.append(request_id)
        if self._announce_at != NEVER:
            return
        if self._make_profile()[0] == self._profile:
            self._announce(now)
        else:
            self._announce_at = max(now, self._next_at)

    def change(self, now: Instant, request_id: RequestId, command: SetTags) -> None:
        """Take in a change; it is answered once it is durable, or at once where it is refused or changes nothing."""
        try:
            wanted = self._after(command)
        except BadTags as bad:
            self._outbox.reply(request_id, Refused(bad.code, bad.message, bad.next_step))
            return
        if wanted == self._wanted and not self._waiting:
            # What it asks for is durable, or will be with the save that is under way.
            if self._saving is None:
                self._outbox.reply(request_id, self.view())
            else:
                self._answered_by_save.append(request_id)
            return
        self._wanted = wanted
        self._waiting.append(request_id)
        if self._saving is None:
            self._save_at = max(now, self._next_at)

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
        """Hand what is wanted to the disk, and announce what is configured."""
        if now >= self._save_at:
            self._save_at = NEVER
            self._next_at = now + ANNOUNCE_INTERVAL
            self._saving, self._answered_by_save, self._waiting = self._wanted, self._waiting, []
            if not self._journal.save((Put(TAGS_KEY, ChangedTags(self._wanted)),), tag=TAGS_TAG, refusable=True):
                self.not_saved(self._journal.error)
            elif self._announce_at != NEVER:
                self._announce_at = self._next_at  # with what is saved, unless the disk is slower than that
        if now >= self._announce_at:
            self._next_at = now + ANNOUNCE_INTERVAL
            self._announce(now)

    def hurry(self, now: Instant) -> None:
        """The node leaves: do not wait for more changes."""
        if self._save_at != NEVER:
            self._save_at = now
        if self._announce_at != NEVER:
            self._announce_at = now

    def saved(self, now: Instant) -> None:
        """The save that `fire` asked for is durable: announce what it says, and tell everybody who waited for it."""
        assert self._saving is not None
        self._durable, self._saving = self._saving, None
        self._announce(now)
        callers, self._answered_by_save = self._answered_by_save, []
        for request_id in callers:
            self._outbox.reply(request_id, self.view())
        if self._waiting:
            self._save_at = max(now, self._next_at)

    def _announce(self, now: Instant) -> None:
        """Announce what is configured and durable, where it is news, and tell those who configured it."""
        self._announce_at = NEVER
        profile, left_out = self._make_profile()
        self._tell_of(left_out)
        if profile != self._profile:
            self._profile = profile
            if not self._swim.leaving:
                self._swim.announce(now, profile)
        callers, self._reconfigurers = self._reconfigurers, []
        if callers:
            me = self._swim.me
            assert me is not None, "configured before the node has begun its life"
            for request_id in callers:
                self._outbox.reply(request_id, Reconfigured(me.generation, me.incarnation, left_out))

    def not_saved(self, why: str) -> None:
        """The disk refused: everything stays as it is on the disk, and every caller is told so."""
        callers = [*self._answered_by_save, *self._waiting]
        self._answered_by_save, self._waiting = [], []
        self._saving = None
        self._wanted = self._durable
        self._save_at = NEVER
        refused = Refused(
            "storage_failed",
            f"This node can not write to its data directory: {why}.",
            "Its tags are as they were. Free or repair the disk, then set them again.",
            retry_after_s=5.0,
        )
        for request_id in callers:
            self._outbox.reply(request_id, refused)
