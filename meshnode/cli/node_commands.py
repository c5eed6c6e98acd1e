"""Commands about the node and its mesh: what they are called, what they take, and what their help says.

The work is done in modules that are imported when a command runs, never when its help is shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import present


class LogLevel(StrEnum):
    """How much the daemon tells on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


NodeName = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of this node, unique in its mesh.", show_default="host name"),
]

INIT_HELP = """Make a new mesh with this node as its first, without starting it.

Writes keys, certificates and a commented meshnode.toml into the data directory. Not needed for a node that joins
(`meshnode up --join TOKEN`), and not for a first look: `meshnode up` on an empty directory makes a mesh, too.

\b
Example:
  meshnode init --mesh home --name desk

Next: name handlers and MCP servers in DIR/meshnode.toml, then start the node with `meshnode up`.
"""


@app.command("init", help=INIT_HELP, short_help="Make a new mesh, with this node as its first.")
def init(
    mesh: Annotated[
        str | None, typer.Option("--mesh", metavar="LABEL", help="Label of the mesh.", show_default="mesh")
    ] = None,
    name: NodeName = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import node_work

    return present(as_json, lambda: node_work.init(data_directory(directory), mesh, name))


MetricsPort: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="PORT|off",
        help="Serve /metrics, /livez and /readyz on this loopback port (0: any).",
        show_default="off; with --mcp, they are there",
    ),
]
Zeroconf: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--zeroconf/--no-zeroconf",
        help="Announce this node on the LAN, and look for nodes of its mesh there.",
        show_default="no",
    ),
]
OwnTags: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="KEY[=VALUE]",
        help="What this node is or can do, instead of `tags` in meshnode.toml; may be given several times.",
    ),
]

UP_HELP = """Run the node, until Ctrl-C, SIGTERM or `meshnode leave`.

Once it serves it prints one line: ready name=… id=… listen=… mcp=… (and metrics=… with --metrics; with --json, the same
as a document). Logs go to stderr. On a data directory without a node it makes a new mesh, or with --join enters the
mesh that made the token. Started again on its directory it is the same node, and goes on with the tasks that it had.
SIGHUP, that of a terminal which closes included, makes it read its meshnode.toml again, as `meshnode reload` does.

\b
Examples:
  meshnode up                                          first node, this machine only
  meshnode up --listen 0.0.0.0:7400 --advertise one.example:7400
  meshnode up --join "$(cat token.txt)"                on another machine
  meshnode up --mcp 7401                               serve MCP on http://127.0.0.1:7401/mcp too
  meshnode up --metrics 7402                           serve http://127.0.0.1:7402/metrics to Prometheus
  meshnode up --listen 0.0.0.0:7400 --zeroconf         find the others again when addresses on the LAN change
  meshnode up --tag gpu --tag cuda=12                  say what this node can do

For monitors there are /livez (200: the process answers), /readyz (200: joined, serving, disk well; else 503 and why)
and /metrics (Prometheus), on loopback, for any user of this machine and without a token: figures, and no secrets.

--zeroconf tells the LAN this node's id, address, wire version and a digest that only its own mesh recognises: nothing
secret. What the LAN says is a hint and never trusted: an address is tried, and only a proven member of the mesh gets an
answer. Who is new to the mesh needs a token all the same; with --zeroconf the addresses in it may be wrong by now.

Next: `meshnode members` shows who is there; `meshnode token` makes a token for the next node.
"""


