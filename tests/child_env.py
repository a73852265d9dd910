"""The environment of a child process of a test."""

import os
from collections.abc import Mapping


def child_env(*more: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with more.

    A PYTHONPATH that is given comes before the one that is there, which leads to the
    extension that is tested where that is not installed.
    """
    env = dict(os.environ)
    for given in more:
        env |= given
    there = os.environ.get("PYTHONPATH")
    if there and env["PYTHONPATH"] not in ("", there):
        env["PYTHONPATH"] += f"{os.pathsep}{there}"
    return env
