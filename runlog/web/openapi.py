"""The description of the API, by OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^[^\\u0000]+$"}
_TIME = {"type": "string", "description": "2h or 3d ago, an ISO date or time"}
_RUN = [("workflow", _TEXT, True), ("id", _TEXT, True)]
_NODE = {"type": "integer", "minimum": 0, "maximum": 1_000_000_000}
_FILTERS = [
    ("workflow", _TEXT, False),
    ("status", _TEXT, False),
    ("since", _TIME, False),
]

_OBJECT: dict[str, Any] = {"type": "object"}
_ANY: dict[str, Any] = {}


def _of(required: str, **more: Any) -> dict[str, Any]:
    """A schema of an object that has these members, and maybe others."""
    names = required.split()
    return {
        "type": "object",
        "required": names,
        "properties": {name: more.get(name, _ANY) for name in names},
    }


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


_LINE = _of(
    "status run_id workflow at nodes retries duration_ms tokens began thread error "
    "error_text",
    status={"type": "string"},
    run_id={"type": "string"},
    workflow={"type": "string"},
    nodes={"type": ["integer", "null"]},
    duration_ms={"type": ["number", "null"]},
    began={"type": ["number", "null"], "description": "seconds since 1970"},
)
_LOG = _of(
    "place node status step attempt parent started duration_ms error_type error_text "
    "calls",
    place={"type": "integer"},
    node={"type": "string"},
    status={"type": "string"},
)
OPERATIONS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "runs": (
        "A page of runs, newest first.",
        [
            *_FILTERS,
            ("until", _TIME, False),
            ("thread", _TEXT, False),
            ("error", _TEXT, False),
            ("node", _TEXT, False),
            ("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, False),
            ("after", {**_TEXT, "description": "`next` of the page before"}, False),
        ],
        _of(
            "runs next complete",
            runs=_list(_LINE),
            next={"type": ["string", "null"]},
        ),
    ),
    "run": (
        "A run: its outcome, and its nodes without their values; or as Markdown.",
        [
            *_RUN,
            ("as", {"enum": ["json", "markdown"]}, False),
            ("tokens", {"type": "integer", "minimum": 100, "maximum": 1_000_000}, False),
        ],
        _of(
            "run_id wpk_id status outcome at nodes",
            nodes=_list(_LOG),
            outcome={"type": "string"},
        ),
    ),
    "node": (
        "A node log, whole; by default that of the node to blame.",
        [*_RUN, ("node", _NODE, False)],
        _of("place node status"),
    ),
    "thread": (
        "The runs of a thread, oldest first, tied to one another.",
        [("id", _TEXT, True), ("workflow", _TEXT, False)],
        _of("thread runs", runs=_list(_of("run_id wpk_id status answer resumes"))),
    ),
    "compare": (
        "Two runs node by node, and where they part.",
        [
            *_RUN,
            ("other", _TEXT, False),
            ("other_workflow", _TEXT, False),
            ("with", {"enum": ["good"]}, False),
        ],
        _of("same same_inputs same_until first values nodes", same={"type": "boolean"}),
    ),
    "workflow": (
        "A workflow in a time and in the time before; without a name, which there are.",
        [("name", _TEXT, False), ("window", {"enum": ["1h", "1d", "7d", "30d"]}, False)],
        _OBJECT,
    ),
    "insights": (
        "What got worse, since when, and the runs that show it.",
        [("workflow", _TEXT, False), ("since", _TIME, False)],
        _of(
            "checked findings notes",
            checked={"type": "integer"},
            findings=_list(
                _of("kind workflow node since text before now test runs good")
            ),
            notes=_list({"type": "string"}),
        ),
    ),
    "search": (
        "Runs by words or by meaning.",
        [("q", _TEXT, True), ("by", {"enum": ["words", "meaning"]}, False), *_FILTERS],
        _of("by hits more waiting", hits=_list(_LINE)),
    ),
    "health": ("What `runlog doctor` says.", [], _of("checks")),
}
"""For each address: what it gives, its parameters and the schema of the answer."""
_PROBLEMS = {
    "400": "A parameter is wrong.",
    "404": "What it names does not exist.",
    "503": "The history is out of reach.",
}


def describe(version: str) -> dict[str, Any]:
    """Return the description."""
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/P"}}}
    problems: dict[str, Any] = {
        status: {"description": said, "content": problem}
        for status, said in _PROBLEMS.items()
    }
    paths: dict[str, Any] = {}
    for name, (said, parameters, schema) in OPERATIONS.items():
        content: dict[str, Any] = {"application/json": {"schema": schema}}
        if name == "run":
            content["text/markdown"] = {"schema": {"type": "string"}}
        paths[f"/{name}"] = {
            "get": {
                "operationId": name,
                "summary": said,
                "parameters": [
                    {"name": one, "in": "query", "required": needed, "schema": kind}
                    for one, kind, needed in parameters
                ],
                "responses": {
                    "200": {"description": said, "content": content},
                    **problems,
                },
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "runlog", "version": version},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": {
                "P": {
                    "type": "object",
                    "required": ["title", "status", "detail"],
                    "properties": {
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
