"""Mistakes in scenario files: each is told with its file, its line, the nearest valid name, and what to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.config import HandlerSpec
from protocols.membership.settings import MembershipSettings
from sim.disk import DiskProfile
from sim.errors import ScenarioError
from sim.faults import Crash, Halves, Isolate
from sim.files import dumps, load, loads
from sim.files.read import FILE_BYTES_MAX, LINE_CHARACTERS_MAX
from sim.network import LinkProfile
from sim.scenario import Liveness, Scenario
from tests.sim.files.strategies import scenarios

WHOLE = """\
# What it shows.
name = "whole"
nodes = 6
seconds = 90            # virtual
seed = 3
start = "join"
hold = ["agreement"]

[link]
latency_ms = [1, 20]
loss = 0.02
stream_stall_s = 10

[membership]
profile = "wan"
health_max = 0

[disk]
commit_ms = 2

[workload]
tasks_per_s = 4
handlers = { count = 2, "digest" = 1 }

[[faults]]
kind = "halves"
start_s = 20
end_s = 40

[[faults]]
kind = "isolate"
start_s = 1.5
end_s = 3
nodes = ["n1",
         "n2"]

[liveness]
rest = "broken"
bound_s = 120
"""


GROUPS = "groups = [['n0'], ['n1']]"


def complaints(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        loads(text, "f.toml")
    return str(caught.value).splitlines()


def test_everything_can_be_said() -> None:
    assert loads(WHOLE) == Scenario(
        name="whole",
        nodes=6,
        seconds=90,
        seed=3,
        start="join",
        hold=("agreement",),
        link=LinkProfile(latency_ms_min=1, latency_ms_max=20, loss=0.02, stream_stall_s=10),
        membership=MembershipSettings(profile="wan", health_max=0),
        disk=DiskProfile(2, 2),
        tasks_per_s=4,
        handlers=(HandlerSpec("count", 2), HandlerSpec("digest", 1)),
        faults=(Halves(20, 40), Isolate(1.5, 3, nodes=("n1", "n2"))),
        liveness=Liveness("broken", 120),
    )


def test_an_empty_file_is_the_default_scenario() -> None:
    assert loads("# nothing\n") == Scenario()


def test_faults_have_a_short_form() -> None:
    scenario = loads('faults = ["halves@20-40", { kind = "isolate", start_s = 3, end_s = 9 }, "crash:2@5-6"]')
    assert scenario.faults == (Halves(20, 40), Isolate(3, 9), Crash(5, 6, 2))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("nodes = 5\nsecnds = 60\n", 2, "no key 'secnds'. Did you mean 'seconds'?"),
        ("loss = 0.1", 1, "belongs under [link]"),
        ("[link]\nlos = 0.1", 2, "[link] has no key 'los'. Did you mean 'loss'?"),
        ("[link]\nloss = 0.1\nseconds = 9", 3, "belongs at the top, before the first [table]"),
        ("[workload]\ntasks = 3", 2, "Did you mean 'tasks_per_s'?"),
        ("tasks_per_s = 3", 1, "belongs under [workload]"),
        ("[lnk]\nloss = 1", 1, "Did you mean 'link'?"),
        ("\n[[faults]]\nkind = 'halves'\nstrt_s = 3", 4, "Did you mean 'start_s'?"),
        ("[[faults]]\nkind = 'halves'\nstart_s = 3\ncount = 2", 4, "kind 'halves' has no key 'count'"),
        ("[[faults]]\nkind = 'halves'", 1, "needs a key 'start_s'"),
        ("[[faults]]\nstart_s = 3\nkind = 'halfs'", 3, "Did you mean 'halves'?"),
        ("[[faults]]\nstart_s = 3", 1, "no kind here. Valid: halves"),
        ("faults = [\n'halves@3-4',\n'halfs@3-4']", 3, "Did you mean 'halves'?"),
        ("faults = 'halves@3-4'", 1, "an array, in [ ]"),
        ("faults = [3]", 1, "a table { … } or text such as"),
        ("nodes = '5'", 1, "nodes must be a whole number, not '5'. Usual: nodes = 5."),
        ("[link]\nloss = 'much'", 2, "loss must be a number, not 'much'. Usual: loss = 0."),
        ("[link]\nlatency_ms = 'x'", 2, "latency_ms must be a number, not 'x'. Usual: latency_ms = [0.2, 2]."),
        ("nodes = true", 1, "a whole number, not true"),
        ("nodes = 5.0", 1, "a whole number, not 5.0"),
        ("seed = 9223372036854775808", 1, "too large"),
        ("seconds = '60'", 1, "must be a number, not '60'"),
        ("seconds = inf", 1, "not inf"),
        ("seconds = nan", 1, "not nan"),
        ("seconds = [1]", 1, "not an array"),
        ("name = 3", 1, "text, in quotes, not 3"),
        ("start = 'joined'", 1, "Did you mean 'join'?"),
        ("start = 3", 1, "no start 3. Valid: converged, join"),
        ("link = 3", 1, "[link] must be a table of keys, not 3"),
        ("[link]\nlatency_ms = [1, 2, 3]", 2, "[least, most]"),
        ("[link]\nlatency_ms = [1, 'x']", 2, "must be a number, not 'x'"),
        ("[liveness]\n\nrest = 'brokn'", 3, "Did you mean 'broken'?"),
        ("[workload.handlers]\ncount = 'x'", 2, "count must be a whole number"),
        ('[workload.handlers]\n"a\\u001eb\\n" = 1.5', 2, "a\\x1eb\\n must be a whole number"),
        ("[workload]\nhandlers = ['x']", 2, "[workload.handlers] must be a table"),
        ("workload = 3", 1, "[workload] must be a table"),
        # What fits, and cannot be.
        ("\nnodes = 0", 2, "0 nodes"),
        ("seconds = -1", 1, "-1 seconds"),
        ("hold = ['agreement',\n'one_rply']", 2, "Did you mean 'one_reply'?"),
        ("sometimes = [\n'crashd']", 2, "no mark 'crashd'"),
        ("[link]\nloss = 5", 2, "For 5 % write 0.05"),
        ("[link]\nloss = 0\nlatency_ms = [5, 1]", 3, "latency"),
        ("[disk]\ncommit_ms = [5, 1]", 2, "commit"),
        ("[membership]\nprofile = 'moon'", 2, "There is no profile 'moon'"),
        ("[membership]\ngossip_fanout = 3\nprobe_timeout_s = 2", 3, "the timeout must be shorter"),
        ("[membership]\nprobe_timout_s = 2", 2, "Did you mean 'probe_timeout_s'?"),
        ("[[faults]]\nkind = 'halves'\nstart_s = 30\nend_s = 20", 4, "ends before it begins"),
        ("seconds = 30\n[[faults]]\nkind = 'halves'\nstart_s = 20\nend_s = 40", 5, "the run lasts 30 s"),
        (f"[[faults]]\nkind = 'groups'\nend_s = 20\nstart_s = 30\n{GROUPS}", 3, "ends before it begins"),
        (f"[[faults]]\nkind = 'groups'\nstart_s = 30\nend_s = 90\n{GROUPS}", 4, "the run lasts 60 s"),
        (f"[[faults]]\nkind = 'groups'\nstart_s = 90\n{GROUPS}", 3, "the run lasts 60 s"),
        ("[[faults]]\nkind = 'groups'\nstart_s = 1\ngroups = [['n0'],\n['n7']]", 5, "no node 'n7'"),
        (
            "[zones]\neu = 1\n[[faults]]\nkind = 'isolate'\nstart_s = 1\nnodes = ['n0',\n'ux']",
            7,
            "no node or zone 'ux'",
        ),
        ("seconds = 30\n[[faults]]\nkind = 'crash'\nstart_s = 40", 4, "the run lasts 30 s"),
        ("[[faults]]\nkind = 'isolate'\nstart_s = 2\nend_s = 4\ncount = 9", 5, "must be 1 to 5"),
        ("[[faults]]\nkind = 'isolate'\nstart_s = 2\nend_s = 4\nnodes = ['n0',\n'n7']", 6, "no node 'n7'"),
        ("nodes = 1\nfaults = [\n'halves@1-2']", 3, "at least 2 nodes"),
        ("[workload.handlers]\ncount = 2\ndigest = 0", 3, "'digest' takes 0 at once"),
        ("[zones]\na = ['n0']\nb = ['n1',\n'n9']", 4, "no node 'n9'"),
        ("[mix]\n[mix.kinds.crash]\n[mix.kinds.crsh]", 3, "Did you mean 'crash'?"),
        ("[mix]\n[mix.kinds.crash]\nper_minute = 0", 3, "per_minute 0 must be above 0"),
        ("[mix]\n[mix.kinds.crash]\nper_minut = 2", 3, "[mix.kinds.crash] has no key 'per_minut'"),
        ("[mix]\nkinds = ['lossy']", 2, "an array. Write [mix.kinds.lossy], and below it keys such as per_minute = 1."),
        ("[mix]\nkinds = { lossy = 1 }", 2, "Write [mix.kinds.lossy], and below it keys such as per_minute = 1."),
        ("[mix]\nkinds = ['a\\n]']", 2, "Write [mix.kinds.NAME], and below it"),
        ("[mix]\nkinds = 3", 2, "Write [mix.kinds.NAME], and below it"),
        ("[mix]\nswarm = true", 2, "Write [mix.swarm], and below it keys such as kinds = 0.5."),
        ("link = 3", 1, "Write [link], and below it keys such as latency_ms = [0.2, 2]."),
        ("mix = 'swam'", 1, "Did you mean 'swarm'?"),
        ("[[links]]\nbetween = ['n0', 'n1']\nlos = 1", 3, "[[links]] has no key 'los'"),
        ("[liveness]\nrest = 'broken'\ncore = ['n0', 'nx']", 3, "no node 'nx'"),
        ("[liveness]\ncore = ['n0']", 2, 'They need rest = "broken"'),
        # What is no TOML.
        ("nodes = 5\nseconds = sixty\n", 2, "not TOML: invalid value, at column 11. Text stands in quotes"),
        ("a = 1\n\na = 2\n", 3, "there only once"),
        ("nodes 5", 1, "name = value"),
        ("[link\nloss = 1", 1, "[name]"),
        ("a = [1,\n2\n", 2, "at the end of the file"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_do(text: str, line: int, says: str) -> None:
    [complaint] = complaints(text)
    assert complaint.startswith(f"f.toml:{line}: ")
    assert says in complaint


def test_several_mistakes_are_told_in_the_order_of_the_file() -> None:
    told = complaints("secnds = 3\n[link]\nlos = 1\n[[faults]]\nkind = 'halfs'\n[disk]\ncommit_ms = 'x'\n")
    assert [line.partition(": ")[0] for line in told] == ["f.toml:1", "f.toml:3", "f.toml:5", "f.toml:7"]


def test_several_impossible_things_are_told_too() -> None:
    told = complaints("hold = ['x1', 'agreement',\n'x2']\nfaults = ['halves@1-90',\n'crash:9@2-3']\n[link]\nloss = 3\n")
    assert [line.partition(": ")[0] for line in told] == [f"f.toml:{line}" for line in (1, 2, 3, 4, 6)]


def test_a_wrong_element_is_told_once() -> None:
    [complaint] = complaints("[[links]]\nbetween = ['n0',\n'z']")
    assert complaint.startswith("f.toml:3: ")


def test_of_many_mistakes_the_first_few_are_told() -> None:
    told = complaints("".join(f"x{number} = 1\n" for number in range(30)))
    assert [line.partition(": ")[0] for line in told[:-1]] == [f"f.toml:{line}" for line in range(1, 6)]
    assert told[-1] == "… and 25 more."


def test_faults_are_not_measured_against_what_is_wrong_itself() -> None:
    [complaint] = complaints("nodes = 0\nfaults = ['crash:3@1-2']")
    assert complaint.startswith("f.toml:1: 0 nodes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 3000, "deep"),
        ("a = " + "[" * 13 + "]" * 13, "deep"),
        (".".join("a" * 20) + " = 1", "deep"),
        ("a = '" + "x" * LINE_CHARACTERS_MAX + "'", "f.toml:1: the line has more than"),
        ("# " + "\n#" * FILE_BYTES_MAX, "longer than"),
        ("hold = [\n" + "'',\n" * 60_000 + "]", "at most 50000"),
    ],
)
def test_what_is_foreign_is_bounded(text: str, says: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's own, which Dask raises for the whole process
    try:
        [complaint] = complaints(text)
    finally:
        sys.setrecursionlimit(limit)
    assert says in complaint


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="[]{}=.,'\"#\n \\ab1", max_size=60))
def test_any_text_is_a_scenario_or_a_mistake(text: str) -> None:
    try:
        loads(text)
    except ScenarioError as error:
        assert str(error).startswith("scenario:")  # noqa: PT017  # most texts do raise, and those few that load are fine


@settings(deadline=None, max_examples=150)
@given(scenarios(), st.data())
def test_whatever_is_made_of_a_scenario_is_one_or_a_mistake_with_its_line(
    scenario: Scenario, data: st.DataObject
) -> None:
    text = dumps(scenario)
    spots = [match.span() for match in re.finditer(r"-?\b\d+(?:\.\d+)?\b|\"[^\"\n]*\"", text)]
    for start, end in reversed(
        data.draw(st.lists(st.sampled_from(spots or [(0, 0)]), max_size=4, unique=True).map(sorted))
    ):
        other = data.draw(st.sampled_from(["-1", "0", "7", "1e9", "100000", "'n99'", "'x'", "[]", "{}", "nan", "true"]))
        text = text[:start] + other + text[end:]
    try:
        loads(text)
    except ScenarioError as error:
        for line in str(error).splitlines():
            assert re.match(r"scenario:\d+: |… and \d+ more\.", line)


def test_a_file_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "halves.toml").write_text(WHOLE)
    assert load(tmp_path / "halves.toml").name == "whole"
    for wrong in ("halfs.toml", "halves"):
        with pytest.raises(ScenarioError, match=r"Did you mean .*halves\.toml"):
            load(tmp_path / wrong)
    with pytest.raises(ScenarioError, match=r"Scenarios in .*: halves\.toml"):
        load(tmp_path / "quite-another.toml")
    with pytest.raises(ScenarioError, match=r"is a directory. Scenarios in .*: halves\.toml"):
        load(tmp_path)
    with pytest.raises(ScenarioError, match="no directory"):
        load(tmp_path / "nowhere" / "x.toml")
    with pytest.raises(ScenarioError, match="Cannot read"):
        load("a\0b")


def test_what_is_in_a_file_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"nodes = 5\nname = '\xff'\n")
    with pytest.raises(ScenarioError, match=r"x\.toml:2: this is not UTF-8"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ScenarioError, match=r"x\.toml is empty. Was it cut off\?"):
        load(path)
    path.write_text(dumps(Scenario()))
    assert load(path) == Scenario()
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ScenarioError, match="larger than"):
        load(path)
    path.write_bytes(b"nodes = 4\r\nseconds = 20\r\nsed = 1\r\n")
    with pytest.raises(ScenarioError, match=r"x\.toml:3: .*Did you mean 'seed'"):
        load(path)
