"""The frames of a recorded traceback that are the program's own."""

from __future__ import annotations

_LIBRARY = " [library]"


def own_frames(traceback: str) -> list[str]:
    """Return the lines of a traceback without the frames of libraries.

    Args:
        traceback: an `error_traceback`: its layout is that of Python, and the line of a
            library's frame ends in " [library]".
    """
    kept = []
    skipping = False
    for line in traceback.split("\n"):
        bare = line.lstrip(" |")
        if bare.startswith('File "'):
            skipping = line.endswith(_LIBRARY)
        elif skipping and not line.startswith("    ") and not _is_source(line):
            skipping = False
        if not skipping:
            kept.append(line)
    return kept


def _is_source(line: str) -> bool:
    """Whether a line within a group's frame is deeper than the frame's own."""
    bare = line.lstrip()
    return bare.startswith("|") and bare[1:].startswith("     ")
