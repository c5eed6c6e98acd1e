"""Another configuration for a node that runs: what work it does, where it stands, how much of the work it takes.

All of a command counts at once, or nothing of it: it is judged first. From then on the worker offers the new handlers
(`tasks/worker.py`), and the node announces what it is now in an incarnation of its own (`membership/tagging.py`), after
which every ring follows. Nothing of it is saved: a configuration belongs to whoever gives it, at the next start again.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.config import HandlerSpec
from protocols.core import Command, Instant, Refused, RequestId
from protocols.limits import HANDLER_CHARS_MAX, HANDLERS_MAX, NAME_CHARS_MAX, WEIGHT_MAX
from protocols.membership.profile import TooLarge, check_size
from protocols.membership.tagging import Tagging
from protocols.membership.tags import BadTags, Tags, own_tags
from protocols.membership.vitals import VitalsBook
from protocols.outbox import Outbox
from protocols.tasks.worker import Worker


class Reconfigure(Command, frozen=True, tag="reconfigure"):
    """Be this from now on. Whatever was configured before and is not named here is gone; answered by `Reconfigured`."""

    handlers: Annotated[tuple[HandlerSpec, ...], Meta(max_length=HANDLERS_MAX)] = ()
    zone: Annotated[str, Meta(max_length=NAME_CHARS_MAX)] = ""
    weight: Annotated[int, Meta(ge=1, le=WEIGHT_MAX)] = 1
    tags: Tags = ()
    """Those of the configuration; what was set at run time stays and wins over them."""


class Reconfigurer:
    """Takes in new configurations, for everything in a node that goes by one."""

    def __init__(self, tagging: Tagging, worker: Worker, vitals: VitalsBook, outbox: Outbox) -> None:
        self._tagging = tagging
        self._worker = worker
        self._vitals = vitals
        self._outbox = outbox

    def requested(self, now: Instant, request_id: RequestId, command: Reconfigure) -> None:
        """Judge the configuration, and let all of it count."""
        refused = _judge(command)
        if refused is not None:
            self._outbox.reply(request_id, refused)
            return
        handlers = command.handlers
        self._worker.reconfigure(now, handlers)
        self._vitals.set_capacity(sum(handler.concurrency for handler in handlers))
        self._tagging.reconfigure(
            now, request_id, handlers=handlers, zone=command.zone, weight=command.weight, tags=command.tags
        )


def _judge(command: Reconfigure) -> Refused | None:
    """Why a configuration cannot be; None where it can."""
    names = [handler.name for handler in command.handlers]
    if len(set(names)) < len(names):
        return Refused("bad_config", "The configuration names a handler twice.", "Leave out one of them.")
    if not all(0 < len(name) <= HANDLER_CHARS_MAX for name in names):
        text = f"The name of a handler has 1 to {HANDLER_CHARS_MAX} characters, for nobody can read others."
        return Refused("bad_config", text, "Choose another name.")
    if min((handler.concurrency for handler in command.handlers), default=1) < 1:
        return Refused("bad_config", "A handler runs less than one body at once.", "Set its concurrency to 1 or more.")
    if not 1 <= command.weight <= WEIGHT_MAX:
        text = f"The weight is {command.weight}; it can be 1 to {WEIGHT_MAX}."
        return Refused("bad_config", text, "Choose another.")
    try:
        check_size(command.zone, names)
        if own_tags(dict(command.tags)) != command.tags:
            raise BadTags("bad_tags", "The tags are not in order of their keys, each once.", "Sort them.")
    except TooLarge as too_large:
        return Refused("bad_config", f"The configuration {too_large}.", too_large.next_step)
    except BadTags as bad:
        return Refused(bad.code, bad.message, bad.next_step)
    return None
