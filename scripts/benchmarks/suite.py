"""All benchmarks, by name. Each is imported when it runs: one must not carry another's modules in its memory."""

from __future__ import annotations

from importlib import import_module

from scripts.benchmarks.figures import Benchmark, Row, Setting


def _lazily(name: str, module: str, about: str) -> Benchmark:
    def run(setting: Setting) -> list[Row]:
        rows: list[Row] = import_module(f"scripts.benchmarks.{module}").run(setting)
        return rows

    return Benchmark(name, about, run)


BENCHMARKS = (
    _lazily("codec", "codec", "messages/s through the wire codec; peer: plain msgpack"),
    _lazily("sim", "simulator", "the simulator: events/s, runs/s, speed against real time, MB; peers: simpy, trio"),
    _lazily("mcp", "mcp_calls", "MCP tool calls/s over stdio and HTTP; peer: a bare server of the MCP SDK"),
    _lazily("tasks", "tasks", "no-op tasks through three nodes; peer: dask.distributed"),
    _lazily("membership", "membership", "20 nodes: one killed, paused, cut off: who notices when; peer: serf"),
    _lazily("memory", "memory", "memory and processor use of an idle node in a mesh of 20; start of the command"),
)
