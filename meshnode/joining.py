"""Joining a mesh by token: the newcomer's side, the founder's desk, and what the two say to each other (DESIGN 8).

    newcomer                                   a seed
       | -- TLS 1.3, ALPN meshnode-join/1 -->     |   no client certificate
       | <-- JoinWelcome: CA certificate, nonce --|   or why it cannot help
       |  checks: the CA is the token's, the TLS certificate is signed by it; only then says the secret
       | -- JoinAsk: token, key, proof, name ---> |
       | <-- JoinReply, or JoinRefusal ---------- |

- The secret goes to nobody who has not proven to be of the mesh that the token names and said to be its founder.
- A certificate is handed out only after the use of the token is durable, and only to the holder of the key (a signature
  over the nonce proves it). The same key may ask again: an answer that was lost costs nothing.
- A name belongs to one living node: it is refused while another node uses it, or was promised it a moment ago.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct

from meshnode.certificates import BadCertificate, certified_key, check_certificate, node_id_of, parse_certificate
from meshnode.errors import MeshError
from meshnode.identity import (
    KEY_BYTES,
    KEYS_MAX,
    Identity,
    MeshSecrets,
    check_name,
    public_bytes,
    sign_node_certificate,
)
from meshnode.token import SEEDS_MAX, Address, JoinToken, Label, Secret, TokenBook, TokenIdText, parse_token
from meshnode.transport.addresses import BadAddress, split_address
from meshnode.transport.frames import BadFrame, FrameBuffer, pack_frame
from meshnode.transport.streams import ALPN_JOIN, STREAM_ERRORS, Rejected, TlsStream, close, read_frame, tune
from protocols.core import NodeId
from protocols.limits import ADDRESS_CHARS_MAX, NAME_CHARS_MAX

JOIN_FRAME_BYTES_MAX = 16 * 1024
CHALLENGE_BYTES = 32
SIGNATURE_BYTES = 64
SEED_S = 5.0
"""What one try at one seed may take."""
JOIN_S = 20.0
"""What a join may take in all."""
ROUND_PAUSE_S = 0.5
NAME_PROMISED_S = 60.0
"""How long a name is kept for a newcomer that has not shown up in the mesh yet."""
NAMES_PROMISED_MAX = 1024

CertificateBytes = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=600)]
RawKey = Annotated[bytes, Meta(min_length=32, max_length=32)]


class JoinRefusal(Struct, frozen=True, array_like=True, tag="refusal"):
    """Why the desk does not let the newcomer in: bad_token, token_expired, token_used_up, name_taken, bad_name,
    not_founder, busy, or another code of a MeshError. `founder_address` may be known to one that is not the founder."""

    code: Annotated[str, Meta(max_length=64)]
    message: Text
    next_step: Text = ""
    retry_after_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    founder_address: Annotated[str, Meta(max_length=ADDRESS_CHARS_MAX)] = ""


class JoinWelcome(Struct, frozen=True, array_like=True, tag="welcome"):
    """The desk's first words. The CA certificate is DER; `refusal` says at once that there is no point in asking."""

    ca_certificate: CertificateBytes
    challenge: Annotated[bytes, Meta(min_length=CHALLENGE_BYTES, max_length=CHALLENGE_BYTES)]
    refusal: JoinRefusal | None = None


class JoinRequest(Struct, frozen=True, array_like=True, tag="ask"):
    """What a newcomer asks. `proof` is its key's signature over `proof_text`, checked before the desk sees it."""

    token_id: TokenIdText
    secret: Secret
    public_key: RawKey
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    proof: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

    def __repr__(self) -> str:
        return f"JoinRequest(token_id={self.token_id!r}, name={self.name!r})"


class JoinReply(Struct, frozen=True, array_like=True, tag="reply"):
    """What makes a newcomer a member. Certificates are PEM."""

    certificate_pem: CertificateBytes
    ca_certificate_pem: CertificateBytes
    keyring: Annotated[
        tuple[Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)], ...],
        Meta(min_length=1, max_length=KEYS_MAX),
    ]
    mesh: Label
    seeds: Annotated[tuple[Address, ...], Meta(max_length=SEEDS_MAX)]

    def __repr__(self) -> str:
        return f"JoinReply(mesh={self.mesh!r}, seeds={self.seeds!r})"


