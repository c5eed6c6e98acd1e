"""The demo's tasks: what they ask for, what has to come out, and what did."""

from __future__ import annotations

import hashlib
import json
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from examples.survey import survey
from examples.wordcount import count
from meshnode.calls import Accepted, GetTask, Submit, TaskView
from scripts.localmesh import LocalNode

WAIT_MS = 2000
SUFFIXES = {".py", ".md", ".toml", ".lock", ".sh"}
SKIPPED = {".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


@dataclass
class DemoTask:
    """One task from its submission to its outcome."""

    handler: str
    payload: dict[str, object]
    number: int
    expected: object = None
    task_id: str | None = None
    state: str = ""
    attempt: int = 0
    worker: str = ""
    output: object = None
    detail: str = ""
    outcomes: list[str] = field(default_factory=list)
    """Every final outcome that was read; more than one distinct one would mean that a result changed."""

    @property
    def final(self) -> bool:
        return bool(self.state)

    @property
    def right(self) -> bool:
        """One outcome, a success, and the output that was computed here."""
        return self.state == "succeeded" and self.output == self.expected and len(set(self.outcomes)) == 1

    async def submit(self, node: LocalNode) -> None:
        """Hand the task in. The idempotency key makes it safe to do so again when the answer was lost."""
        key = f"demo-{self.number}"
        outcome = await node.call(Submit(self.handler, json.dumps(self.payload), idempotency_key=key))
        if isinstance(outcome, Accepted):
            self.task_id = outcome.task_id

    async def wait(self, node: LocalNode) -> None:
        """Ask how it stands, waiting a while for the outcome."""
        assert self.task_id is not None
        view = await node.call(GetTask(self.task_id, wait_ms=WAIT_MS))
        if not isinstance(view, TaskView):
            return
        self.attempt, self.worker = view.attempt, view.worker_name
        if view.state.final:
            self.state, self.detail = view.state.name.lower(), view.detail
            self.output = _essence(self.handler, json.loads(view.output)) if view.output else None
            self.outcomes.append(view.output + view.detail)


def plan_tasks(root: Path, total: int) -> list[DemoTask]:
    """`total` tasks over the files below `root`: word counts, checksums, tool calls, and surveys that take longer."""
    files = [
        path.relative_to(root)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in SUFFIXES and not SKIPPED.intersection(path.relative_to(root).parts)
    ]
    libraries = sysconfig.get_path("purelib")  # some megabytes of real text: about a second's work
    tasks = []
    for number in range(total):
        path = str(files[number % len(files)])
        if number % 16 == 15:
            tasks.append(DemoTask("survey", {"directory": libraries}, number))
        elif number % 4 == 2:
            tasks.append(DemoTask("mcp:files", {"tool": "file_stats", "arguments": {"path": path}}, number))
        elif number % 2:
            tasks.append(DemoTask("checksum", {"path": path}, number))
        else:
            tasks.append(DemoTask("wordcount", {"path": path}, number))
    return tasks


def expected_output(root: Path, task: DemoTask) -> object:
    """What has to come out of a task, computed in this process."""
    match task.handler:
        case "wordcount":
            return dict(count({"path": str(root / str(task.payload["path"]))}))
        case "checksum":
            return hashlib.sha256((root / str(task.payload["path"])).read_bytes()).hexdigest()
        case "survey":
            return json.loads(json.dumps(_survey(str(task.payload["directory"]))))
        case _:
            arguments = task.payload["arguments"]
            assert isinstance(arguments, dict)
            data = (root / arguments["path"]).read_bytes()
            return {"bytes": len(data), "lines": data.count(b"\n")}


_surveys: dict[str, object] = {}


def _survey(directory: str) -> object:
    if directory not in _surveys:
        _surveys[directory] = survey({"directory": directory})
    return _surveys[directory]


def _essence(handler: str, output: object) -> object:
    """The part of an output that can be compared: programs and tools wrap it in their own form."""
    if handler == "checksum" and isinstance(output, dict):
        return str(output["stdout"]).split()[0]
    if handler == "mcp:files" and isinstance(output, dict):
        return output["structured"]
    return output
