"""The `meshnode` command where no daemon runs: usage, exit statuses, JSON purity, `init`. Real processes throughout."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest

from meshnode.errors import ExitCode
from protocols.limits import (
    OWN_TAGS_BYTES_MAX,
    OWN_TAGS_MAX,
    TAG_KEY_CHARS_MAX,
    TAG_OVERHEAD_BYTES,
    TAG_VALUE_BYTES_MAX,
)
from tests.meshnode.cli_runner import called, command, environment, meshnode

COMMANDS = (
    "init",
    "up",
    "token",
    "members",
    "why",
    "tags",
    "status",
    "rtt",
    "leave",
    "reload",
    "keys",
    "doctor",
    "mcp",
    "submit",
    "task",
    "tasks",
    "cancel",
    "tools",
    "call",
)
NEEDS_A_DAEMON = (
    ("token",),
    ("members",),
    ("why", "box"),
    ("tags",),
    ("tags", "set", "gpu"),
    ("tags", "unset", "gpu"),
    ("status",),
    ("rtt", "two"),
    ("rtt", "two", "three"),
    ("leave",),
    ("reload",),
    ("keys",),
    ("keys", "use", "3fa9", "--force"),
    ("submit", "wordcount"),
    ("submit", "wordcount", "--wait", "5"),
    ("task", "abc"),
    ("task", "abc", "--wait", "5"),
    ("tasks",),
    ("cancel", "abc"),
    ("tools",),
    ("call", "files", "read_text"),
)


def test_help_names_every_command_and_exit_status_and_is_fast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.perf_counter()
    run = meshnode("--help", home=tmp_path)
    took = time.perf_counter() - started
    assert (run.status, run.err) == (0, "")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", run.out, re.MULTILINE), name
    for status in ExitCode:
        assert re.search(rf"^ +{status.value} +\w", run.out, re.MULTILINE), status
    with capsys.disabled():
        print(f" [meshnode --help: {took:.3f} s]", end="")


def test_help_imports_nothing_that_only_some_command_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [command()[0], "-X", "importtime", *command("up", "--help")[1:]],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "typer" in imported
    assert not imported & {"trio", "rich", "msgspec", "cryptography", "mcp", "zeroconf", "hypercorn", "psutil"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    run = called(capsys, name, "--help")
    assert (run.status, run.err) == (0, "")
    assert "Example" in run.out
    assert f"  meshnode {name}" in run.out or name == "mcp"
    assert "--dir DIR" in run.out
    assert "--json" in run.out


def test_help_of_tags_names_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(called(capsys, "tags", "--help").out.split())
    for words in (
        f"1 to {TAG_KEY_CHARS_MAX} of a-z",
        f"up to {TAG_VALUE_BYTES_MAX} bytes",
        f"up to {OWN_TAGS_MAX} tags, of {OWN_TAGS_BYTES_MAX} bytes",
        f"and {TAG_OVERHEAD_BYTES} bytes each",
    ):
        assert words in text


def test_no_command_shows_help(tmp_path: Path) -> None:
    run = meshnode(home=tmp_path)
    assert run.status == 0
    assert run.out == meshnode("--help", home=tmp_path).out


def test_version(tmp_path: Path) -> None:
    run = meshnode("--version", home=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert re.fullmatch(r"meshnode \d+\.\d+\.\d+\S*\n", run.out)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("membres",), "No such command 'membres'", "'members'"),
        (("members", "--jsno"), "no option --jsno", "Did you mean --json?"),
        (("submit", "x", "--paylaod", "1"), "no option --paylaod", "Did you mean --payload?"),
        (("--dir", "x", "members"), "no option --dir", "meshnode COMMAND --dir"),
        (("members", "--dir"), "Option '--dir' requires an argument", "--help"),
        (("submit",), "Missing argument 'HANDLER'", "meshnode submit --help"),
        (("task",), "Missing argument 'ID'", "meshnode task --help"),
        (("members", "surplus"), "surplus", "meshnode members --help"),
        (("tasks", "--limit", "0"), "--limit", "meshnode tasks --help"),
        (("tasks", "--limit", "many"), "--limit", "meshnode tasks --help"),
        (("token", "--uses", "0"), "--uses", "meshnode token --help"),
        (("keys", "rotate"), "'list', 'add', 'use', 'remove'", "meshnode keys --help"),
        (("keys", "use"), "needs the id of a key", "meshnode keys list"),
        (("keys", "add", "3fa9"), "takes no 3fa9", "meshnode keys --help"),
        (("keys", "list", "--force"), "takes no --force", "meshnode keys --help"),
        (("up", "--log-level", "deug"), "'debug', 'info'", "meshnode up --help"),
    ],
)
def test_wrong_usage_says_what_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, hint: str
) -> None:
    run = called(capsys, *arguments)
    assert (run.status, run.out) == (ExitCode.USAGE, "")
    run.assert_told(message, hint)
    assert run.err.count("\n") == 2


def test_wrong_usage_is_one_document_with_json(tmp_path: Path) -> None:
    run = meshnode("members", "--json", "--nosuch", home=tmp_path)
    assert run.status == ExitCode.USAGE
    assert set(run.document) == {"error"}
    assert run.error["code"] == "usage"
    assert run.error["next_step"]
    run.assert_told("--nosuch")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("submit", "h", "--payload", "{bad"), "bad_json", "--payload"),
        (("submit", "h", "--payload", "NaN"), "bad_json", "--payload"),
        (("submit", "h", "--payload", "[" * 100_000), "bad_json", "--payload"),
        (("submit", "h", "--payload", "@nosuchfile"), "unreadable", "nosuchfile"),
        (("submit", "h", "--payload", "@big.json"), "too_large", "262144"),
        (("submit", "", "--payload", "1"), "bad_value", "HANDLER"),
        (("submit", "h", "--key", "k" * 257), "bad_value", "--key"),
        (("submit", "h", "--timeout", "0"), "bad_value", "--timeout"),
        (("submit", "h", "--wait", "soon"), "bad_value", "--wait"),
        (("tasks", "--state", "runing"), "bad_value", "Did you mean running?"),
        (("token", "--lifetime", "1y"), "bad_value", "--lifetime"),
        (("call", "files", "read", "--arguments", "[1]"), "bad_json", "object"),
    ],
)
def test_unusable_values_are_named_before_anything_is_tried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.json").write_text('"' + "x" * 262_144 + '"')
    run = called(capsys, *arguments, "--dir", "nowhere", "--json")
    assert (run.status, run.error["code"]) == (ExitCode.USAGE, code)
    run.assert_told(message)


def test_a_payload_on_stdin_is_checked_too(tmp_path: Path) -> None:
    run = meshnode("submit", "h", "--payload", "-", "--json", home=tmp_path, stdin=b"nonsense")
    assert (run.status, run.error["code"]) == (ExitCode.USAGE, "bad_json")
    run = meshnode("submit", "h", "--payload", "-", "--json", home=tmp_path, stdin=b'{"a": 1}')
    assert (run.status, run.error["code"]) == (ExitCode.NOT_RUNNING, "not_running")


@pytest.mark.parametrize("arguments", NEEDS_A_DAEMON, ids=" ".join)
def test_without_a_daemon_every_command_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    node = tmp_path / "node"
    run = called(capsys, *arguments, "--dir", node, "--json")
    assert run.status == ExitCode.NOT_RUNNING
    assert set(run.document) == {"error"}
    assert run.error["code"] == "not_running"
    run.assert_told(f"meshnode up --dir {node}")
    assert not node.exists()


def test_exit_status_and_streams_of_the_process_are_those_of_the_command(tmp_path: Path) -> None:
    run = meshnode("members", "--json", home=tmp_path)
    assert (run.status, run.error["code"]) == (ExitCode.NOT_RUNNING, "not_running")
    run = meshnode("membres", home=tmp_path)
    assert (run.status, run.out) == (ExitCode.USAGE, "")
    run.assert_told("'members'")


def test_the_directory_comes_from_the_flag_or_the_environment_or_the_users_own(tmp_path: Path) -> None:
    chosen = {"MESHNODE_DIR": str(tmp_path / "from-environment")}
    assert f"{tmp_path}/from-environment" in meshnode("members", home=tmp_path, extra=chosen).err
    assert f"{tmp_path}/flag" in meshnode("members", "--dir", "flag", home=tmp_path, cwd=tmp_path, extra=chosen).err
    assert f"{tmp_path}/home" in meshnode("members", "--dir", "~/home", home=tmp_path).err
    assert f"{tmp_path}/.local/share/meshnode" in meshnode("members", home=tmp_path).err


# init


def test_init_makes_a_node_and_leaves_one_that_is_there_alone(tmp_path: Path) -> None:
    node = tmp_path / "deep" / "node"
    run = meshnode("init", "--mesh", "home", "--name", "desk", "--dir", node, "--json", home=tmp_path)
    assert (run.status, run.err) == (0, "")
    document = run.document
    assert (document["mesh"], document["name"], document["config_written"]) == ("home", "desk", True)
    assert re.fullmatch(r"[a-z2-7]{26}", str(document["node_id"]))
    assert stat.S_IMODE(node.stat().st_mode) == 0o700
    assert 'name = "desk"' in (node / "meshnode.toml").read_text()
    for path in (node / "identity").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    before = {path.name: path.read_bytes() for path in (node / "identity").iterdir()}

    again = meshnode("init", "--mesh", "other", "--dir", node, "--json", home=tmp_path)
    assert (again.status, again.error["code"]) == (ExitCode.USAGE, "identity_exists")
    again.assert_told("desk", "home", f"meshnode up --dir {node}")
    assert {path.name: path.read_bytes() for path in (node / "identity").iterdir()} == before


def test_init_keeps_a_configuration_that_is_there_and_takes_the_name_from_it(tmp_path: Path) -> None:
    (tmp_path / "meshnode.toml").write_text('name = "shelf"\n')
    run = meshnode("init", "--dir", tmp_path, home=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert "node shelf" in run.out
    assert "left as it is" in run.out
    assert (tmp_path / "meshnode.toml").read_text() == 'name = "shelf"\n'


def test_init_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = meshnode("init", "--dir", tmp_path / "file" / "node", "--json", home=tmp_path)
    assert (run.status, run.error["code"]) == (ExitCode.FAILED, "unwritable")
    run.assert_told(str(tmp_path / "file"))

    run = meshnode("init", "--mesh", "bad label", "--dir", tmp_path / "node", "--json", home=tmp_path)
    assert (run.status, run.error["code"]) == (ExitCode.USAGE, "bad_name")
    assert not (tmp_path / "node" / "identity").exists()

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "meshnode.toml").write_text("nmae = 'x'\n")
    run = meshnode("init", "--dir", tmp_path / "broken", "--json", home=tmp_path)
    assert (run.status, run.error["code"]) == (ExitCode.USAGE, "bad_config")
    run.assert_told("nmae", "name")


# up


@pytest.mark.parametrize(
    ("arguments", "config", "code", "words"),
    [
        ((), "nmae = 'x'", "bad_config", "`name`"),
        (("--join", "nonsense"), "", "bad_token", "token"),
        (("--join", "@nosuchfile"), "", "unreadable", "nosuchfile"),
        (("--listen", "nowhere"), "", "bad_config", "host:port"),
        (("--seed", "127.0.0.1:1", "--seed", "nowhere"), "", "bad_config", "nowhere"),
        (("--mcp", "yes"), "", "bad_config", "port"),
        (("--name", "two words"), "", "bad_config", "two words"),
    ],
)
def test_a_node_that_cannot_start_says_why_and_prints_no_ready_line(
    tmp_path: Path, arguments: tuple[str, ...], config: str, code: str, words: str
) -> None:
    (tmp_path / "meshnode.toml").write_text(config)
    run = meshnode("up", *arguments, "--dir", tmp_path, "--json", home=tmp_path)
    assert (run.status, run.error["code"]) == (ExitCode.USAGE, code)
    run.assert_told(words)


# Output


def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    for arguments in (("init", "--dir", tmp_path / "one"), ("init", "--dir", tmp_path / "two", "--json")):
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = subprocess.run(
            command(*arguments), stdout=write_end, stderr=subprocess.PIPE, env=environment(tmp_path), check=False
        )
        os.close(write_end)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_output_that_cannot_be_written_is_a_failure_that_says_so(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("init", "--dir", tmp_path / "node"),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
            check=False,
        )
    assert done.returncode == ExitCode.FAILED
    assert b"error: What the command has to say cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "node" / "identity").exists()


def test_closed_standard_streams_do_not_break_a_command(tmp_path: Path) -> None:
    script = '"$@" >&- 2>&- <&-; echo $?'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command("members", "--dir", tmp_path, "--json")],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=True,
    )
    assert (done.stdout, done.stderr) == (f"{ExitCode.NOT_RUNNING.value}\n", "")
