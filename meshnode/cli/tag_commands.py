"""`meshnode tags`: what this node says it is and can do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import Report, present


class TagAction(StrEnum):
    """What is to be done with tags."""

    SET = "set"
    UNSET = "unset"


TAGS_HELP = """Show the tags of this node, or change them while it runs.

A tag says what a node is or can do: a word (gpu) or a key with a value (cuda=12). Every member sees the tags of all,
and `meshnode members --tag` finds nodes by them. A key is 1 to 32 of a-z, 0-9, - _ and dot, and does not begin with a
dot; a value is text of up to 128 bytes; a node has up to 24 tags, of 256 bytes in all (keys, values, and 5 bytes each).

Tags are set in three ways: `tags` in meshnode.toml, `meshnode up --tag` (instead of those in the file), and here. What
is set here is kept on disk over restarts and wins over the other two, key by key, until it is unset; then what the
configuration says of that key shows again. All changes of one call are made together, or none of them.

\b
Examples:
  meshnode tags
  meshnode tags set gpu cuda=12 "room=north wing"
  meshnode tags unset cuda

Next: `meshnode members --tag gpu` shows who has it.
"""


@app.command("tags", help=TAGS_HELP, short_help="Show or change what this node says it is and can do.")
def tags(
    action: Annotated[TagAction | None, typer.Argument(metavar="[set|unset]", show_default=False)] = None,
    tag: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TAG]...", help="KEY or KEY=VALUE to set; KEY to unset.", show_default=False),
    ] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import tag_work

    def work() -> Report:
        return tag_work.tags(data_directory(directory), None if action is None else action.value, tuple(tag or ()))

    return present(as_json, work)
