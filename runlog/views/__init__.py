"""What people look at, computed from what `get_run`, `list_runs` and `get_thread` return.

Pure functions: no database, no terminal, no HTML. The command line renders their results,
and so may a page. Recorded values pass through unchanged, so whoever shows them makes
them safe for the place where they are shown.
"""
