"""One byte of memory that the worker shares with its children: "leave when you can".

Celery's warm shutdown waits for the children without telling them; a training job would hold it for hours. The byte is
in memory mapped before the fork, so that `ctx.check()` in every child sees when the parent sets it.
"""

from __future__ import annotations

import mmap

_flag = mmap.mmap(-1, 1)


def request() -> None:
    _flag[0] = 1


def requested() -> bool:
    return _flag[0] == 1
