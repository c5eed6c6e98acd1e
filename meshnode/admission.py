"""How a node gets into its mesh, and how it lets others in.

At the first start a data directory founds a mesh of its own or joins one by token; every later start finds its identity
there. A token given again to a node that already belongs to the token's mesh only adds the seeds that it names, so
that one command line serves the first start and every restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from meshnode.calls import CreateToken, TokenCreated
from meshnode.config import Config, default_name
from meshnode.datadir import DataDir, read_note, write_note
from meshnode.errors import ExitCode, MeshError
from meshnode.identity import (
    Identity,
    MeshSecrets,
    found_mesh,
    has_identity,
    load_identity,
    pending_key,
    save_identity,
)
from meshnode.joining import JoinDesk, JoinGrant, JoinReply, JoinRequest, join_mesh
from meshnode.token import TokenBook, parse_token
from protocols.core import NodeId
from protocols.membership.hints import Hint

DEFAULT_MESH = "mesh"
SEEDS_NOTE = "seeds"
"""DIR/seeds: addresses learnt with the join, one a line."""
SUGGESTED_MAX = 32
"""Addresses from the LAN that a newcomer knocks at."""


@dataclass(frozen=True)
class Entry:
    """What a start begins with: who the node is, what its mesh shares, under which name, and whom it may ask."""

    identity: Identity
    secrets: MeshSecrets
    name: str
    seeds: tuple[str, ...]


async def enter_mesh(directory: DataDir, config: Config, *, join: str | None, name: str | None) -> Entry:
    """The identity of this data directory, made or fetched at the first start. Raises `MeshError`."""
    root = directory.root
    if has_identity(root):
        identity, secrets = load_identity(root)
        seeds = _noted_seeds(directory)
        if join is not None:
            token = parse_token(join)
            if token.mesh != secrets.mesh or token.ca_fingerprint != identity.ca_fingerprint:
                raise MeshError(
                    "already_member",
                    f"{root} belongs to a node of mesh {secrets.mesh!r}, and the token is for another mesh.",
                    "Give the new node a data directory of its own with --dir.",
                    ExitCode.USAGE,
                )
            seeds = tuple(dict.fromkeys((*seeds, *token.seeds)))
    elif join is not None:
        identity, secrets, grant = await _join(root, config, join)
        seeds = grant.seeds
        write_note(root / SEEDS_NOTE, "\n".join(seeds))
        save_identity(root, identity, secrets)
    else:
        identity, secrets = found_mesh(DEFAULT_MESH, config.name)
        save_identity(root, identity, secrets)
        seeds = ()
    # A name that was chosen at the first start stays, unless a later start or the configuration names another.
    named = name is not None or config.name != default_name(root)
    return Entry(identity, secrets, config.name if named else identity.name, seeds)


async def _join(root: Path, config: Config, join: str) -> tuple[Identity, MeshSecrets, JoinGrant]:
    """Knock at the addresses of the token and, where zeroconf is asked for, wherever the LAN says that its mesh is."""
    key = pending_key(root)
    if not config.zeroconf:
        return await join_mesh(join, config.name, private_key=key)
    from meshnode.discovery.lan import Discovery, announced_as

    token = parse_token(join)
    listener = announced_as("", token.mesh, token.ca_fingerprint, bound=config.listen, address=config.listen)
    suggested: list[str] = []

    async def suggest(hints: tuple[Hint, ...]) -> int:
        new = [hint.address for hint in hints if hint.address not in suggested][: SUGGESTED_MAX - len(suggested)]
        suggested.extend(new)
        return len(new)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Discovery(listener, suggest, announce=False).run)
        joined = await join_mesh(join, config.name, private_key=key, suggested=suggested)
        nursery.cancel_scope.cancel()
    return joined


def _noted_seeds(directory: DataDir) -> tuple[str, ...]:
    return tuple((read_note(directory.root / SEEDS_NOTE) or "").split())


class Admission:
    """The founder's counter for newcomers: issues tokens, signs certificates."""

    def __init__(self, desk: JoinDesk) -> None:
        self._desk = desk

    def rekey(self, keyring: tuple[bytes, ...]) -> None:
        """Give newcomers these packet keys from now on, the primary first."""
        self._desk.rekey(keyring)

    async def on_join(self, request: JoinRequest) -> JoinReply:
        return await self._desk.handle(request)

    async def create_token(self, command: CreateToken) -> TokenCreated:
        """A new join token. Raises `MeshError` where the bounds are exceeded or the disk fails."""
        text, token = await self._desk.issue(command.lifetime_s, command.uses)
        return TokenCreated(text, token.expires_unix_s, command.uses)


def admission_of(
    directory: DataDir,
    identity: Identity,
    secrets: MeshSecrets,
    *,
    name_in_use: Callable[[str], NodeId | None],
    seeds: Callable[[], tuple[str, ...]],
) -> Admission | None:
    """The counter, where this node holds the mesh's CA key; else None."""
    if secrets.ca_private_key_pem is None:
        return None
    book = TokenBook(directory.identity / "tokens.json", secrets.mesh, identity.ca_fingerprint)
    return Admission(JoinDesk(identity, secrets, book, name_in_use=name_in_use, seeds=seeds))
