"""A small real graph for the programs of the tests."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph


class State(TypedDict):
    """What the nodes add to."""

    seen: Annotated[list[str], operator.add]


Node = Callable[[State], dict[str, Any]]


def add(name: str) -> Node:
    """A node that says that it was there."""
    return lambda _: {"seen": [name]}


def make_graph(*nodes: Node) -> Any:
    """begin, then node0, node1 ... side by side, then end."""
    builder: Any = StateGraph(State)
    builder.add_node("begin", add("begin"))
    builder.add_node("end", add("end"))
    builder.add_edge(START, "begin")
    for number, node in enumerate(nodes):
        builder.add_node(f"node{number}", node)
        builder.add_edge("begin", f"node{number}")
        builder.add_edge(f"node{number}", "end")
    return builder.compile()
