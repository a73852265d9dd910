"""Where prices come from: a table of the user's, its file, or genai-prices itself."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from priced_runs import TABLE, M, call, log, run, tokens, total
from provider_formats import Say, Usage
from provider_help import Make, anthropic, ask, each_client, node_of
from provider_server import ProviderServer

from runlog import ConfigError, prices

# Tables.


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", 1),
        ("gpt-4o-2024-08-06", 2),
        ("gpt-4o-mini", 3),
        ("gpt-4o-mini-2024-07-18", 4),
        ("GPT-4O", 1),
        ("models/gpt-4o", 6),
        ("o1", 7),
        ("o3", 8),
        ("claude", None),
        ("", None),
    ],
)
def test_the_pattern_that_says_most_counts(model: str, expected: Any) -> None:
    patterns = ["gpt-4o", "gpt-4o*", "gpt-4o-mini", "gpt-4o-mini*", "gpt-*", "*/gpt-4o"]
    table = {
        pattern: {"input": price, "output": 0}
        for price, pattern in enumerate([*patterns, "o[12]", "o?"], start=1)
    }
    for ordered in (table, dict(reversed(table.items()))):
        assert total(call(tokens(M, 0), model=model, name=""), table=ordered) == expected


def test_a_service_tier_has_the_price_of_its_name_or_of_the_model() -> None:
    table = {
        name: {"input": price, "output": 0}
        for price, name in enumerate(["m", "m*", "m*:flex", "other*", "*:flex"], start=1)
    }

    def of(model: str, **details: int) -> Any:
        return total(call(tokens(M, 0, details), model=model), table=table)

    assert of("m", flex=M) == of("m-2", flex_cache_read=0) == 3
    assert (of("m", priority=M), of("m", priority_cache_read=M), of("m")) == (1, 1, 1)
    assert (of("other", flex=M), of("other"), of("m-2", priority=M)) == (5, 4, 2)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = call(tokens(M, 0))
    path = write(tmp_path / "prices.json", json.dumps(TABLE))
    for table in (path, str(path)):
        assert total(used, table=table) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    assert total(used, table="~/prices.json") == 2
    write(path, b'\xef\xbb\xbf{"m": {"input": 0.1, "output": 1e1}}')
    assert total(used, table=path) == Decimal("0.1")


def test_the_file_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "prices.json", json.dumps({"gpt-4o": TABLE["m"]}))
    monkeypatch.setenv("RUNLOG_PRICES", str(path))
    used = run(log("n", call(tokens(M, 0), model="gpt-4o", provider="openai")))
    assert prices.cost(used).total == 2
    assert prices.cost(used, {"gpt*": {"input": 5, "output": 5}}).total == 5
    write(path, "{}")
    assert prices.cost(used).total is None  # genai-prices has one, but is not asked
    write(path, "{")
    with pytest.raises(ConfigError, match=f"^RUNLOG_PRICES: {path}: line 1, column 2: "):
        prices.cost(used)
    monkeypatch.setenv("RUNLOG_PRICES", "")
    assert prices.cost(used).total is not None


WRONG: list[tuple[str | bytes, str]] = [
    ('{"gpt-4o": {"input": "2"}}', '"gpt-4o".output is missing'),
    (
        '{"gpt-4o": {"input": "2", "output": 1}}',
        '"gpt-4o".input must be a number of 0 or more, not str',
    ),
    (
        '{"m": {"input": null, "output": 1}}',
        '"m".input must be a number .*, not NoneType',
    ),
    ('{"m": {"input": true, "output": 1}}', '"m".input must be a number .*, not bool'),
    ('{"m": {"input": 1, "output": -1}}', '"m".output must be a number .*, not -1'),
    ('{"m": {"input": NaN, "output": 1}}', '"m".input must be .*, not NaN'),
    ('{"m": {"input": -Infinity, "output": 1}}', '"m".input must be .*, not -Infinity'),
    (
        '{"m": {"input": 1e99, "output": 1}}',
        '"m".input must be .* or more, up to 1,000,000,000, not 1E.99$',
    ),
    (
        '{"m": {"input": ' + "9" * 5000 + ', "output": 1}}',
        '"m".input must be a number .*, not 1.00E.5000$',
    ),
    ('{"m": {"input": 1, "output": 1, "out": 1}}', '"m".out is no kind .* audio_output$'),
    ('{"m": 5}', '"m" must be an object that has prices by kind, not Decimal'),
    ('{"m": {"input": 1, "input": 2, "output": 1}}', '"input" is there twice'),
    ('{"m": {}, "m": {}}', '"m" is there twice'),
    ("[]", "must be an object that has prices by model, not list"),
    ("null", "must be an object that has prices by model, not NoneType"),
    ('{\n  "m": {"input" 1}\n}', "line 2, column 17: Expecting ':' delimiter"),
    ("", "line 1, column 1: Expecting value"),
    ("[" * 200_000, "is nested too deeply"),
    (b'{"\xff": 1}', "is not UTF-8 at byte 2"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(m) for _, m in WRONG])
def test_a_file_that_is_no_table(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prices.json", text)
    for _ in range(2):  # what failed is not kept
        with pytest.raises(ConfigError, match=f"^{path}: {message}"):
            total(table=path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    with pytest.raises(ConfigError, match=f"^{missing}: No such file or directory$"):
        total(table=missing)
    with pytest.raises(ConfigError, match=f"^{tmp_path}: Is a directory$"):
        total(table=tmp_path)


def test_a_dict_that_is_no_table() -> None:
    for table, message in (
        ({5: {}}, "^table: models must be text, not int$"),
        ({"m": {"input": float("nan"), "output": 1}}, '^table: "m".input must be a '),
        ({"m": {"input": Decimal("inf"), "output": 1}}, '^table: "m".input must be a '),
        ({"m": {"input": "x", "output": 1}}, "of 0 or more, not str$"),
        ({"m": {5: 1}}, '^table: "m".5 is no kind of tokens'),
    ):
        with pytest.raises(ConfigError, match=message):
            prices.cost({}, table)  # type: ignore[arg-type]
    for wrong in (5, b"prices.json", ["prices.json"]):
        with pytest.raises(TypeError, match="table must be a dict, a path or None, not "):
            prices.cost({}, wrong)  # type: ignore[arg-type]


def test_prices_of_any_kind_of_number() -> None:
    for price in (2, 2.0, Decimal("2.0")):
        assert total(call(tokens(M, 0)), table={"m": {"input": price, "output": 0}}) == 2


# genai-prices.


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here reaches for another machine."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", "no network"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


def asked(used: Any, model: str = "gpt-4o", provider: Any = "openai", **more: Any) -> Any:
    return prices.cost(run(log("n", call(used, model=model, provider=provider, **more))))


def theirs(model: str, provider: str, **counts: int) -> Decimal:
    """What the package itself says."""
    usage = genai_prices.Usage(**counts)
    return genai_prices.calc_price(usage, model, provider_id=provider).total_price


def test_the_prices_of_genai_prices() -> None:
    found = asked(tokens(1000, 100, {"cache_read": 200}, {"reasoning": 50}))
    expected = theirs(
        "gpt-4o", "openai", input_tokens=1000, output_tokens=100, cache_read_tokens=200
    )
    assert found.total == expected
    assert expected > 0
    inputs = {"cache_read": 100, "cache_creation": 0, "ephemeral_5m_input_tokens": 50}
    hour = {"ephemeral_1h_input_tokens": 200}
    used = tokens(1000, 100, inputs | hour)
    counts = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_read_tokens": 100,
        "cache_write_tokens": 250,
        "cache_write_5m_tokens": 50,
        "cache_write_1h_tokens": 200,
    }
    model = "claude-sonnet-4-5"
    assert asked(used, model, "anthropic").total == theirs(model, "anthropic", **counts)
    other = tokens(1000, 100, inputs | {"ephemeral_5m_input_tokens": 250})
    assert asked(other, model, "anthropic").total < asked(used, model, "anthropic").total


def test_audio_beside_a_cache() -> None:
    used = tokens(1000, 100, {"cache_read": 100, "audio": 50}, {"audio": 20})
    found = asked(used, "gpt-4o-realtime-preview")
    assert found.total > asked(tokens(1000, 100), "gpt-4o-realtime-preview").total


def test_a_service_tier_has_its_own_price() -> None:
    plain = tokens(1000, 100, {"cache_read": 0})
    flex = tokens(1000, 100, {"flex_cache_read": 0, "flex": 1000})
    found = [
        asked(used, "gpt-5", started_at="2026-11-01T00:00:00Z").total
        for used in (plain, flex)
    ]
    assert found[0] == found[1] * 2


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2024-08-06"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("google_genai", "gemini-2.5-flash"),
        ("google_vertexai", "gemini-2.5-flash"),
        ("mistralai", "mistral-large-latest"),
        ("groq", "llama-3.3-70b-versatile"),
        ("deepseek", "deepseek-chat"),
        ("xai", "grok-4"),
        ("amazon_bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (None, "gpt-4o"),
    ],
)
def test_the_providers_as_langchain_names_them(provider: Any, model: str) -> None:
    assert asked(tokens(1000, 100), model, provider).total > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("ollama", "gpt-4o"),
        ("fakelistchatmodel", "gpt-4o"),
        ("openai", "no-such-model"),
        (None, "no-such-model"),
        (None, ""),
    ],
)
def test_what_genai_prices_does_not_know(provider: Any, model: str) -> None:
    found = asked(tokens(1000, 100), model, provider, name=None)
    assert (found.total, found.unpriced) == (None, [model or "unknown"])


def test_the_price_is_that_of_the_day_of_the_call() -> None:
    used = tokens(1000, 100)
    before = asked(used, "o3", started_at="2025-06-01T00:00:00.000000Z").total
    after = asked(used, "o3", started_at="2025-07-01T00:00:00.000000Z").total
    assert before > after
    for odd in (None, "yesterday", 5):
        assert asked(used, "o3", started_at=odd).total == after


@pytest.mark.long_with("postgres")
@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
@each_client
def test_what_the_clients_of_providers_report(
    provider: ProviderServer, recorder: Any, config: Any, make: Make
) -> None:
    name, model = "openai", "gpt-5"
    if make is anthropic:
        name, model = "anthropic", "claude-sonnet-4-5"
    provider.script(Say(usage=Usage(900, 400, cache_read=300, cache_creation=200)))
    ask(node_of(make(provider, model=model)), config)
    assert recorder.flush()
    found = prices.cost(recorder.get_run(config["run_id"]))
    expected = theirs(
        model,
        name,
        input_tokens=900,
        output_tokens=400,
        cache_read_tokens=300,
        cache_write_tokens=200,
    )
    assert (found.total, found.unpriced) == (expected, [])


def test_without_genai_prices_nothing_has_a_price(run_python: Any) -> None:
    program = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from runlog import prices\n"
        "call = {'kind': 'llm', 'model': 'gpt-4o', 'tokens': {'input': 1, 'output': 1}}\n"
        "found = prices.cost({'node_logs': [{'calls': [call]}]})\n"
        "print(found.total, found.unpriced)"
    )
    assert run_python(program).stdout.split("\n")[0] == "None ['gpt-4o']"


def test_a_table_needs_no_genai_prices(run_python: Any) -> None:
    program = (
        "import sys\n"
        "from runlog import prices\n"
        "prices.cost({}, {})\n"
        "print('genai_prices' in sys.modules)"
    )
    assert run_python(program).stdout == "False\n"
