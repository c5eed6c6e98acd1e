"""The smallest body: it hands its payload back. What is measured with it is the mesh, and nothing else.

    [handlers.noop]
    executor = "python"
    target = "examples.noop:run"

`scripts/bench tasks` runs thousands of these.
"""

from __future__ import annotations


def run(payload: object) -> object:
    """`payload`, whatever it is."""
    return payload
