"""One byte that the worker's process shares with its children: "leave when you can".

Celery's warm shutdown waits for the children without telling them; a training job would hold it for hours. The byte
lies in memory mapped before the fork, so that setting it in the parent is seen by `ctx.check()` in every child.
"""

from __future__ import annotations

import mmap

_flag = mmap.mmap(-1, 1)


def request() -> None:
    _flag[0] = 1


def requested() -> bool:
    return _flag[0] == 1
