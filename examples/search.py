"""Finds runs of the demo's graph by meaning, with an embedding server and Milvus.

    python examples/search.py

The script starts both servers on this machine: the embedding server of the tests, which
has the real model all-MiniLM-L6-v2 behind OpenAI's interface, and Milvus Lite. It digests
some folders of this repository with the graph of repository_digest.py, and records each
run. Then it searches the runs by questions and by similarity to a run. Nothing leaves the
machine, and a temporary folder holds all files. The exit code is 0 if each question found
the run that it is about.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo import REPOSITORY, heading, run_broken, run_while_written
from repository_digest import NAME, digest

import runlog
from runlog.hooks import RunLogHandler

if TYPE_CHECKING:
    from runlog._runlog import Hit

EMBEDDING_SERVER = REPOSITORY / "tests" / "embedding_server.py"
MILVUS_LITE = Path(sys.executable).with_name("milvus-lite")
MODEL = "all-MiniLM-L6-v2"

FOLDERS = (
    *("docs", "examples", "migrations", "runlog", "scripts", "benchmarks"),
    *("src/core", "src/net", "src/record", "tests/torture"),
)
QUESTIONS = {
    "requests over HTTP that are retried": "src/net",
    "what is lost when a process is killed": "tests/torture",
    "how fast is it, and compared with what?": "benchmarks",
    "installing packages and compilers": "scripts",
}
"""Questions, each with the folder whose digest must be among the first two hits."""

SUPERVISOR = '"$@" & server=$!; cat >/dev/null; kill $server; wait $server'
"""A shell that ends a server when its own input ends, however this script ends."""


# ---- The services. Neither they nor runlog use a setting or key of the environment.


def clean_environment() -> None:
    """Remove settings that would send runs elsewhere, or requests through a proxy."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "MILVUS_", "RUNLOG_", "POSTGRES_DSN")):
            del os.environ[name]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"


@contextmanager
def serve(command: Iterable[str], log: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, "supervisor", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            start_new_session=True,  # Ctrl-C reaches this script only, which ends it
        )
    try:
        yield
    finally:
        assert shell.stdin is not None
        shell.stdin.close()
        shell.wait(30)


def wait_for(what: str, log: Path, ready: Callable[[str], bool]) -> str:
    """Wait until `ready`, given the log's text, is true; return that text."""
    deadline = time.monotonic() + 60
    said = ""
    while time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8", errors="replace")
        if ready(said):
            return said
        time.sleep(0.05)
    raise SystemExit(f"search: {what} did not start:\n{said[-2000:]}")


def takes_connections(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start_services(stack: ExitStack, folder: Path) -> tuple[str, str, str]:
    """Start both; return the embedding server's key and URL, and Milvus's endpoint."""
    key = secrets.token_hex(8)
    log = folder / "embeddings.log"
    stack.enter_context(serve([sys.executable, str(EMBEDDING_SERVER), "--key", key], log))
    port = free_port()
    command = [str(MILVUS_LITE), "server", "--data-dir", str(folder / "milvus")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    stack.enter_context(serve(command, folder / "milvus.log"))
    ports = json.loads(wait_for("the embedding server", log, lambda said: "\n" in said))
    wait_for("Milvus Lite", folder / "milvus.log", lambda _: takes_connections(port))
    return key, f"http://127.0.0.1:{ports['port']}/v1", f"http://127.0.0.1:{port}"


# ---- The runs, and the searches.


def record_runs(folder: Path) -> dict[str, str]:
    """Run the graph for each folder and as the demo does; return titles by run_id."""
    handler = RunLogHandler()
    for name in FOLDERS:
        digest(REPOSITORY / name, callbacks=[handler])
    titles = {}
    for run in runlog.list_runs(wpk_id=NAME, limit=100).runs:
        stored = runlog.get_run(run["run_id"], NAME)
        assert stored is not None
        path = Path(stored["inputs"]["folder"])
        titles[run["run_id"]] = path.relative_to(REPOSITORY).as_posix()
    for name in ("unfinished", "broken"):
        (folder / name).mkdir()
    unfinished = asyncio.run(run_while_written(folder / "unfinished"))
    broken = run_broken(folder / "broken")
    return titles | {run.run_id: run.title for run in (unfinished, broken)}


def print_hits(hits: Iterable[Hit], titles: dict[str, str]) -> None:
    print(f"{'score':>5}  {'run_id':36} {'status':9} {'ms':>5}  digest of")
    for hit in hits:
        print(
            f"{hit['score']:>5.2f}  {hit['run_id']:36} {hit['status']:9} "
            f"{hit['duration_ms']:>5}  {titles[hit['run_id']]}"
        )


def ask(titles: dict[str, str]) -> list[str]:
    """Ask the questions; return those that missed their run."""
    missed = []
    for question, folder in QUESTIONS.items():
        heading(f'search_runs("{question}")')
        hits = runlog.search_runs(question, status="completed", limit=3)
        print_hits(hits, titles)
        if folder not in [titles[hit["run_id"]] for hit in hits[:2]]:
            missed.append(f"{question!r} did not find the digest of {folder}")
    return missed


def find_similar_run(titles: dict[str, str]) -> list[str]:
    """Find the run over migrations/ by the demo's run over a copy of its files."""
    (run_id,) = (key for key, title in titles.items() if title.startswith("a file still"))
    heading(f'find_similar("{run_id}"): {titles[run_id]}')
    hits = runlog.find_similar(run_id, limit=3)
    print_hits(hits, titles)
    if titles[hits[0]["run_id"]] != "migrations":
        return ["the run over the migrations is not like that of their folder"]
    return []


def search_without_milvus(path: Path, key: str, url: str) -> list[str]:
    """Ask again without Milvus, by the vectors in the database."""
    differ = []
    with runlog.Recorder(
        sqlite_path=str(path), openai_key=key, openai_base_url=url, embedding_model=MODEL
    ) as recorder:
        for question in QUESTIONS:
            here = recorder.search_runs(question, limit=3)
            there = runlog.search_runs(question, limit=3)
            if [hit["id"] for hit in here] != [hit["id"] for hit in there]:
                differ.append(f"{question!r} finds others without Milvus")
    return differ


def search(folder: Path, key: str, url: str, endpoint: str) -> list[str]:
    """Record the runs, search and print; return the faults."""
    path = folder / "runs.db"
    runlog.configure(
        sqlite_path=str(path),
        openai_key=key,
        openai_base_url=url,
        embedding_model=MODEL,
        milvus_endpoint=endpoint,
    )
    start = time.monotonic()
    titles = record_runs(folder)
    recorded = time.monotonic()
    if not runlog.flush(120):
        return [f"the runs were not indexed in time: {runlog.stats()['embedding_error']}"]
    stats = runlog.stats()
    print(
        f"{len(titles)} runs in {recorded - start:.1f} s; "
        f"{stats['embedded']} embedded, {stats['upserted']} upserted to Milvus "
        f"{time.monotonic() - recorded:.1f} s later. The run that failed has no text."
    )
    wrong = ask(titles) + find_similar_run(titles) + search_without_milvus(path, key, url)
    if not wrong:
        print("\nWithout Milvus, the same questions find the same runs.")
    return wrong


def main() -> int:
    clean_environment()
    with (
        tempfile.TemporaryDirectory(prefix="runlog-search-") as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        try:
            print("Starting the embedding server and Milvus Lite")
            wrong = search(folder, *start_services(stack, folder))
        except (OSError, runlog.RunlogError) as error:
            wrong = [str(error)]
        runlog.close()
    for what in wrong:
        print(f"search: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
