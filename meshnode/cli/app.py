"""The command line as a whole: its name, its first help page, and what every command has in common.

Everything here is imported before the first help line can be shown, so nothing here imports what only some command
needs: `meshnode --help` is to take less than 0.3 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from typer.core import TyperGroup

from meshnode.errors import ExitCode, MeshError

HELP = """Join the machines of your AI agents into one mesh, without a server.

Start one daemon on each machine (`meshnode up`). Agents and people then hand out and take tasks, and call the tools of
MCP servers on other machines, through the daemon on their own.

\b
A first mesh, on two machines:
  one$ meshnode up --listen 0.0.0.0:7400 --advertise one.example:7400
  one$ meshnode token
  two$ meshnode up --join TOKEN
  two$ meshnode members

The nodes watch each other. Each pings another every second; one that answers neither it nor its helpers is suspect,
has some seconds in which to answer for itself, and is dead for the mesh after that, until it is heard of again: then
it is taken back, without anybody's doing. `meshnode members --watch` shows that as it happens, `meshnode why NAME`
what it stands on, and `meshnode status` how well this node itself is connected.

\b
What a node can do stands in DIR/meshnode.toml (meshnode init writes one with examples). After a change of it:
meshnode reload.
An agent reaches it over MCP: the command is  meshnode mcp.
If something is wrong:                        meshnode doctor.
"""

EPILOG = """\b
Exit status:
  0    done; with --wait: the task succeeded
  1    refused, or the task did not succeed
  2    unusable arguments, configuration or token: nothing was tried
  3    no daemon runs on this data directory
  4    no answer in time: it may or may not have taken effect, asking again is safe
  130  interrupted (Ctrl-C); `meshnode up` then leaves the mesh in order, and exits with 0

With --json, stdout carries one JSON document and nothing else; a failure is in it as
{"error": {"code", "message", "next_step"}}. Errors are told on stderr as well, with what to do next.
"""

COMMANDS = (
    *("init", "up", "reload", "leave", "status", "doctor"),
    *("members", "why", "rtt", "tags", "token", "keys"),
    *("submit", "task", "tasks", "cancel", "tools", "call"),
    *("event", "events", "query", "answer"),
    "mcp",
)
"""In the order in which one comes to need them: a node, its mesh, work, news, agents."""


class _InOrder(TyperGroup):
    """The group of all commands, which names them in the order of `COMMANDS`."""

    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=COMMANDS.index)


app = typer.Typer(
    name="meshnode",
    cls=_InOrder,
    help=HELP,
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Directory: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        envvar="MESHNODE_DIR",
        help="Data directory of the node.",
        show_default="the user's own, such as ~/.local/share/meshnode",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]


def data_directory(given: Path | None) -> Path:
    """The data directory that --dir or MESHNODE_DIR names, or the user's own; absolute. It need not exist."""
    if given is None:
        from meshnode.datadir import default_directory

        return default_directory().absolute()
    try:
        return given.expanduser().absolute()
    except RuntimeError as error:
        raise MeshError(
            "bad_value", f"--dir: {given} names nobody's home: {error}.", "Write the path in full.", ExitCode.USAGE
        ) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"meshnode {version('meshnode')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