@app.command("up", help=UP_HELP, short_help="Run the node; make a mesh or join one.")
def up(
    join: Annotated[
        str | None,
        typer.Option("--join", metavar="TOKEN", help="Enter the mesh that made this token (@FILE, or - for stdin)."),
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option("--seed", metavar="HOST:PORT", help="A node to meet at the start; may be given several times."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="TCP and UDP address for other nodes.",
            show_default="as at the last start, or 127.0.0.1:0",
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            metavar="HOST:PORT",
            help="Address that other nodes are told.",
            show_default="as at the last start, or as listened",
        ),
    ] = None,
    mcp: Annotated[
        str | None,
        typer.Option(
            "--mcp", metavar="PORT|off", help="Serve MCP over HTTP on this loopback port (0: any).", show_default="off"
        ),
    ] = None,
    metrics: MetricsPort = None,
    zeroconf: Zeroconf = None,
    name: NodeName = None,
    tag: OwnTags = None,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="Least important kind of log line.")] = (
        LogLevel.INFO
    ),
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import node_work

    def work() -> int:
        return node_work.up(
            directory=data_directory(directory),
            join=join,
            seeds=tuple(seed or ()),
            listen=listen,
            advertise=advertise,
            mcp=mcp,
            metrics=metrics,
            zeroconf=zeroconf,
            name=name,
            tags=tuple(tag or ()),
            as_json=as_json,
            log_level=log_level.value,
        )

    return present(as_json, work)


TOKEN_HELP = """Make a token with which another machine can join this mesh.

It holds the mesh's label, the fingerprint of its certificate authority, addresses to knock at, and a secret: whoever
has it can join while it is valid, so hand it over like a password. Only the node that made the mesh makes tokens.

\b
Examples:
  meshnode token                          one node, within an hour
  meshnode token --lifetime 7d --uses 20
  meshnode token > token.txt              stdout has nothing but the token

Next: on the other machine, `meshnode up --join TOKEN`.
"""


