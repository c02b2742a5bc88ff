"""Objectives of step-refreshed training: what each needs, which rows it makes of a step's answers, and their loss.

The gradient of a minibatch is that of its loss's sum divided by a denominator that is known before the first forward
pass, so that how the rows are packed changes nothing but rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from prefloop.engine.objectives import Sums, loss_numbers, pair_metrics
from prefloop.engine.online.rows import Piece, Row
from prefloop.losses.registry import Need, PairBatch, objective
from prefloop.policy.batches import PackItem
from prefloop.policy.scoring import TokenStates
from prefloop.recipes.recipe import Objective
from prefloop.types import Group, Pair

CURRENT = "current"  # the source of answers that the policy itself gave


@dataclass(frozen=True, slots=True)
class Answers:
    """What was drawn for one prompt of a step; each completion's `source` says who answered."""

    row: int  # the prompt's place in the step
    prompt_id: str
    prompt: Any  # a text or messages
    prompt_ids: tuple[int, ...]
    group: Group

    def by(self, *sources: str) -> list[int]:
        """Places in the group of the answers of these sources."""
        return [at for at, one in enumerate(self.group.completions) if one.source in sources]

    def score(self, at: int) -> float:
        if self.group.scores is None:
            raise ValueError(f"the answers to {self.prompt_id} have no scores")
        return self.group.scores[at]

    def item(self, places: Sequence[int]) -> PackItem:
        return PackItem(self.prompt_ids, tuple(self.group.completions[at].ids for at in places))


class StepObjective(ABC):
    """A method's loss inside a step. `needs` says what stands in `Piece.kept` before `prepare`: "old", "ref"."""

    needs: frozenset[Need] = frozenset()
    passes = 1
    minibatches = 1

    def __init__(self, settings: Objective) -> None:
        self.settings = settings  # its numbers may change between two steps

    def modules(self, model: Any) -> nn.Module | None:
        """Make what is trained beside the policy and saved beside it."""
        return None

    @abstractmethod
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        """Make the step's rows; `pairs` are the labelled ones, by the prompt's place in the step."""

    def prepare(self, pieces: Sequence[Piece], sums: Sums) -> None:  # noqa: B027 - most have nothing to prepare
        """Compute once, without gradient and over the whole step, what the passes keep fixed; add its metrics."""

    def denominator(self, pieces: Sequence[Piece]) -> float:
        """What a minibatch's sum of losses is divided by: its rows' weight."""
        return sum(row.weight for piece in pieces for row in piece.rows)

    @abstractmethod
    def loss(self, piece: Piece, states: TokenStates, sums: Sums) -> Tensor:
        """Sum the losses of a piece's rows, a scalar; add its metrics."""


class PairObjective(StepObjective):
    """Any loss on pairs of the registry: DPO, IPO, hinge-norm, Bo2."""

    def __init__(self, settings: Objective) -> None:
        super().__init__(settings)
        self._loss = objective(settings.registry_name)
        self.needs = self._loss.needs

    @override
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        return [
            Row(one.item((pair.i, pair.j)), p_first=pair.p)
            for one in answers
            for pair in pairs.get(one.row, ())
            if pair.p is not None
        ]

    @override
    def loss(self, piece: Piece, states: TokenStates, sums: Sums) -> Tensor:
        first = piece.first_of_row
        policy, reference = piece.sums(states.logps), piece.kept.get("ref")
        ref_sums = None if reference is None else piece.sums(reference)
        lengths = piece.packed.lengths().to(policy.dtype)
        batch = PairBatch(
            first_logp_sum=policy[first],
            second_logp_sum=policy[first + 1],
            p_first=piece.column([row.p_first for row in piece.rows]),
            ref_first_logp_sum=None if ref_sums is None else ref_sums[first],
            ref_second_logp_sum=None if ref_sums is None else ref_sums[first + 1],
            first_length=lengths[first],
            second_length=lengths[first + 1],
        )
        terms = self._loss.loss(batch, **loss_numbers(self.settings))
        pair_metrics(sums, batch, self.settings)
        return (piece.weights() * terms.loss).sum()
