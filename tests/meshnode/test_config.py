"""What meshnode.toml, the environment and flags may say, and how a mistake in each of them is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshnode.config import (
    Config,
    ExecHandler,
    PythonHandler,
    default_name,
    format_address,
    load_config,
    parse_address,
    remember_listen,
    remembered_listen,
    write_default_config,
)
from meshnode.errors import ExitCode, MeshError
from meshnode.handler_config import fill, placeholders
from protocols.config import HandlerSpec, SwimConfig
from protocols.core import NANOS_PER_S
from protocols.limits import OUTPUT_BYTES_MAX
from protocols.membership.settings import WAN

ISSUE_TOML = """
[handlers.wordcount]
executor = "python"
target = "examples.wordcount:count"
concurrency = 2
[handlers.checksum]
executor = "exec"
argv = ["sha256sum", "{path}"]
[mcp_servers.files]
command = "python"
args = ["-m", "examples.files_server"]
"""


def load(directory: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: object) -> Config:
    if toml:
        (directory / "meshnode.toml").write_text(toml)
    return load_config(directory, environ=environ or {}, **flags)


def complaint(directory: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(MeshError) as caught:
        load(directory, toml, environ, **flags)
    assert caught.value.code == "bad_config"
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_no_file_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path)
    assert config.listen == "127.0.0.1:0"
    assert not config.listen_remembered
    assert config.mcp == "off"
    assert config.seeds == ()
    assert config.workdir == tmp_path
    assert config.name == default_name(tmp_path)
    assert config.capabilities == ()


def test_zeroconf_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert not load(tmp_path).zeroconf
    assert load(tmp_path, environ={"MESHNODE_ZEROCONF": "1"}).zeroconf
    assert not load(tmp_path, environ={"MESHNODE_ZEROCONF": "false"}).zeroconf
    assert load(tmp_path, "zeroconf = true").zeroconf
    assert not load(tmp_path, zeroconf=False).zeroconf
    assert "MESHNODE_ZEROCONF" in complaint(tmp_path, environ={"MESHNODE_ZEROCONF": "sometimes"})


def test_the_handlers_of_the_readme(tmp_path: Path) -> None:
    config = load(tmp_path, ISSUE_TOML, workdir=str(tmp_path))
    wordcount, checksum = config.handlers["wordcount"], config.handlers["checksum"]
    assert isinstance(wordcount, PythonHandler)
    assert wordcount.target == "examples.wordcount:count"
    assert wordcount.output_bytes_max == OUTPUT_BYTES_MAX
    assert isinstance(checksum, ExecHandler)
    assert checksum.argv == ("sha256sum", "{path}")
    assert config.mcp_servers["files"].args == ("-m", "examples.files_server")
    assert config.capabilities == (
        HandlerSpec("wordcount", 2),
        HandlerSpec("checksum", 1),
        HandlerSpec("mcp:files", 4),
    )


def test_membership_is_a_profile_and_what_is_otherwise(tmp_path: Path) -> None:
    config = load(tmp_path, '[membership]\nprofile = "wan"\nprobe_timeout_s = 2\n')
    assert config.swim == replace(WAN, probe_timeout=2 * NANOS_PER_S)
    assert load(tmp_path, 'name = "a"').swim == SwimConfig()


def test_optional_keys_and_relative_directories(tmp_path: Path) -> None:
    toml = """
    workdir = "work"
    [handlers.a]
    executor = "exec"
    argv = ["cat"]
    timeout_s = 5
    output_bytes_max = 100
    cwd = "inner"
    env = { LANG = "C" }
    allow_dashes = true
    [mcp_servers.b]
    command = "x"
    concurrency = 9
    """
    (tmp_path / "work").mkdir()
    config = load(tmp_path, toml)
    handler = config.handlers["a"]
    assert isinstance(handler, ExecHandler)
    assert (handler.timeout_s, handler.output_bytes_max, handler.allow_dashes) == (5.0, 100, True)
    assert handler.env == {"LANG": "C"}
    assert config.workdir == tmp_path / "work"
    assert handler.cwd == str(tmp_path / "work" / "inner")
    assert config.mcp_servers["b"].cwd == str(tmp_path / "work")


def test_flags_win_over_environment_wins_over_file(tmp_path: Path) -> None:
    toml = 'name = "file"\nzone = "file"\nweight = 2\nseeds = ["a:1"]'
    environ = {"MESHNODE_ZONE": "env", "MESHNODE_WEIGHT": "3", "MESHNODE_SEEDS": "b:1, c:2", "MESHNODE_DIR": "/x"}
    config = load(tmp_path, toml, environ, weight=4, zone=None, mcp="0")
    assert (config.name, config.zone, config.weight, config.mcp) == ("file", "env", 4, 0)
    assert config.seeds == ("b:1", "c:2")


def test_tags_are_words_or_have_values_and_come_from_the_last_place_that_names_any(tmp_path: Path) -> None:
    toml = 'tags = ["gpu", "cuda=12", "room=a=b, c"]'
    assert load(tmp_path, toml).tags == (("cuda", "12"), ("gpu", ""), ("room", "a=b, c"))
    environ = {"MESHNODE_TAGS": "spot, rack=7"}
    assert load(tmp_path, toml, environ).tags == (("rack", "7"), ("spot", ""))
    assert load(tmp_path, toml, environ, tags=("gpu=b",)).tags == (("gpu", "b"),)
    assert "--tags: cannot be used" in complaint(tmp_path, tags=("Bad",))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('nmae = "x"', ["no setting `nmae`", "Did you mean `name`?"]),
        ("[handlrs.a]", ["no setting `handlrs`", "Did you mean `handlers`?"]),
        ('[handlers.a]\nexecutor = "pyton"', ["`handlers.a.executor`", "Did you mean 'python'?"]),
        ('[handlers.a]\ntarget = "m:f"', ["`handlers.a.executor`", "missing"]),
        ('[handlers.a]\nexecutor = "python"', ["`handlers.a`", "missing required field `target`"]),
        ('[handlers.a]\nexecutor = "python"\ntarget = "m.f"', ["`handlers.a.target`", "module:function"]),
        ('[handlers.a]\nexecutor = "python"\ntarget = "m:f"\nargv = []', ["`handlers.a`", "no setting `argv`"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = []', ["`handlers.a.argv`", "name a program"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["{x}"]', ["`handlers.a.argv`", "from the payload"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["x", "{"]', ["`handlers.a.argv`", "lone '{'"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["x"]\ntimeout_s = 0', ["`handlers.a.timeout_s`", "> 0"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = "x"', ["`handlers.a.argv`", "array"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["x"]\nconcurrency = 0', ["`handlers.a.concurrency`", ">= 1"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["x"]\nconcurency = 2', ["Did you mean `concurrency`?"]),
        ('[handlers.a]\nexecutor = "exec"\nargv = ["x"]\nenv = {"A B" = "x"}', ["`handlers.a.env`", "'A B'"]),
        ('[handlers.A]\nexecutor = "exec"', ["`handlers.A`", "a-z"]),
        ("handlers = 3", ["`handlers`", "[handlers.NAME]"]),
        ("[handlers]\na = 3", ["`handlers.a`", "[handlers.a]"]),
        ("[mcp_servers.a]\nargs = []", ["`mcp_servers.a`", "`command`"]),
        ('[mcp_servers.a]\ncommand = "x"\nargs = [1]', ["`mcp_servers.a.args", "`str`"]),
        ("membership = 3", ["`membership`", "[membership]"]),
        ('[membership]\nprofile = "moon"', ["`membership.profile`", "'moon'"]),
        ("[membership]\nprobe_intervall_s = 2", ["`membership`", "Did you mean `probe_interval_s`?"]),
        ("[membership]\nprobe_timeout_s = 2.0", ["`membership`", "the timeout must be shorter"]),
        ('[membership]\ngossip_fanout = "3"', ["`membership.gossip_fanout`", "expected `int"]),
        ('weight = "heavy"', ["`weight`", "expected `int`", "'heavy'"]),
        ("weight = 0", ["`weight`", ">= 1"]),
        ('zeroconf = "maybe"', ["`zeroconf`", "expected `bool`", "'maybe'"]),
        ('mcp = "on"', ["`mcp`", '"off" or a port', "'on'"]),
        ("mcp = 70000", ["`mcp`", "65535"]),
        ('listen = "1.2.3.4"', ["`listen`", "not host:port"]),
        ('seeds = ["1.2.3.4:0"]', ["`seeds`", "1 to 65535"]),
        ('tags = "gpu"', ["`tags`", "array"]),
        ('tags = ["GPU"]', ["`tags`", "'GPU'", "a-z"]),
        ('tags = ["gpu", "gpu=1"]', ["`tags`", "'gpu' twice"]),
        ('tags = [".later=1"]', ["`tags`", "reserved"]),
        ('tags = ["x=\\u001b[31m"]', ["`tags`", "control characters"]),
        (f"tags = {[f'k{number}' for number in range(25)]}", ["`tags`", "25 tags", "have 24"]),
        ('advertise = "here:99999"', ["`advertise`", "65535"]),
        ('name = "a b"', ["`name`", "'a b'"]),
        ('workdir = "missing"', ["`workdir`", "not a directory"]),
        (f'workdir = "{"x" * 300}"', ["`workdir`", "not a directory"]),
        ("workdir = 3", ["`workdir`", "expected `str`"]),
        ("a = = b", ["not TOML", "line 1"]),
        ("weight = " + "9" * 5000, ["not TOML"]),
    ],
)
def test_a_mistake_in_the_file_names_file_key_and_remedy(tmp_path: Path, toml: str, words: list[str]) -> None:
    text = complaint(tmp_path, toml)
    assert str(tmp_path / "meshnode.toml") in text
    for word in words:
        assert word in text


def test_a_mistake_elsewhere_names_its_place(tmp_path: Path) -> None:
    assert "environment variable MESHNODE_WEIGHT" in complaint(tmp_path, environ={"MESHNODE_WEIGHT": "x"})
    assert "Did you mean MESHNODE_LISTEN?" in complaint(tmp_path, environ={"MESHNODE_LISTN": "x"})
    assert "--listen" in complaint(tmp_path, listen="nowhere")
    assert "no setting `listne`" in complaint(tmp_path, listne="x")


def test_a_file_that_is_no_text_or_too_large_or_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "meshnode.toml"
    path.write_bytes(b"name = '\xff'")
    assert "not UTF-8" in complaint(tmp_path)
    path.write_bytes(b"#" * (2 << 20))
    assert "larger than" in complaint(tmp_path)
    path.unlink()
    path.mkdir()
    assert "cannot be read" in complaint(tmp_path)


@pytest.mark.parametrize("toml", ["k" * 900_000 + " = 1", f'zone = "{"z" * 900_000}"', f'name = "{"n" * 900_000}"'])
def test_no_complaint_is_as_long_as_the_file(tmp_path: Path, toml: str) -> None:
    text = complaint(tmp_path, toml)
    assert str(tmp_path / "meshnode.toml") in text
    assert toml[:100].strip(" =") in text or "must be" in text
    assert len(text) < 5000


def test_a_complaint_is_one_sentence(tmp_path: Path) -> None:
    assert ".." not in complaint(tmp_path, 'tags = ["GPU"]').replace(str(tmp_path), "")


def test_what_is_announced_is_bounded(tmp_path: Path) -> None:
    def handlers(count: int, name: str) -> str:
        return "".join(f'[handlers.{name}{i}]\nexecutor = "exec"\nargv = ["true"]\n' for i in range(count))

    assert "names more than 64" in complaint(tmp_path, handlers(65, "h"))
    assert "512 fit" in complaint(tmp_path, handlers(12, "a-rather-long-handler-name-of-forty-char"))
    assert len(load(tmp_path, handlers(40, "h")).handlers) == 40


def test_the_port_of_the_last_start_is_kept(tmp_path: Path) -> None:
    assert remembered_listen(tmp_path) is None
    remember_listen(tmp_path, "127.0.0.1:4711")
    config = load(tmp_path)
    assert (config.listen, config.listen_remembered) == ("127.0.0.1:4711", True)
    remember_listen(tmp_path, "0.0.0.0:7400", "one.example:7400")
    config = load(tmp_path)
    assert (config.listen, config.advertise) == ("0.0.0.0:7400", "one.example:7400")
    assert load(tmp_path, listen="0.0.0.0:7400").advertise == ""
    assert load(tmp_path, advertise="two.example:7400").advertise == "two.example:7400"
    remember_listen(tmp_path, "127.0.0.1:4711")
    other_host = load(tmp_path, listen="0.0.0.0:0")
    assert (other_host.listen, other_host.listen_remembered) == ("0.0.0.0:0", False)
    fixed = load(tmp_path, listen="127.0.0.1:5000")
    assert (fixed.listen, fixed.listen_remembered) == ("127.0.0.1:5000", False)
    (tmp_path / "listen").write_text("rubbish")
    assert load(tmp_path).listen == "127.0.0.1:0"


def test_the_default_file_loads_and_is_never_overwritten(tmp_path: Path) -> None:
    assert write_default_config(tmp_path, name="anna")
    assert load(tmp_path).name == "anna"
    written = (tmp_path / "meshnode.toml").read_text()
    assert not write_default_config(tmp_path, name="otto")
    assert (tmp_path / "meshnode.toml").read_text() == written


def test_every_example_in_the_default_file_is_valid(tmp_path: Path) -> None:
    write_default_config(tmp_path)
    path = tmp_path / "meshnode.toml"
    lines = path.read_text().splitlines()
    settings = [line.removeprefix("# ") for line in lines if line.startswith("# ") and (" = " in line or "[" in line)]
    config = load(tmp_path, "\n".join(line for line in settings if not line.startswith(("Configuration", "example"))))
    assert set(config.handlers) == {"wordcount", "checksum"}
    assert set(config.mcp_servers) == {"files"}
    assert config.advertise == "192.0.2.7:7400"
    assert config.swim == SwimConfig()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "host.example:65535", "[::1]:7400"])
def test_addresses_round_trip(address: str) -> None:
    assert format_address(*parse_address(address)) == address


@pytest.mark.parametrize(
    "address", ["", ":1", "a", "a:", "a:b", "a:-1", "a:65536", "::1:5", "a b:1", "a:²", "x" * 200 + ":1"]
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(address)


def test_default_names_are_valid_and_differ_by_directory(tmp_path: Path) -> None:
    names = {default_name(tmp_path / part) for part in ("a", "b", "ü mlaut", "x" * 100)}
    assert len(names) == 4
    for name in names:
        assert load(tmp_path, name=name).name == name


def test_templates() -> None:
    assert placeholders("--in={path}{{x}}{y_1}") == ["path", "y_1"]
    assert fill("--in={path}{{x}}", {"path": "{y}"}) == "--in={y}{x}"
    for broken in ("{", "a}", "{1x}", "{a b}", "{{}"):
        with pytest.raises(ValueError, match="lone"):
            placeholders(broken)


def test_configuration_stays_cheap_to_import() -> None:
    code = "import sys, meshnode.config; print(sorted({'pydantic', 'mcp', 'trio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_present_directory_that_is_gone_is_named_and_needed_only_without_a_workdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(MeshError) as raised:
        load(tmp_path)
    assert (raised.value.code, raised.value.exit_code) == ("bad_config", ExitCode.USAGE)
    assert "workdir" in raised.value.message
    assert load(tmp_path, 'workdir = "."').workdir == tmp_path
