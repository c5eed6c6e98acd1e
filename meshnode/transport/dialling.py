"""Dialling a host that has several addresses: which of them leads to the peer that is wanted?

As in RFC 8305 (section 5) the addresses are tried in turn, each with a head start over the next one. But what counts is
not who accepts a connection first: it is at which address the right peer says hello. An old address may by now be
somebody else's, and a name may stand for several nodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from meshnode.transport.streams import Rejected, TlsStream, close

HEAD_START_S = 0.3


async def first_greeted(
    addresses: tuple[str, ...], dial: Callable[[str], Awaitable[TlsStream]], passing: frozenset[str]
) -> tuple[str, TlsStream]:
    """The first of `addresses` at which `dial` succeeds, with its stream; the others are given up.

    Raises Rejected where all of them fail, with a reason among `passing` if any had one.
    """
    if len(addresses) == 1:
        return addresses[0], await dial(addresses[0])
    greeted: list[tuple[str, TlsStream]] = []
    reasons: list[str] = []

    async def attempt(address: str, failed: trio.Event) -> None:
        try:
            stream = await dial(address)
        except Rejected as rejection:
            reasons.append(rejection.reason)
            failed.set()
            return
        greeted.append((address, stream))
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(HEAD_START_S):
                    await failed.wait()
    except BaseException:
        for _, stream in greeted:
            await close(stream, polite=False)
        raise
    for _, stream in greeted[1:]:
        await close(stream, polite=True)  # both in one moment
    if not greeted:
        raise Rejected(next((reason for reason in reasons if reason in passing), reasons[-1]))
    return greeted[0]
