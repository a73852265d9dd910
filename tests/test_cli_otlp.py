"""runlog export --otlp: spans that the official classes read, sent over real HTTP."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from export_help import WHEN, cli, fill, record_graphs
from fixtures_postgres import free_port
from fixtures_store import Store
from helpers import minimal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from otlp_receiver import Receiver, attributes_of, receiving
from strategies import to_json_model, values

from runlog.cli import jsonl, protobuf
from runlog.views.spans import Event, Span, spans_of
from runlog.views.trace import trace_of

OK, ERROR, UNSET = (
    Status.STATUS_CODE_OK,
    Status.STATUS_CODE_ERROR,
    Status.STATUS_CODE_UNSET,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def recorded(here: None, recorder: Any, handler: Any) -> Any:
    """The recorder, with runs of graphs."""
    record_graphs(handler)
    assert recorder.flush()
    return recorder


@pytest.fixture
def file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recorder on a SQLite file, which the environment names."""
    import runlog

    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "runs.db"))
    with runlog.Recorder(durability="journal") as made:
        yield made


def send(receiver: Receiver, *argv: object) -> int:
    return cli("export", "--otlp", receiver.url, *argv)


def named(receiver: Receiver, name: str) -> list[Any]:
    return [span for span in receiver.spans() if span.name == name]


def test_runs_of_graphs(recorded: Any, receiver: Receiver) -> None:
    assert send(receiver) == 0
    assert [path for path, _, _ in receiver.asked] == ["/v1/traces"]
    spans = receiver.spans()
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans)
    for name in ("good", "bad", "waits", "calls"):
        (row,) = recorded.list_runs(wpk_id=name).runs
        run = recorded.get_run(row["run_id"])
        (root,) = named(receiver, name)
        assert root.trace_id == uuid.UUID(row["run_id"]).bytes
        assert root.parent_span_id == b""
        of_run = [span for span in spans if span.trace_id == root.trace_id]
        calls = sum(len(log["calls"]) for log in run["node_logs"])
        assert len(of_run) == 1 + len(run["node_logs"]) + calls
        for span in of_run:
            assert span is root or span.parent_span_id in ids
            assert span.start_time_unix_nano <= span.end_time_unix_nano
        found = attributes_of(root)
        assert found["session.id"] == found["gen_ai.conversation.id"] == "t1"
        assert json.loads(found["input.value"]) == run["inputs"]
        assert found["runlog.status"] == run["status"]
        begun = run["started_at"].timestamp()
        assert abs(root.start_time_unix_nano / 1e9 - begun) < 0.001


def test_nodes_within_nodes(recorded: Any, receiver: Receiver) -> None:
    send(receiver, "-w", "good")
    (root,), (inner,) = named(receiver, "good"), named(receiver, "inner")
    assert inner.parent_span_id == root.span_id
    for name in ("a", "b"):
        (node,) = named(receiver, name)
        assert node.parent_span_id == inner.span_id
        found = attributes_of(node)
        assert found["openinference.span.kind"] == "CHAIN"
        assert found["graph.node.id"] == name
        assert found["graph.node.parent_id"] == "inner"
    assert attributes_of(root)["tag.tags"] == ["nightly"]
    assert {span.status.code for span in receiver.spans()} == {OK}


def test_an_error_and_its_attempts(recorded: Any, receiver: Receiver) -> None:
    send(receiver, "-w", "bad")
    (root,), drafts = named(receiver, "bad"), named(receiver, "draft")
    assert root.status.code == ERROR
    assert root.status.message == "KeyError: 'price'"
    assert [attributes_of(one)["runlog.attempt"] for one in drafts] == [1, 2]
    first, second = drafts
    assert list(first.links) == []
    assert [(one.trace_id, one.span_id) for one in second.links] == [
        (first.trace_id, first.span_id)
    ]
    (event,) = second.events
    assert event.name == "exception"
    found = attributes_of(event)
    assert found["exception.type"] == "KeyError"
    assert found["exception.message"] == "'price'"
    assert "in fail" in found["exception.stacktrace"]


def test_an_interrupt_is_no_error(recorded: Any, receiver: Receiver) -> None:
    send(receiver, "-w", "waits")
    spans = receiver.spans()
    assert [span.name for span in spans] == ["waits", "ask"]
    for span in spans:
        assert span.status.code == UNSET
        (event,) = span.events
        assert event.name == "interrupt"
        assert json.loads(attributes_of(event)["interrupt.value"]) == [
            {"question": "how many?"}
        ]


