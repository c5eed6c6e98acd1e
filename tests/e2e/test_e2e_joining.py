"""Join tokens that do not let a node in, and names that are taken: real daemons at both ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import msgspec
import pytest
import trio

from meshnode.identity import has_identity
from meshnode.token import format_token, parse_token
from scripts.localmesh import LocalNode
from tests.e2e.e2e_support import (
    GATES,
    LISTEN,
    all_see,
    at,
    eventually,
    finished,
    meshnode,
    nodes_in,
    short_directory,
    start_mesh,
    states_seen,
    submit,
    token_of,
    up,
)

pytestmark = pytest.mark.xdist_group("e2e-joining")
numbers = itertools.count()


@pytest.fixture(scope="module")
def founder() -> Iterator[LocalNode]:
    with short_directory() as root, nodes_in(root, "desk") as [node]:
        trio.run(node.start, *LISTEN)
        yield node


@pytest.fixture
def newcomer() -> Iterator[LocalNode]:
    """A directory that nobody has used yet, and a name that nobody has. It leaves the mesh in peace."""
    with short_directory() as root, nodes_in(root, f"shelf-{next(numbers)}") as [node]:
        yield node
        trio.run(node.stop)


def forged(token: str, **changes: object) -> str:
    return format_token(msgspec.structs.replace(parse_token(token), **changes))


async def let_in(newcomer: LocalNode, founder: LocalNode, token: str | None = None) -> None:
    """A refusal has spoilt nothing: the same directory gets in with a good token, and works."""
    await newcomer.start(*LISTEN, "--join", token or await token_of(founder))
    assert (await states_seen(founder))["desk"] == "alive"
    task = await finished(founder, await submit(newcomer, "echo", "hello"))
    assert task.output == '"hello"'


async def test_a_token_with_a_wrong_secret_is_refused_by_the_founder(founder: LocalNode, newcomer: LocalNode) -> None:
    token = await token_of(founder)
    run = await up(newcomer.directory, "--join", forged(token, secret=bytes(32)))
    run.assert_told(1, "did not issue that token", "meshnode token")
    assert not has_identity(newcomer.directory)
    await let_in(newcomer, founder, token)


async def test_a_token_of_a_mesh_with_another_key_gets_no_secret_out_of_the_newcomer(
    founder: LocalNode, newcomer: LocalNode
) -> None:
    """The address in the token leads to somebody else's mesh: a reused address, or a man in the middle."""
    run = await up(newcomer.directory, "--join", forged(await token_of(founder), ca_fingerprint=bytes(32)))
    run.assert_told(1, "could not prove to be of this mesh", "Make a new token")
    assert not has_identity(newcomer.directory)


@pytest.mark.parametrize("cut", [1, 30], ids=["by one character", "in half"])
async def test_a_truncated_token_is_recognised_before_anything_is_tried(
    founder: LocalNode, newcomer: LocalNode, cut: int
) -> None:
    token = await token_of(founder)
    run = await up(newcomer.directory, "--join", token[:-cut])
    run.assert_told(2, "not a usable join token", "Copy the whole line")
    assert not has_identity(newcomer.directory)


async def test_an_expired_token_is_called_expired(founder: LocalNode, newcomer: LocalNode) -> None:
    token = await token_of(founder, lifetime_s=0.01)

    async def over() -> bool:
        return time.time() > parse_token(token).expires_unix_s

    await eventually(over)
    run = await up(newcomer.directory, "--join", token)
    run.assert_told(1, "expired", "meshnode token")
    await let_in(newcomer, founder)


async def test_a_token_that_is_used_up_says_for_how_many_it_was(founder: LocalNode, newcomer: LocalNode) -> None:
    token = await token_of(founder, uses=1)
    await let_in(newcomer, founder, token)
    with short_directory() as elsewhere:
        run = await up(elsewhere, "--join", token, "--name", "late")
        run.assert_told(1, "good for 1 newcomer", "--uses N")

    # To the node that it let in it stays what it was: one command line serves the first start and every restart.
    newcomer.kill()
    await let_in(newcomer, founder, token)


async def test_a_token_of_another_mesh_does_not_move_a_node_that_has_one(
    founder: LocalNode, newcomer: LocalNode
) -> None:
    await let_in(newcomer, founder)
    task_id = await submit(newcomer, "echo", 1)
    await newcomer.stop()
    with short_directory() as root, nodes_in(root, "stranger") as [stranger]:
        await stranger.start(*LISTEN)
        run = await up(newcomer.directory, "--join", await token_of(stranger))
    run.assert_told(2, "the token is for another mesh", "--dir")
    await newcomer.start(*LISTEN)
    assert (await finished(newcomer, task_id)).output == "1"
    assert "stranger" not in await states_seen(newcomer)


async def test_a_taken_name_is_refused_at_the_join_and_costs_no_token(founder: LocalNode, newcomer: LocalNode) -> None:
    first, second = await token_of(founder), await token_of(founder)
    await let_in(newcomer, founder, first)
    with short_directory() as root, nodes_in(root, f"another-{next(numbers)}") as [other]:
        for taken in ("desk", newcomer.name):
            run = await up(other.directory, "--join", second, "--name", taken)
            run.assert_told(1, f"Another node of this mesh is called '{taken}'", "--name", "has not been used")
        await let_in(other, founder, second)
        await other.stop()


async def test_a_node_that_takes_another_ones_name_later_gives_way() -> None:
    with short_directory() as root, nodes_in(root, "desk", "shelf") as nodes:
        desk, shelf = nodes
        await start_mesh(nodes)
        task_id = await submit(shelf, "echo", "kept")
        await finished(shelf, task_id)
        await shelf.stop()
        run = await up(shelf.directory, "--name", "desk")
        run.assert_told(2, "Another live node of this mesh is called 'desk'", desk.ready["id"], "--name")
        assert (await at(desk, "status")).status == 0

        await shelf.start(*LISTEN)
        await all_see(nodes, 2)
        assert (await states_seen(desk)) == {"desk": "alive", "shelf": "alive"}
        assert (await finished(shelf, task_id)).output == '"kept"'


async def test_a_mesh_that_is_restarted_as_a_whole_meets_again_although_every_seed_is_wrong() -> None:
    """What is left are the peers files: the tokens' addresses are forgotten, and nobody is at those that are named."""
    with short_directory() as root, nodes_in(root, "desk", "shelf", "rack") as nodes:
        await start_mesh(nodes)
        for node in nodes:
            node.kill()
        for node in nodes:
            (node.directory / "seeds").unlink(missing_ok=True)
            node.configure('seeds = ["127.0.0.1:1", "no-such-name.invalid:7400"]\n' + GATES)
        for node in nodes:
            await node.start(*LISTEN)
        await all_see(nodes, 3)


async def test_only_the_founder_makes_tokens_and_the_others_say_so(founder: LocalNode, newcomer: LocalNode) -> None:
    await let_in(newcomer, founder)
    run = await meshnode("token", "--dir", newcomer.directory)
    run.assert_told(1, "can not make tokens", "on the node that made the mesh")
