"""`meshnode reload`: let the running daemon read its meshnode.toml again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import Report, present
from meshnode.errors import ExitCode, MeshError

if TYPE_CHECKING:
    from meshnode.calls import Reloaded

RELOAD_HELP = """Let the running node read its meshnode.toml again, without a restart. SIGHUP to it does the same.

Applied while it runs: [handlers.NAME] and [mcp_servers.NAME] (added, changed, removed), zone, weight, tags, workdir.
The other members know of it within seconds, and hand out work accordingly. Bodies that run are not disturbed: those of
a handler that is changed or removed go on to their end as they were started, and what waits for a removed one is given
to other nodes. What is unchanged keeps its processes.

All other keys count at the next start of the node, and this command names those that differ: name, listen, advertise,
seeds, mcp, metrics, zeroconf, [membership].

The file is judged as at the start, with the same flags of `meshnode up` and the same environment winning over it. If
anything is wrong with it, this command says what, and nothing changes; after SIGHUP, the log of the daemon says so.

\b
Examples:
  meshnode reload
  meshnode reload --json | jq .needs_restart

Next: `meshnode members` shows what each node offers now.
"""


@app.command("reload", help=RELOAD_HELP, short_help="Let the running node read its configuration again.")
def reload(directory: Directory = None, as_json: AsJson = False) -> int:
    return present(as_json, lambda: reloaded(data_directory(directory)))


def reloaded(directory: Path) -> Report:
    """Ask the daemon. Raises `MeshError`."""
    from meshnode.calls import Reload, Reloaded
    from meshnode.cli.documents import fields_of
    from meshnode.cli.session import ask

    try:
        answer = ask(directory, Reload(), Reloaded)
    except MeshError as error:
        if error.code not in ("bad_config", "slow_config"):
            raise
        message = f"{error.message} Nothing has changed: the node goes on as it was."
        status = ExitCode.USAGE if error.code == "bad_config" else error.exit_code
        raise MeshError(error.code, message, error.next_step, status) from None
    return Report(fields_of(answer), lambda: reloaded_text(answer))


def reloaded_text(answer: Reloaded) -> str:
    """For people: a line for each key that counts now, and what does not yet."""
    lines = [f"{key}: {what}" for key, what in answer.applied.items()] or ["nothing that applies while it runs changed"]
    if answer.tags_left_out:
        keys = ", ".join(answer.tags_left_out)
        lines.append(f"tags left out, for they do not fit beside those of `meshnode tags set`: {keys}")
    if answer.needs_restart:
        keys = ", ".join(answer.needs_restart)
        lines.append(f"needs a restart (`meshnode leave`, then `meshnode up`): {keys}")
    return "\n".join(lines)
