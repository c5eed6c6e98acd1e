"""`meshnode why` as people read it: the member, who accuses it, what probes have shown, what others find, a reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.cli.present import printable
from meshnode.cli.tables import ID_CHARS, STATE_STYLES, duration, pairs, table
from protocols.detector.why import Explanation, Finding, OwnFindings, SuspicionView, Teller

if TYPE_CHECKING:
    from rich.console import RenderableType

_REACH_STYLES = {"answers": "green", "silent": "red", "unknown": "dim"}


def why_text(explanation: Explanation, asking: str) -> RenderableType:
    """All of it. `asking` is the id of the node that was asked."""
    from rich.console import Group
    from rich.text import Text

    member = explanation.member
    lines = [
        ("member", f"{member.name} ({member.node_id})"),
        ("address", member.address),
        ("state", f"{member.state}, for {duration(member.state_age_s)}; said by {_said_by(explanation)}"),
        ("accused by", _suspicion_text(explanation.suspicion)),
    ]
    if member.node_id != asking:
        lines += [("own probes", _own_text(explanation.own)), ("helpers", _helpers_text(explanation.own))]
    rows = [_finding_row(finding, explanation, asking) for finding in explanation.findings]
    unheard = [_name(teller, explanation, asking) for teller in explanation.unheard]
    rows += [(name, ("no answer", "dim"), "-", "-", "-", "-") for name in unheard]
    refused = [_name(teller, explanation, asking) for teller in explanation.refused]
    rows += [(name, ("not believed", "red"), "-", "-", "-", ("wrong", "red")) for name in refused]
    asked = table(("asked", "finds", "last answer", "believes", "accusers", "signed"), rows)
    notes = [Text(note) for note in (*signature_notes(explanation), reading(explanation, asking))]
    return Group(Text(pairs(lines)), "", asked, "", *notes)


def reading(explanation: Explanation, asking: str) -> str:
    """What that most likely means, in a sentence or two."""
    name = printable(explanation.member.name)
    about = explanation.member.node_id
    if explanation.member.state == "left":
        return f"{name} has left the mesh by itself; it is not expected to answer."
    others = [finding for finding in explanation.findings if finding.by.node_id not in (asking, about)]
    reached = [finding for finding in others if finding.reach == "answers"]
    missed = [finding for finding in others if finding.reach == "silent"]
    own = next((finding.reach for finding in explanation.findings if finding.by.node_id == asking), "unknown")
    itself = any(finding.by.node_id == about for finding in explanation.findings)
    if asking == about:
        return f"This is the node that you asked: of {len(others)} others {len(reached)} reach it."
    if own != "silent" and (reached or own == "answers"):
        if not missed:
            return f"{name} answers everybody who was asked and has tried."
        answered = "this node" if own == "answers" else _count(reached)
        return f"{name} answers {answered}, and not {_count(missed)}: look at the network between them."
    if reached:
        return f"{name} answers {_count(reached)}, and not this node: look at the network between the two."
    if itself:
        return f"{name} answers over its stream, and no pings: see that UDP passes to {explanation.member.address}."
    if missed:
        return f"Nobody who was asked reaches {name}: it is down, or cut off from all of them."
    if explanation.unheard:
        return f"No other member could be asked, and {name} does not answer this node: this node itself may be cut off."
    return f"{name} does not answer this node, and there is nobody else to ask."


def signature_notes(explanation: Explanation) -> list[str]:
    """What it means where not all that was said is signed as it should be."""
    notes = []
    unsigned = [printable(_plain(finding.by)) for finding in explanation.findings if not finding.signed]
    if unsigned:
        notes.append(
            f"Not signed by {_first(unsigned)}: an older version of meshnode, whose word others cannot check, so it "
            "confirms nothing. Upgrade it to have it count."
        )
    if explanation.refused:
        names = [printable(_plain(teller)) for teller in explanation.refused]
        notes.append(
            f"The signature of {_first(names)} is wrong, so what it said was dropped: check the clocks of both "
            "machines, and its certificate with `meshnode doctor` there. If they are well, do not trust that node."
        )
    return notes


def _first(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _count(findings: list[Finding]) -> str:
    return _first([printable(_plain(finding.by)) for finding in findings])


def _said_by(explanation: Explanation) -> str:
    return "itself" if explanation.said_by.node_id == explanation.member.node_id else _plain(explanation.said_by)


def _plain(teller: Teller) -> str:
    return teller.name or teller.node_id[:ID_CHARS]


def _names(tellers: tuple[Teller, ...]) -> str:
    return ", ".join(map(_plain, tellers)) or "nobody"


def _suspicion_text(suspicion: SuspicionView | None) -> str:
    if suspicion is None:
        return "nobody"
    accusers = f"{_names(suspicion.accusers)}; first {duration(suspicion.age_s)} ago"
    if not suspicion.open:
        return f"nobody now; the last suspicion that is over was of {accusers}"
    left = f"{accusers}; it has {duration(suspicion.refute_within_s)} left to refute"
    more = suspicion.confirmations_wanted
    return f"{left}, less with {more} more to accuse it" if more else left


def _own_text(own: OwnFindings) -> str:
    answered = "never, or long ago" if own.answered_s < 0 else f"{duration(own.answered_s)} ago"
    if own.pings == 0:
        return f"no ping is unanswered; the last answer came {answered}" if own.answered_s >= 0 else "none so far"
    return (
        f"{own.pings} unanswered in a row, the last {duration(own.last_failure_s)} ago; "
        f"silent for {duration(own.silent_s)}; last answer: {answered}"
    )


def _helpers_text(own: OwnFindings) -> str:
    if not own.helpers_heard and not own.helpers_silent:
        return "none were asked"
    heard = f"{_names(own.helpers_heard)} had no answer either"
    if not own.helpers_silent:
        return heard
    silent = f"{_names(own.helpers_silent)} said nothing at all"
    return f"{heard}; {silent}" if own.helpers_heard else f"{silent}: this node itself may not be heard"


def _finding_row(finding: Finding, explanation: Explanation, asking: str) -> tuple[str | tuple[str, str], ...]:
    reach = finding.reach
    found = f"silent for {duration(finding.silent_s)}" if reach == "silent" else reach
    about_itself = finding.by.node_id == explanation.member.node_id
    return (
        _name(finding.by, explanation, asking),
        ("is there", "green") if about_itself else (found, _REACH_STYLES.get(reach, "")),
        "-" if about_itself or finding.answered_s < 0 else f"{duration(finding.answered_s)} ago",
        (finding.state, STATE_STYLES.get(finding.state, "")),
        ", ".join(map(_plain, finding.accusers)) or "-",
        "yes" if finding.signed else ("no", "yellow"),
    )


def _name(teller: Teller, explanation: Explanation, asking: str) -> str:
    if teller.node_id == asking:
        return f"{_plain(teller)} (this node)"
    return f"{_plain(teller)} itself" if teller.node_id == explanation.member.node_id else _plain(teller)
