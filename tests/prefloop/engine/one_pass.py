"""A minibatch's loss and gradient by the run's own passes, for tests that know what they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from prefloop.engine.learner import backward
from prefloop.engine.pieces import Row, pieces_of
from prefloop.engine.step_losses import RowLoss, make_step_loss
from prefloop.engine.sums import Sums
from prefloop.recipes.recipe import Objective


class Learnt(NamedTuple):
    loss: float
    metrics: dict[str, float]


def learnt(
    model: Any,
    rows: Sequence[Row],
    settings: Objective,
    *,
    token_budget: int = 10**6,
    references: Mapping[str, tuple[float, ...]] | None = None,
    teacher: Any = None,
    mismatched: float = 0.0,
) -> Learnt:
    """Add the gradient of the rows' mean loss to the model's; `references` by the rows' ids."""
    objective = make_step_loss(settings)
    objective.mismatched = mismatched
    if isinstance(objective, RowLoss):
        objective.teacher = teacher
    known = references or {}
    rows = [replace(row, references=(*known.get(row.id, ()), 0.0)) if row.id in known else row for row in rows]
    sums = Sums()
    batch = objective.denominator(rows), pieces_of(model, rows, token_budget=token_budget), rows
    loss = backward(objective, model, batch, sums)
    return Learnt(loss, sums.means())
