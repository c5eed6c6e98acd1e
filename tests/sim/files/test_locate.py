"""The line of every key: the same keys as `tomllib` sees, each where it stands, whatever tries to look like one."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.files.locate import TomlPath, locate

TRICKY = r'''# a = 1   a comment is no key
title = "b = 2 # [c]"   # [d]
'quoted key' = 'x = "y'
"e\u0301 \"x\"" = """
[not.a.table]
f = 1 \
"quotes at the end"""""
long = """a \"""
b = 3"""
raw = \'\'\'
[[nor.this]]
g = \'\'\'\'\'
h.i . "j.k" = 1979-05-27 07:32:00
array = [ # [x]
  1, [2, "]"], # 3 ]
  { l = [ 4,
      5 ], "m" = "}" },
  """
  n = 6""",
]

[ o . 'p' ]   # q = 7
r = -1.5e3

[[o.list]]
s = true
[o.list.t]
u = 1
[[o.list.v]]
[[o.list.v]]
w = 2
[[o.list]]
s = { }
[o.list.t]
u = 1
'''.replace(r"\'", "'")


def paths_of(value: Any, at: TomlPath = ()) -> set[TomlPath]:
    """Every path of a parsed document."""
    pairs: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return {(*at, key) for key, _ in pairs}.union(*(paths_of(inner, (*at, key)) for key, inner in pairs))


def test_nothing_fools_it() -> None:
    lines = locate(TRICKY)
    assert lines.keys() == paths_of(tomllib.loads(TRICKY))
    text = TRICKY.split("\n")

    def line_of(start: str, occurrence: int = 0) -> int:
        return [number for number, line in enumerate(text, 1) if line.startswith(start)][occurrence]

    assert lines[("title",)] == 2
    assert lines[("quoted key",)] == 3
    assert lines[('e\u0301 "x"',)] == 4
    assert lines[("long",)] == line_of("long")
    assert lines[("raw",)] == line_of("raw")
    assert lines[("h",)] == lines[("h", "i", "j.k")] == line_of("h.i")
    assert lines[("array", 0)] == lines[("array", 1, 1)] == line_of("  1, [2")
    assert lines[("array", 2, "l")] == line_of("  { l")
    assert lines[("array", 2, "l", 1)] == lines[("array", 2, "m")] == line_of("      5 ]")
    assert lines[("array", 3)] == line_of('  """')
    assert lines[("o",)] == lines[("o", "p")] == line_of("[ o")
    assert lines[("o", "p", "r")] == line_of("r = ")
    assert lines[("o", "list")] == lines[("o", "list", 0)] == line_of("[[o.list]]")
    assert lines[("o", "list", 0, "t", "u")] == line_of("u = 1")
    assert lines[("o", "list", 0, "v", 0)] == line_of("[[o.list.v]]")
    assert lines[("o", "list", 0, "v", 1, "w")] == line_of("w = 2")
    assert lines[("o", "list", 1)] == line_of("[[o.list]]", 1)
    assert lines[("o", "list", 1, "t", "u")] == line_of("u = 1", 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1", 'a = ""\r\nb = 2\r\n', "a = []\n[b]"])
def test_small_documents(text: str) -> None:
    assert locate(text).keys() == paths_of(tomllib.loads(text))


NAMES = ["a", "b-1", "c_2", "3", '"d e"', "'f.g'", r'"h\"[]#=\\"', '""', '"é"']
LEAVES = [
    "1",
    "-0.5e-7",
    "true",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00",
    '"x = 1"',
    r'"\"]}, # \\"',
    "'\\'",
    '"""\n[a]\nb = 1\n"""',
    '"""\\\n   "" \\""" """""',
    "'''\n\\'''''",
    "[]",
    "{}",
]
BLANKS = ["", " ", "\t"]
ENDS = ["\n", " # [a] b = 1\n", "\n\n", "\r\n", "\n# c = '''\n"]


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A text that is TOML or nearly so, and on which line each of its keys `kN` stands: no other key is so called."""
    parts: list[str] = []
    marks: dict[str, int] = {}

    def say(text: str) -> None:
        parts.append(text)

    def mark() -> None:
        name = f"k{len(marks)}"
        marks[name] = "".join(parts).count("\n") + 1
        say(name)

    def value(depth: int) -> None:
        kind = draw(st.integers(0, 3 if depth < 3 else 1))
        if kind < 2:
            say(draw(st.sampled_from(LEAVES)))
        elif kind == 2:
            say("[" + draw(st.sampled_from(["", *ENDS])))
            for _ in range(draw(st.integers(0, 3))):
                value(depth + 1)
                say("," + draw(st.sampled_from([*BLANKS, *ENDS])))
            say("]")
        else:
            say("{")
            for index in range(draw(st.integers(0, 2))):
                say("," if index else " ")
                mark()
                say("=")
                value(depth + 1)
            say(" }")

    for _ in range(draw(st.integers(0, 8))):
        say(draw(st.sampled_from([*BLANKS, *ENDS])))
        blank = draw(st.sampled_from(BLANKS))
        outer = draw(st.lists(st.sampled_from(NAMES), max_size=2))
        dots = "".join(f"{name}{blank}.{blank}" for name in outer)
        match draw(st.integers(0, 3)):
            case 0:
                say(f"[{blank}{dots}")
                mark()
                say("]")
            case 1:
                say(f"[[{dots}{draw(st.sampled_from(NAMES))}]]")
            case _:
                say(dots)
                mark()
                say(f"{blank}={blank}")
                value(0)
        say(draw(st.sampled_from(ENDS)))
    return "".join(parts), marks


@settings(deadline=None)
@given(texts())
def test_every_key_that_tomllib_sees_is_found_on_its_line(drawn: tuple[str, dict[str, int]]) -> None:
    text, marks = drawn
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # two headers clash: there is nothing to locate
    lines = locate(text)
    assert lines.keys() == paths_of(document)
    found = {path[-1]: line for path, line in lines.items() if path[-1] in marks}
    assert found == marks
