"""The house rules that a machine can hold (DESIGN 2 and 3, STYLE): layers, purity, size, docstrings, no hidden order.

Every rule is a function from one source file to the violations in it, and is itself tested on a planted violation and
on its innocent neighbour. Nothing is imported to be checked, so a broken file is reported and not executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocols", "meshnode", "sim")
DIRECTORIES = (*PACKAGES, "tests", "scripts", "examples")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

MAY_NOT_IMPORT = {
    "protocols": ("meshnode", "sim"),
    "meshnode": ("sim",),
    "sim": ("meshnode",),
}
IMPURE = (
    "asyncio",
    "concurrent",
    "datetime",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "secrets",
    "select",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "trio",
    "uuid",
)
"""What reads a clock, talks to the outside, or draws its own randomness: nothing for a protocol (DESIGN 3)."""

Rule: TypeAlias = Callable[[str, ast.Module, str], Iterator[str]]
"""(path relative to the root, its tree, its text) -> one line for each violation."""


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of everything imported anywhere in a file; the name is empty for a plain import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (node.module or ""), alias.name


def layers_hold(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    """`protocols` knows neither `meshnode` nor `sim`, and these do not know each other."""
    package = path.split("/")[0]
    for line, module, name in imports_of(tree):
        if module.startswith("."):
            yield f"{path}:{line}: relative import: spell the layer out"
        reached = {module.split(".")[0], *([name] if not module.strip(".") else [])}
        for forbidden in reached & set(MAY_NOT_IMPORT.get(package, ())):
            yield f"{path}:{line}: {package} imports {forbidden}"


def protocols_are_pure(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    """No clock, socket, disk, thread or global randomness inside `protocols`."""
    if not path.startswith("protocols/"):
        return
    for line, module, name in imports_of(tree):
        top = module.split(".")[0]
        if top in IMPURE:
            yield f"{path}:{line}: a protocol imports {top}"
        if top == "random" and name != "Random":
            yield f"{path}:{line}: of random, a protocol may know only the class Random that it is given"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("open", "input", "print", "__import__", "exec", "eval", "id", "hash"):
                yield f"{path}:{node.lineno}: a protocol calls {node.func.id}()"
            if node.func.id == "Random" and not node.args:
                yield f"{path}:{node.lineno}: Random() without a seed draws from the system"


def files_are_short(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines, {FILE_LINES_MAX} are allowed: split it"


def functions_are_short(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed"


def files_say_what_they_are(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    """Every file opens with its rules; an empty `__init__.py` has none."""
    if path.endswith("__init__.py") and not text.strip():
        return
    if not (ast.get_docstring(tree) or "").strip():
        yield f"{path}: no docstring: say what it decides and what it never does"


def sets_are_not_iterated(path: str, tree: ast.Module, text: str) -> Iterator[str]:
    """The order of a set differs from run to run: nothing in `protocols` may follow it. `sorted` is the way out."""
    if not path.startswith("protocols/"):
        return
    for node in ast.walk(tree):
        followed: list[ast.expr] = []
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            followed = [node.iter]
        elif isinstance(node, ast.Starred):
            followed = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("list", "tuple", "iter", "enumerate", "zip", "map", "filter", "next", "reversed"):
                followed = node.args
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            followed = node.args
        for each in followed:
            if is_a_set(each):
                yield f"{path}:{each.lineno}: the order of a set is followed"


def is_a_set(node: ast.expr) -> bool:
    """Whether an expression is plainly a set: a literal, a comprehension, a call, or an operation on one."""
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("union", "intersection", "difference", "symmetric_difference")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub | ast.BitXor):
        return any(is_a_set(side) or is_a_view(side) for side in (node.left, node.right))
    return False


def is_a_view(node: ast.expr) -> bool:
    """`d.keys()` or `d.items()`: in order by itself, but an operation on it makes a set."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("keys", "items")
    return False


RULES: tuple[Rule, ...] = (
    layers_hold,
    protocols_are_pure,
    files_are_short,
    functions_are_short,
    files_say_what_they_are,
    sets_are_not_iterated,
)


def python_files() -> list[Path]:
    """Every Python file of the house, those in `scripts` that only say so in their first line included."""
    found: list[Path] = []
    for directory in DIRECTORIES:
        for path in sorted((ROOT / directory).rglob("*")):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            if path.suffix == ".py" or (directory == "scripts" and not path.suffix and is_python(path)):
                found.append(path)
    return found


def is_python(path: Path) -> bool:
    first_line = path.read_bytes().partition(b"\n")[0]
    return first_line.startswith(b"#!") and b"python" in first_line


