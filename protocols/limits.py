"""Every bound that foreign input meets, in one place (DESIGN 8). The unit is the last word but one of the name."""

from __future__ import annotations

PACKET_BYTES_MAX = 1400
"""One datagram, headers of this project included: under every common path MTU (memberlist's default)."""
UPDATES_BYTES_MAX = 1200
"""Gossip inside one packet: PACKET_BYTES_MAX less the envelope, the seal (80 bytes) and a probe's own fields, vitals
and coordinate of its sender among them."""
UPDATES_PER_PACKET_MAX = 64
FRAME_BYTES_MAX = 1 << 20
"""One frame on a stream."""
MEMBERS_PER_FRAME_MAX = 512
"""Rows in one push-pull frame; a larger table travels in several."""
MEMBERS_MAX = 32_768
"""Rows of one member table, under 1 KB each. Members that are gone make room for others; where all are present, a
stranger is refused."""
PEERS_HEARD_MAX = 4096
"""Members whose vitals and coordinates one node remembers, about 1 KB each."""

CREDENTIAL_BYTES_MAX = 1024
"""What shows whose a signature is: a certificate with the longest names is under 800 bytes."""

NODE_ID_CHARS = 26
NAME_CHARS_MAX = 64
ADDRESS_CHARS_MAX = 128
MESH_LABEL_CHARS_MAX = 64
PROFILE_BYTES_MAX = 512
"""Everything a member announces about itself beyond id, name, address and tags (memberlist's meta limit)."""
WEIGHT_MAX = 32
"""A member's weight multiplies its virtual nodes, so a peer must not choose it freely."""
HANDLERS_MAX = 64
HANDLER_CHARS_MAX = 64
TAGS_MAX = 40
TAG_KEY_CHARS_MAX = 32
TAG_VALUE_BYTES_MAX = 128
TAG_OVERHEAD_BYTES = 5
"""Headers of one tag on the wire; what a tag counts for is its key, its value and this."""
TAGS_BYTES_MAX = 352
"""All tags of a member. With the longest name, address and profile an announcement still fits a packet, and an
accusation beside it."""
OWN_TAGS_MAX = 24
OWN_TAGS_BYTES_MAX = 256
"""What people may fill of that; the rest is for what later versions announce under reserved keys."""

EVENT_BYTES_MAX = 512
"""Name and payload of a user event or a query together (serf's limit): two of them fit a packet."""
EVENT_NAME_CHARS_MAX = 64
QUERY_ANSWER_BYTES_MAX = 1024
"""One node's answer to a query: it fits a packet (serf's limit)."""
QUERY_TIMEOUT_MS_MIN = 100
QUERY_TIMEOUT_MS_MAX = 45_000
"""An asker waits no longer than one call over MCP may take (DESIGN 9)."""
RUMOURS_PER_PACKET_MAX = 16
EVENTS_PER_FRAME_MAX = 512
"""Recent events that a node keeps for those that missed them, and hands over at once (serf's buffer)."""
EVENT_MARKS_PER_FRAME_MAX = 4096
EVENT_WAIT_MS_MAX = 50_000

PAYLOAD_BYTES_MAX = 256 * 1024
OUTPUT_BYTES_MAX = 256 * 1024
DETAIL_CHARS_MAX = 2000
KEY_CHARS_MAX = 256
TASK_ID_CHARS_MAX = 64
TASKS_PER_FRAME_MAX = 1024
TOOLS_PER_FRAME_MAX = 256
TOOL_SCHEMA_BYTES_MAX = 64 * 1024

OPEN_TASKS_MAX = 10_000
"""Unfinished tasks that one node coordinates; past it a submission is refused as `busy`."""
QUEUED_RUNS_MAX = 1_000
"""Runs that wait on one worker; past it the worker refuses and the coordinator tries elsewhere."""
FINISHED_TASKS_MAX = 10_000
FINISHED_BYTES_MAX = 64 * 1024 * 1024
"""Finished tasks that one node remembers, by count and by bytes of output; the oldest are forgotten first."""
