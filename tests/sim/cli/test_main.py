"""The entry: unknown commands, quick help, and what only a real process can show: pipes, signals, start-up time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sim.cli import Exit, main

ROOT = Path(__file__).resolve().parents[3]
MESHSIM = [sys.executable, "-c", "import sys; from sim.cli import main; sys.exit(main())"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMANDS = ("run", "explain", "replay", "shrink", "diff", "view")
LONG = ["run", "--nodes", "3", "--seconds", "10", "--seeds", "0..1000000", "--jobs", "1"]


@contextmanager
def started(arguments: list[str], stdout: int) -> Iterator[subprocess.Popen[str]]:
    """A `meshsim` process in a group of its own, which is ended if it does not end by itself."""
    with subprocess.Popen(
        [*MESHSIM, *arguments],
        env=ENVIRONMENT,
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        too_long = threading.Timer(60, lambda: os.killpg(process.pid, signal.SIGKILL))
        too_long.start()
        try:
            yield process
            process.wait()
        finally:
            too_long.cancel()


@pytest.mark.parametrize(("word", "near"), [("rnu", "run"), ("explian", "explain"), ("xyzzy", "--help")])
def test_an_unknown_command_is_exit_2_with_the_nearest(
    word: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert near in output.err
    assert output.out == ""
    assert len(output.err.splitlines()) == 1


def test_help_imports_nothing_that_runs_a_mesh() -> None:
    code = (
        "import sys; from sim.cli import main; status = main(['--help'])\n"
        "heavy = [name for name in sys.modules if name.startswith(('sim.', 'protocols', 'msgspec', 'distributed'))]\n"
        "light = ('sim.cli', 'sim.errors', 'sim.seeds')\n"
        "sys.exit(f'{status} {[name for name in heavy if not name.startswith(light)]}')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.stderr == "0 []\n"
    for command in COMMANDS:
        assert command in done.stdout


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == Exit.HELD
        assert f"meshsim {command}" in capsys.readouterr().out


def test_the_exit_status_of_a_process() -> None:
    for arguments, status in ((["run", "--nodes", "3", "--seconds", "5"], Exit.HELD), (["rnu"], Exit.UNUSABLE)):
        done = subprocess.run([*MESHSIM, *arguments], env=ENVIRONMENT, capture_output=True, check=False)
        assert done.returncode == status


def test_without_a_word_there_is_help_and_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert "explain" in output.out
    assert output.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--loss", "much"], "--loss much: it must be a number, as in --loss 0.5."),
        (["run", "--nodes", "3.5"], "--nodes 3.5: it must be a whole number, as in --nodes 3."),
        (["replay", "x.toml", "--seed", "x"], "--seed x: it must be a whole number, as in --seed 3."),
        (["run", "--shrink", "nan"], "--shrink nan: it must be 0 or more."),
        (["shrink", "x.toml", "--runs", "0"], "--runs 0: it must be 1 or more."),
        (["run", "a", "b"], "(b). `meshsim run --help` shows what there is."),
        (["run", "--seed"], "requires an argument. `meshsim --help` shows what there is."),
    ],
)
def test_wrong_words_are_told_in_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.UNUSABLE
    output = capsys.readouterr()
    assert says in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--nodes", "3", "--seconds", "5", "--seeds", "0..3",
                                       "--jobs", "1", "--json"]])  # fmt: skip
def test_a_full_disk_behind_stdout_is_no_violation(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full, started(arguments, stdout=full.fileno()) as process:
        assert process.wait(60) == Exit.UNUSABLE
        assert process.stderr is not None
        [line] = process.stderr.read().splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed_change_no_exit_status(closed: str) -> None:
    for arguments, status in ((["run", "--nodes", "3", "--seconds", "5"], Exit.HELD), (["rnu"], Exit.UNUSABLE)):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *MESHSIM, *arguments]
        done = subprocess.run(shell, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with started([*LONG, "--json"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"scenario"')
        process.stdout.close()
        assert process.wait(60) == Exit.NOBODY_READS
        assert process.stderr.read() == ""


def test_a_reader_that_was_never_there() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started(["run", "--nodes", "3", "--seconds", "5"], stdout=writer) as process:
        os.close(writer)
        assert process.wait(60) == Exit.NOBODY_READS
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_tells_what_there_is(jobs: str, folder: Path) -> None:
    arguments = [*LONG, "--jobs", jobs, "--junit", "part.xml", "--json"]
    with started(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begun = [process.stdout.readline() for _ in range(5)]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: its workers get it too
        document = json.loads("".join(begun) + process.stdout.read())
        assert process.wait(60) == Exit.INTERRUPTED
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert document["interrupted"] is True
    assert document["held"] is False
    assert document["seeds"] == len(document["runs"]) >= 3
    [suite] = ElementTree.parse(folder / "part.xml").getroot()
    [case, cut_short] = suite.iter("testcase")
    assert cut_short.find("error") is not None
    assert case.attrib["name"] == f"seeds 0 to {document['seeds'] - 1}"
