"""Which member a caller means: by its name, its id, or the first characters of its id.

An id is one member's for ever, so it comes first. Of several members of one name, those that are not there are of the
past: where one of them is there, that one is meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.core import Refused
from protocols.membership.member import Member, State
from protocols.membership.table import MemberTable

ID_CHARS_MIN = 4
"""So many first characters of an id may stand for it; tables show eight."""
SHOWN_CHARS = 64
TOLD_MAX = 10
"""Members that are named where it is not clear which one is meant."""


def find_member(table: MemberTable, text: str) -> Member | Refused:
    """The one member that `text` stands for, or why there is none."""
    exact = table.get(text)
    if exact is not None:
        return exact
    found = [row for row in table if row.alive.profile.name == text]
    if not found and len(text) >= ID_CHARS_MIN:
        found = [row for row in table if row.alive.node_id.startswith(text)]
    if len(found) > 1:
        found = [row for row in found if row.state <= State.SUSPECT] or found
    if len(found) == 1:
        return found[0]
    shown = text[:SHOWN_CHARS]
    if found:
        ids = _first(f"{row.alive.node_id} ({row.state.name.lower()})" for row in found)
        return Refused("ambiguous_member", f"{len(found)} members go by {shown!r}.", f"Name one by its id: {ids}.")
    names = _first(row.alive.profile.name for row in table)
    return Refused(
        "unknown_member",
        f"This node knows no member with the name or id {shown!r}.",
        f"It knows: {names}. `meshnode members` shows names and ids.",
    )


def _first(words: Iterable[str]) -> str:
    told = sorted(words)
    return ", ".join(told[:TOLD_MAX]) + (", …" if len(told) > TOLD_MAX else "")
