"""Tracebacks that begin where the test does, and places in the test's own files, as one line of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os.path import basename
from types import CodeType, FrameType, TracebackType
from typing import TypeVar

from sim.fence.culprit import is_library

AnyError = TypeVar("AnyError", bound=BaseException)
PACKAGE = "sim.testing"


def is_ours(frame: FrameType) -> bool:
    """Whether a frame belongs to this package and not to a test."""
    name = str(frame.f_globals.get("__name__", ""))
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def without_ours(error: AnyError) -> AnyError:
    """`error` with a traceback that begins at the first frame that is not of the simulator; unchanged without one."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and _package(trace.tb_frame) == "sim":
        trace = trace.tb_next
    return error if trace is None else error.with_traceback(trace)


def up_to_the_test(error: AnyError) -> AnyError:
    """`error` with a traceback that ends at the test's own line, before what it called; unchanged without one."""
    traces = list(_traces(error))
    while traces and _is_beyond(traces[-1].tb_frame):
        traces.pop()
    trace: TracebackType | None = None
    for each in reversed(traces):
        trace = TracebackType(trace, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return error if trace is None else error.with_traceback(trace)


def _is_beyond(frame: FrameType) -> bool:
    return _package(frame) == "sim" or is_library(frame.f_code.co_filename)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def raised_at(error: AnyError, filename: str, first: int, line: int, name: str) -> AnyError:
    """`error` with a traceback of one frame: `line` of the test, in the function `name` that begins at line `first`.
    For what no line of it has raised itself."""
    body = f"def {name}(error):" + "\n" * (line - first) + " raise error"
    namespace: dict[str, Callable[[BaseException], None]] = {}
    exec(compile("\n" * (first - 1) + body, filename, "exec"), namespace)  # noqa: S102  # a name, and three words of ours
    try:
        namespace[name](error)
    except BaseException as raised:
        trace = raised.__traceback__
        return error.with_traceback(None if trace is None else trace.tb_next)
    raise AssertionError("the code above raises")


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """The frames of the traceback, outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, in order; of any other error, itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def place_of(error: BaseException) -> str:
    """` at test_x.py:12 in body`: the innermost line of a traceback that is not of this package; empty without one."""
    place = ""
    for trace in _traces(error):
        if not is_ours(trace.tb_frame):
            code = trace.tb_frame.f_code
            place = f" at {basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"
    return place


def name_of(function: Callable[..., object]) -> str:
    """What to call a function: its name, or, for a lambda, where it stands."""
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    if name == "<lambda>" and isinstance(code, CodeType):
        return f"the lambda at {basename(code.co_filename)}:{code.co_firstlineno}"
    return str(name)


def _traces(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next
