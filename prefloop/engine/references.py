"""Reference log-probs of stored rows, computed once before the first step and packed like the first epoch.

With this packing a policy that is its own reference has log-ratios of exactly 0. Each batch's values are a line in
`reference/sums.jsonl`, those of each pass of the batch under way one in `sums.jsonl.part`: a run that left or was
killed continues with the next pass, to the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prefloop.engine.context import RunContext
from prefloop.engine.examples import batch_of, steps_of
from prefloop.engine.passes import fitting
from prefloop.engine.pieces import Piece, Row, pieces_of, shortest_piece, token_logps
from prefloop.engine.sharding import alike

FILE = "reference/sums.jsonl"
MISMATCHED_FILE = "reference/mismatched.jsonl"
PHASE = "reference"
Sums = tuple[float, ...]  # of a row: one for each of its answers


def with_references(ctx: RunContext, rows: Sequence[Row], load: Callable[[], Any], *, file: str = FILE) -> list[Row]:
    """Return the rows with the reference's log-prob sums; `load` gives its model if one is needed.

    Raises Leaving or Abandoned if the run is told to leave.
    """
    seed, batch = ctx.spec.seed, ctx.spec.objective.batch
    n_batches = steps_of(len(rows), batch=batch, epochs=1)
    path = ctx.path(file)
    (read, *_) = ctx.ranks.gather(_read(path) if ctx.ranks.is_main else [])
    known: dict[tuple[Any, ...], float] = {}
    model: Any = None
    for number in range(1, n_batches + 1):
        mine = [rows[at] for at in batch_of(range(len(rows)), number, batch=batch, seed=seed)]
        if number <= len(read):
            sums = [tuple(row) for row in read[number - 1]]
        else:
            ctx.progress(PHASE, number - 1, n_batches)
            ctx.leave_if_asked()
            model = load() if model is None else model
            new = [row for row in mine if any(key not in known for key in _keys(row))]
            kept = Passes(path.with_name(f"{path.name}.part"), number) if ctx.ranks.size == 1 else None
            filler = partial(shortest_piece, model, mine)
            parts = ctx.ranks.gather(fitting(ctx, partial(_sums, ctx, model, ctx.ranks.share(new), kept, filler)))
            for rank, part in enumerate(parts):
                _remember(known, new[rank :: ctx.ranks.size], part)
            sums = [tuple(known[key] for key in _keys(row)) for row in mine]
            if ctx.ranks.is_main:
                _append(path, sums)
        _remember(known, mine, sums)
    if model is not None:
        ctx.progress(PHASE, n_batches, n_batches)
    path.with_name(f"{path.name}.part").unlink(missing_ok=True)
    return [replace(row, references=tuple(known[key] for key in _keys(row))) for row in rows]


class Passes:
    """What the passes of one batch gave, each written as soon as it ends."""

    def __init__(self, path: Path, batch: int) -> None:
        self._path, self._batch = path, batch
        self._found = {tuple(key): values for number, key, values in _read(path) if number == batch}

    def values(self, key: tuple[int, int, int], compute: Callable[[], list[float]]) -> list[float]:
        """Return what this pass gave before, or compute and keep it. `key`: its place, of how many, with how many
        answers; another packing has other keys.
        """
        if key not in self._found:
            self._found[key] = compute()
            _append(self._path, [self._batch, key, self._found[key]])
        return self._found[key]


def _sums(
    ctx: RunContext, model: Any, rows: Sequence[Row], kept: Passes | None, filler: Callable[[], Piece]
) -> list[Sums]:
    found: list[dict[int, float]] = [{} for _ in rows]
    place = {id(row): at for at, row in enumerate(rows)}
    pieces = pieces_of(model, rows, token_budget=ctx.passes.tokens)
    for number, (piece, counts) in enumerate(alike(ctx.ranks, model, pieces, filler)):
        ctx.between_passes()
        if not counts:
            token_logps(model, piece)
            continue

        def compute(piece: Piece = piece) -> list[float]:
            values: list[float] = piece.sums(token_logps(model, piece)).tolist()
            return values

        key = (number, len(pieces), len(piece.answers()))
        values = compute() if kept is None else kept.values(key, compute)
        for (at, answer), value in zip(piece.answers(), values, strict=True):
            found[place[id(piece.rows[at])]][answer] = value
    return [tuple(mine[answer] for answer in sorted(mine)) for mine in found]


def _keys(row: Row) -> list[tuple[Any, ...]]:
    return [(row.item.prompt_ids, completion) for completion in row.item.completions]


def _remember(known: dict[tuple[Any, ...], float], rows: Sequence[Row], sums: Sequence[Sums]) -> None:
    for row, mine in zip(rows, sums, strict=True):
        for key, value in zip(_keys(row), mine, strict=True):
            known.setdefault(key, value)


def _read(path: Path) -> list[list[Any]]:
    """Read the complete lines; a torn one is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    return [json.loads(line) for line in content[:whole].splitlines()]


def _append(path: Path, sums: Sequence[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as stream:
        stream.write(json.dumps(sums).encode("ascii") + b"\n")
