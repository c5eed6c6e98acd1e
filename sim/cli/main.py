"""Entry of the `meshsim` command: parse, run one command, exit with its status.

Decides what wrong usage looks like: one error with a next step, exit status 2. A command is a function in a file of its
own, registered below in one line. Such a file imports nothing at its top but typer, the standard library, `sim.errors`
and `sim.cli`: what runs anything is imported in the function, so that `--help` and a misspelt option answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import typer
import typer.main

from sim.cli import diff, explain, replay, run, shrink, view
from sim.cli.status import Exit
from sim.errors import ScenarioError

PROGRAM = "meshsim"

app = typer.Typer(
    name=PROGRAM,
    help="Runs a mesh in virtual time, breaks its network and its nodes, and checks what must hold all the same.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command("run")(run.run_command)
app.command("explain")(explain.explain_command)
app.command("replay")(replay.replay_command)
app.command("shrink")(shrink.shrink_command)
app.command("diff")(diff.diff_command)
app.command("view")(view.view_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name. Its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except ScenarioError as error:
        return _unusable(str(error))
    except typer.TyperException as error:
        return _unusable(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        print(f"{PROGRAM}: interrupted; nothing was reported.", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    return status


def _run(arguments: list[str]) -> int:
    """Parse, and run the command. typer makes an exit of its own of a broken pipe; that is undone here."""
    out = sys.stdout
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except SystemExit as error:
        sys.stdout = out
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        raise
    return status if isinstance(status, int) else Exit.HELD


def _nobody_reads() -> int:
    """Who read the output has gone, as `head` does: what is still buffered must not fail when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.NOBODY_READS


def _unusable(text: str) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return Exit.UNUSABLE


def _usage(error: typer.TyperException) -> str:
    """The parser's complaint, with the nearest option. Its subclasses are not public, so fields are looked for."""
    option = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    if option is None or getattr(error, "possibilities", option) is option:
        message = error.format_message()
        return f"{message} `{path} --help` shows what there is."
    parameters = getattr(getattr(context, "command", None), "params", ())
    known = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    near = get_close_matches(option, [*known, "--help"], n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else f"`{path} --help` shows what there is."
    return f"There is no option {option} of `{path}`. {hint}"
