"""Why a node stops for another: one that has its identity, or its name."""

from __future__ import annotations

from meshnode.admission import Entry
from meshnode.datadir import DataDir
from meshnode.errors import ExitCode, MeshError
from meshnode.transport.twins import Twin
from protocols.membership.facts import NameConflict


def identity_in_use(entry: Entry, directory: DataDir, twin: Twin) -> MeshError:
    """Another process with this node's identity was there first."""
    return MeshError(
        "identity_in_use",
        f"This node ({entry.name!r}, id {entry.identity.node_id}) is running already: a process at {twin.address} has "
        f"the same identity and was there first. {directory.root} is probably a copy of its data directory. Two nodes "
        "must never share one, so this one has stopped; the other goes on.",
        "Start this node with a new data directory and a token: meshnode up --dir NEW --join TOKEN. If it is to take "
        "the other one's place, stop that first with `meshnode leave` on its machine, then start this one again.",
    )


def name_taken(name: str, conflict: NameConflict) -> MeshError:
    """Another live node of the mesh has the name of this newcomer."""
    return MeshError(
        "name_taken",
        f"Another live node of this mesh is called {name!r} (id {conflict.other}, at {conflict.address}).",
        "Start this node with another --name.",
        ExitCode.USAGE,
    )
