"""A handler on the recorder, and a config with it."""

import uuid
from typing import Any

import pytest


@pytest.fixture
def handler(recorder: Any) -> Any:
    from runlog.hooks import RunLogHandler

    return RunLogHandler(recorder=recorder)


@pytest.fixture
def config(handler: Any) -> Any:
    """A config with the handler and a known run_id."""
    return {"callbacks": [handler], "run_id": uuid.uuid4()}
