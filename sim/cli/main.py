"""Entry of the `meshsim` command: parse, run one command, exit with its status.

Decides what wrong usage looks like, and a stdout that cannot be written: one error with a next step, exit status 2. A
command is a function in a file of its own, registered below in one line. Such a file imports nothing at its top but
typer, the standard library, `sim.errors`, `sim.seeds` and `sim.cli`: what runs anything is imported in the function,
so that `--help` and a misspelt option answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer
import typer.main

from sim.cli import diff, explain, replay, run, shrink, study, view
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
app.command("study")(study.study_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name. Its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _have_streams()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except ScenarioError as error:
        return _unusable(str(error))
    except typer.TyperException as error:
        text = _usage(error)
        return _unusable(text) if text else Exit.UNUSABLE
    except (KeyboardInterrupt, typer.Abort):
        print(f"{PROGRAM}: interrupted.", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _read_by_nobody()
        return Exit.NOBODY_READS
    except OSError as error:  # mostly a full disk behind stdout; not to be taken for a violation, which a traceback is
        _read_by_nobody()
        return _unusable(f"the system refused: {error}. What was done is not told in full.")
    return status


def _have_streams() -> None:
    """Where the caller has closed one of them (`>&-`), Python has none: what is said then goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for as long as we live


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


def _read_by_nobody() -> None:
    """Nothing can be written to stdout any more: what is still buffered must not fail when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unusable(text: str) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return Exit.UNUSABLE


def _usage(error: typer.TyperException) -> str:
    """The parser's complaint, with the nearest option; empty where it has shown the help instead.

    Its subclasses are not public, so fields are looked for.
    """
    option = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    message = error.format_message().removesuffix(".")
    if not message:
        return ""
    if option is None or getattr(error, "possibilities", option) is option:
        return f"{_wrong_value(error) or message}. `{path} --help` shows what there is."
    parameters = getattr(getattr(context, "command", None), "params", ())
    known = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
    near = get_close_matches(option, [*known, "--help"], n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else f"`{path} --help` shows what there is."
    return f"There is no option {option} of `{path}`. {hint}"


def _wrong_value(error: typer.TyperException) -> str:
    """What is wrong with the value of an option, where it was to be a number; else empty."""
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()  # the parser leaves it to pydantic
    options = getattr(getattr(error, "param", None), "opts", ())
    if not found or not options:
        return ""
    name, given = options[-1], found[0].get("input")
    match str(found[0].get("type")).partition("_"):
        case ("int", _, _):
            return f"{name} {given}: it must be a whole number, as in {name} 3"
        case ("float", _, _):
            return f"{name} {given}: it must be a number, as in {name} 0.5"
        case ("greater", _, _):
            return f"{name} {given}: it must be {found[0].get('ctx', {}).get('ge', 0):g} or more"
    return ""
