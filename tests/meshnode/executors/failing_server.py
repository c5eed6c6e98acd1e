"""What is no MCP server: `python failing_server.py exit FILE` or `… silent FILE`; each start adds a line to FILE."""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    mode, file = sys.argv[1:]
    with open(file, "a") as starts:
        starts.write(f"{os.getpid()}\n")
    if mode == "exit":
        sys.exit("cannot find my data")
    time.sleep(1000)


if __name__ == "__main__":
    main()
