"""Where what happens now was asked for: from which address, and by a page, a token, a command or a job.

The audit log writes it down. It is set by whoever begins a piece of work (the web's middleware, `manage.py`, a worker)
and read wherever that work leads, in the same thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Origin:
    """`address` of the client, "" where there is none; `by` such as "page", "token 1a2b3c4d", "job 7"."""

    address: str = ""
    by: str = ""


_NOWHERE = Origin()
_NOW: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def origin_now() -> Origin:
    return _NOW.get()


@contextmanager
def origin(*, by: str, address: str = "") -> Iterator[None]:
    """Say where the work inside comes from."""
    before = _NOW.set(Origin(address=address, by=by[:60]))
    try:
        yield
    finally:
        _NOW.reset(before)


def origin_is_token(prefix: str) -> None:
    """Say that the request at hand came with the API token that begins so."""
    _NOW.set(replace(_NOW.get(), by=f"token {prefix}"))
