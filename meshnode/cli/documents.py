"""Outcomes as JSON documents, for --json: fields by their names in `protocols`, states by name, JSON as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from meshnode.calls import Inspection
from protocols.detector.why import Explanation
from protocols.keyring.views import KeysReport
from protocols.membership.tagging import NodeTags
from protocols.membership.views import MemberList, MemberView, NodeStatus
from protocols.tasks.task import TaskList, TaskView
from protocols.tools import ToolInfo, ToolsFound


def task_document(task: TaskView) -> dict[str, object]:
    """One task. `output` is the handler's result itself; null until the task has succeeded."""
    document = fields_of(task)
    document["state"] = task.state.name.lower()
    document["final"] = task.state.final
    document["output"] = embedded(task.output) if task.output else None
    return document


def tasks_document(listed: TaskList) -> dict[str, object]:
    rows = []
    for task in listed.tasks:
        row = task_document(task)
        del row["output"]  # a list never carries it
        rows.append(row)
    return {"tasks": rows, "total": listed.total}


def members_document(listed: MemberList) -> dict[str, object]:
    return {"members": [member_document(member) for member in listed.members]}


def member_document(member: MemberView) -> dict[str, object]:
    return fields_of(member)


def tags_document(tags: NodeTags) -> dict[str, object]:
    return fields_of(tags)


def status_document(status: NodeStatus, daemon: Inspection) -> dict[str, object]:
    return {**fields_of(status), "daemon": fields_of(daemon)}


def why_document(explanation: Explanation, reading: str) -> dict[str, object]:
    return {**fields_of(explanation), "reading": reading}


def keys_document(report: KeysReport) -> dict[str, object]:
    document = fields_of(report)
    for name in ("code", "message", "next_step"):
        del document[name]  # what is amiss stands under `error`
    return document


def tools_document(found: ToolsFound) -> dict[str, object]:
    return {"tools": [_tool(tool) for tool in found.tools], "total": found.total, "silent": list(found.silent)}


def embedded(text: str) -> object:
    """JSON text as the value that it says, to every digit; anything else as a string."""
    try:
        raw = text.encode()
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text.encode("utf-8", "replace").decode()
    return msgspec.Raw(raw)


def _tool(tool: ToolInfo) -> dict[str, object]:
    document: dict[str, object] = {name: getattr(tool, name) for name in tool.__struct_fields__}
    document["input_schema"] = embedded(tool.input_schema) if tool.input_schema else None
    return document


def fields_of(outcome: msgspec.Struct) -> dict[str, object]:
    """Fields without the type's tag."""
    fields: dict[str, Any] = msgspec.to_builtins(outcome)
    fields.pop("type", None)
    return fields
