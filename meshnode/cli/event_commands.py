"""Commands that speak to the whole mesh: events, and queries with their answers. Names, options and help; no work."""

from __future__ import annotations

from typing import Annotated

import typer

from meshnode.cli.app import AsJson, Directory, app, data_directory
from meshnode.cli.present import present

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is about: 1 to 64 characters.")]
Payload = Annotated[
    str, typer.Argument(metavar="PAYLOAD", help="Any text; with the name at most 512 bytes.", show_default=False)
]

EVENT_HELP = """Tell every node of the mesh that something has happened.

Every live node keeps it for its users to read (`meshnode events`): once, and the events of one node in the order in
which they were sent. A node that is cut off gets it when it is back, if it is still among the last 512. Nobody confirms
it, and it is lost if this node is killed before others have heard it: work that must be done is a task
(`meshnode submit`).

\b
Examples:
  meshnode event deployed '{"app": "shop", "version": 7}'
  meshnode event lunch

Next: `meshnode events`, on any node, shows it. Sent twice, it is two events: after exit status 4, look there first.
"""


@app.command("event", help=EVENT_HELP, short_help="Tell every node that something has happened.")
def event(name: Name, payload: Payload = "", directory: Directory = None, as_json: AsJson = False) -> int:
    from meshnode.cli import event_work

    return present(as_json, lambda: event_work.event(data_directory(directory), name, payload))


EVENTS_HELP = """Show the last events that this node has heard, oldest first, and questions that wait for an answer.

They are kept until the daemon stops, at most the last 512; after a restart those that came before it are not shown
again. LTIME is a Lamport time: what was sent by somebody who had heard of something else has a larger one.

\b
Examples:
  meshnode events
  meshnode events --follow                        goes on until Ctrl-C or SIGTERM; with --json, one a line
  meshnode events --wait 50 --after 3-17 --json   what came after an earlier answer, whose `cursor` was 3-17

Next: `meshnode answer QUERY TEXT` answers a question.
"""


@app.command("events", help=EVENTS_HELP, short_help="Show what the nodes have told each other.")
def events(
    after: Annotated[
        str,
        typer.Option("--after", metavar="CURSOR", help="Only what came after this.", show_default=False),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=512, help="At most so many.")] = 50,
    wait: Annotated[
        str | None,
        typer.Option("--wait", metavar="S", help="Wait so long for the first, up to 50s.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show the last N, and then each as it comes.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import event_work

    if follow:
        if wait is not None:
            raise typer.BadParameter("--follow waits for ever; it takes no --wait.")
        return present(as_json, lambda: event_work.follow(data_directory(directory), after, limit, as_json=as_json))
    return present(as_json, lambda: event_work.events(data_directory(directory), after, limit, wait))


QUERY_HELP = """Ask every live node, and show what each answers.

Every node answers these by itself: ping, version, handlers, status. Any other NAME is shown to the users and agents of
each node, who may answer for it (`meshnode answer`). It ends as soon as all have answered, or when the time is over.

\b
Examples:
  meshnode query version
  meshnode query status --json | jq '.answers[] | {node_name, answer}'
  meshnode query who-can-review '{"pr": 12}' --timeout 40

Next: nodes that are named as silent are down, cut off, or have nobody who answers: `meshnode members`.
"""


@app.command("query", help=QUERY_HELP, short_help="Ask every node, and show what each answers.")
def query(
    name: Name,
    payload: Payload = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="S", help="How long to wait, up to 45s.")] = "5s",
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import event_work

    return present(as_json, lambda: event_work.query(data_directory(directory), name, payload, timeout))


ANSWER_HELP = """Answer a question of another node, for this node, while it waits.

\b
Example:
  meshnode answer y4hxbbl3xknfpnzmmt7kli2ure.1.1 'I can, after lunch'

Next: `meshnode events` shows which questions are open, and for how long.
"""


@app.command("answer", help=ANSWER_HELP, short_help="Answer a question that `meshnode events` shows.")
def answer(
    query_id: Annotated[str, typer.Argument(metavar="QUERY", help="Its id, as `meshnode events` shows it.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer: any text of at most 1024 bytes.")],
    directory: Directory = None,
    as_json: AsJson = False,
) -> int:
    from meshnode.cli import event_work

    return present(as_json, lambda: event_work.answer(data_directory(directory), query_id, text))
