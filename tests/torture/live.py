"""Graphs that are recorded live by a process that does not see their end.

usage: live.py KIND [INTERVAL]

See test_handler_live.py. A line is acknowledged when what was asked for has happened.
Mostly it is run by live_server.py.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from typing import Any

from torture.child import BOUND, acknowledge, fork, wait_for

import runlog
from runlog.hooks import RunLogHandler


def hang(state: Any) -> Any:
    """A node in which the process is killed."""
    acknowledge("in the node")
    time.sleep(BOUND)
    return state


def stuck_in_node(interval: float) -> None:
    """A graph with a node behind it, one that hangs, and one that is never reached."""
    from handler_graphs import chain, node

    handler = RunLogHandler("killed", checkpoint_interval=interval)
    graph = chain("g", good=node("good"), stuck=hang, never=node("never"))
    graph.invoke(
        {"n": 1},
        {
            "callbacks": [handler],
            "configurable": {"thread_id": "t"},
            "metadata": {"user": "u"},
        },
    )


def stuck_in_subgraph(interval: float) -> None:
    """The node that hangs is one of a subgraph."""
    from handler_graphs import chain, node

    handler = RunLogHandler("killed", checkpoint_interval=interval)
    inner = chain("inner", deep=hang)
    graph = chain("g", good=node("good"), outer=inner)
    graph.invoke({"n": 1}, {"callbacks": [handler]})


def stuck_async(interval: float) -> None:
    """Two nodes at once on an event loop."""
    import asyncio

    from handler_graphs import State
    from langgraph.graph import START, StateGraph

    async def hang_too(_: Any) -> Any:
        acknowledge("in the node")
        await asyncio.sleep(BOUND)

    builder: Any = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, hang_too)
        builder.add_edge(START, name)
    handler = RunLogHandler("killed", checkpoint_interval=interval)
    asyncio.run(builder.compile().ainvoke({"n": 1}, {"callbacks": [handler]}))


def many(interval: float) -> None:
    """Begins as many runs as each line on standard input says."""
    from handler_graphs import begin_root

    handler = RunLogHandler("many", checkpoint_interval=interval)
    for line in sys.stdin:
        for _ in range(int(line)):
            acknowledge(str(begin_root(handler, n=0)))
        acknowledge("done")


def given_id(interval: float, run_id: str, n: str) -> None:
    """A run with an id that another process uses as well; it waits for a line inside."""
    from handler_graphs import chain, node, with_id

    def wait() -> None:
        acknowledge("in the node")
        sys.stdin.readline()

    handler = RunLogHandler("same", checkpoint_interval=interval)
    graph = chain("g", first=node("first", wait), second=node("second"))
    graph.invoke({"n": int(n)}, with_id(handler, uuid.UUID(run_id)))
    runlog.close()


def forks(interval: float) -> None:
    """A node forks; the child goes on to the graph's end, and runs one of its own."""
    from handler_graphs import chain, node, two_nodes
    from helpers import until

    own = os.getpid()
    pids: list[int] = []

    def act(state: Any) -> Any:
        until(lambda: runlog.list_runs(wpk_id="forking").runs != [])
        pid = os.fork()
        if pid:
            pids.append(pid)
            wait_for(pid)
            time.sleep(3 * interval)
            run = runlog.list_runs(wpk_id="forking").runs[0]
            acknowledge(run["status"])
        return {"seen": ["parent" if pid else "child"]}

    handler = RunLogHandler("forking", checkpoint_interval=interval)
    graph = chain("g", first=node("first"), forks=act, last=node("last"))
    graph.invoke({"n": 0, "seen": []}, {"callbacks": [handler]})
    if os.getpid() != own:
        child = RunLogHandler("in-child", checkpoint_interval=interval)
        two_nodes().invoke({"n": 5}, {"callbacks": [child]})
        runlog.close()
        os._exit(0)
    runlog.close()


def killed_parent_of_a_fork(interval: float) -> None:
    """A node forks; the child is idle, and outlives the process that has the run."""
    from handler_graphs import chain

    def outlive() -> None:
        os.closerange(0, 3)
        time.sleep(5)

    def act(state: Any) -> Any:
        fork(outlive)
        return hang(state)

    handler = RunLogHandler("killed", checkpoint_interval=interval)
    chain("g", forks=act).invoke({"n": 1}, {"callbacks": [handler]})


def stuck_in_call(interval: float) -> None:
    """A model that a tool asks does not answer; the node has made a call before."""
    from call_help import QUESTION, Chat, does, graph_of, plus
    from langchain_core.tools import tool

    class Stuck(Chat):
        def _generate(self, *args: Any, **options: Any) -> Any:
            return hang(None)

    @tool
    def ask_stuck(question: str) -> Any:
        """Ask it."""
        return Stuck().invoke([QUESTION])

    def act(_: Any) -> Any:
        plus.invoke({"a": 1})
        ask_stuck.invoke({"question": "Who is there?"})

    handler = RunLogHandler("killed", checkpoint_interval=interval)
    graph_of(does(act)).invoke({"messages": []}, {"callbacks": [handler]})


def forks_in_call(interval: float) -> None:
    """A model forks while it answers; both processes go on to the graph's end."""
    from call_help import ANSWER, QUESTION, Chat, graph_of
    from langchain_core.outputs import ChatGeneration, ChatResult

    own = os.getpid()

    class Forking(Chat):
        def _generate(self, *args: Any, **options: Any) -> Any:
            time.sleep(3 * interval)
            pid = os.fork()
            if pid:
                wait_for(pid)
            text = "parent" if pid else "child"
            answer = ANSWER.model_copy(update={"content": text})
            return ChatResult(generations=[ChatGeneration(message=answer)])

    handler = RunLogHandler("forking", checkpoint_interval=interval, roots="graphs")
    nodes = [
        lambda state, model=model: {"messages": [model.invoke(state["messages"])]}
        for model in (Forking(), Chat(says=iter([ANSWER.model_copy(update={"id": "b"})])))
    ]
    graph_of(*nodes).invoke({"messages": [QUESTION]}, {"callbacks": [handler]})
    if os.getpid() != own:
        Chat().invoke([QUESTION], {"callbacks": [RunLogHandler("in-child")]})
    runlog.close()
    if os.getpid() != own:
        os._exit(0)


WORKS: dict[str, Any] = {
    each.__name__: each
    for each in (
        stuck_in_node,
        stuck_in_subgraph,
        stuck_async,
        many,
        given_id,
        forks,
        killed_parent_of_a_fork,
        stuck_in_call,
        forks_in_call,
    )
}


def work(kind: str, interval: str, *args: str) -> None:
    """Do what the arguments say."""
    WORKS[kind](float(interval), *args)


if __name__ == "__main__":
    work(*sys.argv[1:])
