"""`meshnode rtt`: how far two members are from each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import Report, present

RTT_HELP = """Tell the round-trip time between two members, or from this node to one, without measuring it.

Members are named by their names, ids, or the first characters of their ids. Between this node and another the answer
is the median of its last probes. Between two others it is an estimate out of network coordinates: each node learns
from its probes where it is in a space in which distance is round-trip time, and says so when it is probed. After ± is
what the answer may well be off by, which shrinks in the first minutes of a mesh.

\b
Examples:
  meshnode rtt two                 from this node to two
  meshnode rtt two three           between two others
  meshnode rtt two three --json | jq .rtt.ms

Next: `meshnode members --json` has the time to every member under `rtt`; `meshnode status` has the nearest and
farthest.
"""


@app.command("rtt", help=RTT_HELP, short_help="Tell the round-trip time between two members.")
def rtt(
    a: Annotated[str, typer.Argument(metavar="A", help="A member, by name or id.", show_default=False)],
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="Another one.", show_default="this node")] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    return present(as_json, lambda: estimate(data_directory(directory), a, b))


def estimate(directory: Path, a: str, b: str | None) -> Report:
    """Ask the daemon. Raises `MeshError`."""
    from meshnode.cli.distances import rtt_text
    from meshnode.cli.documents import fields_of
    from meshnode.cli.session import ask
    from protocols.membership.rtt import EstimateRtt, RttEstimate

    answer = ask(directory, EstimateRtt(a, b or ""), RttEstimate)
    return Report(fields_of(answer), lambda: rtt_text(answer))
