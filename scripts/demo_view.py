"""What the demo shows: a live table of the nodes while it runs, and the closing figures."""

from __future__ import annotations

import contextlib
from collections import Counter
from types import TracebackType

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meshnode.calls import GetStatus, ListMembers, ListTasks, MemberList, NodeStatus, TaskList
from meshnode.errors import MeshError
from protocols.tasks.task import TaskState
from scripts.demo_work import DemoTask
from scripts.localmesh import LocalNode

REFRESH_S = 0.25
MESSAGES_SHOWN = 6
GIVEN_CHARS_MAX = 36


class DemoView:
    """Asks the nodes how they stand and draws it. `quiet` draws nothing."""

    def __init__(self, nodes: list[LocalNode], tasks: list[DemoTask], *, quiet: bool) -> None:
        self.finished = False
        self._nodes = nodes
        self._tasks = tasks
        self._quiet = quiet
        self._console = Console(stderr=quiet)
        self._live = Live(console=self._console, refresh_per_second=8, transient=False) if not quiet else None
        self._messages: list[str] = []
        self._rows: dict[str, tuple[NodeStatus | None, str]] = {}
        self._given: dict[str, list[str]] = {}
        """By the name of the worker: handlers of the tasks that it was given and that are not final."""

    def __enter__(self) -> DemoView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line under the table."""
        self._messages = [*self._messages, text][-MESSAGES_SHOWN:]
        self._draw()

    async def status_of(self, node: LocalNode) -> NodeStatus | None:
        """How a node stands; None while it is away."""
        with contextlib.suppress(MeshError):
            status = await node.call(GetStatus())
            if isinstance(status, NodeStatus):
                return status
        return None

    async def alive_counts(self) -> list[int]:
        """How many members each node takes for alive."""
        counts = []
        for node in self._nodes:
            with contextlib.suppress(MeshError):
                members = await node.call(ListMembers())
                if isinstance(members, MemberList):
                    counts.append(sum(member.state == "alive" for member in members.members))
                    continue
            counts.append(0)
        return counts

    async def watch(self, scope: trio.CancelScope) -> None:
        """Redraw until the work is finished, then cancel `scope`."""
        while not self.finished:
            if self._live is not None:
                self._given = {}
                for node in self._nodes:
                    await self._look(node)
                self._draw()
            await trio.sleep(REFRESH_S)
        self._draw()
        scope.cancel()

    async def _look(self, node: LocalNode) -> None:
        status = await self.status_of(node) if node.running else None
        sees = f"{status.members_alive} alive" if status else ""
        if status and status.members_suspect:
            sees += f", {status.members_suspect} suspect"
        if status and status.members_dead:
            sees += f", {status.members_dead} dead"
        self._rows[node.name] = (status, sees)
        if status is not None:
            with contextlib.suppress(MeshError):
                tasks = await node.call(ListTasks(states=(TaskState.RUNNING,), limit=100))
                for task in tasks.tasks if isinstance(tasks, TaskList) else ():
                    self._given.setdefault(task.worker_name, []).append(task.handler)

    def _draw(self) -> None:
        if self._live is None:
            return
        table = Table(title="meshnode demo", expand=False)
        words = ("node", "process", "sees", "has to run")
        for heading in (*words, "runs", "keeps", "finished", "retried"):
            table.add_column(heading, justify="left" if heading in words else "right", no_wrap=True)
        for index, node in enumerate(self._nodes):
            status, sees = self._rows.get(node.name, (None, ""))
            process = f"[green]pid {node.process.pid}" if node.running and node.process else "[red]dead"
            taken = [task for number, task in enumerate(self._tasks) if number % len(self._nodes) == index]
            retried = sum(task.attempt > 1 for task in taken)
            figures = ["", "", ""]
            if status is not None:
                keeps = status.tasks_queued + status.tasks_running
                figures = [str(n) for n in (status.runs_active, keeps, status.tasks_finished)]
            counts = Counter(self._given.get(node.name, ()))
            given = ", ".join(f"{handler} ×{count}" if count > 1 else handler for handler, count in counts.items())
            table.add_row(node.name, process, sees, given[:GIVEN_CHARS_MAX], *figures, str(retried))
        done = sum(task.final for task in self._tasks)
        progress = f"{done} of {len(self._tasks)} tasks have their outcome"
        self._live.update(Group(table, Text(progress), *(Text(message, style="dim") for message in self._messages)))

    def close(self, figures: dict[str, object], *, ok: bool) -> None:
        """The closing table."""
        table = Table(title="all is right" if ok else "NOT RIGHT", title_style="bold green" if ok else "bold red")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for key, value in figures.items():
            table.add_row(key.replace("_", " "), "nobody" if value is None else str(value))
        self._console.print(table)
        for task in [task for task in self._tasks if not task.right][:10]:
            self._console.print(f"wrong: {task.task_id} {task.handler} {task.payload}: {task.state} {task.detail}")
