"""What runs cost: how tokens and calls are counted."""

from __future__ import annotations

import uuid
from decimal import Decimal, localcontext
from typing import Any

import pytest
from graphs import chain
from helpers import minimal
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from priced_runs import FULL, TABLE, M, call, log, run, tokens, tool, total

from runlog import prices
from runlog._logs import NodeLog
from runlog.hooks import RunLogHandler
from runlog.prices import Cost

# Tokens.


def test_the_whole_of_a_cost() -> None:
    a = log("a", call(tokens(M, 0)), tool(), call(tokens(0, M), model="n"))
    b, none = log("b", call(tokens(M // 2, 0))), log("a")
    table = TABLE | {"n": {"input": 0, "output": 0.5}}
    assert prices.cost(run(a, b, none), table) == Cost(
        total=Decimal("3.5"),
        by_model={"m": Decimal(3), "n": Decimal("0.5")},
        by_node={"a": Decimal("2.5"), "b": Decimal(1)},
        by_log=[Decimal("2.5"), Decimal(1), Decimal(0)],
        unpriced=[],
    )


def test_nothing_called_costs_nothing() -> None:
    nothing = Cost(Decimal(0), {}, {}, [], [])
    for empty in ({}, run(), {"node_logs": None, "metadata": None}):
        assert prices.cost(empty, TABLE) == nothing
        assert prices.cost(empty, {}) == nothing
    assert prices.cost(run(log("a", tool())), {}).total == 0


def test_money_is_exact() -> None:
    table = {"m": {"input": 0.1, "output": 0.2}}
    assert str(total(call(tokens(3, 1)), table=table)) == "5E-7"
    many = [call(tokens(1, 0)) for _ in range(10)]
    assert total(*many, table=table) == Decimal("0.000001")
    with localcontext(prec=2):  # the program's own context has no say
        assert str(total(call(tokens(123456, 0)))) == "0.246912"


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (tokens(M, M), "3"),
        (tokens(M, 0, {}, {}), "1"),
        (tokens(M, 0, {"cache_read": M}), "0.1"),
        (tokens(2 * M, 0, {"cache_read": M}), "1.1"),
        (tokens(3 * M, 0, {"cache_read": M, "cache_creation": M}), "2.35"),
        (tokens(0, M, None, {"reasoning": M // 2}), "3"),
        (tokens(2 * M, 0, {"audio": M}), "9"),
        (tokens(0, 2 * M, None, {"audio": M}), "18"),
        (tokens(M, M, {"cache_read": None}, {"reasoning": None}), "3"),
        (tokens(M, M, {"more": M}, {"more": M}), "3"),
        # of what is cached and audio, only the cache is known to have a price
        (tokens(M, 0, {"cache_read": M, "audio": M}), "0.1"),
        (tokens(0, M, None, {"reasoning": M, "audio": M}), "4"),
        # langchain-anthropic
        (tokens(M, 0, {"cache_creation": 0, "ephemeral_5m_input_tokens": M}), "1.25"),
        (tokens(M, 0, {"cache_creation": 0, "ephemeral_1h_input_tokens": M}), "3"),
        (
            tokens(
                3 * M,
                0,
                {
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": M,
                    "ephemeral_1h_input_tokens": M,
                },
            ),
            "5.25",
        ),
        (tokens(M, 0, {"cache_creation": M, "ephemeral_5m_input_tokens": M}), "1.25"),
        (tokens(M, 0, {"cache_creation": M, "ephemeral_1h_input_tokens": M}), "3"),
        # langchain-openai with a service tier
        (tokens(2 * M, 0, {"flex": M, "flex_cache_read": M}), "1.1"),
        (tokens(0, 2 * M, None, {"priority": M, "priority_reasoning": M}), "6"),
    ],
    ids=str,
)
def test_each_token_is_counted_once(used: Any, expected: str) -> None:
    assert total(call(used), table=FULL) == Decimal(expected)


def test_a_kind_without_a_price_has_that_of_the_whole() -> None:
    inputs = {"cache_read": M, "ephemeral_5m_input_tokens": M, "audio": M}
    inputs["ephemeral_1h_input_tokens"] = M
    used = tokens(5 * M, 3 * M, inputs, {"reasoning": M, "audio": M})
    assert total(call(used)) == 5 * 2 + 3 * 10
    table = {"m": TABLE["m"] | {"cache_write": 3}}
    assert total(call(used), table=table) == 3 * 2 + 2 * 3 + 3 * 10


@pytest.mark.parametrize(
    "used",
    [
        None,
        {},
        "tokens",
        {"input": 5},
        {"input": 5, "output": None},
        {"input": 5.0, "output": 1},
        {"input": True, "output": 1},
        tokens(-1, 5),
        tokens(10, 0, {"cache_read": 11}),
        tokens(10, 0, {"cache_read": 6, "cache_creation": 6}),
        tokens(0, 10, None, {"reasoning": 11}),
    ],
    ids=str,
)
def test_tokens_that_are_not_known_or_contradict_one_another(used: Any) -> None:
    known = call(tokens(M, 0))
    found = prices.cost(run(log("a", call(used)), log("b", known)), TABLE)
    assert found == Cost(
        None, {"m": None}, {"a": None, "b": Decimal(2)}, [None, Decimal(2)], ["m"]
    )


# Calls.


def test_a_model_without_a_price_makes_each_of_its_sums_unknown() -> None:
    other = call(tokens(1, 1), model="other")
    logs = [log("a", call(tokens(M, 0)), other), log("b", call(tokens(M, 0))), log("a")]
    assert prices.cost(run(*logs), TABLE) == Cost(
        total=None,
        by_model={"m": Decimal(4), "other": None},
        by_node={"a": None, "b": Decimal(2)},
        by_log=[None, Decimal(2), Decimal(0)],
        unpriced=["other"],
    )


def test_a_cached_answer_costs_nothing() -> None:
    used = tokens(M, M)
    assert total(call(used, cached=True), call(used, cached=True, model="other")) == 0
    found = prices.cost(run(log("n", call(None, cached=True))), {})
    assert found == Cost(
        Decimal(0), {"m": Decimal(0)}, {"n": Decimal(0)}, [Decimal(0)], []
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "failed", "outputs": []}, 0),
        ({"status": "failed", "outputs": None}, 0),
        ({"status": "failed", "outputs": [{"content": "part"}]}, None),
        ({"status": "failed", "outputs": None, "first_token_ms": 2.5}, None),
        ({"status": "failed", "outputs": [], "tokens": tokens(M, 0)}, 2),
        ({"status": "cancelled", "outputs": []}, None),
        ({"status": "running", "outputs": None}, None),
        ({"status": "completed", "outputs": None}, None),
    ],
    ids=str,
)
def test_a_call_without_tokens(fields: Any, expected: Any) -> None:
    """Nobody bills a call that was refused. Of others, nobody knows."""
    assert total(call(**fields)) == expected


def test_a_model_around_another_is_not_counted_twice() -> None:
    """It passes on the tokens of the inner. A tool between two models changes nothing."""
    used = tokens(M, 0)
    nested = [
        call(used, model="router"),
        call(used, parent=0),
        tool(parent=None),
        call(used, parent=2),
        tool(parent=3),
        call(used, parent=4),
    ]
    found = prices.cost(run(log("n", *nested)), TABLE)
    assert found.by_model == {"m": Decimal(4)}


@pytest.mark.parametrize("parent", [-1, 0, 1, 2, 99, "0", 0.0, True, None, [0]], ids=repr)
def test_a_parent_that_is_none(parent: Any) -> None:
    """A call has no parent in itself, or in one after it."""
    assert total(call(tokens(M, 0), parent=parent), call(tokens(M, 0))) == 4


def test_deep_nesting_takes_no_time() -> None:
    deep = [call(tokens(M, 0), parent=place - 1) for place in range(20_000)]
    assert total(*deep) == 2


def test_the_name_stands_for_a_model_that_is_not_known() -> None:
    calls = [call(tokens(1, 1), model=None), call(tokens(1, 1), model=None, name=None)]
    found = prices.cost(run(log("n", *calls)), TABLE)
    assert found.unpriced == ["ChatModel", "unknown"]
    assert total(call(tokens(M, 0), model=None), table={"Chat*": TABLE["m"]}) == 2


# Without the calls.


def test_a_node_without_calls_has_the_price_of_its_tokens() -> None:
    used = tokens(M, M)
    old = log("old", llm_calls=2, tokens=used, models=["m"])
    del old["calls"]
    none = log("none", llm_calls=2, tokens=used, models=["m"])
    part = log("part", call(tokens(1, 1)), llm_calls=2, tokens=used, models=["m"])
    found = prices.cost(run(old, none, part), TABLE)
    assert found.by_log == [Decimal(12)] * 3
    assert found.by_model == {"m": Decimal(36)}


@pytest.mark.parametrize(
    ("fields", "unpriced"),
    [
        ({"models": ["m", "n"], "tokens": tokens(1, 1)}, ["m", "n"]),
        ({"models": [], "tokens": tokens(1, 1)}, ["unknown"]),
        ({"models": None, "tokens": tokens(1, 1)}, ["unknown"]),
        ({"models": ["m"], "tokens": None}, ["m"]),
        ({"models": ["n"], "tokens": tokens(1, 1)}, ["n"]),
    ],
    ids=str,
)
def test_a_node_without_calls_whose_price_is_not_known(
    fields: Any, unpriced: Any
) -> None:
    found = prices.cost(run(log("n", llm_calls=1, **fields)), TABLE)
    assert (found.total, found.unpriced) == (None, unpriced)


def test_calls_that_are_in_no_node_log() -> None:
    """A hidden node has no log, but its calls are in the totals of the run."""
    kept = log("n", call(tokens(M, 0)), tokens=tokens(M, 0))
    totals = {"llm_calls": 2, "tokens": tokens(2 * M, M), "models": ["m"]}
    found = prices.cost(run(kept, **totals), TABLE)
    assert (found.total, found.by_node) == (Decimal(14), {"n": Decimal(2)})
    for change in ({"models": ["m", "n"]}, {"tokens": tokens(M, 0)}, {"tokens": None}):
        assert prices.cost(run(kept, **totals | change), TABLE).total is None
    for same in ({"llm_calls": 1}, {"llm_calls": 0}, {"llm_calls": "2"}):
        assert prices.cost(run(kept, **totals | same), TABLE).total == 2


def test_a_run_without_node_logs_has_the_price_of_its_totals() -> None:
    """A thread's runs have none."""
    totals = {"llm_calls": 2, "tokens": tokens(M, M), "models": ["m"]}
    assert prices.cost({"metadata": totals}, TABLE) == Cost(
        Decimal(12), {"m": Decimal(12)}, {}, [], []
    )


def test_logs_and_calls_of_odd_forms() -> None:
    """log_run takes any value."""
    odd: list[Any] = [5, None, "x", [], {"calls": 5}, {"calls": [5, {"kind": "llm"}, {}]}]
    found = prices.cost({"node_logs": odd, "metadata": 5}, TABLE)
    assert found.by_log == [Decimal(0)] * 5 + [None]
    assert prices.cost({"node_logs": "text"}, TABLE).total == 0
    with pytest.raises(TypeError, match="run must be what get_run returns, not NoneType"):
        prices.cost(None, TABLE)  # type: ignore[arg-type]


# A run that was recorded.


class Metered(GenericFakeChatModel):
    """A model that names itself and its tokens."""

    model_name: str = "m"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "p", "ls_model_name": self.model_name}


