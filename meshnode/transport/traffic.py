"""What this node says and hears, counted by type of message: messages and bytes, in and out.

Bytes are those that this program hands to a socket or gets from one: a sealed packet whole, a frame of a stream without
its length and without what TLS adds. Only what was authenticated and could be read counts as heard, for the rest there
are the drops. A message on a stream counts as said when it is queued for its peer.
"""

from __future__ import annotations

from msgspec import Struct

from protocols.core import Message


class Flow(Struct):
    """Both directions of one type of message, since the node started."""

    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0


class Traffic:
    """The counts of one node."""

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: dict[type[Message], Flow] = {}

    def said(self, message: Message, size_bytes: int) -> None:
        flow = self._flow(type(message))
        flow.messages_out += 1
        flow.bytes_out += size_bytes

    def heard(self, message: Message, size_bytes: int) -> None:
        flow = self._flow(type(message))
        flow.messages_in += 1
        flow.bytes_in += size_bytes

    def _flow(self, kind: type[Message]) -> Flow:
        flow = self._flows.get(kind)
        if flow is None:
            flow = self._flows[kind] = Flow()
        return flow

    def by_type(self) -> dict[str, Flow]:
        """Flows by the tag that the type has on the wire, in the order of the tags."""
        flows = {str(kind.__struct_config__.tag): flow for kind, flow in self._flows.items()}
        return dict(sorted(flows.items()))
