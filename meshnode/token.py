"""Join tokens: what a newcomer needs to find a mesh, to be sure that it is the right one, and to be let in (DESIGN 8).

    mesh1. + base64url( MessagePack [mesh, CA fingerprint, seeds, token id, secret, expires] | 4 bytes of its SHA-256 )

The checksum is for pastes that were cut short; what proves anything is the secret, which the founder compares, and the
CA fingerprint, which the newcomer compares. The founder's `TokenBook` keeps a hash of the secret only, and counts uses
on disk before a certificate is handed out: a crash in between costs a use, never grants one. The same public key may
redeem again within the token's lifetime, so that a newcomer who lost the answer can ask once more.

Times are Unix seconds and come from the caller.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as entropy
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from meshnode.certificates import node_id_of
from meshnode.errors import ExitCode, MeshError
from meshnode.identity import NAME_PATTERN, check_name, write_private_file
from protocols.limits import ADDRESS_CHARS_MAX, MESH_LABEL_CHARS_MAX

TOKEN_PREFIX = "mesh1."
TOKEN_CHARS_MAX = 4096
SEEDS_MAX = 8
SECRET_BYTES = 32
FINGERPRINT_BYTES = 32
TOKEN_ID_BYTES = 8
CHECKSUM_BYTES = 4

TOKENS_MAX = 256
"""Tokens that are valid at one time."""
USES_MAX = 1000
LIFETIME_S_MAX = 366 * 24 * 3600.0
BOOK_BYTES_MAX = 64 * 1024 * 1024

_UNIX_S_MAX = 1e11
Address = Annotated[str, Meta(min_length=1, max_length=ADDRESS_CHARS_MAX)]
Label = Annotated[str, Meta(min_length=1, max_length=MESH_LABEL_CHARS_MAX)]
TokenIdText = Annotated[str, Meta(min_length=2 * TOKEN_ID_BYTES, max_length=2 * TOKEN_ID_BYTES, pattern="^[0-9a-f]+$")]
Secret = Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
Fingerprint = Annotated[bytes, Meta(min_length=FINGERPRINT_BYTES, max_length=FINGERPRINT_BYTES)]
UnixSeconds = Annotated[float, Meta(ge=0, le=_UNIX_S_MAX)]


class JoinToken(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A parsed join token."""

    mesh: Label
    ca_fingerprint: Fingerprint
    """SHA-256 of the CA certificate in DER."""
    seeds: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=SEEDS_MAX)]
    """`host:port` of nodes to knock at."""
    token_id: TokenIdText
    secret: Secret
    expires_unix_s: UnixSeconds

    def __repr__(self) -> str:
        return f"JoinToken(mesh={self.mesh!r}, token_id={self.token_id!r}, seeds={self.seeds!r})"


_decoder = msgspec.msgpack.Decoder(JoinToken)


def format_token(token: JoinToken) -> str:
    """The text that a person pastes."""
    body = msgspec.msgpack.encode(token)
    return TOKEN_PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")


def parse_token(text: str) -> JoinToken:
    """The token in a pasted text (space around it is forgiven). Raises MeshError("bad_token")."""
    text = text.strip()
    if len(text) > TOKEN_CHARS_MAX:
        raise _bad_token("it is too long")
    if not text.startswith(TOKEN_PREFIX):
        raise _bad_token(f"it does not begin with {TOKEN_PREFIX!r}")
    encoded = text[len(TOKEN_PREFIX) :]
    try:
        packed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_token("it is incomplete, or has characters that no token has") from None
    body, checksum = packed[:-CHECKSUM_BYTES], packed[-CHECKSUM_BYTES:]
    # Encoding again also rejects the spare bits of the last character: one token has one text.
    if checksum != _checksum(body) or base64.urlsafe_b64encode(packed).decode().rstrip("=") != encoded:
        raise _bad_token("it is incomplete or was changed on its way")
    try:
        token = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _bad_token("it was made by another version, or by hand") from None
    if not NAME_PATTERN.fullmatch(token.mesh):
        raise _bad_token("the mesh it names cannot exist")
    return token


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"meshnode token" + body).digest()[:CHECKSUM_BYTES]


def _bad_token(why: str) -> MeshError:
    return MeshError(
        "bad_token",
        f"This is not a usable join token: {why}.",
        "Copy the whole line that `meshnode token` printed at the node that made the mesh, or make a new token there.",
        ExitCode.USAGE,
    )


class _BookEntry(Struct, forbid_unknown_fields=True):
    """One token that was issued. `redeemed_by` lists the node ids that it let in."""

    secret_sha256: Annotated[str, Meta(min_length=64, max_length=64)]
    expires_unix_s: float
    uses: Annotated[int, Meta(ge=1, le=USES_MAX)]
    redeemed_by: Annotated[list[str], Meta(max_length=USES_MAX)]


class _Book(Struct, forbid_unknown_fields=True):
    tokens: Annotated[dict[str, _BookEntry], Meta(max_length=TOKENS_MAX)] = {}
    format: Annotated[int, Meta(ge=1, le=1)] = 1


