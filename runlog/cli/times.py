"""Times on the command line."""

from runlog.reading.times import moment, parse_age, parse_time

__all__ = ["moment", "parse_age", "parse_time"]
