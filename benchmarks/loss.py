"""Loss: how many of the runs whose invoke returned are in the database.

The program is loss_program.py, a LangGraph graph of ten nodes with the default
RunLogHandler. It ends normally, is killed, forks, and loses its database, on SQLite and
on PostgreSQL. Another client than runlog looks for each acknowledged run in the
database: completed, with ten node logs. On PostgreSQL it looks twice: when the program
has ended ("at once"), and after a recorder has opened the journal that the program
left, as its next start would.

"Away" means an immediate stop of the server for ten seconds. With SQLite, another process
locks the file for ten seconds instead, and the 5,000 runs have no outage.

The table goes to standard error, the JSON to standard output.
"""

import os
import selectors
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from common import Claim, report, scratch, set_up, significant
from loss_program import ACK, NODES, WPK_ID
from pgserver import Server, postgres

from runlog._runlog import Recorder

PROGRAM = Path(__file__).with_name("loss_program.py")
RUNS = 200
CHILDREN = 4
MEMORY_RUNS = 5000
AWAY_SECONDS = 10.0
PAUSE = 0.02
HANG_SECONDS = 60.0
MEMORY_SECONDS = 150.0
FLUSH_SECONDS = 60.0
GROWTH_MB = 4.0
KEPT = "SELECT run_id FROM workflow_runs WHERE wpk_id = '{}' AND status = 'completed'"
WIDTHS = (16, 14, 22, 14, 14, 32, 44)


@dataclass
class Outcome:
    """The result of one program."""

    returned: int = 0
    raised: int = 0
    at_once: int = 0
    arrived: int = 0
    hangs: bool = False
    status: int | None = None
    worst_ms: float = 0.0
    memory_mb: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class Program:
    """A running loss_program.py, and the runs that it has acknowledged so far."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: object) -> None:
        self.acks: dict[str, tuple[bool, float]] = {}
        self._rest = b""
        self._read, write = os.pipe()
        self._errors = folder / "errors"
        command = [sys.executable, str(PROGRAM), str(write), *map(str, arguments)]
        with self._errors.open("wb") as errors:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env={**os.environ, **env},
                pass_fds=[write],
                start_new_session=True,
            )
        os.close(write)

    def read(self, seconds: float, count: int | None = None) -> bool:
        """Read ACKs until there are so many, or no process is left that could write one.

        False when the time was up before.
        """
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            while count is None or len(self.acks) < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return False
                data = os.read(self._read, 65536)
                if not data:
                    return True
                self._rest += data
                whole = len(self._rest) - len(self._rest) % ACK.size
                for returned, run_id, spent in ACK.iter_unpack(self._rest[:whole]):
                    self.acks[str(uuid.UUID(bytes=run_id))] = (returned, spent)
                self._rest = self._rest[whole:]
        return True

    def peak_mb(self) -> float:
        """The largest resident size so far."""
        status = Path(f"/proc/{self._child.pid}/status").read_text(encoding="utf-8")
        lines = [x for x in status.splitlines() if x.startswith("VmHWM:")]
        if not lines:
            raise SystemExit(f"the program has died:\n{self._errors.read_text()}")
        return significant(int(lines[0].split()[1]) / 1024)

    def tell_to_end(self) -> None:
        """Ask for a normal end."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def kill(self) -> None:
        """Kill it, as the kernel does when memory is short."""
        self._child.kill()

    def end(self, outcome: Outcome) -> None:
        """Wait until it has ended, and count its ACKs."""
        outcome.hangs = not self.read(HANG_SECONDS)
        try:
            self._child.wait(HANG_SECONDS if not outcome.hangs else 0)
        except subprocess.TimeoutExpired:
            outcome.hangs = True
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self.read(HANG_SECONDS)
        os.close(self._read)
        self.tell_to_end()
        outcome.status = self._child.returncode
        outcome.returned = sum(returned for returned, _ in self.acks.values())
        outcome.raised = len(self.acks) - outcome.returned
        outcome.worst_ms = significant(
            1000 * max((spent for _, spent in self.acks.values()), default=0.0)
        )
        text = self._errors.read_text(encoding="utf-8", errors="replace")
        outcome.messages = text.splitlines()[-20:]

    def kept_of(self, kept: set[str]) -> int:
        """The number of runs whose invoke returned and which are in `kept`."""
        return sum(returned and run in kept for run, (returned, _) in self.acks.items())


