"""What callers may ask about the keyring, what they are told, and the facts that a driver acts on. No secret is in any
text: keys go by their ids, eight hexadecimal digits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocols.core import Command, Fact, NodeId, Outcome
from protocols.keyring.ring import KEY_BYTES
from protocols.limits import NODE_ID_CHARS

KEY_CHARS_MAX = 64
KeyText = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX)]


class ListKeys(Command, frozen=True, tag="list_keys"):
    """Which keys there are, and which live member holds which."""


class AddKey(Command, frozen=True, tag="add_key"):
    """Give the mesh another key, which opens packets and seals none yet. Where a caller leaves `secret` empty, the
    daemon draws it."""

    secret: Annotated[bytes, Meta(max_length=KEY_BYTES)] = b""

    def __repr__(self) -> str:
        return "AddKey()"


class UseKey(Command, frozen=True, tag="use_key"):
    """Make a key the primary everywhere. `key` is its id, or a beginning of it that fits no other."""

    key: KeyText
    force: bool = False
    """Although some live member does not hold it: packets to that one are lost until it has caught up."""


class RemoveKey(Command, frozen=True, tag="remove_key"):
    """Take a key away everywhere. Never the primary."""

    key: KeyText
    force: bool = False
    """Although some live member has not said that it seals with another: packets from that one are lost until it has
    caught up."""


class TellKeys(Command, frozen=True, tag="tell_keys"):
    """A packet under an unknown key came that names `node_id` as its sender: tell it this node's keyring, so that the
    one of the two that is behind catches up. The transport asks, for what nobody has authenticated: rarely obeyed."""

    node_id: Annotated[str, Meta(max_length=NODE_ID_CHARS)]


class KeyView(Struct, frozen=True):
    """One key. `holders` and `users` count the members that answered and hold it, or seal with it."""

    key: str
    primary: bool
    holders: int
    users: int


class KeyHolder(Struct, frozen=True):
    """One member. `state`: `ok` (it has answered), `silent` (alive, and did not), `refused` (with why in `detail`),
    `away` (dead to this node; it catches up when it is back)."""

    node_id: NodeId
    name: str
    state: str
    keys: tuple[str, ...] = ()
    """What it holds, the key that it seals with first."""
    detail: str = ""
    is_self: bool = False


class KeysReport(Outcome, frozen=True, tag="keys"):
    """How the mesh stands after what was asked. `done` says whether the change was made; `code`, where there is one,
    says why not, or what is left to do."""

    action: str
    """`list`, `add`, `use` or `remove`."""
    key: str
    done: bool
    keys: tuple[KeyView, ...]
    members: tuple[KeyHolder, ...]
    code: str = ""
    message: str = ""
    next_step: str = ""


class KeysTold(Outcome, frozen=True, tag="keys_told"):
    """`TellKeys` was heard."""


class KeysChanged(Fact, frozen=True, tag="keys_changed", gc=False):
    """From now on packets are sealed with the first of `keys` and opened with all of them. `retiring` still open what
    is under way, for a moment. A driver that seals packets acts on this before it goes on."""

    keys: tuple[bytes, ...]
    retiring: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"KeysChanged({len(self.keys)} keys, {len(self.retiring)} retiring)"


class KeyringRejected(Fact, frozen=True, tag="keyring_rejected", gc=False):
    """A member told a keyring that no correct node could have; nothing of it was taken over."""

    by: NodeId
