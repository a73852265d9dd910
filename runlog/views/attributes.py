"""The attributes of spans, in the words of OpenInference and of OpenTelemetry's gen_ai.

Receivers read one or the other, so each span has both. A value is a text, a number, a
bool or a list of texts; anything else becomes its JSON.
"""

from __future__ import annotations

import json
from typing import Any

from runlog.views.logs import Log, dicts, fact, number, text

_MESSAGES = 64
"""How many messages of a prompt have attributes of their own: the last ones."""
_DOCUMENTS = 32
_KINDS = {"llm": "LLM", "tool": "TOOL", "retriever": "RETRIEVER"}
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(side: str, value: Any) -> dict[str, Any]:
    """input.value or output.value, with its type."""
    if value is None:
        return {}
    if type(value) is str:
        return {f"{side}.value": value, f"{side}.mime_type": "text/plain"}
    return {f"{side}.value": _json(value), f"{side}.mime_type": "application/json"}


def _given(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def of_run(run: Any) -> dict[str, Any]:
    """The attributes of the span of a run."""
    metadata = run.get("metadata")
    tags = fact(run, "tags")
    return _given(
        {
            "openinference.span.kind": "CHAIN",
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": str(run["wpk_id"]),
            **_thread(run),
            "runlog.run_id": str(run["run_id"]),
            "runlog.status": str(run.get("status")),
            "metadata": _json(metadata) if metadata else None,
            "tag.tags": [str(tag) for tag in tags] if type(tags) is list else None,
            **_value("input", run.get("inputs")),
            **_value("output", run.get("outputs")),
        }
    )


def _thread(run: Any) -> dict[str, Any]:
    thread = run.get("thread_id")
    return {"session.id": thread, "gen_ai.conversation.id": thread}


def of_node(log: Log, around: str | None, run: Any) -> dict[str, Any]:
    """The attributes of the span of a node.

    Args:
        log: its log.
        around: the name of the node around it.
        run: its run.
    """
    return _given(
        {
            "openinference.span.kind": "CHAIN",
            "graph.node.id": log.node,
            "graph.node.name": log.node,
            "graph.node.parent_id": around,
            **_thread(run),
            "runlog.status": log.status,
            "runlog.step": log.step,
            "runlog.attempt": log.attempt,
            **_value("input", log.inputs),
            **_value("output", log.outputs),
        }
    )


def of_call(call: dict[str, Any], run: Any) -> dict[str, Any]:
    """The attributes of the span of a call.

    Args:
        call: the call.
        run: its run.
    """
    kind = str(call.get("kind"))
    found = {
        "openinference.span.kind": _KINDS.get(kind, "CHAIN"),
        **_thread(run),
        "runlog.status": str(call.get("status")),
    }
    if kind == "llm":
        found |= _of_model(call)
    elif kind == "tool":
        found |= _of_tool(call)
    elif kind == "retriever":
        found |= _of_retriever(call)
    metadata = call.get("metadata")
    found["metadata"] = _json(metadata) if metadata else None
    return _given(found)


def _of_model(call: dict[str, Any]) -> dict[str, Any]:
    model, provider = text(call.get("model")), text(call.get("provider"))
    chat = call.get("messages") is not None
    prompt = call.get("messages") if chat else call.get("prompt")
    finish = text(call.get("finish_reason"))
    params = call.get("params")
    return {
        "gen_ai.operation.name": "chat" if chat else "text_completion",
        "gen_ai.provider.name": provider,
        "gen_ai.system": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": [finish] if finish else None,
        "llm.provider": provider,
        "llm.model_name": model,
        "llm.invocation_parameters": _json(params) if params else None,
        **_value("input", prompt),
        **_value("output", call.get("outputs")),
        **_tokens(call.get("tokens")),
        **_messages("llm.input_messages", prompt),
        **_messages("llm.output_messages", call.get("outputs")),
        **_tools(call.get("tools")),
    }


def _tokens(tokens: Any) -> dict[str, Any]:
    if type(tokens) is not dict:
        return {}
    given, made = number(tokens.get("input")), number(tokens.get("output"))
    details = tokens.get("input_details")
    cached = number(details.get("cache_read")) if type(details) is dict else None
    details = tokens.get("output_details")
    thought = number(details.get("reasoning")) if type(details) is dict else None
    return {
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": made,
        "gen_ai.usage.cache_read.input_tokens": cached,
        "llm.token_count.prompt": given,
        "llm.token_count.completion": made,
        "llm.token_count.total": number(tokens.get("total")),
        "llm.token_count.prompt_details.cache_read": cached,
        "llm.token_count.completion_details.reasoning": thought,
    }


def _messages(name: str, messages: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, message in enumerate(dicts(messages)[-_MESSAGES:]):
        here = f"{name}.{place}.message"
        kind = str(message.get("type"))
        found[f"{here}.role"] = _ROLES.get(kind, kind)
        content = message.get("content")
        if content is not None:
            whole = type(content) is str
            found[f"{here}.content"] = content if whole else _json(content)
        for index, asked in enumerate(dicts(message.get("tool_calls"))):
            one = f"{here}.tool_calls.{index}.tool_call"
            found[f"{one}.id"] = text(asked.get("id"))
            found[f"{one}.function.name"] = text(asked.get("name"))
            found[f"{one}.function.arguments"] = _json(asked.get("args"))
    return found


def _tools(tools: Any) -> dict[str, Any]:
    listed = tools if type(tools) is list else []
    return {
        f"llm.tools.{place}.tool.json_schema": _json(tool)
        for place, tool in enumerate(listed)
    }


def _of_tool(call: dict[str, Any]) -> dict[str, Any]:
    name, called = text(call.get("name")), text(call.get("tool_call_id"))
    args = call.get("args")
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": called,
        "tool.name": name,
        "tool_call.id": called,
        "tool.parameters": None if args is None else _json(args),
        **_value("input", args),
        **_value("output", call.get("output")),
    }


def _of_retriever(call: dict[str, Any]) -> dict[str, Any]:
    found = {
        "gen_ai.operation.name": "retrieval",
        **_value("input", call.get("query")),
        **_value("output", call.get("documents")),
    }
    for place, document in enumerate(dicts(call.get("documents"))[:_DOCUMENTS]):
        here = f"retrieval.documents.{place}.document"
        found[f"{here}.content"] = text(document.get("page_content"))
        found[f"{here}.id"] = text(document.get("id"))
        metadata = document.get("metadata")
        found[f"{here}.metadata"] = _json(metadata) if metadata else None
    return found


def of_error(one: Any) -> dict[str, Any]:
    """The attributes of the event that an exception is."""
    return _given(
        {
            "exception.type": text(one.get("error_type")),
            "exception.message": text(one.get("error_text")),
            "exception.stacktrace": text(one.get("error_traceback")),
        }
    )
