"""`meshnode doctor`: what it finds in sound and broken directories, and that it changes nothing there."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import sqlite3
from pathlib import Path

import pytest

from meshnode.cli.checks_machine import _allowed, check_clock, check_directory, check_packages
from meshnode.cli.checks_node import check_database, check_handlers, check_port, check_seeds
from meshnode.cli.doctor import CHECKS
from meshnode.cli.findings import Case, Finding, Status
from meshnode.config import load_config
from meshnode.errors import ExitCode
from meshnode.storage import Storage
from tests.meshnode.cli_runner import Run, meshnode

ORDER = [
    "python",
    "packages",
    "data directory",
    "configuration",
    "identity",
    "daemon",
    "clock",
    "own port",
    "seeds",
    "handlers",
    "database",
]


def statuses(run: Run) -> dict[str, list[str]]:
    """Statuses by check, in the order of the document."""
    checks = run.document["checks"]
    assert isinstance(checks, list)
    found: dict[str, list[str]] = {}
    for row in checks:
        found.setdefault(row["check"], []).append(row["status"])
        assert row["detail"]
        assert row["next_step"] or row["status"] in ("ok", "skip"), row
    return found


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.stat().st_size) for path in directory.rglob("*")
    }


def test_a_fresh_node_is_sound_and_left_as_it_is(tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert meshnode("init", "--dir", node, home=tmp_path).status == 0
    Storage.open(node / "node.db").close()
    before = listing(node)
    run = meshnode("doctor", "--dir", node, "--json", home=tmp_path)
    found = statuses(run)
    assert list(found) == ORDER
    assert found.pop("daemon") == ["warn"]
    assert set(map(tuple, found.values())) <= {("ok",), ("warn",)}, run.out
    assert found["identity"] == found["database"] == found["handlers"] == ["ok"]
    assert (run.status, run.document["ok"], run.err) == (0, True, "")
    assert listing(node) == before

    run = meshnode("doctor", "--dir", node, home=tmp_path)
    assert run.status == 0
    for check in ORDER:
        assert f"\n{check} " in run.out, check


def test_a_broken_directory_has_every_fault_named(tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert meshnode("init", "--dir", node, home=tmp_path).status == 0
    (node / "meshnode.toml").write_text('nmae = "x"\n')
    (node / "identity" / "node.crt").write_text("nonsense")
    (node / "node.db").write_bytes(b"garbage " * 1000)
    node.chmod(0o755)
    run = meshnode("doctor", "--dir", node, "--json", home=tmp_path)
    found = statuses(run)
    assert list(found) == ORDER
    assert found["data directory"] == ["warn"]
    assert found["configuration"] == found["identity"] == found["database"] == ["fail"]
    assert found["own port"] == found["seeds"] == found["handlers"] == ["skip"]
    assert (run.status, run.document["ok"], run.error["code"]) == (ExitCode.FAILED, False, "doctor")
    run.assert_told("3 checks fail", "nmae")


def test_no_directory_at_all(tmp_path: Path) -> None:
    run = meshnode("doctor", "--dir", tmp_path / "node", "--json", home=tmp_path)
    found = statuses(run)
    assert found["data directory"] == ["fail"]
    assert found["configuration"] == found["identity"] == ["skip"]
    assert run.status == ExitCode.FAILED
    run.assert_told("meshnode init")
    assert not (tmp_path / "node").exists()


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshnode.cli import doctor

    def check_moon(case: Case) -> list[Finding]:
        raise ZeroDivisionError("no moon")

    monkeypatch.setattr(doctor, "CHECKS", (check_moon, *CHECKS[2:3]))
    report = doctor.doctor(tmp_path)
    assert report.failure is not None
    assert "no moon" in report.failure.message
    checks = report.document["checks"]
    assert isinstance(checks, list)
    assert [row["check"] for row in checks] == ["moon", "data directory"]


# Single checks


def with_config(directory: Path, text: str) -> Case:
    (directory / "meshnode.toml").write_text(text)
    return Case(directory, config=load_config(directory, environ={}))


def test_handlers_are_looked_for_where_they_would_run(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "work.py").write_text(
        "raise SystemExit('imported')\ndef count(x): ...\nfrom os import path as p\n"
    )
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    handlers = {
        "good-python": 'executor = "python"\ntarget = "pack.work:count"',
        "good-import": 'executor = "python"\ntarget = "pack.work:p"',
        "good-installed": 'executor = "python"\ntarget = "json:dumps"',
        "good-exec": 'executor = "exec"\nargv = ["sh"]',
        "good-path": 'executor = "exec"\nargv = ["./run.sh"]',
        "bad-module": 'executor = "python"\ntarget = "pack.nowhere:count"',
        "bad-function": 'executor = "python"\ntarget = "pack.work:cuont"',
        "bad-program": 'executor = "exec"\nargv = ["no-such-program"]',
        "bad-path": 'executor = "exec"\nargv = ["./run.shh"]',
        "bad-cwd": 'executor = "exec"\nargv = ["sh"]\ncwd = "nowhere"',
    }
    text = 'workdir = "."\n' + "".join(f"[handlers.{name}]\n{body}\n" for name, body in handlers.items())
    text += '[mcp_servers.bad-server]\ncommand = "no-such-server"\n'
    case = with_config(tmp_path, text)
    findings = list(check_handlers(case))
    assert findings[-1] == Finding("handlers", Status.OK, "5 of 11 found where they should be")
    failed = [finding.detail.split(":")[0] for finding in findings[:-1]]
    assert all(finding.status is Status.FAIL for finding in findings[:-1])
    assert failed == [f"handler {name}" for name in handlers if name.startswith("bad")] + ["MCP server bad-server"]

    case.workdir_chosen = False
    unsure = {finding.detail.split(":")[0]: finding.status for finding in check_handlers(case)}
    assert unsure["handler bad-module"] is unsure["handler bad-path"] is Status.WARN
    assert unsure["handler bad-program"] is Status.FAIL


def test_seeds_that_do_not_answer(tmp_path: Path) -> None:
    with socket.socket() as deaf, socket.create_server(("127.0.0.1", 0)) as listening:
        deaf.bind(("127.0.0.1", 0))
        dead, live = (f"127.0.0.1:{each.getsockname()[1]}" for each in (deaf, listening))
        (alone,) = check_seeds(with_config(tmp_path, f'seeds = ["{dead}"]'))
        assert alone.status is Status.FAIL
        assert dead in alone.detail
        (some,) = check_seeds(with_config(tmp_path, f'seeds = ["{dead}", "{live}"]'))
        assert some.status is Status.WARN
        assert "1 of 2 silent" in some.detail
        (tmp_path / "seeds").write_text(f"{live}\n")
        (learnt,) = check_seeds(with_config(tmp_path, ""))
        assert (learnt.status, live in learnt.detail) == (Status.OK, True)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_another_program_has(tmp_path: Path, kind: socket.SocketKind) -> None:
    # An address of this test alone: on 127.0.0.1 anybody may take the same port of the other kind meanwhile.
    host = "127.61.7.1"
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((host, 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        (finding,) = check_port(with_config(tmp_path, f'listen = "{host}:{port}"'))
        assert finding.status is Status.FAIL
        assert "another program uses it" in finding.detail
        (tmp_path / "listen").write_text(f"{host}:{port}\n")
        (finding,) = check_port(with_config(tmp_path, 'listen = "127.61.7.1:0"'))
        assert finding.status is Status.WARN
    (finding,) = check_port(with_config(tmp_path, f'listen = "{host}:{port}"'))
    assert finding.status is Status.OK


def test_databases(tmp_path: Path) -> None:
    case = Case(tmp_path)
    path = tmp_path / "node.db"

    def finding() -> Finding:
        (only,) = check_database(case)
        return only

    assert "none yet" in finding().detail
    Storage.open(path).close()
    assert finding().status is Status.OK

    store = Storage.open(path)  # in use, with a WAL beside it
    assert finding().status is Status.OK
    store.close()

    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert (finding().status, "newer" in finding().detail) == (Status.FAIL, True)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 1")
    connection.close()
    assert "another program" in finding().detail
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    assert finding().status is Status.FAIL
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    assert finding().status is Status.FAIL


def test_a_clock_behind_the_nodes_own_files(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    (finding,) = check_clock(Case(tmp_path))
    assert finding.status is Status.OK
    os.utime(tmp_path / "lock", (4e9, 4e9))
    (finding,) = check_clock(Case(tmp_path))
    assert (finding.status, "in the future" in finding.detail) == (Status.FAIL, True)


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("")
    case = Case(tmp_path / "node")
    (finding,) = check_directory(case)
    assert finding.status is Status.FAIL
    assert not case.directory_usable


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = ["trio>=0.35,<1", "msgpack>=99", "no-such-package>=1", 'pytest>=99; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    failed = [finding.detail for finding in check_packages(Case(tmp_path)) if finding.status is Status.FAIL]
    assert len(failed) == 2
    assert failed[0].startswith("msgpack is of version")
    assert failed[1] == "no-such-package is not installed."


@pytest.mark.parametrize(
    ("version", "constraints", "allowed"),
    [
        ("1.2", ">=1.2,<2", True),
        ("1.2.9", ">=1.2,<2", True),
        ("1.10", ">=1.2,<2", True),
        ("2.0", ">=1.2,<2", False),
        ("2.0.0", ">=1.2,<2", False),
        ("1.1.9", ">=1.2", False),
        ("26.1.0", ">=26.1", True),
        ("1.2.0", "==1.2", True),
        ("1.2.1", "==1.2", False),
        ("1.2.0", "!=1.2", False),
        ("1.3", ">1.2,<=1.3", True),
        ("0.8", "", True),
    ],
)
def test_version_constraints(version: str, constraints: str, allowed: bool) -> None:
    assert _allowed(version, constraints) is allowed
