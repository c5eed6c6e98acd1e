"""What a caller is told where a change of the keyring is not made, or has not reached everybody: what happened, what it
means, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.core import Refused
from protocols.keyring.views import KeyHolder

NAMED_MAX = 8
"""Members named in one text; the report has them all."""


def no_keyring() -> Refused:
    return Refused("no_keyring", "This mesh seals no packets, so it has no keys.", "There is nothing to do.")


def busy() -> Refused:
    return Refused("busy", "Too many changes of the keyring are under way at this node.", "Try again in 10 s.", 10.0)


def bad_key(key_bytes: int) -> Refused:
    return Refused("bad_key", f"A packet key has {key_bytes} bytes.", "Leave it out: the node draws one at random.")


def was_removed(key: str) -> Refused:
    return Refused(
        "key_removed", f"Key {key} was removed and does not come back.", "Add a new one: `meshnode keys add`."
    )


def too_many(keys_max: int) -> Refused:
    return Refused(
        "too_many_keys",
        f"The keyring holds {keys_max} keys already.",
        "Remove one that is no longer used: `meshnode keys list`, then `meshnode keys remove KEY`.",
    )


def which_key(given: str, keys: Sequence[str]) -> Refused:
    fits = sum(key.startswith(given.lower()) for key in keys)
    what = f"{fits} keys begin with {given!r}" if fits else f"This node holds no key {given!r}"
    return Refused("unknown_key", f"{what}: {', '.join(keys)}.", "Name one of them; `meshnode keys list` shows them.")


def is_primary(key: str) -> Refused:
    return Refused(
        "key_is_primary",
        f"Key {key} is the primary: this mesh seals its packets with it.",
        "Make another the primary first, and then remove it: `meshnode keys add` makes one, `meshnode keys use KEY`.",
    )


def not_durable(why: str) -> Refused:
    return Refused(
        "storage_failed",
        f"This node can not write to its data directory: {why}. Others may have taken the change over already.",
        "Free or repair the disk; then look at `meshnode keys list` and, where needed, ask again.",
        retry_after_s=5.0,
    )


def disk(why: str) -> str:
    """Why this member refuses."""
    return f"its disk fails: {why}"[:200]


def not_everywhere(key: str, without: Sequence[KeyHolder]) -> tuple[str, str, str]:
    return (
        "key_not_everywhere",
        f"Key {key} was not made the primary: not every live member is known to hold it ({_named(without)}). They "
        "could not open packets that are sealed with it.",
        f"Run `meshnode keys use {key}` again once they answer; one that runs an older meshnode knows no rotation and "
        "has to be upgraded. With --force it is done all the same, and they lose packets until they have caught up.",
    )


def in_use(key: str, users: Sequence[KeyHolder]) -> tuple[str, str, str]:
    return (
        "key_in_use",
        f"Key {key} was not removed: not every live member is known to seal with another ({_named(users)}).",
        f"Run `meshnode keys remove {key}` again once they answer; a member that is behind has just been told. With "
        "--force it is removed all the same, and packets of theirs are lost until they have caught up.",
    )


def outdone(action: str, key: str, primary: str) -> tuple[str, str, str]:
    return (
        "outdone",
        f"Another node changed the keyring at the same moment, and that counts: `{action}` of key {key} was not made. "
        f"The primary is {primary}.",
        "Look at `meshnode keys list`, and ask again if it still is what you want.",
    )


def left_to_do(action: str, behind: Sequence[KeyHolder]) -> tuple[str, str, str]:
    if action == "list":
        return (
            "members_silent",
            f"Not every live member has told which keys it holds ({_named(behind)}).",
            "Ask again in a moment; `meshnode members` shows who is there.",
        )
    return (
        "members_behind",
        f"It is done here, and not every live member is known to have followed ({_named(behind)}).",
        "They follow with the next exchange of tables, within a minute or so: `meshnode keys list` shows who has.",
    )


def _named(members: Sequence[KeyHolder]) -> str:
    words = {"ok": "is behind", "silent": "gave no answer", "refused": "refused"}
    texts = [f"{each.name} {words[each.state]}{each.detail and f' ({each.detail})'}" for each in members]
    more = [f"and {len(texts) - NAMED_MAX} more"] if len(texts) > NAMED_MAX else []
    return "; ".join(texts[:NAMED_MAX] + more)