@dataclass(frozen=True)
class JoinGrant:
    """Where a newcomer finds the mesh: the address that let it in first."""

    seeds: tuple[str, ...]


class BadJoinMessage(Exception):
    """Foreign bytes that are not what joining has to say at this point."""


JoinMessage = TypeVar("JoinMessage", bound=Struct)
_welcome_decoder = msgspec.msgpack.Decoder(JoinWelcome)
_request_decoder = msgspec.msgpack.Decoder(JoinRequest)
_answer_decoder: msgspec.msgpack.Decoder[JoinReply | JoinRefusal] = msgspec.msgpack.Decoder(JoinReply | JoinRefusal)


def decode_request(data: bytes) -> JoinRequest:
    """Raises BadJoinMessage and nothing else."""
    return _decode(_request_decoder, data)


def _decode(decoder: msgspec.msgpack.Decoder[JoinMessage], data: bytes) -> JoinMessage:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise BadJoinMessage(str(error)) from None


def proof_text(challenge: bytes, ca_fingerprint: bytes, token_id: str, public_key: bytes, name: str) -> bytes:
    """What a newcomer signs: bound to this connection by the nonce, to this mesh, and to what is asked."""
    parts = (challenge, ca_fingerprint, token_id.encode(), public_key, name.encode())
    return b"meshnode join v1" + b"".join(len(part).to_bytes(2) + part for part in parts)


def proof_is_good(request: JoinRequest, challenge: bytes, ca_fingerprint: bytes) -> bool:
    """Whether the newcomer holds the key that it wants certified."""
    text = proof_text(challenge, ca_fingerprint, request.token_id, request.public_key, request.name)
    try:
        Ed25519PublicKey.from_public_bytes(request.public_key).verify(request.proof, text)
    except (InvalidSignature, ValueError):
        return False
    return True


# The founder's side.


