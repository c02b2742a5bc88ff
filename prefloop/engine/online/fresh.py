"""KL from the initial policy and entropy, measured on the policy's own new answers.

Both are means over whole answers of log-probs (TRL's `objective/kl` and `objective/entropy`). They are only valid if
the answers were sampled from the policy itself, at temperature 1 and not truncated, at this very step. That excludes an
anchor's answers, corrected pairs, a replayed log and answers kept from earlier steps. Without such answers, or without
an initial policy, the figure is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prefloop.engine.pieces import Piece, Row, pieces_of, shortest_piece, token_logps
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.sharding import alike
from prefloop.engine.step_losses import CURRENT, Answers
from prefloop.engine.sums import Sums
from prefloop.policy.loading import Policy
from prefloop.recipes.runspec import RunSpec


def is_fresh(spec: RunSpec, step: int) -> bool:
    """Whether the policy's own answers of a step (1, 2, …) were sampled in that step, from the policy as it was."""
    online = spec.online
    if online is None or online.replay or (step - 1) % online.refresh_steps:
        return False
    own = [draw for draw in online.draws if draw.source == CURRENT]
    return bool(own) and all(draw.temperature == 1.0 and draw.top_p == 1.0 and not draw.top_k for draw in own)


def look_at_fresh(
    spec: RunSpec,
    model: Any,
    initial: Policy | None,
    answers: Sequence[Answers],
    sums: Sums,
    *,
    ranks: Ranks = ALONE,
    token_budget: int,
) -> None:
    """Evaluate the policy's own answers among these once more, under it and under the fixed policy; each process its
    share.
    """
    rows = [Row(one.item(places)) for one in answers if (places := one.by(CURRENT))]
    if not rows:
        return
    pieces = pieces_of(model, ranks.share(rows), token_budget=token_budget)
    for piece, _ in alike(ranks, model, pieces, partial(shortest_piece, model, rows)):
        piece.kept["old"] = token_logps(model, piece)
        if initial is not None and spec.objective.reference == "initial":
            piece.kept["ref"] = token_logps(initial.model, piece)
    add_fresh(spec, pieces, sums)


def add_fresh(spec: RunSpec, pieces: Sequence[Piece], sums: Sums) -> None:
    """Add the figures of pieces that consist of new answers; "old" is the policy, "ref" the fixed policy."""
    for piece in pieces:
        old = piece.sums(piece.kept["old"])
        sums.add("objective/entropy", -old)
        if spec.objective.reference == "initial" and "ref" in piece.kept:  # else it is another policy
            sums.add("objective/kl", old - piece.sums(piece.kept["ref"]))


def flat(answers: Sequence[Answers], value: Callable[[Answers, int], float]) -> Tensor:
    """Return a value for every answer by the policy itself."""
    return torch.tensor([value(one, at) for one in answers for at in one.by(CURRENT)])
