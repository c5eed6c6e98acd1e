"""Tags: what a member says of itself in words of its operator's choosing, such as `gpu` or `cuda=12`.

A tag is a key and a value; a capability is a tag, with an empty value where the word says it all. So placement can ask
for both in one way: has this key, or has it with this value.

- A key is 1 to 32 of a-z, 0-9, `-`, `_` and `.`. A value is text of up to 128 bytes in UTF-8, without what could change
  how a terminal shows the rest of a line: control characters, and those that steer direction, width or tagging of text.
  The ranges are spelt out, for a table of Unicode grows, and two versions must not disagree on what is a tag.
- Tags travel as pairs in order of their keys, each key once: equal tags are equal bytes.
- Keys that begin with `.` are reserved for later versions of meshnode, which may announce more that way. A member keeps
  and passes on such tags as they are, understood or not; people can neither set them nor see them unless they ask.

What breaks a rule makes the whole message one that cannot be decoded: it is counted, dropped, and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta

from protocols.limits import (
    OWN_TAGS_BYTES_MAX,
    OWN_TAGS_MAX,
    TAG_KEY_CHARS_MAX,
    TAG_OVERHEAD_BYTES,
    TAG_VALUE_BYTES_MAX,
    TAGS_BYTES_MAX,
    TAGS_MAX,
)

RESERVED_PREFIX = "."
KEY_PATTERN = r"\A[a-z0-9._-]+\Z"
VALUE_PATTERN = (
    "\\A[^\\x00-\\x1f\\x7f-\\x9f"  # C0, DEL, C1: escape sequences among them
    "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f"  # seen as nothing, or steering what is
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164"  # no width, directions, line and paragraph ends
    "\\ud800-\\udfff\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\uffff"  # half characters, variants, byte order marks
    "\\U0001bca0-\\U0001bcaf\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff]*\\Z"  # steering shorthand, music and tags
)

Key = Annotated[str, Meta(min_length=1, max_length=TAG_KEY_CHARS_MAX, pattern=KEY_PATTERN)]
Value = Annotated[str, Meta(max_length=TAG_VALUE_BYTES_MAX, pattern=VALUE_PATTERN)]
Tags: TypeAlias = Annotated[tuple[tuple[Key, Value], ...], Meta(max_length=TAGS_MAX)]
"""As they travel: in order of their keys, each key once."""

_KEY = re.compile(KEY_PATTERN)
_VALUE = re.compile(VALUE_PATTERN)


class BadTags(ValueError):
    """Tags that somebody on this machine wants, and cannot have. `code` is stable; the text is for people."""

    def __init__(self, code: str, message: str, next_step: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step


def tags_bytes(tags: Iterable[tuple[str, str]]) -> int:
    """What tags count for, and an upper bound of what they take on the wire behind the header of their list."""
    return sum(TAG_OVERHEAD_BYTES + len(key) + len(value.encode()) for key, value in tags)


def check_tags(tags: tuple[tuple[str, str], ...]) -> None:
    """Raise `ValueError` where tags of any member break a rule that their types do not state."""
    before = ""
    for key, value in tags:
        if key <= before:
            raise ValueError("tags out of order, or a key twice")
        if len(value.encode()) > TAG_VALUE_BYTES_MAX:
            raise ValueError("the value of a tag is too long")
        before = key
    if tags_bytes(tags) > TAGS_BYTES_MAX:
        raise ValueError("the tags are too large")


def is_reserved(key: str) -> bool:
    """Whether a key belongs to later versions of meshnode."""
    return key.startswith(RESERVED_PREFIX)


def parse_tag(text: str) -> tuple[str, str]:
    """`KEY` or `KEY=VALUE`, as people write a tag, as a pair. Raises `BadTags`."""
    key, _, value = text.partition("=")
    check_key(key)
    _check_value(key, value)
    return key, value


def parse_wanted(text: str) -> tuple[str, str | None]:
    """`KEY` (with any value) or `KEY=VALUE`, as people ask for members. Reserved keys may be asked for.

    Raises `BadTags`.
    """
    key, equals, value = text.partition("=")
    if not is_reserved(key):
        check_key(key)
    return key, value if equals else None


def has_tag(tags: Mapping[str, str], wanted: tuple[str, str | None]) -> bool:
    """Whether `tags` have the key, and its value where one is asked for."""
    key, value = wanted
    return key in tags if value is None else tags.get(key) == value


def tag_text(key: str, value: str) -> str:
    """The tag as people write it."""
    return f"{key}={value}" if value else key


def check_key(key: str) -> None:
    """Raise `BadTags` where people may not set a tag of that key."""
    if is_reserved(key):
        raise BadTags(
            "reserved_tag",
            f"The tag {_short(key)!r} begins with a dot; those are reserved for meshnode itself.",
            "Choose a key that begins with a letter.",
        )
    if len(key) > TAG_KEY_CHARS_MAX or not _KEY.match(key):
        raise BadTags(
            "bad_tag_key",
            f"{_short(key)!r} is no key of a tag: it must be 1 to {TAG_KEY_CHARS_MAX} of a-z, 0-9, - _ and dot.",
            "Write KEY or KEY=VALUE, as in gpu or cuda=12.",
        )


def _check_value(key: str, value: str) -> None:
    if not _VALUE.match(value):
        raise BadTags(
            "bad_tag_value",
            f"The value of tag {key!r} has control characters, or characters that cannot be seen.",
            "Leave them out.",
        )
    size = len(value.encode())
    if size > TAG_VALUE_BYTES_MAX:
        raise BadTags(
            "tag_too_long",
            f"The value of tag {key!r} has {size} bytes; {TAG_VALUE_BYTES_MAX} are allowed.",
            "Keep large things elsewhere, and put into the tag where they are.",
        )


def own_tags(tags: Mapping[str, str]) -> Tags:
    """Tags that this node is to have, as they travel. Raises `BadTags` where people may not have them."""
    for key, value in tags.items():
        check_key(key)
        _check_value(key, value)
    pairs = tuple(sorted(tags.items()))
    if len(pairs) > OWN_TAGS_MAX:
        raise BadTags(
            "too_many_tags",
            f"That would be {len(pairs)} tags; a node can have {OWN_TAGS_MAX}.",
            "Unset some that nobody asks for: `meshnode tags` shows them.",
        )
    size = tags_bytes(pairs)
    if size > OWN_TAGS_BYTES_MAX:
        raise BadTags(
            "tags_too_large",
            f"That would be {size} bytes of tags; a node can have {OWN_TAGS_BYTES_MAX}. Each counts its key, its value "
            f"and {TAG_OVERHEAD_BYTES}.",
            "Shorten or unset some: `meshnode tags` shows them.",
        )
    return pairs


def merged(configured: Tags, changed: Tags) -> tuple[Tags, tuple[str, ...]]:
    """What a node announces of what its configuration says and what was changed at run time, and the keys left out.

    A change wins over the configuration. What was changed fits by itself; of the tags that were configured since then,
    in order of their keys, each that has no room beside it and those before is left out.
    """
    tags = dict(changed)
    left_out: list[str] = []
    for key, value in configured:
        if key in tags:
            continue
        try:
            own_tags({**tags, key: value})
        except BadTags:
            left_out.append(key)
        else:
            tags[key] = value
    return tuple(sorted(tags.items())), tuple(left_out)


def _short(text: str) -> str:
    return text if len(text) <= 2 * TAG_KEY_CHARS_MAX else text[: 2 * TAG_KEY_CHARS_MAX] + "…"
