"""Bodies that behave in every way a body may: what the tests of the python executor run in worker processes."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Context(Protocol):
    task_id: str
    attempt: int


def echo(payload: object) -> object:
    return payload


def with_context(payload: object, ctx: Context) -> list[object]:
    return [payload, ctx.task_id, ctx.attempt]


def with_default(payload: object, verbose: str = "default") -> str:
    return verbose


def decorated(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def wrapper(*args: object) -> object:
        return function(*args)

    return wrapper


@decorated
def wrapped(payload: object, ctx: Context) -> str:
    return ctx.task_id


class Model:
    @staticmethod
    def predict(payload: object) -> str:
        return f"predicted {payload}"


async def asynchronous(payload: object) -> object:
    return payload


def three(payload: object, ctx: Context, more: object) -> None: ...


NOT_CALLABLE = 3


def pid(payload: object) -> int:
    return os.getpid()


def environment(payload: object) -> dict[str, str]:
    return dict(os.environ)


def fail(payload: str) -> None:
    print("printed before it failed")
    raise ValueError(payload)


def leave(payload: object) -> None:
    sys.exit("enough")


def exit_at_once(payload: int) -> None:
    print("last words", flush=True)
    os._exit(payload)


def die_by_signal(payload: int) -> None:
    os.kill(os.getpid(), payload)


def segfault(payload: object) -> None:
    ctypes.string_at(0)


def print_much(payload: int) -> str:
    for _ in range(payload // 1000):
        print("x" * 999)
    print("the end")
    return "done"


def return_much(payload: int) -> str:
    return "x" * payload


def return_expression(payload: str) -> object:
    expressions: dict[str, Any] = {
        "set": {1, 2},
        "nan": float("nan"),
        "surrogate": "\ud800",
        "circle": [],
        "bytes": b"x",
    }
    expressions["circle"].append(expressions["circle"])
    return expressions[payload]


def hang(payload: str) -> None:
    """Writes its pid to the file `payload`, then never ends."""
    write_pids(payload, os.getpid())
    time.sleep(1000)


def hang_ignoring_sigterm(payload: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(payload)


def hang_with_grandchild(payload: str) -> None:
    grandchild = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; sleep 1000 & wait"])
    write_pids(payload, os.getpid(), grandchild.pid)
    time.sleep(1000)


def wait_for(payload: dict[str, str]) -> int:
    """Creates a file in `started`, then waits until `gate` exists."""
    os.close(tempfile.mkstemp(dir=payload["started"])[0])
    while not Path(payload["gate"]).exists():
        time.sleep(0.005)
    return os.getpid()


def write_to_every_descriptor(payload: object) -> None:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"\xff" * 8)
        except OSError:
            continue
    time.sleep(1000)


def fork_and_return(payload: object) -> int:
    os.fork()
    return os.getpid()


def read_stdin(payload: object) -> str:
    return sys.stdin.read()


def close_stdout(payload: object) -> str:
    sys.stdout.close()
    return "closed"


def write_pids(path: str, *pids: int) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(" ".join(map(str, pids)))
    temporary.rename(path)
