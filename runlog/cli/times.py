"""Times on the command line."""

from runlog.reading.times import parse_age, parse_time

__all__ = ["parse_age", "parse_time"]
