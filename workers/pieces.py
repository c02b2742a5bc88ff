"""How much a job computes between two writes, and what was computed piece by piece: a kill costs a minute at most.

Sizes follow from the model and the texts alone, never from a clock: the same work is cut in the same places, so that
a job that was interrupted ends with the numbers of one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from apps.jobs.registry import JobContext
from apps.policies.store import store_path
from prefloop.speeds import tokens_in

T = TypeVar("T")
PIECE_SECONDS = 60.0


def affordable(n_parameters: int | None) -> float:
    """Count the tokens that a forward pass of a model of this size reads in a minute on a CPU; an accelerator's count
    is not limited.
    """
    from workers import model_cache  # torch

    if model_cache.device() != "cpu":
        return float("inf")
    return tokens_in(PIECE_SECONDS, n_parameters or 1)


def at_once(n_parameters: int | None, *, tokens: int, most: int) -> int:
    """How many items of so many tokens are computed between two writes: `most` where that takes no minute."""
    return int(max(1, min(most, affordable(n_parameters) // max(1, tokens))))


def pieces_by_tokens(items: Sequence[T], tokens: Callable[[T], int], limit: float) -> Iterator[list[T]]:
    """Cut the items into pieces of at most `limit` tokens; a longer item is a piece of its own."""
    piece: list[T] = []
    held = 0
    for item in items:
        if piece and held + tokens(item) > limit:
            yield piece
            piece, held = [], 0
        piece.append(item)
        held += tokens(item)
    if piece:
        yield piece


def in_pieces(
    ctx: JobContext, key: str, pieces: Sequence[T], compute: Callable[[T], Sequence[Any]], *, words: str
) -> list[Any]:
    """Compute piece by piece and return all results in order; each is written before the next begins.

    Another attempt goes on after the last that was written. `key` names the work and all that it depends on; results
    are JSON. Call `forget` when what follows from them is stored.
    """
    path = store_path(f"pieces/{key}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _read(path)
    ctx.progress(0, len(pieces), words)
    for number, piece in enumerate(pieces):
        if number not in done:
            ctx.check()
            done[number] = list(compute(piece))
            with path.open("ab", buffering=0) as stream:
                stream.write(json.dumps([number, done[number]]).encode() + b"\n")
        ctx.progress(number + 1, len(pieces), words)
    return [value for number in range(len(pieces)) for value in done[number]]


def forget(key: str) -> None:
    """Remove the pieces of a work whose result is stored."""
    store_path(f"pieces/{key}.jsonl").unlink(missing_ok=True)


def _read(path: Any) -> dict[int, list[Any]]:
    """Read the whole lines; a torn one, of a writer that was killed, is computed again."""
    found: dict[int, list[Any]] = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                number, values = json.loads(line)
                found.setdefault(number, values)
        with path.open("ab", buffering=0) as stream:
            stream.write(b"\n")  # whatever a torn line holds, the next one begins anew
    return found