def metered(given: int, got: int) -> Metered:
    usage = {"input_tokens": given, "output_tokens": got, "total_tokens": given + got}
    answer = AIMessage("hi", usage_metadata=usage)
    return Metered(messages=iter([answer] * 100))


def test_a_recorded_run(recorder: Any, config: Any) -> None:
    """A call in an inner graph counts once."""

    def ask(state: Any) -> Any:
        metered(M, M).invoke("hello")
        return {}

    inner = chain("inner", deep=ask)
    chain(first=ask, outer=inner).invoke({"n": 1}, config)
    assert recorder.flush()
    run_id = str(config["run_id"])
    found = prices.cost(recorder.get_run(run_id), TABLE)
    assert found == Cost(
        total=Decimal(24),
        by_model={"m": Decimal(24)},
        by_node={"first": Decimal(12), "outer": Decimal(0), "deep": Decimal(12)},
        by_log=[Decimal(12), Decimal(0), Decimal(12)],
        unpriced=[],
    )


def cost_of(recorder: Any, node: Any, **options: Any) -> Cost:
    """What a recorded graph of one node cost."""
    run_id = uuid.uuid4()
    handler = RunLogHandler(recorder=recorder, **options)
    chain(n=node).invoke({"n": 1}, {"callbacks": [handler], "run_id": run_id})
    assert recorder.flush()
    return prices.cost(recorder.get_run(run_id), FULL)


