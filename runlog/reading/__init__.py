"""How programs that look at a history find it, and what they say when they can't.

The command line and the page stand on this: where the history is, whether it can be read
as it is, times and names that people write, and faults of the set-up.
"""
