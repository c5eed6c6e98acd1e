"""What nodes say to each other about their keyrings. It holds secrets, so it travels on streams alone."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from protocols.core import Promise, Statement
from protocols.keyring.ring import ENTRIES_MAX, KEY_ID_BYTES, Keyring

KeyIdBytes = Annotated[bytes, Meta(min_length=KEY_ID_BYTES, max_length=KEY_ID_BYTES)]
AskId = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Keys(Statement, frozen=True, array_like=True, tag="keys", gc=False):
    """My keyring. Said in front of every table, and answered by a larger one where the listener knows more."""

    ring: Keyring


class KeysAsk(Statement, frozen=True, array_like=True, tag="keysask", gc=False):
    """Take over what `ring` knows, where there is one, and tell me what you hold once that is durable."""

    ask_id: AskId
    ring: Keyring | None = None


class KeysHeld(Promise, frozen=True, array_like=True, tag="keysheld", gc=False):
    """What I hold, durably: ids of keys, the primary's first."""

    ask_id: AskId
    keys: Annotated[tuple[KeyIdBytes, ...], Meta(max_length=ENTRIES_MAX + 1)]


class KeysRefused(Statement, frozen=True, array_like=True, tag="keysrefused", gc=False):
    """I could not take it over."""

    ask_id: AskId
    why: Annotated[str, Meta(max_length=200)]


KeyringMessage: TypeAlias = Keys | KeysAsk | KeysHeld | KeysRefused
