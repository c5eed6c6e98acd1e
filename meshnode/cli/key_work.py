"""What `meshnode keys` does: one question to the daemon, and its report for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.cli.present import Report
from meshnode.cli.values import check_length
from meshnode.errors import ExitCode, MeshError
from protocols.keyring.views import KEY_CHARS_MAX, AddKey, KeyHolder, KeysReport, ListKeys, RemoveKey, UseKey

if TYPE_CHECKING:
    from rich.console import Group

_STATE_STYLE = {"ok": "", "silent": "yellow", "refused": "red", "away": "dim"}
_STATE_WORDS = {
    "silent": "gave no answer",
    "refused": "refused",
    "away": "not there; catches up when it is back",
}


def keys(directory: Path, action: str, key: str, *, force: bool) -> Report:
    """Carry out `action`. Raises `MeshError`; a change that has not reached everybody is a report with a failure."""
    from meshnode.cli.documents import keys_document
    from meshnode.cli.session import ask

    report = ask(directory, _command(action, key, force), KeysReport)
    failure = MeshError(report.code, report.message, report.next_step) if report.code else None
    return Report(keys_document(report), lambda: keys_text(report), failure)


def _command(action: str, key: str, force: bool) -> ListKeys | AddKey | UseKey | RemoveKey:
    """The question. Raises `MeshError("usage")` where the arguments do not fit the action."""
    check_length("KEY", key, KEY_CHARS_MAX)
    named = action in ("use", "remove")
    if named and not key:
        raise _usage(f"`meshnode keys {action}` needs the id of a key.", "See the ids: `meshnode keys list`.")
    if not named and (key or force):
        surplus = key or "--force"
        raise _usage(
            f"`meshnode keys {action}` takes no {surplus}.", "Leave it out; `meshnode keys --help` shows more."
        )
    match action:
        case "list":
            return ListKeys()
        case "add":
            return AddKey()
        case "use":
            return UseKey(key, force)
        case _:
            return RemoveKey(key, force)


def _usage(message: str, next_step: str) -> MeshError:
    return MeshError("usage", message, next_step, ExitCode.USAGE)


def keys_text(report: KeysReport) -> Group:
    """What has been done, the keys, and who holds which."""
    from rich.console import Group

    from meshnode.cli.tables import table

    live = [member for member in report.members if member.state != "away"]
    rows = [
        (
            each.key,
            ("primary", "green") if each.primary else "",
            f"{each.holders} of {len(live)}",
            str(each.users) if each.users else "-",
        )
        for each in report.keys
    ]
    members = [
        (
            member.name + (" (this node)" if member.is_self else ""),
            " ".join(member.keys) or "-",
            (_note(member), _STATE_STYLE.get(member.state, "")),
        )
        for member in report.members
    ]
    keys_table = table(("key", "", "held by", "sealing"), rows)
    members_table = table(("member", "holds", ""), members)
    return Group(*_headline(report), keys_table, "", members_table)


def _headline(report: KeysReport) -> list[str]:
    """One line about a change, and what comes next where all went well."""
    if report.action == "list" or not report.done:
        return []
    what = {
        "add": f"added key {report.key}",
        "use": f"packets are sealed with key {report.key} now",
        "remove": f"removed key {report.key}",
    }[report.action]
    return [f"{what}; next: meshnode keys use {report.key}" if report.action == "add" else what, ""]


def _note(member: KeyHolder) -> str:
    if member.detail:
        return f"refused: {member.detail}"
    return _STATE_WORDS.get(member.state, "")