def test_calls(recorded: Any, receiver: Receiver) -> None:
    send(receiver, "-w", "calls")
    first, _ = (attributes_of(one) for one in named(receiver, "Chat"))
    assert first["openinference.span.kind"] == "LLM"
    assert first["gen_ai.operation.name"] == "chat"
    assert first["gen_ai.request.model"] == first["llm.model_name"] == "scripted-1"
    assert first["gen_ai.usage.input_tokens"] == first["llm.token_count.prompt"] == 90
    assert first["gen_ai.usage.output_tokens"] == 20
    assert first["llm.token_count.total"] == 110
    assert first["llm.input_messages.0.message.role"] == "user"
    assert first["llm.input_messages.0.message.content"] == "hi"
    asked = "llm.output_messages.0.message.tool_calls.0.tool_call"
    assert first[f"{asked}.function.name"] == "plus"
    assert json.loads(first[f"{asked}.function.arguments"]) == {"a": 1}
    (tool,) = named(receiver, "plus")
    (node,) = named(receiver, "b")
    assert tool.parent_span_id == node.span_id
    found = attributes_of(tool)
    assert found["openinference.span.kind"] == "TOOL"
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["gen_ai.tool.name"] == found["tool.name"] == "plus"
    assert json.loads(found["input.value"]) == {"a": 1}
    (search,) = named(receiver, "Finder")
    found = attributes_of(search)
    assert found["openinference.span.kind"] == "RETRIEVER"
    assert found["input.value"] == "what?"
    assert found["retrieval.documents.0.document.content"] == "found"


def test_sending_twice_sends_the_same(recorded: Any, receiver: Receiver) -> None:
    send(receiver)
    send(receiver)
    one, two = receiver.requests
    assert one == two


def test_a_run_without_a_uuid(file: Any, receiver: Receiver) -> None:
    file.log_run(minimal("r1", "one"))
    file.log_run(minimal("r1", "two"))
    send(receiver)
    send(receiver)
    traces = [span.trace_id for span in receiver.spans()]
    assert len(set(traces)) == 2
    assert traces[:2] == traces[2:]
    assert {len(trace) for trace in traces} == {16}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_receiver(file: Any, receiver: Receiver, status: int) -> None:
    fill(file, 1)
    receiver.answers = [(status, {"retry-after": "1"}, b"")]
    begun = time.monotonic()
    assert send(receiver) == 0
    assert time.monotonic() - begun >= 1
    assert len(receiver.asked) == 2
    assert len(receiver.spans()) == 1


def test_a_receiver_that_stays_busy(file: Any, receiver: Receiver, capsys: Any) -> None:
    fill(file, 1)
    receiver.answers = [(503, {"retry-after": "3600"}, b"")]
    assert send(receiver) == 3
    said = capsys.readouterr().err
    assert "answered 503 Service Unavailable, and asks for 3,600 seconds" in said


def test_a_receiver_that_unpacks_nothing(file: Any, receiver: Receiver) -> None:
    """It gets the first request once more, and all others, as they are."""
    fill(file, 250)
    receiver.unpacks = False
    assert send(receiver) == 0
    assert len(receiver.spans()) == 250
    packed = ["content-encoding" in headers for _, headers, _ in receiver.asked]
    assert packed == [True, False, False]


def test_batches(file: Any, receiver: Receiver, capsys: Any) -> None:
    for place in range(90):
        logs = [{"node": f"n{at}", "status": "completed"} for at in range(4)]
        file.log_run(minimal(f"r{place}", node_logs=logs, created_at=WHEN))
    for place in range(30):
        text = "x" * 250_000
        large: Any = [{"node": "n", "inputs": [text], "outputs": text}]
        file.log_run(minimal(f"big{place}", node_logs=large))
    assert send(receiver) == 0
    sizes = [size for _, _, size in receiver.asked]
    counts = [
        sum(len(one.scope_spans[0].spans) for one in request.resource_spans)
        for request in receiver.requests
    ]
    assert max(sizes) <= 4_000_000
    assert max(sizes) > 3_000_000
    assert max(counts) == 200
    assert sum(counts) == 90 * 5 + 30 * 2
    assert capsys.readouterr().err.startswith("120 runs; go on with --after ")