class SqliteFile:
    """runlog without POSTGRES_DSN."""

    name = "SQLite"
    memory_without = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.db"
        self.env = {"RUNLOG_SQLITE_PATH": str(self.path)}
        self._lock: sqlite3.Connection | None = None

    def take_away(self) -> None:
        """Lock the file."""
        self._lock = sqlite3.connect(self.path, isolation_level=None)
        self._lock.execute("BEGIN IMMEDIATE")

    def bring_back(self) -> None:
        """Unlock it."""
        if self._lock is not None:
            self._lock.rollback()
            self._lock.close()

    def kept(self) -> set[str]:
        """The runs that are there, whole."""
        query = KEPT.format(WPK_ID) + f" AND json_array_length(node_logs) = {NODES}"
        with closing(sqlite3.connect(self.path)) as database:
            return {run_id for (run_id,) in database.execute(query)}

    def next_start(self) -> None:
        """Do nothing: there is no server to forward to."""


class PostgresDatabase:
    """runlog with POSTGRES_DSN, and a journal of the scenario's own."""

    name = "PostgreSQL"
    memory_without = True

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.journal = str(folder / "journal.db")
        self.env = {"POSTGRES_DSN": server.dsn, "RUNLOG_SQLITE_PATH": self.journal}

    def take_away(self) -> None:
        """Stop the server at once."""
        self.server.kill()

    def bring_back(self) -> None:
        """Start it again."""
        self.server.start()

    def kept(self) -> set[str]:
        """The runs that are there, whole."""
        query = KEPT.format(WPK_ID) + f" AND jsonb_array_length(node_logs) = {NODES}"
        with psycopg.connect(self.server.dsn) as connection:
            return {run_id for (run_id,) in connection.execute(query.encode())}

    def next_start(self) -> None:
        """Open a recorder with the same journal and DSN, as the next process would."""
        dsn, path = self.server.dsn, self.journal
        with Recorder(postgres_dsn=dsn, sqlite_path=path) as recorder:
            if not recorder.flush(FLUSH_SECONDS):
                print(f"left in the journal: {recorder.stats()}", file=sys.stderr)


Backend = SqliteFile | PostgresDatabase
Scenario = Callable[[Backend, Path, Outcome], Program]


def normal_exit(backend: Backend, folder: Path, _: Outcome) -> Program:
    return Program(folder, backend.env, "--runs", RUNS)


def kill_9(backend: Backend, folder: Path, _: Outcome) -> Program:
    program = Program(folder, backend.env, "--runs", 10 * RUNS, "--until-told")
    program.read(HANG_SECONDS, RUNS)
    program.kill()
    return program


