"""Outcomes as people read them: tables, and pairs of a label and a text. Times are relative, ids short."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshnode.cli.present import printable
from protocols.membership.tagging import NodeTags
from protocols.membership.tags import tag_text
from protocols.membership.views import MemberList, MemberView
from protocols.tasks.task import TaskList, TaskState, TaskView
from protocols.tools import ToolsFound

if TYPE_CHECKING:
    from rich.table import Table

ID_CHARS = 8
"""Of a node id, in tables; --json has all of it."""
DETAIL_CHARS = 60
OUTPUT_CHARS = 2000

STATE_STYLES = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "dim"}
_TASK_STYLE = {
    TaskState.QUEUED: "",
    TaskState.RUNNING: "cyan",
    TaskState.SUCCEEDED: "green",
    TaskState.FAILED: "red",
    TaskState.CANCELLED: "dim",
    TaskState.DEAD: "bold red",
}


def members_table(listed: MemberList) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            member.name + (" (this node)" if member.is_self else ""),
            (member.state, STATE_STYLES.get(member.state, "")),
            duration(member.state_age_s),
            member.address,
            ", ".join(member.handlers) or "-",
            _placement(member),
            member.node_id[:ID_CHARS],
        )
        for member in listed.members
    ]
    columns: tuple[str, ...] = ("name", "state", "for", "address", "handlers", "zone", "id")
    if any(member.tags for member in listed.members):
        texts = [", ".join(tag_text(key, value) for key, value in member.tags.items()) for member in listed.members]
        rows = [(*row[:5], tags or "-", *row[5:]) for row, tags in zip(rows, texts, strict=True)]
        columns = (*columns[:5], "tags", *columns[5:])
    return table(columns, rows)


def tags_table(tags: NodeTags) -> Table | str:
    if not tags.tags:
        return "no tags; `meshnode tags set KEY=VALUE` sets one"
    rows = [
        (key, value or "-", "meshnode tags set" if key in tags.changed else "configuration")
        for key, value in tags.tags.items()
    ]
    return table(("tag", "value", "set by"), rows)


def _placement(member: MemberView) -> str:
    weight = f" ×{member.weight}" if member.weight != 1 else ""
    return (member.zone or "-") + weight


def tasks_table(listed: TaskList) -> Table | str:
    if not listed.tasks:
        return "no tasks"
    now_ms = time.time() * 1000
    rows = [
        (
            task.task_id,
            task.handler,
            (task.state.name.lower(), _TASK_STYLE[task.state]),
            task.worker_name or task.worker[:ID_CHARS] or "-",
            str(task.attempt),
            duration(task.run_ms / 1000) if task.state.final else "-",
            f"{duration(max(0.0, now_ms - task.submitted_unix_ms) / 1000)} ago" if task.submitted_unix_ms else "-",
            shortened(task.detail, DETAIL_CHARS),
        )
        for task in listed.tasks
    ]
    shown = table(("id", "handler", "state", "node", "attempt", "ran", "submitted", "detail"), rows)
    if listed.total > len(listed.tasks):
        shown.caption = f"{len(listed.tasks)} of {listed.total}; see more with --limit"
    return shown


def tools_table(found: ToolsFound) -> Table | str:
    if not found.tools:
        return "no tools found"
    rows = [
        (tool.server, tool.tool, tool.node_name or tool.node_id[:ID_CHARS], _first_line(tool.description))
        for tool in found.tools
    ]
    shown = table(("server", "tool", "node", "description"), rows)
    if found.total > len(found.tools):
        shown.caption = f"{len(found.tools)} of {found.total}; see more with --limit"
    return shown


def tool_text(found: ToolsFound) -> str:
    """One tool in full: what it does, where it is, and what its arguments are."""
    tool = found.tools[0]
    nodes = ", ".join(dict.fromkeys(each.node_name or each.node_id for each in found.tools))
    parts = [pairs([("tool", f"{tool.server} {tool.tool}"), ("nodes", nodes)]), printable(tool.description)]
    if tool.input_schema:
        parts.append(f"arguments (JSON Schema):\n{_pretty(tool.input_schema)}")
    return "\n\n".join(part for part in parts if part)


def task_text(task: TaskView) -> str:
    lines = [
        ("task", task.task_id),
        ("handler", task.handler),
        ("state", task.state.name.lower()),
        ("node", task.worker_name or task.worker or "-"),
        ("attempt", str(task.attempt)),
    ]
    if task.key and task.key != task.task_id:
        lines.insert(2, ("key", task.key))
    if task.state.final:
        lines.append(("ran", duration(task.run_ms / 1000)))
    if task.detail:
        lines.append(("detail", task.detail))
    text = pairs(lines)
    if task.output:
        text += f"\n\n{_pretty(task.output)}"
    return text


def tool_answer(output: str) -> str:
    """What a called tool said: its text blocks as they are; any other block, and any other output, as JSON."""
    try:
        answer = json.loads(output)
        blocks = answer["content"]
        texts = [
            printable(block["text"]) if block.get("type") == "text" else json.dumps(block, ensure_ascii=False)
            for block in blocks
        ]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return _pretty(output)
    if not texts and answer.get("structuredContent") is not None:
        return _pretty(json.dumps(answer["structuredContent"], ensure_ascii=False))
    return "\n".join(texts)


Cell = str | tuple[str, str]
"""A text, or a text with a style."""


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption_justify="left")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in row]
        shown.add_row(*(Text(printable(text.replace("\n", " ")), style=style) for text, style in cells))
    return shown


def pairs(lines: Sequence[tuple[str, str]]) -> str:
    """`label  text` lines, the texts aligned."""
    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{printable(text)}" for label, text in lines)


def duration(seconds: float) -> str:
    """A time span, to two figures or so: 12ms, 3.4s, 5m 20s, 2h 3m, 4d 1h."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for size, unit, below, below_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit} {rest}{below_unit}" if rest else f"{whole // size}{unit}"
    raise AssertionError("a minute or more has a unit")


def shortened(text: str, chars: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _first_line(text: str) -> str:
    return shortened(text.strip().partition("\n")[0], DETAIL_CHARS)


def _pretty(text: str) -> str:
    """JSON with an indent where that helps reading; long or odd texts as they are."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return printable(text)
    if isinstance(value, str):
        return printable(value)
    compact = json.dumps(value, ensure_ascii=False)
    return printable(compact if len(compact) <= 100 else json.dumps(value, ensure_ascii=False, indent=2))
