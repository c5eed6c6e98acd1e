"""Entry of the `meshnode` command: parse, run one command, exit with its status.

Decides what wrong usage looks like: one error, the nearest thing that was probably meant, exit status 2; as a JSON
document where --json was among the arguments. Everything else is decided by the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches

import typer
import typer.main

from meshnode.cli import event_commands, key_commands, node_commands, reload, rtt, tag_commands, task_commands
from meshnode.cli.app import app
from meshnode.cli.present import fail, interrupted
from meshnode.errors import ExitCode, MeshError

# Importing them is what registers the commands.
__all__ = ["event_commands", "key_commands", "main", "node_commands", "reload", "rtt", "tag_commands", "task_commands"]

PROGRAM = "meshnode"
COMMON_OPTIONS = ("--dir", "--json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name. Its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return fail(_usage_error(error), _wants_json(arguments))
    except (KeyboardInterrupt, typer.Abort):
        return fail(interrupted(), _wants_json(arguments))
    return status if isinstance(status, int) else ExitCode.OK


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json is among arguments that could not be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _usage_error(error: typer.TyperException) -> MeshError:
    """The parser's complaint in this project's words. Its subclasses are not public, so fields are looked for."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    help_hint = f"`{path} --help` shows what there is."
    option = getattr(error, "option_name", None)
    if option is not None and getattr(error, "possibilities", option) is not option:
        return _unknown_option(option, context, path, help_hint)
    message, _, suggestion = error.format_message().replace("Value error, ", "").partition(" Did you mean ")
    next_step = f"Did you mean {suggestion.rstrip('?')}? {help_hint}" if suggestion else help_hint
    return _usage(message, next_step)


def _unknown_option(option: str, context: object, path: str, help_hint: str) -> MeshError:
    message = f"There is no option {option} of `{path}`."
    if path == PROGRAM and option in COMMON_OPTIONS:
        return _usage(message, f"Write it behind the command: `{PROGRAM} COMMAND {option} …`.")
    parameters = getattr(getattr(context, "command", None), "params", ())
    known = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    near = get_close_matches(option, [*known, "--help"], n=1, cutoff=0.6)
    return _usage(message, f"Did you mean {near[0]}? {help_hint}" if near else help_hint)


def _usage(message: str, next_step: str) -> MeshError:
    return MeshError("usage", message if message.endswith(".") else f"{message}.", next_step, ExitCode.USAGE)