def violations(rule: Rule, path: str, text: str) -> list[str]:
    return list(rule(path, ast.parse(text), text))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Rule) -> None:
    found = [
        violation
        for path in python_files()
        for violation in violations(rule, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(["", *found])


def test_the_house_is_looked_at() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in python_files()}
    assert {"protocols/node.py", "meshnode/driver.py", "sim/world.py", "tests/test_architecture.py"} <= names


# The rules themselves.

LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 70
PLANTED: list[tuple[Rule, str, str]] = [
    (layers_hold, "protocols/x.py", "import meshnode"),
    (layers_hold, "protocols/a/x.py", "from sim.world import World"),
    (layers_hold, "protocols/x.py", "def f():\n    import sim.world"),
    (layers_hold, "protocols/x.py", "if TYPE_CHECKING:\n    from meshnode import driver"),
    (layers_hold, "sim/x.py", "import os, meshnode.driver"),
    (layers_hold, "meshnode/cli/x.py", "from sim import world"),
    (layers_hold, "meshnode/x.py", "from . import driver"),
    (layers_hold, "protocols/x.py", "from .. import sim"),
    *[(protocols_are_pure, "protocols/x.py", f"import {module}") for module in IMPURE],
    (protocols_are_pure, "protocols/x.py", "from os import path"),
    (protocols_are_pure, "protocols/x.py", "import os.path as p"),
    (protocols_are_pure, "protocols/x.py", "def f():\n    from time import monotonic_ns"),
    (protocols_are_pure, "protocols/x.py", "import random"),
    (protocols_are_pure, "protocols/x.py", "from random import Random, shuffle"),
    (protocols_are_pure, "protocols/x.py", "from random import SystemRandom"),
    (protocols_are_pure, "protocols/x.py", "rng = Random()"),
    (protocols_are_pure, "protocols/x.py", "order = hash(key)"),
    (protocols_are_pure, "protocols/x.py", "f = open('x')"),
    (files_are_short, "tests/x.py", '"""Long."""\n' + "x = 1\n" * 500),
    (functions_are_short, "sim/x.py", LONG_FUNCTION),
    (functions_are_short, "sim/x.py", "class C:\n    async " + LONG_FUNCTION.replace("\n", "\n    ").rstrip()),
    (files_say_what_they_are, "meshnode/x.py", "x = 1"),
    (files_say_what_they_are, "meshnode/x.py", '"""  """\nx = 1'),
    (files_say_what_they_are, "meshnode/__init__.py", "x = 1"),
    (files_say_what_they_are, "meshnode/x.py", ""),
    (sets_are_not_iterated, "protocols/x.py", "for x in {1, 2}:\n    pass"),
    (sets_are_not_iterated, "protocols/x.py", "for x in set(y):\n    pass"),
    (sets_are_not_iterated, "protocols/x.py", "z = [x for x in frozenset(y)]"),
    (sets_are_not_iterated, "protocols/x.py", "z = {x: 1 for x in {y for y in w}}"),
    (sets_are_not_iterated, "protocols/x.py", "z = list({1, 2})"),
    (sets_are_not_iterated, "protocols/x.py", "z = tuple(set(y) - set(w))"),
    (sets_are_not_iterated, "protocols/x.py", "for x in a.keys() & b.keys():\n    pass"),
    (sets_are_not_iterated, "protocols/x.py", "z = [*set(y)]"),
    (sets_are_not_iterated, "protocols/x.py", "z = ', '.join({a, b})"),
    (sets_are_not_iterated, "protocols/x.py", "z = next(iter(set(y)))"),
    (sets_are_not_iterated, "protocols/x.py", "for x in set(y).union(w):\n    pass"),
]
INNOCENT: list[tuple[Rule, str, str]] = [
    (layers_hold, "meshnode/x.py", "from protocols.core import Core"),
    (layers_hold, "sim/x.py", "import protocols.node"),
    (layers_hold, "tests/x.py", "import sim, meshnode, protocols"),
    (layers_hold, "protocols/x.py", "import simple, meshnodes"),
    (protocols_are_pure, "meshnode/x.py", "import os, time, random"),
    (protocols_are_pure, "protocols/x.py", "from random import Random\nrng = Random(f'{seed}/x')"),
    (protocols_are_pure, "protocols/x.py", "import timeless, ossuary"),
    (files_are_short, "tests/x.py", '"""Long."""\n' + "x = 1\n" * 499),
    (functions_are_short, "sim/x.py", LONG_FUNCTION.removesuffix("    x = 1\n")),
    (files_say_what_they_are, "meshnode/__init__.py", ""),
    (files_say_what_they_are, "meshnode/x.py", '"""What it is."""'),
    (sets_are_not_iterated, "protocols/x.py", "for x in sorted({1, 2}):\n    pass"),
    (sets_are_not_iterated, "protocols/x.py", "z = len(set(y)) + max({1, 2}); w = 1 in {1}"),
    (sets_are_not_iterated, "protocols/x.py", "for x in a.keys():\n    pass"),
    (sets_are_not_iterated, "protocols/x.py", "for x in a - b:\n    pass"),
    (sets_are_not_iterated, "sim/x.py", "for x in {1, 2}:\n    pass"),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, path: str, text: str) -> None:
    assert len(violations(rule, path, text)) >= 1


@pytest.mark.parametrize(("rule", "path", "text"), INNOCENT)
def test_an_innocent_neighbour_is_left_alone(rule: Rule, path: str, text: str) -> None:
    assert violations(rule, path, text) == []