def fork(backend: Backend, folder: Path, _: Outcome) -> Program:
    share = ("--children", CHILDREN, "--runs", RUNS // CHILDREN)
    return Program(folder, backend.env, *share)


def fork_after_a_run(backend: Backend, folder: Path, _: Outcome) -> Program:
    share = ("--children", CHILDREN, "--runs", RUNS // CHILDREN)
    return Program(folder, backend.env, *share, "--first")


def away(backend: Backend, folder: Path, _: Outcome) -> Program:
    """A run every 20 ms or more, with the database unavailable in between."""
    program = Program(
        folder, backend.env, "--runs", 100_000, "--until-told", "--pause", PAUSE
    )
    program.read(HANG_SECONDS, RUNS // 4)
    backend.take_away()
    program.read(AWAY_SECONDS)
    backend.bring_back()
    program.read(HANG_SECONDS, len(program.acks) + RUNS // 4)
    program.tell_to_end()
    return program


def memory(backend: Backend, folder: Path, outcome: Outcome) -> Program:
    """5,000 runs at full speed; PostgreSQL is unavailable from the twentieth on."""
    program = Program(folder, backend.env, "--runs", MEMORY_RUNS, "--until-told")
    program.read(HANG_SECONDS, RUNS // 10)
    if backend.memory_without:
        backend.take_away()
    for count in (MEMORY_RUNS // 5, MEMORY_RUNS):
        program.read(MEMORY_SECONDS, count)
        outcome.memory_mb[str(count)] = program.peak_mb()
    if backend.memory_without:
        backend.bring_back()
    program.tell_to_end()
    return program


SCENARIOS: dict[str, Scenario] = {
    "normal exit": normal_exit,
    "kill -9": kill_9,
    "fork": fork,
    "fork after a run": fork_after_a_run,
    "back end away for 10 s": away,
    "peak memory, 5,000 runs": memory,
}


def play(scenario: Scenario, backend: Backend, folder: Path) -> Outcome:
    """Run a program through a scenario, and count the runs that arrived."""
    outcome = Outcome()
    program = scenario(backend, folder, outcome)
    program.end(outcome)
    outcome.at_once = program.kept_of(backend.kept())
    backend.next_start()
    outcome.arrived = program.kept_of(backend.kept())
    return outcome


def cell(outcome: Outcome) -> str:
    """An outcome as the table shows it."""
    parts = [f"{outcome.arrived}/{outcome.returned}"]
    if outcome.at_once != outcome.arrived:
        parts[0] += f" ({outcome.at_once} at once)"
    if outcome.memory_mb:
        sizes = list(outcome.memory_mb.values())
        parts.insert(0, f"{sizes[-1]:.0f} MB, {sizes[0]:.0f} MB after 1,000")
    if outcome.raised:
        parts.append(f"{outcome.raised} invokes raised")
    if outcome.hangs:
        parts.append("hangs")
    elif outcome.worst_ms > 1000:
        parts.append(f"an invoke took {outcome.worst_ms / 1000:.1f} s")
    return ", ".join(parts)


def table(results: dict[str, dict[str, Outcome]]) -> str:
    lines: list[Sequence[str]] = [("store", *SCENARIOS)]
    lines += [(name, *map(cell, row.values())) for name, row in results.items()]
    return "\n".join(
        "  ".join(f"{text:<{w}}" for text, w in zip(line, WIDTHS, strict=False)).rstrip()
        for line in lines
    )


def claim(name: str, ours: float, peer: float, limit: float, unit: str) -> Claim:
    """One cell: the runs that arrived of all, or the growth of memory in MB."""
    grew = unit == "MB"
    figure = significant(ours - peer if grew else ours / peer if peer else 0.0)
    return Claim(
        name=name,
        ours=ours,
        peer=peer,
        unit=unit,
        figure=figure,
        low=figure,
        high=figure,
        best=figure,
        limit=limit,
        at_most=grew,
        holds=figure <= limit if grew else figure >= limit,
        statistic=f"the {'difference' if grew else 'ratio'}, once",
    )


def claims_of(backend: str, row: dict[str, Outcome]) -> list[Claim]:
    """A claim for each cell; a raising invoke and a hanging program count as losses."""
    claims = []
    for name, outcome in row.items():
        title = f"{backend}, {name}"
        expected = outcome.returned + outcome.raised + outcome.hangs
        claims.append(claim(title, outcome.arrived, expected, 1.0, "runs"))
        if outcome.memory_mb:
            first, last = outcome.memory_mb.values()
            claims.append(claim(f"{title}: growth", last, first, GROWTH_MB, "MB"))
    return claims


def main() -> None:
    set_up()
    results: dict[str, dict[str, Outcome]] = {"SQLite": {}, "PostgreSQL": {}}
    with scratch("loss") as folder, postgres() as server:
        for name, row in results.items():
            for number, (title, scenario) in enumerate(SCENARIOS.items()):
                place = folder / f"{name}-{number}"
                place.mkdir()
                backend = (
                    SqliteFile(place)
                    if name == "SQLite"
                    else PostgresDatabase(server, place)
                )
                row[title] = play(scenario, backend, place)
    print(table(results), file=sys.stderr)
    raw: dict[str, Any] = {
        name: {title: asdict(outcome) for title, outcome in row.items()}
        for name, row in results.items()
    }
    claims = [c for name, row in results.items() for c in claims_of(name, row)]
    report("loss", claims, raw)


if __name__ == "__main__":
    main()
