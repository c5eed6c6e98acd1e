"""The benchmarks as a command: what they print and how they end; and small runs of those that need no daemon."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from rich.console import Console

from scripts import demo_mesh
from scripts.benchmarks import codec, mcp_calls, memory, simulator, tasks
from scripts.benchmarks.figures import BenchBroken, Benchmark, Row, Setting, at_least, below, figure
from scripts.benchmarks.machine import ROOT, look_at_machine
from scripts.benchmarks.mesh import running_mesh
from scripts.benchmarks.peers import PeerMissing, Peers
from scripts.benchmarks.runner import Report, main
from scripts.benchmarks.suite import BENCHMARKS
from scripts.benchmarks.table import print_report
from scripts.localmesh import LocalNode

ROW_KEYS = {"bench", "metric", "value", "unit", "peer", "peer_value", "ratio", "goal", "met"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "meshnode-bench"


def bench(name: str, rows: Sequence[Row] = (), error: Exception | None = None) -> Benchmark:
    """A benchmark with a foregone conclusion."""

    def run(setting: Setting) -> list[Row]:
        (setting.scratch / "left-behind").write_text("x")
        if error is not None:
            raise error
        return list(rows)

    return Benchmark(name, f"about {name}", run)


MISSED = figure("one", "speed", 400.0, "tasks/s", goal=at_least(500), peer="other 1.0", peer_value=200.0)
MET = figure("one", "delay", 2.0, "ms", better="lower", goal=below(8))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_stop_cleans_up_first(
    number: signal.Signals, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)

    def run(setting: Setting) -> list[Row]:
        (setting.scratch / "left-behind").write_text("x")
        signal.raise_signal(number)
        raise AssertionError("it goes on")

    assert main(["one"], [Benchmark("one", "", run)]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(cache.iterdir()) == []
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_so_does_the_demo(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[signal.Signals] = []

    async def run(options: object) -> None:
        try:
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            cleaned.append(number)

    monkeypatch.setattr(demo_mesh, "_main", run)
    monkeypatch.setattr(sys, "argv", ["demo"])
    with pytest.raises(SystemExit) as ended:
        demo_mesh.main()
    assert ended.value.code == 130
    assert cleaned == [number]


def test_a_node_that_does_not_stop_in_time_is_ended_even_where_nobody_waits(tmp_path: Path) -> None:
    async def stop_with_little_patience() -> bool:
        with trio.move_on_after(0.2) as waited:
            await node.stop()
        return waited.cancelled_caught

    node = LocalNode(tmp_path, "n0", tmp_path)
    command = ["sh", "-c", "trap '' TERM; echo there; while :; do sleep 0.1; done"]
    node.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    with node.process:
        try:
            assert node.process.stdout is not None
            assert node.process.stdout.readline() == b"there\n"
            assert trio.run(stop_with_little_patience)
            assert node.process.returncode == -signal.SIGKILL
        finally:
            node.process.kill()


def test_json_is_one_document_with_machine_commit_and_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", "codec", "--quick", "--json"],
        cwd=ROOT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"machine", "commit", "rows"}
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["fdatasync_ms_p50"] > 0
    assert len(document["rows"]) == 6
    for row in document["rows"]:
        assert set(row) >= ROW_KEYS
        assert row["bench"] == "codec"
        assert row["unit"] == "messages/s"
        assert row["value"] > 10
        assert row["ratio"] == pytest.approx(row["value"] / row["peer_value"], rel=0.01)


def test_a_missed_goal_is_told_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [bench("one", [MISSED, MET])]) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 goals met" in printed
    assert "missed  one: speed is 400 tasks/s, 20% below the goal of >= 500" in printed


def test_a_broken_benchmark_fails_the_run_but_not_the_others(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    broken = bench("two", error=ExceptionGroup("a nursery", [BenchBroken("the disk is on fire")]))
    assert main(["--json"], [bench("one", [MET]), broken, bench("three", [MET])]) == 1
    printed = capsys.readouterr()
    assert "two broke: the disk is on fire" in printed.err
    rows = json.loads(printed.out)["rows"]
    assert [(row["bench"], row["value"]) for row in rows] == [("one", 2.0), ("two", None), ("one", 2.0)]
    assert not list(cache.glob("run-*")), "scratch directories stayed behind"


def test_an_unforeseen_error_breaks_its_benchmark_with_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [bench("one", error=ZeroDivisionError("of all things"))]) == 1
    printed = capsys.readouterr()
    assert "ZeroDivisionError" in printed.err
    assert "broke   one" in printed.out


@pytest.mark.parametrize(("name", "hint"), [("memroy", "did you mean 'memory'?"), ("zzz", "choose from codec, ")])
def test_an_unknown_name_is_usage_and_names_the_nearest(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    printed = capsys.readouterr()
    assert hint in printed.err
    assert printed.out == ""


def test_an_unknown_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fast"]) == 2
    assert "--fast" in capsys.readouterr().err


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == [benchmark.name for benchmark in BENCHMARKS]
    assert not cache.exists()


def test_ratio_is_value_over_peer_and_direction_decides_the_goal() -> None:
    assert MISSED.ratio == 2.0
    assert (MISSED.goal, MISSED.met, MISSED.missed_by) == (">= 500", False, "20% below")
    assert (MET.goal, MET.met, MET.missed_by) == ("< 8", True, "")
    assert not figure("one", "delay", 8.0, "ms", better="lower", goal=below(8)).met
    assert figure("one", "speed", 500.0, "tasks/s", goal=at_least(500)).met


def test_an_upper_bound_is_not_told_as_if_it_were_the_figure(tmp_path: Path) -> None:
    out = io.StringIO()
    bound = figure("one", "speed", 4.5, "x", goal=at_least(5), at_most=True)
    print_report(Report(look_at_machine(tmp_path), "abc", [bound]), Console(file=out, width=120))
    assert "speed is at most 4.5 x, at least 10% below the goal of >= 5" in out.getvalue()
    assert figure("one", "speed", 6.0, "x", goal=at_least(5)).missed_by == ""


def test_the_table_survives_rows_without_peer_or_value(tmp_path: Path) -> None:
    out = io.StringIO()
    broken = Row(bench="two", metric="", value=None, unit="", note="broke")
    print_report(Report(look_at_machine(tmp_path), "abc", [MISSED, broken]), Console(file=out, width=120))
    assert "the peer is other 1.0" in out.getvalue()
    assert "broke   two" in out.getvalue()


def test_a_peer_that_cannot_be_installed_is_a_note_and_not_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    peers = Peers(tmp_path / "cache", install_s_max=600)
    with pytest.raises(PeerMissing, match=r"simpy could not be installed: .*simpy"):
        peers.run("simpy", "simpy_ping.py", ["10", "1", "1"], timeout_s=30)


def test_a_simulation_without_its_peer_still_gives_its_own_figures(tmp_path: Path) -> None:
    said: list[str] = []
    setting = Setting(True, tmp_path, Peers(tmp_path, install_s_max=1, allowed=False), said.append)
    speed, events = simulator.steady(setting, 8, 5.0, rounds=2, goal=at_least(1))
    assert speed.met
    assert speed.value is not None
    assert events.value is not None
    assert events.value > 100
    assert (speed.peer, speed.peer_value, speed.ratio) == (None, None, None)
    assert "--no-peers" in speed.note
    assert said


def test_a_run_with_a_cut_that_is_too_slow_is_given_up_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "OVERTIME", 0.0)
    said: list[str] = []
    setting = Setting(True, tmp_path, Peers(tmp_path, install_s_max=1, allowed=False), said.append)
    speed, _ = simulator.halves(setting, 6, seconds=90.0, goal=at_least(5))
    assert "given up at 1 of 90 virtual s" in speed.note
    assert speed.at_most, "the rest would have taken its time too"


def test_every_message_of_the_codec_benchmark_is_measured_both_ways() -> None:
    rows = codec.measure(seconds=0.001, rounds=1)
    assert [row.metric.split()[0] for row in rows] == ["encode", "decode"] * 3
    full = next(row for row in rows if "full gossip packet" in row.metric)
    size = int(full.metric.rpartition("(")[2].split()[0])
    assert 700 < size <= 1100, "a packet that the queue fills to its budget"


@pytest.mark.slow
async def test_what_is_measured_on_real_nodes_can_be_measured(tmp_path: Path) -> None:
    configs = ["mcp = 0\n" + tasks.CONFIG, tasks.CONFIG]
    async with running_mesh(tmp_path, configs) as nodes:
        async with tasks.connected(nodes) as clients:
            measured = await tasks.measure(nodes, clients, tasks.Plan(warm_up=0.2, seconds=1.0, rounds=1))
        assert measured.per_s > 0
        assert measured.p50_ms > 0
        assert measured.resident_mb > 40
        async with mcp_calls.over_stdio(nodes[0]) as pair:
            rows = await mcp_calls.measure("stdio", pair, seconds=0.2)
        async with mcp_calls.over_http(nodes[0]) as pair:
            rows += await mcp_calls.measure("HTTP", pair, seconds=0.2)
        assert len(rows) == 4
        assert all(row.ratio for row in rows)
        plain, serving, processor = await memory.measure(nodes, window_s=0.2)
        assert plain.value is not None
        assert serving.value is not None
        assert 20 < plain.value < serving.value, "MCP costs memory only where it is served"
        assert processor.value is not None
    for node in nodes:
        assert not node.running