@app.command("token", help=TOKEN_HELP, short_help="Make a token with which another machine can join.")
def token(
    lifetime: Annotated[
        str, typer.Option("--lifetime", metavar="TIME", help="How long it is valid: 90s, 10m, 1h, 7d.")
    ] = "1h",
    uses: Annotated[int, typer.Option("--uses", metavar="N", min=1, max=1000, help="How many nodes may use it.")] = 1,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import node_work

    return present(as_json, lambda: node_work.token(data_directory(directory), lifetime, uses))


MEMBERS_HELP = """Show the nodes of the mesh as this node sees them.

A member is alive, suspect (silent; it is being asked whether it lives), dead, or has left. HANDLERS are what it can do
for `meshnode submit`; names that begin with mcp: are MCP servers for `meshnode call`. TAGS are what their operators say
of them (`meshnode tags`); with --tag, only members are shown that have it, and with several, all of them.

With --watch it goes on until Ctrl-C: on a terminal the table is drawn anew every second, with whoever needs attention
at the top; elsewhere everybody is shown once and then each change, as a line (with --json, as a JSON document on a line
of its own).

\b
Examples:
  meshnode members
  meshnode members --watch
  meshnode members --watch >> changes.log
  meshnode members --tag gpu --tag cuda=12
  meshnode members --json | jq -r '.members[] | select(.state == "alive") | .name'
  meshnode members --json | jq -c '.members[] | {name, vitals, rtt}'

With --json every member that is there also has its vitals (places taken, runs waiting, cpu and memory as parts of one,
and how old that is) and the round-trip time to it, as far as they are known: both come with probes, one a second.

Next: `meshnode submit HANDLER --payload JSON` gives work to one of them.
"""


@app.command("members", help=MEMBERS_HELP, short_help="Show the nodes of the mesh.")
def members(
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="KEY[=VALUE]",
            help="Only members with this tag, with any value or with this one; may be given several times.",
        ),
    ] = None,
    all_tags: Annotated[
        bool, typer.Option("--all-tags", help="Show tags of meshnode itself too; their keys begin with a dot.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing them, and what changes, until Ctrl-C.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import node_work

    return present(
        as_json,
        lambda: node_work.members(
            data_directory(directory), tuple(tag or ()), all_tags=all_tags, watch=watch, as_json=as_json
        ),
    )


WHY_HELP = """Show why a member is believed to be alive, suspect or dead: who accuses it, since when, on what evidence.

Asks this node what its own probes have shown, and asks up to 16 members, the accusers first, whether the member answers
them: each pings it anew. Takes at most 3 s. NAME is a member's name or id, or how its id begins (6 characters or more).
SILENT FOR counts from the first ping that stayed unanswered. Nothing is changed by asking.

SIGNED tells whether an answer carries the signature of the node that gave it, so that others can check it: `no` is a
node of an older version, `wrong` one whose answer was dropped.

\b
Examples:
  meshnode why box
  meshnode why box --json | jq -r .reading

Next: where some reach it and others do not, look at the network between them; `meshnode status` tells how this node is.
"""


@app.command("why", help=WHY_HELP, short_help="Show why a member is believed alive, suspect or dead.")
def why(
    member: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the member.")],
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import node_work

    return present(as_json, lambda: node_work.why(data_directory(directory), member))


STATUS_HELP = """Show how this node stands: its mesh, members, tasks, load, memory, and whether its disk is well.

Task counts are of the tasks that this node took in; runs are bodies that it executes, for any node.

HEALTH is how far this node doubts itself: while its own probes fail it probes and accuses others more slowly. PROBES
are the pings by which it finds out who is alive; round trips are of the last 128 that were answered directly. VIEWS are
how often what is published of who is there has changed; CHANGES SEEN are all changes of single members: many in a
minute mean an unsteady network. DROPPED is what the network brought that was no packet or message of this mesh, by
reason; REFUSED is what members said that no honest one says. All counts are since the daemon started.

\b
Example:
  meshnode status

Next: `meshnode tasks` for the tasks themselves; `meshnode rtt NAME` for the way to one member; `meshnode doctor` if
something is wrong.
"""


@app.command("status", help=STATUS_HELP, short_help="Show how this node stands.")
def status(directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli import node_work

    return present(as_json, lambda: node_work.status(data_directory(directory)))


LEAVE_HELP = """Take this node out of the mesh in an orderly way, and stop its daemon.

The others hear at once that it leaves and do not wait for it. Tasks that it took in stay on its disk, and go on when it
is started again.

\b
Example:
  meshnode leave

Next: `meshnode up` brings it back.
"""


@app.command("leave", help=LEAVE_HELP, short_help="Leave the mesh and stop the daemon.")
def leave(directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli import node_work

    return present(as_json, lambda: node_work.leave(data_directory(directory)))


DOCTOR_HELP = """Look for what is wrong with this node, running or not, and say what to do about it.

Checks Python and its packages, the data directory, configuration, identity and certificate, the daemon, the clock, the
node's own port, its seeds, the programs and modules of its handlers, and its database.
Changes nothing.

\b
Example:
  meshnode doctor

Exit status 1 if something fails; warnings alone are 0.

Next: what stands behind the first line that fails.
"""


@app.command("doctor", help=DOCTOR_HELP, short_help="Look for what is wrong, and say what to do about it.")
def doctor(directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli.doctor import doctor as examine

    return present(as_json, lambda: examine(data_directory(directory)))


MCP_HELP = """Serve this node's MCP tools over stdin and stdout, for an agent that starts MCP servers itself.

A bridge to the running daemon: the agent's client starts it and talks to it; a person has nothing to type here. The
daemon need not run yet, a tool then says how to start it.

\b
Example, in the configuration of an MCP client:
  {"mcpServers": {"mesh": {"command": "meshnode", "args": ["mcp"]}}}

Next: ask the agent to call mesh_get_status. Over HTTP instead: `meshnode up --mcp PORT`.
"""


@app.command("mcp", help=MCP_HELP, short_help="Serve MCP over stdin and stdout, for an agent.")
def mcp(directory: Directory = None, as_json: AsJson = False) -> int:
    def work() -> int:
        from meshnode.mcp.bridge import run_bridge

        return run_bridge(data_directory(directory))

    return present(as_json, work)