def test_a_long_value_is_cut(file: Any, receiver: Receiver) -> None:
    file.log_run(minimal("r1", inputs="é" * 300_000, outputs="x" * (256 * 1024)))
    send(receiver)
    (span,) = receiver.spans()
    found = attributes_of(span)
    assert len(found["input.value"].encode()) <= 256 * 1024
    head, _, rest = found["input.value"].partition("<cut: ")
    assert len(head.encode()) + int(rest.removesuffix(" bytes>")) == 600_000
    assert found["output.value"] == "x" * (256 * 1024)


def test_an_end_by_an_error_says_where_to_go_on(
    file: Any, receiver: Receiver, capsys: Any
) -> None:
    fill(file, 450)
    receiver.answers = [(200, {}, b""), (400, {}, b"")]
    assert send(receiver) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("200 spans; go on with --after ")
    assert said[1].endswith("answered 400 Bad Request")
    assert send(receiver, "--after", said[0].split()[-1]) == 0
    ids = [span.span_id for span in receiver.spans()]
    assert len(ids) == len(set(ids)) == 450


def test_rejected_spans(file: Any, receiver: Receiver, capsys: Any) -> None:
    fill(file, 2)
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too\nold"
    receiver.answers = [(200, {}, answer.SerializeToString())]
    assert send(receiver) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == ["the receiver rejected 2 spans: too", "old"]


def test_headers_are_sent_and_never_shown(
    file: Any, receiver: Receiver, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(file, 1)
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20c2VjcmV0,x-other=kept"
    )
    receiver.answers = [(401, {}, b"c2VjcmV0")]
    assert send(receiver, "--header", "X-Key: sesame") == 1
    _, headers, _ = receiver.asked[0]
    assert headers["authorization"] == "Basic c2VjcmV0"
    assert headers["x-other"] == "kept"
    assert headers["x-key"] == "sesame"
    shown = capsys.readouterr()
    assert "answered 401 Unauthorized" in shown.err
    for secret in ("c2VjcmV0", "sesame"):
        assert secret not in shown.err + shown.out


def test_a_redirect_is_not_followed(file: Any, receiver: Receiver, capsys: Any) -> None:
    fill(file, 1)
    with receiving() as other:
        receiver.answers = [(302, {"location": f"{other.url}/v1/traces"}, b"")]
        assert send(receiver, "--header", "X-Key: sesame") == 1
        assert other.asked == []
    assert "answered 302" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/api/public/otel", "/api/public/otel/v1/traces"),
        ("/v1/traces?a=b", "/v1/traces?a=b"),
    ],
)
def test_addresses(file: Any, receiver: Receiver, given: str, path: str) -> None:
    fill(file, 1)
    assert cli("export", "--otlp", receiver.url + given) == 0
    assert receiver.asked[0][0] == path


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--otlp", "ftp://u:secret@h"], "--otlp must be a URL that begins http://"),
        (["--otlp", "localhost:4318"], "must be a URL"),
        (["--otlp", "http://h:secret/"], "must be a URL"),
        (["--otlp", "http://h/ secret"], "--otlp has a character that no URL has"),
        (["--otlp", "http://u:secret@h"], "--otlp has a user or a password"),
        (["--otlp", "http://secret@127.0.0.1:1/"], "--otlp has a user or a password"),
        (["--otlp", "http://h", "--header", "secret"], "--header needs 'Name: value'"),
        (["--otlp", "http://h", "--header", "a: secret\x01"], "no text of ASCII"),
        (["--otlp", "http://h", "--to", "secret"], "leave --format and --to out"),
    ],
)
def test_wrong_arguments(file: Any, capsys: Any, argv: list[str], said: str) -> None:
    fill(file, 1)
    assert cli("export", *argv) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "secret" not in shown
    assert shown.count("\n") == 1


