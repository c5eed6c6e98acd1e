"""A module that takes its process with it when it is imported."""

from __future__ import annotations

import os

if __name__ == "dies_at_import":
    print("importing, and then gone", flush=True)
    os._exit(5)


def body(payload: object) -> None: ...
