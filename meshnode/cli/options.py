"""What `meshnode up` was told, as the daemon gets it. Importing this imports nothing else of the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UpOptions:
    """Flags of `meshnode up`. `None`, no seeds and no tags mean that a flag was not given: configuration decides."""

    directory: Path
    """Absolute; need not exist yet."""
    join: str | None
    """Text of a join token."""
    seeds: tuple[str, ...]
    listen: str | None
    advertise: str | None
    mcp: str | None
    """A port in digits, or "off"."""
    metrics: str | None
    """The same."""
    zeroconf: bool | None
    name: str | None
    tags: tuple[str, ...]
    """`KEY` or `KEY=VALUE`; none: the flag was not given."""
    json: bool
    """Standard output carries JSON documents only."""
    log_level: str
    """`debug`, `info`, `warning` or `error`."""
