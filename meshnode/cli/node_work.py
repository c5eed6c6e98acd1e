"""What the commands about the node and its mesh do. Each gives a `Report`, or raises a `MeshError`."""

from __future__ import annotations

import time
from pathlib import Path

from meshnode.cli.options import UpOptions
from meshnode.cli.present import Report, note, printable
from meshnode.errors import ExitCode, MeshError


def init(directory: Path, mesh: str | None, name: str | None) -> Report:
    """Make keys, certificates and a configuration file; a directory that has a node is left alone."""
    from meshnode.admission import DEFAULT_MESH
    from meshnode.config import load_config, write_default_config
    from meshnode.datadir import DataDir
    from meshnode.identity import found_mesh, has_identity, load_identity, save_identity

    place = DataDir(directory)
    place.create()
    with place.acquire():
        if has_identity(directory):
            identity, mesh_secrets = load_identity(directory)
            raise MeshError(
                "identity_exists",
                f"{directory} already has a node: {identity.name!r} of mesh {mesh_secrets.mesh!r}; it was left alone.",
                f"Start it with `meshnode up --dir {directory}`, or name another data directory with --dir.",
                ExitCode.USAGE,
            )
        name = name or load_config(directory).name
        mesh = mesh or DEFAULT_MESH
        identity, mesh_secrets = found_mesh(mesh, name)
        wrote_config = write_default_config(directory, name=name)
        save_identity(directory, identity, mesh_secrets)
    document = {
        "directory": str(directory),
        "mesh": mesh,
        "name": name,
        "node_id": identity.node_id,
        "config": str(place.config),
        "config_written": wrote_config,
    }

    def text() -> str:
        config = str(place.config) if wrote_config else f"{place.config} (it was there, and was left as it is)"
        return "\n".join(
            (
                f"made mesh {mesh}, with node {name} ({identity.node_id})",
                f"configuration: {printable(config)}",
                f"next: name handlers there, then start the node: meshnode up --dir {printable(str(directory))}",
            )
        )

    return Report(document, text)


def up(
    *,
    directory: Path,
    join: str | None,
    seeds: tuple[str, ...],
    listen: str | None,
    advertise: str | None,
    mcp: str | None,
    metrics: str | None,
    zeroconf: bool | None,
    name: str | None,
    tags: tuple[str, ...],
    as_json: bool,
    log_level: str,
) -> int:
    """Run the daemon until it stops; its exit status."""
    if join is not None:
        from meshnode.cli.values import read_token

        join = read_token(join)
    options = UpOptions(
        directory, join, seeds, listen, advertise, mcp, metrics, zeroconf, name, tags, as_json, log_level
    )
    from meshnode.cli.serve import become_daemon

    return become_daemon(options)


def token(directory: Path, lifetime: str, uses: int) -> Report:
    from meshnode.calls import CreateToken, TokenCreated
    from meshnode.cli.session import ask
    from meshnode.cli.values import LIFETIME_SECONDS_MAX, parse_seconds

    lifetime_s = parse_seconds("--lifetime", lifetime, seconds_min=1.0, seconds_max=LIFETIME_SECONDS_MAX)
    made = ask(directory, CreateToken(lifetime_s, uses), TokenCreated)

    def text() -> str:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.expires_unix_s))
        times = "once" if made.uses == 1 else f"{made.uses} times"
        note(f"valid {times}, until {until}; on the other machine: meshnode up --join TOKEN")
        return made.token

    return Report({"token": made.token, "expires_unix_s": made.expires_unix_s, "uses": made.uses}, text)


def members(directory: Path, wanted: tuple[str, ...], *, all_tags: bool, watch: bool, as_json: bool) -> Report | int:
    from meshnode.cli.tag_work import Choice

    choice = Choice(wanted, all_tags=all_tags)
    if watch:
        from meshnode.cli.watch import watch_members

        return watch_members(directory, choice, as_json=as_json)
    from meshnode.cli import tables
    from meshnode.cli.documents import members_document
    from meshnode.cli.session import ask
    from protocols.membership.views import ListMembers, MemberList

    listed = choice.of(ask(directory, ListMembers(), MemberList))
    return Report(members_document(listed), lambda: tables.members_table(listed))


def why(directory: Path, member: str) -> Report:
    from meshnode.cli.documents import why_document
    from meshnode.cli.session import converse, expect
    from meshnode.cli.why_text import reading, why_text
    from meshnode.control.client import ControlClient
    from protocols.detector.why import Explanation, Why
    from protocols.limits import NAME_CHARS_MAX
    from protocols.membership.views import GetStatus, NodeStatus

    if not 0 < len(member) <= NAME_CHARS_MAX:
        raise MeshError(
            "bad_value",
            f"That is no name of a member: one has 1 to {NAME_CHARS_MAX} characters, and this {len(member)}.",
            "`meshnode members` shows their names.",
            ExitCode.USAGE,
        )

    async def talk(client: ControlClient) -> tuple[NodeStatus, Explanation]:
        return expect(await client.call(GetStatus()), NodeStatus), expect(await client.call(Why(member)), Explanation)

    asked, explanation = converse(directory, talk)
    document = why_document(explanation, reading(explanation, asked.node_id))
    return Report(document, lambda: why_text(explanation, asked.node_id))


def status(directory: Path) -> Report:
    from meshnode.calls import Inspect, Inspection
    from meshnode.cli.documents import status_document
    from meshnode.cli.session import converse, expect
    from meshnode.cli.status_text import status_text
    from meshnode.control.client import ControlClient
    from protocols.membership.views import GetStatus, NodeStatus

    async def talk(client: ControlClient) -> tuple[NodeStatus, Inspection]:
        return expect(await client.call(GetStatus()), NodeStatus), expect(await client.call(Inspect()), Inspection)

    node, daemon = converse(directory, talk)
    return Report(status_document(node, daemon), lambda: status_text(node, daemon))


def leave(directory: Path) -> Report:
    from meshnode.cli.session import ask
    from protocols.membership.views import Leave, Left

    left = ask(directory, Leave(), Left)

    def text() -> str:
        if not left.open_tasks:
            return "left the mesh; the daemon stops"
        return (
            f"left the mesh; the daemon stops. Unfinished tasks that `meshnode up` will go on with: {left.open_tasks}"
        )

    return Report({"left": True, "open_tasks": left.open_tasks}, text)
