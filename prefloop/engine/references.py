"""Reference log-probs of stored rows, computed once before the first step and packed like the first epoch.

With this packing a policy that is its own reference has log-ratios of exactly 0. Each batch's values are a line in
`reference/sums.jsonl`: a run that left or was killed continues with the next batch, to the same numbers.
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
from prefloop.engine.online.rows import Row, pieces_of, token_logps
from prefloop.engine.passes import fitting

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
            sums = read[number - 1]
        else:
            ctx.progress(PHASE, number - 1, n_batches)
            ctx.leave_if_asked()
            model = load() if model is None else model
            new = [row for row in mine if any(key not in known for key in _keys(row))]
            parts = ctx.ranks.gather(fitting(ctx, partial(_sums, ctx, model, ctx.ranks.share(new))))
            for rank, part in enumerate(parts):
                _remember(known, new[rank :: ctx.ranks.size], part)
            sums = [tuple(known[key] for key in _keys(row)) for row in mine]
            if ctx.ranks.is_main:
                _append(path, sums)
        _remember(known, mine, sums)
    if model is not None:
        ctx.progress(PHASE, n_batches, n_batches)
    return [replace(row, references=tuple(known[key] for key in _keys(row))) for row in rows]


def _sums(ctx: RunContext, model: Any, rows: Sequence[Row]) -> list[Sums]:
    found: list[dict[int, float]] = [{} for _ in rows]
    place = {id(row): at for at, row in enumerate(rows)}
    for piece in pieces_of(model, rows, token_budget=ctx.passes.tokens):
        ctx.between_passes()
        values = piece.sums(token_logps(model, piece)).tolist()
        for (at, answer), value in zip(piece.answers(), values, strict=True):
            found[place[id(piece.rows[at])]][answer] = value
    return [tuple(mine[answer] for answer in sorted(mine)) for mine in found]


def _keys(row: Row) -> list[tuple[Any, ...]]:
    return [(row.item.prompt_ids, completion) for completion in row.item.completions]


def _remember(known: dict[tuple[Any, ...], float], rows: Sequence[Row], sums: Sequence[Sums]) -> None:
    for row, mine in zip(rows, sums, strict=True):
        for key, value in zip(_keys(row), mine, strict=True):
            known.setdefault(key, value)


def _read(path: Path) -> list[list[Sums]]:
    """Read the complete lines; a torn one is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    return [[tuple(row) for row in json.loads(line)] for line in content[:whole].splitlines()]


def _append(path: Path, sums: Sequence[Sums]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as stream:
        stream.write(json.dumps(sums).encode("ascii") + b"\n")
