"""Telling a full disk from all else that can go wrong with a file."""

from __future__ import annotations

import errno
import os

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
WORDS = tuple(os.strerror(number) for number in NO_ROOM)
"""Libraries that are not written in Python (safetensors) raise errors of their own, which have no number."""


def no_room(error: BaseException) -> str | None:
    """That there was no room on the disk, or none within the quota, in words; None when something else was wrong."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in NO_ROOM:
            return seen.strerror or os.strerror(errno.ENOSPC)
        if words := next((words for words in WORDS if words in str(seen)), None):
            return words
        seen = seen.__cause__
    return None
