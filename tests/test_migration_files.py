"""The loader of the SQL files, and what it finds in the installed package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("dialect", "folder"),
    [("postgres", ""), ("sqlite", "sqlite"), ("pgvector", "pgvector")],
)
def test_installed_migrations_are_those_of_the_sources(dialect: str, folder: str) -> None:
    from runlog.migrations import load

    files = sorted((ROOT / "migrations" / folder).glob("*.sql"))
    assert load(dialect) == [
        (
            number,
            file.name,
            file.read_text(encoding="utf-8"),
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for number, file in enumerate(files, 1)
    ]


def test_both_databases_have_the_same_numbers() -> None:
    from runlog.migrations import load

    assert len(load("postgres")) == len(load("sqlite"))


def test_other_files_are_ignored(tmp_path: Path) -> None:
    from runlog.migrations import load

    (tmp_path / "001_a.sql").write_bytes(b"-- \xc3\xa9\r\n")
    (tmp_path / "README").write_text("not SQL")
    checksum = hashlib.sha256(b"-- \xc3\xa9\r\n").hexdigest()
    assert load("sqlite", str(tmp_path)) == [(1, "001_a.sql", "-- é\r\n", checksum)]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["001_a.sql", "003_c.sql"], "003_c.sql should have number 002"),
        (["002_a.sql"], "002_a.sql should have number 001"),
        (["001_a.sql", "001_b.sql"], "001_b.sql should have number 002"),
        (["000_a.sql"], "000_a.sql should have number 001"),
        (["001_a.sql", "2_b.sql"], "2_b.sql is not named"),
        (["001.sql"], "001.sql is not named"),
        (["٠٠١_a.sql"], "is not named"),
        ([], "no migrations"),
    ],
)
def test_invalid_file_names_are_rejected(
    tmp_path: Path, names: list[str], wrong: str
) -> None:
    from runlog.migrations import load

    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(RuntimeError, match=wrong):
        load("postgres", str(tmp_path))


def test_an_unknown_dialect_is_rejected() -> None:
    from runlog.migrations import load

    with pytest.raises(ValueError, match="not 'mysql'"):
        load("mysql")
