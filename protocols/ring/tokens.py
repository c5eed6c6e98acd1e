"""Tokens: where keys and members stand on the ring (Karger et al. 1997; virtual nodes: Dynamo 2007, section 4.2).

A token is a point of a circle of 2^64 points. It depends on the text and the domain alone: never on the process, the
platform, PYTHONHASHSEED or who else is there, so that all nodes compute the same ring from the same members.

- Domains keep members and keys apart: no key can be crafted to stand exactly on a member by sharing its text.
- Virtual node `i` of a member has the same token whatever the weight: weight w+1 only adds tokens to those of weight w.
- Changing a hash, a domain or the block layout moves every key in every mesh. It is a change of the wire version.
"""

from __future__ import annotations

import struct
from enum import Enum
from functools import lru_cache
from hashlib import blake2b

from protocols.core import NodeId
from protocols.limits import WEIGHT_MAX

TOKEN_BITS = 64
CIRCLE = 1 << TOKEN_BITS
"""Number of points of the ring."""

VNODES = 128
"""Virtual nodes per unit of weight (DESIGN 6). The share of one member deviates by 1/sqrt(128), about 9 %."""
MEMBERS_REMEMBERED = 2048
"""Members whose tokens are kept; at weight 1 about 6 KB each."""
KEYS_REMEMBERED = 1024

_TOKENS_PER_BLOCK = 8
_BLOCK_BYTES = _TOKENS_PER_BLOCK * TOKEN_BITS // 8


class Domain(Enum):
    """What a hashed text is, as BLAKE2 personalisation: the tokens of one text in two domains are unrelated."""

    MEMBER = b"meshnode/member"
    KEY = b"meshnode/key"


def token_of(domain: Domain, text: str) -> int:
    """The 64-bit token of `text` in `domain`. Defined for every str, lone surrogates included."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, person=domain.value).digest(), "big")


@lru_cache(maxsize=KEYS_REMEMBERED)
def key_token(key: str) -> int:
    """Where `key` stands on the ring."""
    return token_of(Domain.KEY, key)


@lru_cache(maxsize=MEMBERS_REMEMBERED)
def vnode_tokens(node_id: NodeId, weight: int, vnodes: int = VNODES) -> tuple[int, ...]:
    """The `weight * vnodes` tokens of a member, in the order of its virtual nodes. Weight 0 has none.

    One BLAKE2b digest of 64 bytes yields eight tokens. For 1,000 members that took 10 ms, one digest a token 75 ms.

    Raises:
        ValueError: weight outside 0..WEIGHT_MAX, or fewer than one virtual node per unit of weight.
    """
    if not 0 <= weight <= WEIGHT_MAX:
        raise ValueError(f"weight {weight} of member {node_id!r} is outside 0..{WEIGHT_MAX}")
    if vnodes < 1:
        raise ValueError(f"a member needs at least one virtual node per unit of weight, not {vnodes}")
    count = weight * vnodes
    blocks = -(-count // _TOKENS_PER_BLOCK)
    keyed = blake2b(
        node_id.encode("utf-8", "surrogatepass"), digest_size=_BLOCK_BYTES, person=Domain.MEMBER.value
    )  # hashed once, copied per block
    digests: list[bytes] = []
    for block in range(blocks):
        state = keyed.copy()
        state.update(block.to_bytes(4, "big"))
        digests.append(state.digest())
    return struct.unpack(f">{blocks * _TOKENS_PER_BLOCK}Q", b"".join(digests))[:count]
