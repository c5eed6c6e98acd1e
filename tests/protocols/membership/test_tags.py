"""What a tag is, how many a member may have, and what becomes of tags that break a rule."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from unicodedata import category

import msgspec
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from protocols.limits import (
    ADDRESS_CHARS_MAX,
    NAME_CHARS_MAX,
    NODE_ID_CHARS,
    OWN_TAGS_BYTES_MAX,
    OWN_TAGS_MAX,
    PROFILE_BYTES_MAX,
    TAG_KEY_CHARS_MAX,
    TAG_OVERHEAD_BYTES,
    TAG_VALUE_BYTES_MAX,
    TAGS_BYTES_MAX,
    TAGS_MAX,
    UPDATES_BYTES_MAX,
)
from protocols.membership.member import Accusation, Alive, Profile, State, precedence_of, size_bound
from protocols.membership.messages import Gossip
from protocols.membership.tags import (
    BadTags,
    Tags,
    has_tag,
    merged,
    own_tags,
    parse_tag,
    parse_wanted,
    tag_text,
    tags_bytes,
)
from protocols.wire import BadMessage, decode_message, encode_message
from tests.protocols.harness import World, alive, endpoint_of, id_of
from tests.protocols.strategies import tags_values


def refused(tags: Mapping[str, str]) -> str:
    with pytest.raises(BadTags) as caught:
        own_tags(tags)
    assert caught.value.next_step
    return caught.value.code


def heard(tags: object) -> bool:
    """Whether a member that announces `tags`, written as given, comes to be known."""
    host = World().add("a").start()
    host.world.run(0.1)
    fields = msgspec.msgpack.decode(encode_message(Gossip((alive("b"),))))
    profile = fields[1][1][0][3]
    assert profile[-1] == []
    profile[-1] = tags
    data = msgspec.msgpack.encode(fields)
    try:
        message = decode_message(data)
    except BadMessage:
        return False
    host.hears(endpoint_of("b"), message)
    return host.sees("b") is State.ALIVE


# What people write.


def test_a_tag_is_a_word_or_a_word_with_a_value() -> None:
    assert parse_tag("gpu") == ("gpu", "")
    assert parse_tag("cuda=12") == ("cuda", "12")
    assert parse_tag("env.prod-2_x=a=b, c") == ("env.prod-2_x", "a=b, c")
    assert parse_tag("room=Küche") == ("room", "Küche")
    assert [tag_text(*parse_tag(text)) for text in ("gpu", "cuda=12")] == ["gpu", "cuda=12"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_tag_key"),
        ("=x", "bad_tag_key"),
        ("GPU", "bad_tag_key"),
        ("two words", "bad_tag_key"),
        ("küche", "bad_tag_key"),
        ("k" * (TAG_KEY_CHARS_MAX + 1), "bad_tag_key"),
        ("key\n", "bad_tag_key"),
        (".later", "reserved_tag"),
        ("." * 100_000, "reserved_tag"),
        ("K" * 100_000, "bad_tag_key"),
        ("x=\x1b[31m", "bad_tag_value"),
        ("x=a\nb", "bad_tag_value"),
        ("x=a\n", "bad_tag_value"),
        ("x=\x9b0m", "bad_tag_value"),
        ("x=\u202eabc", "bad_tag_value"),
        ("x=a\u200bb", "bad_tag_value"),
        ("x=\udc80", "bad_tag_value"),
        ("x=" + "v" * (TAG_VALUE_BYTES_MAX + 1), "tag_too_long"),
        ("x=" + "é" * (TAG_VALUE_BYTES_MAX // 2 + 1), "tag_too_long"),
    ],
)
def test_what_is_no_tag_is_refused_with_a_reason(text: str, code: str) -> None:
    with pytest.raises(BadTags) as caught:
        parse_tag(text)
    assert caught.value.code == code
    assert 0 < len(caught.value.message) < 500
    assert caught.value.next_step


def test_no_value_has_a_character_that_steers_a_terminal_or_cannot_be_seen() -> None:
    """By the table of this Python; the rule itself is spelt out and stays as it is when that table grows."""
    let_through = []
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            try:
                parse_tag(f"x={character}")
            except BadTags:
                continue
            let_through.append(number)
    # What is left is seen: signs over and under digits of Arabic, Syriac and Kaithi, and around hieroglyphs.
    seen = (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440))
    assert [number for number in let_through if number not in seen] == []


def test_members_are_asked_for_by_key_or_by_key_and_value() -> None:
    tags = {"cuda": "12", "gpu": "", ".later": "1"}
    assert has_tag(tags, parse_wanted("cuda"))
    assert has_tag(tags, parse_wanted("cuda=12"))
    assert has_tag(tags, parse_wanted("gpu="))
    assert has_tag(tags, parse_wanted(".later=1"))
    assert not has_tag(tags, parse_wanted("cuda=11"))
    assert not has_tag(tags, parse_wanted("cuda="))
    assert not has_tag(tags, parse_wanted("cud"))
    with pytest.raises(BadTags):
        parse_wanted("CUDA")


# How many, and how large.


def test_a_node_has_so_many_tags_of_so_many_bytes_and_no_more() -> None:
    most = {f"k{number:02}": "" for number in range(OWN_TAGS_MAX)}
    assert own_tags(most) == tuple(sorted(most.items()))
    assert refused({**most, "more": ""}) == "too_many_tags"
    full = {"a": "v" * TAG_VALUE_BYTES_MAX, "b": "v" * 50}
    full["c"] = "v" * (OWN_TAGS_BYTES_MAX - tags_bytes(full.items()) - TAG_OVERHEAD_BYTES - 1)
    assert tags_bytes(own_tags(full)) == OWN_TAGS_BYTES_MAX
    assert refused({**full, "c": full["c"] + "v"}) == "tags_too_large"
    assert refused({".later": "1"}) == "reserved_tag"


@given(tags_values())
@settings(max_examples=300, deadline=None)
def test_tags_take_no_more_than_they_count_for(tags: Tags) -> None:
    assert len(msgspec.msgpack.encode(tags)) <= 3 + tags_bytes(tags)


def test_the_largest_announcement_fits_a_packet_beside_the_largest_accusation() -> None:
    filler = PROFILE_BYTES_MAX - 6
    tags = tuple((f"k{number}", "v" * 100) for number in range(3))
    assert TAGS_BYTES_MAX - 107 < tags_bytes(tags) <= TAGS_BYTES_MAX
    largest = Alive(
        "i" * NODE_ID_CHARS,
        precedence_of(1, 1, State.ALIVE),
        Profile("n" * NAME_CHARS_MAX, "a" * ADDRESS_CHARS_MAX, ("h" * filler,), version="0.1.0", tags=tags),
        incarnations_ago=1,
    )
    accusation = Accusation("i" * NODE_ID_CHARS, precedence_of(1, 1, State.DEAD), "b" * NODE_ID_CHARS)
    unused = TAGS_BYTES_MAX - tags_bytes(tags)
    assert size_bound(largest) + unused + size_bound(accusation) <= UPDATES_BYTES_MAX


# What is configured, and what was changed.


def test_a_change_wins_over_the_configuration_key_by_key() -> None:
    configured = own_tags({"gpu": "", "cuda": "11"})
    assert merged(configured, ()) == (configured, ())
    assert merged(configured, (("cuda", "12"), ("x", ""))) == ((("cuda", "12"), ("gpu", ""), ("x", "")), ())


def test_what_is_configured_beyond_the_room_is_left_out_and_named() -> None:
    configured = own_tags({f"c{number:02}": "" for number in range(OWN_TAGS_MAX)})
    changed = own_tags({"zzz": "", "c00": "mine"})
    tags, left_out = merged(configured, changed)
    assert left_out == (f"c{OWN_TAGS_MAX - 1}",)
    assert len(tags) == OWN_TAGS_MAX
    assert dict(tags)["zzz"] == ""
    assert dict(tags)["c00"] == "mine"


# What other members announce.


def test_tags_of_another_member_are_known_and_passed_on_as_they_are() -> None:
    host = World().add("a").start()
    host.world.run(0.1)
    tags = ((".later", "what/ever;1"), ("cuda", "12"), ("gpu", ""))
    announced = replace(alive("b"), profile=replace(alive("b").profile, tags=tags))
    host.hears(endpoint_of("b"), Gossip((announced,)))
    host.hush()
    host.world.run(1)
    assert announced in host.told("b")


@pytest.mark.parametrize(
    "tags",
    [
        [["b", ""], ["a", ""]],
        [["a", ""], ["a", ""]],
        [["a", ""], ["a", "other"]],
        [["a", "\x1b]0;owned\x07"]],
        [["a", "\u202eevil"]],
        [["a", "two\nlines"]],
        [["A", ""]],
        [["", ""]],
        [["a\n", ""]],
        [["k" * (TAG_KEY_CHARS_MAX + 1), ""]],
        [["a", "v" * (TAG_VALUE_BYTES_MAX + 1)]],
        [["a", "漢" * (TAG_VALUE_BYTES_MAX // 3 + 1)]],
        [[f"k{number:02}", ""] for number in range(TAGS_MAX + 1)],
        [[f"k{number}", "v" * 120] for number in range(4)],
        [["a"]],
        [["a", "", ""]],
        [["a", 1]],
        [["a", b"\xff"]],
        {"a": ""},
        None,
        "a",
    ],
    ids=repr,
)
def test_tags_that_break_a_rule_make_no_message_and_change_nothing(tags: object) -> None:
    assert not heard(tags)


def test_tags_that_keep_the_rules_are_heard() -> None:
    assert heard([])
    assert heard([[".x", "later"], ["a", ""], ["b", "v" * TAG_VALUE_BYTES_MAX]])
    assert heard([[f"k{number:02}", ""] for number in range(TAGS_MAX)])


def test_a_member_of_an_absurd_age_of_its_announcement_is_not_met() -> None:
    host = World().add("a").start()
    host.world.run(0.1)
    for ago, met in ((5, False), (4, True)):
        said = replace(alive("b", 3, 4), incarnations_ago=ago)
        host.hears(endpoint_of("c"), Gossip((said,)))
        assert (host.sees("b") is State.ALIVE) == met
    row = host.row("b")
    assert row is not None
    assert (row.alive, row.incarnation) == (alive("b", 3, 0), 4)
    host.hears(endpoint_of("c"), Gossip((replace(alive("b", 3, 9), incarnations_ago=10),)))
    row = host.row("b")
    assert row is not None
    assert row.incarnation == 4
    assert id_of("b") == row.alive.node_id
