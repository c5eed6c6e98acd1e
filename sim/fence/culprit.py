"""Who touched what is fenced: from the stack to one line of text.

The culprit is the innermost frame that is neither of the standard library nor of an installed package; what lies
between it and the thing touched is named too. Installed packages count as libraries, `sim` and `protocols` do not,
wherever they are installed.

Some frames on the stack of a run are not of the run: finalizers and callbacks of the collector, which come whenever
memory is short; signal handlers; a debugger; the body of a library module that is imported for the first time. What
these touch is not the run's doing and is let pass. So is what `logging` stamps a line with, which the run never sees.
"""

from __future__ import annotations

import gc
import signal
import sys
import sysconfig
import weakref
from os.path import dirname
from types import CodeType, FrameType

import protocols

_HOUSE = (dirname(dirname(__file__)) + "/", dirname(protocols.__file__ or "") + "/")
_LIBRARIES = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_INSTALLED = ("/site-packages/", "/dist-packages/")
_OWN = dirname(__file__) + "/"
_known: dict[str, bool] = {}


class FenceError(BaseException):
    """A run touched the outside. Not an `Exception`: what is simulated must not catch it and go on.

    `touched` is what, `culprit` the line that did it, `through` the library function that it went through (or empty),
    `instead` what to do.
    """

    def __init__(self, touched: str, culprit: str, through: str, instead: str) -> None:
        super().__init__(touched, culprit, through, instead)
        self.touched = touched
        self.culprit = culprit
        self.through = through
        self.instead = instead

    def __str__(self) -> str:
        through = f", through {self.through}" if self.through else ""
        return f"{self.culprit} touched {self.touched}{through}. {self.instead}"


def is_library(filename: str) -> bool:
    """Whether code of this file name is of the standard library or of an installed package."""
    library = _known.get(filename)
    if library is None:
        library = not filename.startswith(_HOUSE) and (
            filename.startswith(("<frozen ", *_LIBRARIES)) or any(part in filename for part in _INSTALLED)
        )
        _known[filename] = library
    return library


def is_own(frame: FrameType) -> bool:
    """Whether a frame is of the fence itself."""
    return frame.f_code.co_filename.startswith(_OWN)


def accuse(touched: str, instead: str, frame: FrameType | None) -> FenceError | None:
    """The error for what `frame` touched; None when it is not the run's doing."""
    while frame is not None and is_own(frame):
        frame = frame.f_back
    if frame is None or _is_of_the_host(frame):
        return None
    through: FrameType | None = None
    culprit: FrameType | None = frame
    while culprit is not None and is_library(culprit.f_code.co_filename):
        if culprit.f_code.co_name == "__del__" or _imports(culprit) or _logs(culprit):
            return None
        through, culprit = culprit, culprit.f_back
    if culprit is None:
        culprit, through = frame, None
    return FenceError(touched, _place(culprit), "" if through is None else _function(through), instead)


def _is_of_the_host(frame: FrameType) -> bool:
    """Whether somebody has interrupted the run: a signal, the collector, a finalizer, a debugger."""
    interrupters = _interrupters()
    above: FrameType | None = frame
    while above is not None:
        if above.f_code in interrupters:
            return True
        above = above.f_back
    return False


def _interrupters() -> set[CodeType]:
    handlers: list[object] = [*gc.callbacks, weakref.finalize.__call__]
    handlers += [signal.getsignal(number) for number in signal.valid_signals()]
    debugger = sys.modules.get("bdb")
    if debugger is not None:
        handlers.append(debugger.Bdb.trace_dispatch)
    codes = (getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers)
    return {code for code in codes if isinstance(code, CodeType)}


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _logs(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "logging"


def _place(frame: FrameType) -> str:
    """`package/module.py:12 in Class.function`: no directory of this machine is in it."""
    name = str(frame.f_globals.get("__name__", ""))
    file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    parents = name.split(".") if file == "__init__.py" else name.split(".")[:-1]
    return f"{'/'.join([*parents, file])}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _function(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}"
