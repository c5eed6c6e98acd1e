"""What goes over the control socket: one JSON object a line, in both directions.

    -> {"id": 7, "command": {"type": "get_task", "task_id": "…", "wait_ms": 5000}}
    <- {"id": 7, "outcome": {"type": "task", "state": 2, …}}

Rules:
- A client chooses its ids; answers carry them back, in any order. An answer with `"id": null` concerns a line whose id
  could not be read, or the connection itself.
- A line is bounded before it is decoded; lists, strings and numbers are bounded by the command types, and depth
  by them too.
- Whatever is wrong with a line, what comes out is `BadRequest`, never another exception. The daemon's own answers that
  a client cannot read are `BadAnswer`: a different fault, of a different party.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import msgspec
from msgspec import Meta, Raw, Struct

from meshnode.calls import CallerCommand, CallerOutcome
from meshnode.errors import ExitCode, MeshError
from protocols.core import Refused, Unknown

REQUEST_BYTES_MAX = 1 << 20
"""One request line. A payload at its own limit, with every byte escaped, is half of this."""
ANSWER_BYTES_MAX = 32 << 20
"""One answer line: 256 tools with their schemas fit."""
IN_FLIGHT_MAX = 256
"""Requests of one connection that are not answered yet; past it the daemon stops reading until one is."""

CallId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Whole numbers that every JSON library keeps exactly (RFC 8259 section 6)."""


class Call(Struct, frozen=True, forbid_unknown_fields=True):
    """One request line."""

    id: CallId
    command: CallerCommand


class Answer(Struct, frozen=True):
    """One answer line."""

    id: CallId | None
    outcome: CallerOutcome


class _IdOnly(Struct, frozen=True):
    id: CallId
    command: Raw = Raw()


class _Fields(Struct, frozen=True):
    command: dict[str, Raw]


class BadRequest(Exception):
    """A line that is no request. `call_id` is its id where that much could be read; `why` is for people."""

    def __init__(self, call_id: int | None, why: str) -> None:
        super().__init__(why)
        self.call_id = call_id
        self.why = why


class BadAnswer(Exception):
    """A line from the daemon that is no answer: the two programs are of different versions."""


_encoder = msgspec.json.Encoder()
_call_decoder = msgspec.json.Decoder(Call)
_id_decoder = msgspec.json.Decoder(_IdOnly)
_fields_decoder = msgspec.json.Decoder(_Fields)
_answer_decoder = msgspec.json.Decoder(Answer)
_DECODING_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


def encode_call(call_id: int, command: CallerCommand) -> bytes:
    """The request line, newline included. Raises `MeshError`: `too_large` over the limit, `bad_text` if not Unicode."""
    try:
        line = _encoder.encode(Call(call_id, command)) + b"\n"
    except UnicodeEncodeError as error:
        raise MeshError(
            "bad_text", f"The request holds text that is not valid Unicode: {error}.", "Send UTF-8.", ExitCode.USAGE
        ) from None
    if len(line) > REQUEST_BYTES_MAX:
        raise MeshError(
            "too_large",
            f"The request is {len(line)} bytes long and {REQUEST_BYTES_MAX} is the limit; nothing was sent.",
            "Put large data where the handler can reach it, and send its path or address.",
            ExitCode.USAGE,
        )
    return line


def decode_call(line: bytes | bytearray) -> Call:
    """The request in `line`. Raises `BadRequest` and nothing else."""
    if len(line) > REQUEST_BYTES_MAX:
        raise BadRequest(None, f"The line is longer than {REQUEST_BYTES_MAX} bytes")
    try:
        call = _call_decoder.decode(line)
        _refuse_unknown_fields(call.command, _fields_decoder.decode(line).command)
    except _DECODING_ERRORS as error:
        _raise_bad_request(line, error)
    return call


def _refuse_unknown_fields(command: CallerCommand, given: dict[str, Raw]) -> None:
    """A command skips fields that it does not know, for a newer node may send them; a person has misspelt them."""
    known = (command.__struct_config__.tag_field, *command.__struct_encode_fields__)
    for name in given:
        if name not in known:
            raise msgspec.ValidationError(f"Object contains unknown field `{name}` - at `$.command`")


def _raise_bad_request(line: bytes | bytearray, error: Exception) -> NoReturn:
    try:
        call_id = _id_decoder.decode(line).id
    except _DECODING_ERRORS:
        call_id = None
    match error:
        case msgspec.ValidationError():
            why = str(error)
        case RecursionError():
            why = "The JSON is nested too deeply"
        case _:
            why = f"The line is not valid JSON: {error}"
    raise BadRequest(call_id, why) from None


def encode_answer(call_id: int | None, outcome: CallerOutcome) -> bytes:
    """The answer line, newline included; one that would be over the limit becomes a refusal that says so."""
    line = _encoder.encode(Answer(call_id, outcome)) + b"\n"
    if len(line) <= ANSWER_BYTES_MAX:
        return line
    too_large = Refused(
        "answer_too_large",
        f"The answer is {len(line)} bytes long and {ANSWER_BYTES_MAX} is the limit.",
        "Ask for fewer rows at a time.",
    )
    return _encoder.encode(Answer(call_id, too_large)) + b"\n"


def decode_answer(line: bytes | bytearray) -> Answer:
    """The answer in `line`. Raises `BadAnswer` and nothing else."""
    try:
        return _answer_decoder.decode(line)
    except _DECODING_ERRORS as error:
        raise BadAnswer(str(error)) from None


def bad_request(why: str) -> Refused:
    """The outcome of a line that is no request."""
    return Refused("bad_request", f"{why}.", 'Send one JSON object a line: {"id": number, "command": {"type": …}}.')


def outcome_of(error: MeshError) -> Refused | Unknown:
    """An error of the daemon's, as the outcome that its caller gets."""
    if error.exit_code is ExitCode.UNKNOWN:
        return Unknown(error.message, error.next_step)
    return Refused(error.code, error.message, error.next_step, error.retry_after_s)