@pytest.mark.parametrize("calls", ["delta", "full", "summary", "none"])
def test_a_cost_does_not_depend_on_what_is_kept(recorder: Any, calls: str) -> None:
    """The totals of a node have the details of its calls."""
    answer = AIMessage(
        "hi",
        usage_metadata={
            "input_tokens": 2 * M,
            "output_tokens": M,
            "total_tokens": 3 * M,
            "input_token_details": {"cache_read": M},
            "output_token_details": {"reasoning": M},
        },
    )

    def ask(_: Any) -> Any:
        Metered(messages=iter([answer])).invoke("hello")
        return {}

    assert cost_of(recorder, ask, calls=calls).total == Decimal("5.1")


def test_a_long_run_whose_logs_are_decoded_late(recorder: Any) -> None:
    logs = [
        {
            "node": "n",
            "inputs_delta": {"since": step - 1 if step else None, "append": {"m": [1]}},
            **log("n", call(tokens(M, 0))),
        }
        for step in range(1200)
    ]
    recorder.log_run(minimal(inputs={"m": []}, node_logs=logs))
    kept = recorder.get_run("r1")
    assert type(kept["node_logs"][7]) is NodeLog
    assert prices.cost(kept, TABLE).total == 2400


@pytest.mark.parametrize("calls", ["delta", "none"])
def test_a_recorded_answer_of_a_cache(recorder: Any, calls: str) -> None:
    def ask(_: Any) -> Any:
        model = metered(M, 0)
        model.cache = InMemoryCache()
        for _ in range(3):
            model.invoke("hello")
        return {}

    assert cost_of(recorder, ask, calls=calls).total == 1