class TokenBook:
    """The founder's record of the tokens it has issued, kept in `path`. Calls block on the disk: use a worker thread.

    One process opens one book; the caller keeps its calls from overlapping.
    """

    def __init__(self, path: Path, mesh: str, ca_fingerprint: bytes) -> None:
        """Reads `path` if it is there. Raises MeshError("tokens_broken")."""
        check_name("mesh", mesh, MESH_LABEL_CHARS_MAX)
        self._path = path
        self._mesh = mesh
        self._ca_fingerprint = ca_fingerprint
        self._book = self._load()

    def issue(self, lifetime_s: float, uses: int, seeds: tuple[str, ...], now_unix_s: float) -> tuple[str, JoinToken]:
        """A new token, as text and parsed; recorded durably on return.

        Raises MeshError: `bad_token_request` for figures out of range, `too_many_tokens`, `tokens_unwritable`.
        """
        seeds_good = 1 <= len(seeds) <= SEEDS_MAX and all(1 <= len(seed) <= ADDRESS_CHARS_MAX for seed in seeds)
        if not 0 < lifetime_s <= LIFETIME_S_MAX or not 1 <= uses <= USES_MAX or not seeds_good:
            raise MeshError(
                "bad_token_request",
                f"A token lives more than 0 and at most {LIFETIME_S_MAX:.0f} s, serves 1 to {USES_MAX} newcomers and "
                f"names 1 to {SEEDS_MAX} seeds; asked for were {lifetime_s:g} s, {uses} and {len(seeds)}.",
                "Ask again within these bounds.",
                ExitCode.USAGE,
            )
        tokens = self._live(now_unix_s)
        if len(tokens) >= TOKENS_MAX:
            raise MeshError(
                "too_many_tokens",
                f"{TOKENS_MAX} join tokens are valid already.",
                "Use one of them, or wait until the first has expired; one token can serve many newcomers (--uses).",
            )
        token = JoinToken(
            self._mesh,
            self._ca_fingerprint,
            seeds,
            entropy.token_hex(TOKEN_ID_BYTES),
            entropy.token_bytes(SECRET_BYTES),
            now_unix_s + lifetime_s,
        )
        tokens[token.token_id] = _BookEntry(_secret_hash(token.secret), token.expires_unix_s, uses, [])
        self._store(_Book(tokens))
        return format_token(token), token

    def redeem(self, token_id: str, secret: bytes, public_key: bytes, now_unix_s: float) -> None:
        """Count one use by the holder of `public_key`; durable on return. Again by the same key: no further use.

        Raises MeshError: `bad_token`, `token_expired`, `token_used_up`, `tokens_unwritable`.
        """
        entry = self._book.tokens.get(token_id)
        # An unknown id is compared as well, so that the time tells nothing.
        known_hash = entry.secret_sha256 if entry is not None else "0" * 64
        good = hmac.compare_digest(known_hash, _secret_hash(secret))
        if entry is None or not good:
            raise MeshError(
                "bad_token",
                "This mesh did not issue that token, or forgot it after it expired.",
                "Make a new token with `meshnode token` at the node that made the mesh.",
            )
        if now_unix_s >= entry.expires_unix_s:
            raise MeshError(
                "token_expired",
                f"The token expired {now_unix_s - entry.expires_unix_s:.0f} s ago.",
                "Make a new token with `meshnode token` at the node that made the mesh.",
            )
        node_id = node_id_of(public_key)
        if node_id in entry.redeemed_by:
            return
        if len(entry.redeemed_by) >= entry.uses:
            raise MeshError(
                "token_used_up",
                f"The token was good for {entry.uses} newcomer{'s' if entry.uses > 1 else ''} and has served them.",
                "Make a new token with `meshnode token` at the node that made the mesh (--uses N for several nodes).",
            )
        tokens = self._live(now_unix_s)
        tokens[token_id] = msgspec.structs.replace(entry, redeemed_by=[*entry.redeemed_by, node_id])
        self._store(_Book(tokens))

    def _live(self, now_unix_s: float) -> dict[str, _BookEntry]:
        """What is worth keeping: expired tokens stay a day, so that they are called expired and not unknown."""
        keep_s = 24 * 3600.0
        live = {name: entry for name, entry in self._book.tokens.items() if now_unix_s < entry.expires_unix_s + keep_s}
        if len(live) >= TOKENS_MAX:
            live = {name: entry for name, entry in live.items() if now_unix_s < entry.expires_unix_s}
        return live

    def _store(self, book: _Book) -> None:
        """Write first, believe after: a failed write leaves book and file as they were."""
        try:
            write_private_file(self._path, msgspec.json.format(msgspec.json.encode(book), indent=1))
        except OSError as error:
            raise MeshError(
                "tokens_unwritable",
                f"The use of a join token could not be recorded in {self._path}: {error.strerror or error}.",
                "Check free space and permissions at the node that made the mesh, then try again.",
            ) from error
        self._book = book

    def _load(self) -> _Book:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(BOOK_BYTES_MAX), type=_Book)
        except FileNotFoundError:
            return _Book()
        except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise MeshError(
                "tokens_broken",
                f"The record of join tokens, {self._path}, cannot be read: {error}.",
                "Remove that file and make new tokens; the old ones then stop working. Members are not touched.",
            ) from None


def _secret_hash(secret: bytes) -> str:
    # The secret is 256 random bits: one plain hash keeps it.
    return hashlib.sha256(secret).hexdigest()
