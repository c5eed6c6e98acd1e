"""`meshnode members --watch`: a table that is drawn anew on a terminal, a line for each change everywhere else.

The daemon is asked every `INTERVAL_S`. What came and went within that time is seen all the same where it left a trace:
a member that refuted an accusation has a higher incarnation, one that was started again a higher generation. Ends on
Ctrl-C or SIGTERM with status 0, when nobody reads stdout any more, and when the daemon goes away (which is an error).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from meshnode.cli.documents import member_document
from meshnode.cli.present import printable, stdout_is_read, write_document, write_line
from meshnode.cli.session import converse_until_stopped, expect
from meshnode.cli.tables import ID_CHARS, members_table
from meshnode.cli.tag_work import Choice
from meshnode.control.client import ControlClient
from protocols.membership.tags import tag_text
from protocols.membership.views import ListMembers, MemberList, MemberView

INTERVAL_S = 1.0
_ORDER = {"suspect": 0, "dead": 1, "alive": 2, "left": 3}
"""On a terminal that has no room for all, what an operator looks for stands at the top."""

Show = Callable[[MemberList], bool]
"""Shows a list; False where nobody looks any more."""


@dataclass(frozen=True)
class Change:
    """What became of one member since the last look: `kind` for programs, `text` for people."""

    kind: str
    member: MemberView
    text: str


def watch_members(directory: Path, choice: Choice, *, as_json: bool) -> int:
    """Show the members of `choice` until told to stop; the exit status. Raises `MeshError` where the daemon does not
    answer."""
    if not as_json and _can_redraw():
        return _watch_on_terminal(directory, choice)
    lines = Lines(choice, as_json=as_json)
    return converse_until_stopped(directory, lambda client: _follow(client, lines.show))


def _can_redraw() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _watch_on_terminal(directory: Path, choice: Choice) -> int:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, emoji=False, markup=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:

        def show(listed: MemberList) -> bool:
            live.update(_drawn(choice.of(listed)), refresh=True)
            return True

        return converse_until_stopped(directory, lambda client: _follow(client, show))


def _drawn(listed: MemberList) -> Any:
    """The table, what needs attention first."""
    counts = {state: sum(member.state == state for member in listed.members) for state in _ORDER}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    rows = sorted(listed.members, key=lambda member: (_ORDER.get(member.state, 0), member.name, member.node_id))
    table = members_table(MemberList(tuple(rows)))
    table.caption = f"{told}; {time.strftime('%H:%M:%S')}; Ctrl-C ends"
    return table


async def _follow(client: ControlClient, show: Show) -> None:
    """Ask and show until nobody looks any more."""
    while True:
        if not show(expect(await client.call(ListMembers()), MemberList)):
            return
        await trio.sleep(INTERVAL_S)


class Lines:
    """Shows each change as a line: text, or with `as_json` one JSON document. The first look shows everybody in
    `choice`; later ones what changes of those who are in it, or were."""

    def __init__(self, choice: Choice, *, as_json: bool) -> None:
        self._choice = choice
        self._as_json = as_json
        self._seen: dict[str, MemberView] | None = None

    def show(self, listed: MemberList) -> bool:
        now = {member.node_id: self._choice.shown(member) for member in listed.members}
        if self._seen is None:
            present = self._choice.of(listed).members
            found = [Change("present", member, f"{member.state}, at {member.address}") for member in present]
        else:
            before = self._seen
            found = [change for change in changes(before, now) if self._is_chosen(change.member.node_id, before, now)]
        self._seen = now
        return all(self._write(change) for change in found) and stdout_is_read()

    def _is_chosen(self, node_id: str, *looks: Mapping[str, MemberView]) -> bool:
        """Whether the member is in the choice, or was."""
        return any(self._choice.takes(look[node_id]) for look in looks if node_id in look)

    def _write(self, change: Change) -> bool:
        if self._as_json:
            document = {"time_unix_s": round(time.time(), 3), "change": change.kind}
            return write_document({**document, "member": member_document(change.member)})
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line = f"{at} {change.member.name} ({change.member.node_id[:ID_CHARS]}): {change.text}"
        return write_line(printable(line.replace("\n", " ")))


def changes(before: Mapping[str, MemberView], now: Mapping[str, MemberView]) -> list[Change]:
    """What is different between two looks, members in the order of the later one; who is gone comes last."""
    found: list[Change] = []
    for node_id, member in now.items():
        known = before.get(node_id)
        if known is None:
            found.append(Change("joined", member, f"joined; {member.state}, at {member.address}"))
        else:
            found += _changes_of(known, member)
    gone: Iterable[MemberView] = (member for node_id, member in before.items() if node_id not in now)
    found += [Change("forgotten", member, f"forgotten; was {member.state}") for member in gone]
    return found


def _changes_of(known: MemberView, member: MemberView) -> list[Change]:
    found: list[Change] = []
    announced: list[Change] = []
    for what in ("name", "address", "handlers", "zone", "weight", "tags"):
        old, new = getattr(known, what), getattr(member, what)
        if old != new:
            announced.append(Change("announced", member, f"{what} {_shown(old)} -> {_shown(new)}"))
    if member.generation > known.generation:
        found.append(Change("restarted", member, f"restarted; life {member.generation}, {member.state}"))
    elif member.state != known.state:
        found.append(Change("state", member, f"{known.state} -> {member.state}"))
    elif member.incarnation > known.incarnation and member.state == "alive" and not announced:
        found.append(Change("refuted", member, f"refuted an accusation; incarnation {member.incarnation}"))
    return found + announced


def _shown(value: object) -> str:
    if isinstance(value, dict):
        value = tuple(tag_text(key, each) for key, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "none"