class JoinDesk:
    """Decides about newcomers, one at a time, and issues tokens. Holds the CA's key; runs where the mesh was founded.

    `name_in_use(name)` is the living member of that name, if any; `seeds()` are addresses for newcomers, best first.
    """

    def __init__(
        self,
        identity: Identity,
        secrets: MeshSecrets,
        book: TokenBook,
        *,
        name_in_use: Callable[[str], NodeId | None],
        seeds: Callable[[], tuple[str, ...]],
        now_unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._secrets = secrets
        self._book = book
        self._name_in_use = name_in_use
        self._seeds = seeds
        self._now_unix_s = now_unix_s
        self._one_at_a_time = trio.Lock()
        self._promised: dict[str, tuple[NodeId, float]] = {}
        self._keyring = secrets.keyring[:KEYS_MAX]

    def rekey(self, keyring: tuple[bytes, ...]) -> None:
        """Give newcomers these packet keys from now on, the primary first."""
        self._keyring = keyring[:KEYS_MAX]

    async def issue(self, lifetime_s: float, uses: int) -> tuple[str, JoinToken]:
        """A new token that names `seeds()`, durable. Raises MeshError as `TokenBook.issue` does."""
        async with self._one_at_a_time:
            seeds = self._seeds()[:SEEDS_MAX]
            return await trio.to_thread.run_sync(self._book.issue, lifetime_s, uses, seeds, self._now_unix_s())

    async def handle(self, request: JoinRequest) -> JoinReply:
        """Let the newcomer in, its proof having been checked. Raises MeshError with the code of the refusal."""
        async with self._one_at_a_time:
            check_name("node", request.name)
            node_id = node_id_of(request.public_key)
            self._check_name_is_free(request.name, node_id)
            await trio.to_thread.run_sync(
                self._book.redeem, request.token_id, request.secret, request.public_key, self._now_unix_s()
            )
            self._promise(request.name, node_id)
            certificate = sign_node_certificate(
                self._secrets, self._identity.ca_certificate_pem, request.public_key, request.name
            )
            return JoinReply(
                certificate,
                self._identity.ca_certificate_pem,
                self._keyring,
                self._secrets.mesh,
                self._seeds()[:SEEDS_MAX],
            )

    def _check_name_is_free(self, name: str, node_id: NodeId) -> None:
        promised_to, until_s = self._promised.get(name, ("", 0.0))
        holder = self._name_in_use(name)
        if name == self._identity.name:
            holder = self._identity.node_id
        elif holder is None and trio.current_time() < until_s:
            holder = promised_to
        if holder not in (None, node_id):
            raise MeshError(
                "name_taken",
                f"Another node of this mesh is called {name!r}.",
                "Choose another name with --name. The token has not been used.",
            )

    def _promise(self, name: str, node_id: NodeId) -> None:
        self._promised.pop(name, None)
        self._promised[name] = (node_id, trio.current_time() + NAME_PROMISED_S)
        if len(self._promised) > NAMES_PROMISED_MAX:
            del self._promised[next(iter(self._promised))]


# The newcomer's side.


class _TryAgain(Exception):
    """This seed did not let the newcomer in, and another one, or the same one later, might."""

    def __init__(self, code: str, why: str, founder_address: str = "", *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.founder_address = founder_address
        self.hopeless = hopeless


async def join_mesh(
    token: str, name: str, *, private_key: Ed25519PrivateKey | None = None, suggested: list[str] | None = None
) -> tuple[Identity, MeshSecrets, JoinGrant]:
    """Join the mesh of `token` as `name`, in at most JOIN_S. Nothing is written to disk.

    `private_key` (identity.pending_key) makes a join that was cut short repeatable with the same token. `suggested` are
    further addresses to knock at; somebody may add to them meanwhile. They need not be trusted: the secret goes to
    nobody who has not proven to be of the mesh. Raises MeshError with the code of the refusal, `wrong_mesh`,
    `not_founder`, `busy` or `seeds_unreachable`.
    """
    parsed = parse_token(token)
    check_name("node", name)
    key = private_key or Ed25519PrivateKey.generate()
    seeds = list(dict.fromkeys(parsed.seeds))
    failures: dict[str, _TryAgain] = {}
    with trio.move_on_after(JOIN_S):
        while True:
            for address in seeds:
                if address in failures and failures[address].hopeless:
                    continue
                try:
                    reply = await _knock(address, parsed, name, key)
                    identity, secrets = _accept(reply, parsed, key, address)
                except _TryAgain as failure:
                    failures[address] = failure
                    founder = failure.founder_address
                    if founder and founder not in seeds and len(seeds) < 2 * SEEDS_MAX:
                        seeds.append(founder)
                else:
                    return identity, secrets, JoinGrant(tuple(dict.fromkeys((address, *reply.seeds))))
            if suggested is None and all(failure.hopeless for failure in failures.values()):
                break
            await trio.sleep(ROUND_PAUSE_S)
            seeds += [address for address in suggested or () if address not in seeds]
    raise _no_seed_helped(failures, parsed)


def _no_seed_helped(failures: dict[str, _TryAgain], token: JoinToken) -> MeshError:
    told = " ".join(f"{address}: {failure.why}." for address, failure in failures.items())
    codes = {failure.code for failure in failures.values()}
    steps = {
        "busy": "Try again in a minute.",
        "not_founder": "Make a token at the node that made the mesh; only that node lets newcomers in.",
        "wrong_mesh": f"Another mesh answers at that address. Make a new token at the founder of {token.mesh!r}.",
    }
    for code, step in steps.items():
        if code in codes:
            return MeshError(code, f"Mesh {token.mesh!r} did not let this node in. {told}", step)
    return MeshError(
        "seeds_unreachable",
        f"No node that the token names could be reached within {JOIN_S:.0f} s. {told or ', '.join(token.seeds)}",
        "Check that the node that made the mesh is running, that its address can be reached from here and that no "
        "firewall is between; if its address has changed, make a new token there. The token stays good.",
    )


async def _knock(address: str, token: JoinToken, name: str, key: Ed25519PrivateKey) -> JoinReply:
    """Ask at one seed. Raises _TryAgain, and MeshError where no other seed would answer otherwise."""
    try:
        host, port = split_address(address)
        with trio.fail_after(SEED_S):
            tcp = await trio.open_tcp_stream(host, port)
            tune(tcp)
            stream = trio.SSLStream(tcp, _newcomer_context())
            try:
                return await _ask(stream, token, name, key)
            finally:
                await close(stream, polite=False)
    except trio.TooSlowError:
        raise _TryAgain("seeds_unreachable", f"no answer within {SEED_S:.0f} s") from None
    except BadAddress as error:
        raise _TryAgain("seeds_unreachable", str(error), hopeless=True) from None
    except (Rejected, BadFrame, BadJoinMessage):
        raise _TryAgain("seeds_unreachable", "what answers there does not keep to the form of a meshnode") from None
    except (*STREAM_ERRORS, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "the connection failed or was closed"
        raise _TryAgain("seeds_unreachable", str(why)) from None


def _newcomer_context() -> ssl.SSLContext:
    """TLS 1.3 without a certificate of one's own. The server's is checked by `_ask`, against the token's fingerprint:
    OpenSSL would have to know the CA before the handshake. Its possession of the key is proven by TLS all the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN_JOIN])
    return context


async def _ask(stream: TlsStream, token: JoinToken, name: str, key: Ed25519PrivateKey) -> JoinReply:
    await stream.do_handshake()
    if stream.selected_alpn_protocol() != ALPN_JOIN:
        raise Rejected("no_alpn")
    buffer = FrameBuffer(JOIN_FRAME_BYTES_MAX)
    welcome = _decode(_welcome_decoder, await read_frame(stream, buffer))
    _check_server(stream, welcome, token)
    if welcome.refusal is not None:
        raise _refused(welcome.refusal)
    public_key = public_bytes(key)
    proof = key.sign(proof_text(welcome.challenge, token.ca_fingerprint, token.token_id, public_key, name))
    request = JoinRequest(token.token_id, token.secret, public_key, name, proof)
    await stream.send_all(pack_frame(msgspec.msgpack.encode(request)))
    answer = _decode(_answer_decoder, await read_frame(stream, buffer))
    if isinstance(answer, JoinRefusal):
        raise _refused(answer)
    return answer


def _check_server(stream: TlsStream, welcome: JoinWelcome, token: JoinToken) -> None:
    """The server is a member of the token's mesh: nothing secret is said before this has returned."""
    fingerprint = hashlib.sha256(welcome.ca_certificate).digest()
    try:
        if not hmac.compare_digest(fingerprint, token.ca_fingerprint):
            raise BadCertificate("its CA is not the one that the token names")
        ca = parse_certificate(welcome.ca_certificate)
        leaf = parse_certificate(stream.getpeercert(binary_form=True) or b"")
        check_certificate(leaf, ca, token.mesh)
    except BadCertificate as error:
        raise _TryAgain("wrong_mesh", f"it could not prove to be of this mesh ({error})", hopeless=True) from None


def _refused(refusal: JoinRefusal) -> Exception:
    match refusal.code:
        case "not_founder":
            founder = refusal.founder_address
            return _TryAgain("not_founder", refusal.message.rstrip("."), founder, hopeless=True)
        case "busy":
            return _TryAgain("busy", refusal.message.rstrip("."))
        case _:
            return MeshError(refusal.code, refusal.message, refusal.next_step, retry_after_s=refusal.retry_after_s)


def _accept(reply: JoinReply, token: JoinToken, key: Ed25519PrivateKey, address: str) -> tuple[Identity, MeshSecrets]:
    """What the reply makes of this node, once everything in it has been checked. Raises _TryAgain."""
    try:
        ca = parse_certificate(reply.ca_certificate_pem)
        certificate = parse_certificate(reply.certificate_pem)
        ca_der = ca.public_bytes(serialization.Encoding.DER)
        if hashlib.sha256(ca_der).digest() != token.ca_fingerprint or reply.mesh != token.mesh:
            raise BadCertificate("it is of another mesh")
        node_id = check_certificate(certificate, ca, token.mesh)
        if certified_key(certificate) != public_bytes(key):
            raise BadCertificate("it is for another key")
    except BadCertificate as error:
        raise _TryAgain("wrong_mesh", f"the certificate it sent is not usable ({error})", hopeless=True) from None
    pem = serialization.Encoding.PEM
    identity = Identity(node_id, key, certificate.public_bytes(pem), ca.public_bytes(pem))
    return identity, MeshSecrets(reply.mesh, reply.keyring, None, address)
