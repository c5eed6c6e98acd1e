"""The daemon in an interpreter of its own, so that what parsing a command line imports is not resident while it runs.

Typer checks arguments with pydantic: 11 MB of the 60 that an idle node may take. So `meshnode up`, once it has
understood its arguments, replaces its program by this module. The process, its id, its descriptors and its environment
stay; what it was told goes through a pipe, because a join token is a secret and argv is public on its machine.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from meshnode.cli.options import UpOptions

PIPE_BYTES_MAX = 16 * 1024
"""What every system's pipe takes without a reader."""


def become_daemon(options: UpOptions) -> int:
    """Run the daemon in the place of this program. Returns an exit status only where that was not possible."""
    data = json.dumps({**asdict(options), "directory": str(options.directory)}).encode()
    if sys.executable and len(data) <= PIPE_BYTES_MAX:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        os.set_inheritable(reading, True)
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, *_flags(), "-m", __name__, str(reading), str(options.directory)])
        os.close(reading)
    return _run(options)


def _flags() -> list[str]:
    """As `python -m` puts the working directory on the path, and the installed command does not."""
    try:
        return [] if sys.path[:1] == [os.getcwd()] else ["-P"]
    except FileNotFoundError:
        return ["-P"]  # it is gone: nothing can be imported from there


def _run(options: UpOptions) -> int:
    from meshnode.daemon import run_daemon

    return run_daemon(options)


def main() -> int:
    """Descriptor of the options in argv[1]; the directory in argv[2] is for whoever looks at the list of processes."""
    from meshnode.cli.present import present

    with open(int(sys.argv[1]), "rb") as pipe:
        told = json.load(pipe)
    lists = {name: tuple(told[name]) for name in ("seeds", "tags")}
    options = UpOptions(**{**told, **lists, "directory": Path(told["directory"])})
    return present(options.json, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