def test_nobody_there(file: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(file, 1)
    port = free_port()
    assert cli("export", "--otlp", f"http://127.0.0.1:{port}/secret") == 3
    said = capsys.readouterr().err
    assert said.startswith(f"runlog: http://127.0.0.1:{port} is out of reach: ")
    assert "secret" not in said
    assert "key" not in said


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
)
found_values = scalars | st.lists(st.text(max_size=5)) | st.lists(scalars, max_size=3)
attributes = st.dictionaries(st.text(max_size=10), found_values, max_size=5)
times = st.floats(0, 2e9)
events = st.builds(Event, times, st.text(max_size=9), attributes)
ids = st.binary(min_size=8, max_size=8)
made = st.builds(
    Span,
    st.binary(min_size=16, max_size=16),
    ids,
    st.none() | ids,
    st.text(max_size=20),
    times,
    times,
    st.sampled_from([OK, ERROR, UNSET]),
    st.none() | st.text(max_size=20),
    attributes,
    st.lists(events, max_size=2),
    st.lists(ids, max_size=2),
)


@given(span=made)
def test_the_official_classes_read_any_span(span: Span) -> None:
    data = protobuf.encode_spans({"a": 1}, ("n", "v"), [protobuf.encode_span(span)])
    request = ExportTraceServiceRequest.FromString(data)
    (resource,) = request.resource_spans
    assert attributes_of(resource.resource) == {"a": 1}
    (scope,) = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("n", "v")
    (read,) = scope.spans
    assert read.trace_id == span.trace
    assert read.span_id == span.span
    assert read.parent_span_id == (span.parent or b"")
    assert read.name == span.name
    assert abs(read.start_time_unix_nano / 1e9 - span.start) < 1e-5
    assert read.end_time_unix_nano >= read.start_time_unix_nano
    assert read.status.code == span.status
    assert read.status.message == (span.message or "")
    assert_same(attributes_of(read), span.attributes)
    assert [one.name for one in read.events] == [one.name for one in span.events]
    for one, other in zip(read.events, span.events, strict=True):
        assert_same(attributes_of(one), other.attributes)
    assert [one.span_id for one in read.links] == span.links


json_values = values.map(to_json_model)
keys = st.sampled_from(
    ["node", "status", "parent", "attempt", "step", "started_at", "duration_ms", "inputs",
     "outputs", "error_type", "error_text", "calls", "events", "kind", "messages", "tags",
     "outputs", "tokens", "tools", "documents", "name", "at", "args", "metadata"]
)  # fmt: skip
states = st.sampled_from(["completed", "failed", "interrupted", "running", "lost", "own"])
stamps = st.just("2026-01-02T03:04:05Z") | json_values
odd: st.SearchStrategy[Any] = st.recursive(
    json_values | states | stamps,
    lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)
odd_logs = st.lists(st.dictionaries(keys, odd, max_size=6), max_size=5)
odd_runs = st.fixed_dictionaries(
    {
        "wpk_id": st.text(min_size=1, max_size=9),
        "run_id": st.text(min_size=1, max_size=9),
        "status": states,
        "created_at": st.just(WHEN),
        "started_at": st.none() | st.just(WHEN),
        "duration_ms": st.none() | st.integers(0, 9999),
        "thread_id": st.none() | st.text(max_size=9),
        "inputs": odd,
        "outputs": odd,
        "node_logs": odd_logs | odd,
        "metadata": st.dictionaries(keys | st.just("interrupts"), odd, max_size=3) | odd,
    }
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(run=odd_runs)
def test_whatever_was_logged_has_spans_and_a_trace(run: dict[str, Any]) -> None:
    spans = list(spans_of(run))
    encoded = map(protobuf.encode_span, spans)
    data = protobuf.encode_spans({}, ("n", "v"), encoded)
    (resource,) = ExportTraceServiceRequest.FromString(data).resource_spans
    assert len(resource.scope_spans[0].spans) == len(spans)
    assert len({span.span for span in spans}) == len(spans)
    trace = json.loads(jsonl.text_of(trace_of(run)))
    assert sum(one["ph"] == "X" for one in trace["traceEvents"]) == len(spans)


def assert_same(read: dict[str, Any], want: dict[str, Any]) -> None:
    """Texts, numbers, bools and lists of texts as they are; anything else as JSON."""
    assert read.keys() == want.keys()
    for name, value in want.items():
        is_texts = type(value) is list and all(type(one) is str for one in value)
        fits = type(value) is not int or -(2**63) <= value < 2**63
        if (type(value) in (str, bool, int, float) or is_texts) and fits:
            assert read[name] == value
            assert type(read[name]) is type(value)
        else:
            assert json.loads(read[name]) == value
