"""Searching for tools: every live node with MCP servers is asked, and slow ones are named (DESIGN 9)."""

from __future__ import annotations

from protocols.config import HandlerSpec
from protocols.core import Refused
from protocols.membership.member import Alive, Profile, State, precedence_of
from protocols.membership.messages import Gossip
from protocols.tasks.messages import Answer, Ask
from protocols.tools import FindTools, LocalToolsFor, ToolInfo, ToolsFound
from tests.protocols.harness import Host, World, accuse, config_of, endpoint_of, id_of
from tests.protocols.tasks_kit import QUIET, loses, settle


def tool(name: str, server: str = "files") -> ToolInfo:
    """A tool as the executor lists it: without the node."""
    return ToolInfo("", "", server, name, f"{name}s something")


def found(name: str, node: str, server: str = "files") -> ToolInfo:
    return ToolInfo(id_of(node), node, server, name, f"{name}s something")


def node_with(*handlers: str, tools: tuple[ToolInfo, ...] | None = ()) -> Host:
    specs = tuple(HandlerSpec(handler) for handler in handlers)
    host = World().add("a", config_of("a", handlers=specs, swim=QUIET)).start()
    host.tools = tools
    host.world.run(0.01)
    return host


def meets(host: Host, name: str, *handlers: str) -> None:
    profile = Profile(name, endpoint_of(name).address, handlers)
    host.hears(endpoint_of(name), Gossip((Alive(id_of(name), precedence_of(1, 0, State.ALIVE), profile),)))


def asked(host: Host) -> dict[str, int]:
    """The nodes that were asked for their tools, with the number of the ask."""
    return {
        endpoint.address.partition(".")[0]: message.ask_id
        for endpoint, message in host.said
        if isinstance(message, Ask) and isinstance(message.command, LocalToolsFor)
    }


def answers(host: Host, name: str, *tools: ToolInfo, total: int = 0) -> None:
    host.hears(endpoint_of(name), Answer(asked(host)[name], ToolsFound(tools, total or len(tools))))


def test_a_mesh_without_servers_answers_at_once_with_nothing() -> None:
    host = node_with("work")
    meets(host, "b", "work")
    request = host.request(FindTools())
    assert host.outcomes[request] == ToolsFound((), 0)


def test_the_own_tools_and_those_of_others_come_together_in_order_with_their_nodes() -> None:
    host = node_with("mcp:files", tools=(tool("write"), tool("read")))
    meets(host, "b", "mcp:files", "mcp:web", "work")
    request = host.request(FindTools())
    settle(host)
    assert request not in host.outcomes
    answers(host, "b", tool("read"), tool("fetch", "web"))
    assert host.outcomes[request] == ToolsFound(
        (found("read", "a"), found("read", "b"), found("write", "a"), found("fetch", "b", "web")), 4
    )


def test_only_live_nodes_with_servers_are_asked_suspects_included() -> None:
    host = node_with()
    for name in ("b", "c", "d", "e"):
        meets(host, name, "mcp:files")
    meets(host, "f", "work")
    loses(host, "c")
    loses(host, "d", State.LEFT)
    host.hears(endpoint_of("z"), Gossip((accuse("e", State.SUSPECT),)))
    host.request(FindTools())
    assert set(asked(host)) == {"b", "e"}


def test_a_search_for_a_server_asks_only_the_nodes_that_have_it() -> None:
    host = node_with("mcp:web")
    meets(host, "b", "mcp:files")
    meets(host, "c", "mcp:web", "mcp:files2")
    request = host.request(FindTools(server="files"))
    assert set(asked(host)) == {"b"}
    answers(host, "b", tool("read"))
    assert host.outcomes[request] == ToolsFound((found("read", "b"),), 1)


def test_a_silent_node_is_named_and_the_others_tools_are_the_answer() -> None:
    host = node_with("mcp:files", tools=None)
    meets(host, "b", "mcp:files")
    meets(host, "c", "mcp:files")
    request = host.request(FindTools())
    answers(host, "b", tool("read"))
    host.world.run(2.4)
    assert request not in host.outcomes
    host.world.run(0.2)
    outcome = host.outcomes[request]
    assert isinstance(outcome, ToolsFound)
    assert outcome.tools == (found("read", "b"),)
    assert set(outcome.silent) == {"a", "c"}
    answers(host, "c", tool("late"))
    assert host.outcomes[request] == outcome


def test_an_answer_that_is_no_list_of_tools_leaves_the_node_silent() -> None:
    host = node_with()
    meets(host, "b", "mcp:files")
    request = host.request(FindTools())
    host.hears(endpoint_of("b"), Answer(asked(host)["b"], Refused("busy", "Not now.")))
    host.world.run(2.6)
    assert host.outcomes[request] == ToolsFound((), 0, ("b",))


def test_an_answer_counts_once_and_only_from_the_node_that_was_asked() -> None:
    host = node_with()
    meets(host, "b", "mcp:files")
    meets(host, "c", "mcp:files")
    request = host.request(FindTools())
    host.hears(endpoint_of("c"), Answer(asked(host)["b"], ToolsFound((tool("forged"),), 1)))
    answers(host, "b", tool("read"))
    answers(host, "b", tool("read"))
    answers(host, "c", tool("write"))
    assert host.outcomes[request] == ToolsFound((found("read", "b"), found("write", "c")), 2)


def test_no_more_tools_than_asked_for_come_back_and_all_are_counted() -> None:
    host = node_with("mcp:files", tools=tuple(tool(f"t{number}") for number in range(9)))
    meets(host, "b", "mcp:files")
    request = host.request(FindTools(limit=3))
    settle(host)
    answers(host, "b", tool("a"), tool("b"), total=70)
    outcome = host.outcomes[request]
    assert isinstance(outcome, ToolsFound)
    assert [each.tool for each in outcome.tools] == ["a", "b", "t0"]
    assert outcome.total == 79


def test_a_peer_is_told_the_own_tools() -> None:
    host = node_with("mcp:files", tools=(tool("read"),))
    host.hears(endpoint_of("b"), Ask(4, LocalToolsFor(FindTools())))
    settle(host)
    assert host.said_of(Answer, "b") == [Answer(4, ToolsFound((tool("read"),), 1))]


def test_searches_do_not_get_in_each_others_way() -> None:
    world = World()
    specs = (HandlerSpec("mcp:files"),)
    hosts = [world.add(name, config_of(name, seeds=("a",), handlers=specs)).start() for name in "abc"]
    world.run(3)
    for number, host in enumerate(hosts):
        host.tools = (tool(f"t{number}"),)
    requests = [(host, host.request(FindTools())) for host in hosts for _ in range(3)]
    world.run(1)
    for host, request in requests:
        outcome = host.outcomes[request]
        assert isinstance(outcome, ToolsFound)
        assert [each.tool for each in outcome.tools] == ["t0", "t1", "t2"]
        assert outcome.silent == ()


def test_while_the_disk_fails_tools_are_found_all_the_same() -> None:
    host = node_with("mcp:files", tools=(tool("read"),))
    host.disk_error = "full"
    host.world.run(1)
    assert host.ask(FindTools()) == ToolsFound((found("read", "a"),), 1)
