"""What the commands about tags do: `meshnode tags`, and finding members by their tags."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from meshnode.cli import tables
from meshnode.cli.documents import tags_document
from meshnode.cli.present import Report, note
from meshnode.cli.session import ask
from meshnode.errors import ExitCode, MeshError
from protocols.membership.tagging import GetTags, NodeTags, SetTags
from protocols.membership.tags import BadTags, check_key, has_tag, is_reserved, parse_tag, parse_wanted
from protocols.membership.views import MemberList, MemberView

EXAMPLE = "As in `meshnode tags set gpu cuda=12`, or `meshnode tags unset cuda`."


def tags(directory: Path, action: str | None, words: tuple[str, ...]) -> Report:
    """Show this node's tags, or change them first."""
    if action is not None and not words:
        raise MeshError("usage", f"`meshnode tags {action}` needs a tag.", EXAMPLE, ExitCode.USAGE)
    try:
        match action:
            case "set":
                now = ask(directory, SetTags(set=_read_tags(words)), NodeTags)
            case "unset":
                now = ask(directory, SetTags(unset=_read_keys(words)), NodeTags)
            case _:
                now = ask(directory, GetTags(), NodeTags)
    except BadTags as bad:
        raise _usage(bad) from None
    if action == "unset":
        _tell_of_configured([key for key in words if key in now.tags])
    return Report(tags_document(now), lambda: tables.tags_table(now))


def _read_tags(words: tuple[str, ...]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for word in words:
        key, value = parse_tag(word)
        if key in tags:
            raise BadTags("bad_tags", f"The tag {key!r} is given twice.", "Leave out one of them.")
        tags[key] = value
    return tags


def _read_keys(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if "=" in word:
            key, _ = parse_tag(word)
            raise BadTags("bad_tags", f"To unset a tag takes its key alone, not {word!r}.", f"Write {key}.")
        check_key(word)
    return tuple(dict.fromkeys(words))


def _tell_of_configured(keys: list[str]) -> None:
    if keys:
        names = ", ".join(keys)
        note(f"what the configuration says shows again: {names}; to be rid of it, take it out and `meshnode reload`")


class Choice:
    """Which members are shown, and which of their tags: what --tag and --all-tags ask for. Raises `MeshError`."""

    def __init__(self, texts: tuple[str, ...] = (), *, all_tags: bool = False) -> None:
        try:
            self._wanted = tuple(parse_wanted(text) for text in texts)
        except BadTags as bad:
            raise _usage(bad) from None
        self._keys = {key for key, _ in self._wanted}
        self._all_tags = all_tags

    def of(self, listed: MemberList) -> MemberList:
        """The members that have every tag that is asked for, with the tags that are shown."""
        return MemberList(tuple(self.shown(member) for member in listed.members if self.takes(member)))

    def takes(self, member: MemberView) -> bool:
        return all(has_tag(member.tags, each) for each in self._wanted)

    def shown(self, member: MemberView) -> MemberView:
        """The member with the tags that are shown."""
        tags = {key: value for key, value in member.tags.items() if self._shows(key)}
        return replace(member, tags=tags)

    def _shows(self, key: str) -> bool:
        return self._all_tags or key in self._keys or not is_reserved(key)


def _usage(bad: BadTags) -> MeshError:
    return MeshError(bad.code, bad.message, bad.next_step, ExitCode.USAGE)