def test_totals_of_service_tiers() -> None:
    """What has a tier is told from its details; a sum of several is no tier's."""
    table = FULL | {"m:flex": {"input": 0.5, "output": 1}}
    flex = tokens(2 * M, 0, {"flex": M, "flex_cache_read": M})
    mixed = tokens(3 * M, 0, {"flex": M, "flex_cache_read": M})
    made = [run(log("n", llm_calls=1, models=["m"], tokens=one)) for one in (flex, mixed)]
    assert [prices.cost(one, table).total for one in made] == [Decimal(1), None]
    assert prices.cost(made[1], FULL).total == Decimal("2.1")


def test_calls_that_only_the_run_counts() -> None:
    """Their details are those of the run without those of its nodes."""
    known = tokens(2 * M, 0, {"cache_read": M})
    made = run(
        log("n", call(known), tokens=known),
        llm_calls=3,
        models=["m"],
        tokens=tokens(5 * M, 0, {"cache_read": 3 * M}),
    )
    assert prices.cost(made, FULL).total == Decimal("2.3")


def test_recorded_attempts(recorder: Any) -> None:
    """Two are refused, and the third answers."""
    left = [ConnectionError("busy"), ConnectionError("busy")]

    class Busy(Metered):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            if left:
                raise left.pop()
            return super()._generate(*args, **kwargs)

    def ask(_: Any) -> Any:
        model = Busy(messages=metered(M, 0).messages)
        model.with_retry(wait_exponential_jitter=False).invoke("hello")
        return {}

    assert cost_of(recorder, ask) == Cost(
        Decimal(1), {"m": Decimal(1)}, {"n": Decimal(1)}, [Decimal(1)], []
    )


def test_a_recorded_model_around_another(recorder: Any) -> None:
    class Router(Metered):
        model_name: str = "router"

        def _generate(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
        ) -> Any:
            handlers, run_id = run_manager.handlers, run_manager.run_id
            within = CallbackManager(handlers, parent_run_id=run_id)
            answer = metered(M, 0).invoke(messages, {"callbacks": within})
            return ChatResult(generations=[ChatGeneration(message=answer)])

    def ask(_: Any) -> Any:
        Router(messages=iter([])).invoke("hello")
        return {}

    assert cost_of(recorder, ask).by_model == {"m": Decimal(1)}
