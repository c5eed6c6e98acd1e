"""The main job on real processes: a mesh forms, work goes in everywhere, a node dies, and nothing is lost.

Five node processes on loopback form a mesh from one seed. Tasks over this repository's own files go in through
different nodes, spread over ten seconds so that one can watch. While they run, a node that is executing and has taken
tasks in is killed with SIGKILL, and started again on its directory. Every outcome is compared with one computed here.
Exit status 0 only when all of it is right.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import trio

from meshnode.errors import MeshError
from scripts.demo_view import DemoView
from scripts.demo_work import DemoTask, expected_output, plan_tasks
from scripts.localmesh import LocalNode, StartError, form_mesh, stop_all
from scripts.stoppable import stoppable

REPOSITORY = Path(__file__).resolve().parent.parent
SUBMIT_SPREAD_S = 10.0
"""The submissions are spread over this time, so that there is a middle in which a node can die."""
RESTART_AFTER_S = 2.0
DEMO_S_MAX = 180.0
TASKS_TO_KILL_MIN = 50

WORKER_TOML = """\
[handlers.wordcount]
executor = "python"
target = "examples.wordcount:count"
concurrency = 2

[handlers.survey]
executor = "python"
target = "examples.survey:survey"

[handlers.checksum]
executor = "exec"
argv = ["sha256sum", "{path}"]
concurrency = 2
"""
TOOLS_TOML = f"""
[mcp_servers.files]
command = "{sys.executable}"
args = ["-m", "examples.files_server", "--root", "."]
concurrency = 4
"""


class Demo:
    """One run: the nodes, the tasks, and what has become of both."""

    def __init__(self, root: Path, nodes: int, tasks: int, *, kill: bool) -> None:
        self.nodes = [LocalNode(root / f"n{i + 1}", f"n{i + 1}", REPOSITORY) for i in range(nodes)]
        # The server of the tools is attached to one node that is not the founder, where there is more than one.
        self.tool_node = self.nodes[min(1, nodes - 1)]
        self.tasks = plan_tasks(REPOSITORY, tasks)
        self.kill = kill
        self.victim: LocalNode | None = None
        self.victim_runs = 0
        self.victim_tasks = 0
        self.started_at = 0.0
        self.seconds = 0.0

    def configure(self) -> None:
        for node in self.nodes:
            node.configure(WORKER_TOML + (TOOLS_TOML if node is self.tool_node else ""))

    async def run(self, view: DemoView) -> None:
        """Everything, in order; `view` is told what happens."""
        self.configure()
        view.say(f"starting {len(self.nodes)} nodes")
        await form_mesh(self.nodes, "--listen", "127.0.0.1:0")
        await self._wait_for_members(view)
        self.started_at = time.monotonic()
        view.say("submitting tasks through every node")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.watch, nursery.cancel_scope)
            if self.kill:
                nursery.start_soon(self._kill_one, view)
            async with trio.open_nursery() as work:
                for number, task in enumerate(self.tasks):
                    delay = SUBMIT_SPREAD_S * number / len(self.tasks)
                    work.start_soon(self._drive, task, self.nodes[number % len(self.nodes)], delay)
            self.seconds = time.monotonic() - self.started_at
            view.finished = True
            if self.kill and self.victim is None:
                view.say("no node was ever seen executing while it kept unfinished tasks, so none was killed")

    async def _wait_for_members(self, view: DemoView) -> None:
        with trio.fail_after(30):
            while True:
                counts = await view.alive_counts()
                if all(count == len(self.nodes) for count in counts):
                    return
                await trio.sleep(0.05)

    async def _drive(self, task: DemoTask, node: LocalNode, delay: float) -> None:
        """Submit one task and wait for its outcome, asking again whenever its node is away for a while."""
        await trio.sleep(delay)
        while task.task_id is None:
            with contextlib.suppress(MeshError):
                await task.submit(node)
            if task.task_id is None:
                await trio.sleep(0.1)
        while not task.final:
            with contextlib.suppress(MeshError):
                await task.wait(node)
            if not task.final:
                await trio.sleep(0.1)

    async def _kill_one(self, view: DemoView) -> None:
        """SIGKILL a node that executes a body and keeps unfinished tasks, once work is well under way; restart it."""
        await trio.sleep(SUBMIT_SPREAD_S / 3)
        while self.victim is None:
            for node in self.nodes:
                status = await view.status_of(node)
                if status is None or node is self.tool_node or not status.runs_active:
                    continue
                unfinished = status.tasks_running + status.tasks_queued
                if unfinished:
                    node.kill()
                    self.victim, self.victim_runs, self.victim_tasks = node, status.runs_active, unfinished
                    break
            await trio.sleep(0.01)
        view.say(f"kill -9 {self.victim.name}: it ran {self.victim_runs} and kept {self.victim_tasks} unfinished tasks")
        await trio.sleep(RESTART_AFTER_S)
        await self.victim.start()
        view.say(f"{self.victim.name} is back on its directory")

    def figures(self) -> dict[str, object]:
        """The closing figures."""
        outcomes = [task.state for task in self.tasks]
        wrong = [task.task_id for task in self.tasks if not task.right]
        return {
            "nodes": len(self.nodes),
            "submitted": sum(task.task_id is not None for task in self.tasks),
            "succeeded": outcomes.count("succeeded"),
            "failed": sum(state not in ("succeeded", "") for state in outcomes),
            "wrong": len(wrong),
            "retried": sum(task.attempt > 1 for task in self.tasks),
            "seconds": round(self.seconds, 2),
            "tasks_per_second": round(len(self.tasks) / self.seconds, 1) if self.seconds else 0.0,
            "killed": self.victim.name if self.victim else None,
            "killed_while_running": self.victim_runs,
            "killed_while_keeping": self.victim_tasks,
            "killed_restarted": bool(self.victim and self.victim.running),
        }

    def right(self) -> bool:
        """Whether every task ended once and rightly, and the death that was asked for took place."""
        died = self.victim is not None and self.victim.running and self.victim_runs > 0 and self.victim_tasks > 0
        return all(task.right for task in self.tasks) and (died or not self.kill)


async def _main(options: argparse.Namespace) -> int:
    root = Path(tempfile.mkdtemp(prefix="meshnode-demo-"))
    demo = Demo(root, options.nodes, options.tasks, kill=not options.no_kill)
    view = DemoView(demo.nodes, demo.tasks, quiet=options.json)
    code = 1
    try:
        for task in demo.tasks:
            task.expected = expected_output(REPOSITORY, task)
        with trio.fail_after(DEMO_S_MAX), view:
            await demo.run(view)
        figures = demo.figures()
        code = 0 if demo.right() else 1
        if options.json:
            print(json.dumps({**figures, "ok": code == 0}))
        else:
            view.close(figures, ok=code == 0)
    except trio.TooSlowError:
        print(f"error: the demo did not finish within {DEMO_S_MAX:.0f} s", file=sys.stderr)
    finally:
        await stop_all(demo.nodes)
        if code == 0 and not options.keep:
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"the nodes' directories and logs are kept in {root}", file=sys.stderr)
    return code


def _count(text: str, least: int, most: int) -> int:
    if not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--nodes", type=lambda text: _count(text, 1, 20), default=5, help="how many nodes (default 5)")
    parser.add_argument(
        "--tasks", type=lambda text: _count(text, 1, 5000), default=200, help="how many tasks (default 200)"
    )
    parser.add_argument("--no-kill", action="store_true", help="let every node live")
    parser.add_argument("--json", action="store_true", help="print the closing figures alone, as one JSON document")
    parser.add_argument("--keep", action="store_true", help="keep the nodes' directories and logs")
    options = parser.parse_args()
    if options.nodes == 1 and not options.no_kill:
        parser.error("with one node there is nobody to carry on: add --no-kill, or use more nodes")
    if options.tasks < TASKS_TO_KILL_MIN and not options.no_kill:
        parser.error(f"with fewer than {TASKS_TO_KILL_MIN} tasks no node may be busy when it should die: add --no-kill")
    os.environ["PYTHONUNBUFFERED"] = "1"
    try:
        with stoppable():
            return trio.run(_main, options)
    except* (MeshError, StartError) as group:
        for error in group.exceptions:
            print(f"error: {error}", file=sys.stderr)
    except* KeyboardInterrupt:
        return_code = 130
        print("stopped", file=sys.stderr)
        sys.exit(return_code)
    return 1


if __name__ == "__main__":
    sys.exit(main())
