"""The command about packet keys: what it is called, what it takes, and what its help says; `key_work` does the work."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import present


class KeysAction(StrEnum):
    """What is to be done with the keyring."""

    LIST = "list"
    ADD = "add"
    USE = "use"
    REMOVE = "remove"


KEYS_HELP = """Show the keys that the mesh seals its packets with, or rotate them.

Every member holds the same keys. Packets are sealed with one of them, the primary, and opened with any. A rotation
takes three steps, at any one node, while the mesh runs, and loses no packet:

\b
Example:
  meshnode keys add              a new key, at all members; prints its id
  meshnode keys use 3fa9c1d2     seal with it; refused until every live member holds it
  meshnode keys remove 81c07b5e  take the old one away; refused while somebody may seal with it
  meshnode keys list             which member holds which key

A key is named by its id or the beginning of it; the keys themselves are never shown. Members that are away catch up as
they come back, and join tokens stay good. With --force, `use` and `remove` pass by members that give no answer: packets
to and from those are lost until they have caught up.

Next: rotate now and then, and at once when a key may have got out. It shuts nobody out who has a member's data
directory: such a machine is told the new keys like every other.
"""


@app.command("keys", help=KEYS_HELP, short_help="Show and rotate the keys that packets are sealed with.")
def keys(
    action: Annotated[
        KeysAction, typer.Argument(metavar="list|add|use|remove", help="What to do.", show_default="list")
    ] = KeysAction.LIST,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="For use and remove: id of the key, or its beginning.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="use, remove: although some live member gives no answer.")
    ] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import key_work

    return present(as_json, lambda: key_work.keys(data_directory(directory), action.value, key or "", force=force))
