"""The losses inside a training step: what each needs, which rows it makes of a step's answers, and their loss.

The gradient of a minibatch is that of its summed loss divided by a denominator known before the first forward pass, so
that the packing of rows changes only rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefloop.engine.pieces import Piece, Row
from prefloop.engine.ranks import ALONE, Ranks
from prefloop.engine.sums import Sums
from prefloop.engine.tokens import forward_collision, forward_cringe, forward_divergence
from prefloop.losses.declaration import AnswerBatch, CompletionBatch, GroupBatch, Need, PairBatch, SampleBatch
from prefloop.policy.batches import PackItem
from prefloop.policy.scoring import TokenStates, forward_rewards, forward_tokens
from prefloop.recipes.recipe import Objective
from prefloop.types import Group, Pair

CURRENT = "current"  # the source of answers that the policy itself gave


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one prompt of a step; each completion's `source` says who answered."""

    row: int  # the prompt's place in the step
    prompt_id: str
    prompt: Any  # a text or messages
    prompt_ids: tuple[int, ...]
    group: Group

    def by(self, *sources: str) -> list[int]:
        """Indices in the group of the answers from these sources."""
        return [at for at, one in enumerate(self.group.completions) if one.source in sources]

    def score(self, at: int) -> float:
        if self.group.scores is None:
            raise ValueError(f"the answers to {self.prompt_id} have no scores")
        return self.group.scores[at]

    def item(self, places: Sequence[int]) -> PackItem:
        return PackItem(self.prompt_ids, tuple(self.group.completions[at].ids for at in places))


class StepLoss(ABC):
    """A loss inside a training step. `needs` says what `Piece.kept` must contain before `prepare`: "old", "ref"."""

    needs: frozenset[Need] = frozenset()
    passes = 1
    minibatches = 1
    ranks: Ranks = ALONE  # whose pieces together are the step
    teacher: Any = None  # the model that answers are compared with, token by token, where the loss has one
    rows_are_own = False  # whether the rows are the policy's own answers of the step and no others
    longest = 0  # tokens that an own answer may have; the run says it
    mismatched = 0.0  # mean log-ratio of the step's prompts with answers to other ones; the learner says it

    def __init__(self, settings: Objective) -> None:
        self.settings = settings

    def modules(self, model: Any) -> nn.Module | None:
        """Make modules that are trained and saved together with the policy."""
        return None

    @abstractmethod
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        """Make the step's rows; `pairs` are the labelled ones, by the prompt's index in the step."""

    def prepare(self, pieces: Sequence[Piece], sums: Sums) -> None:  # noqa: B027 - most have nothing to prepare
        """Compute once, without gradient and over the whole step, what stays fixed during the passes; add its
        metrics. `pieces` are those of this process, perhaps none.
        """

    def denominator(self, rows: Sequence[Row]) -> float:
        """The denominator of a minibatch's summed losses; called before its first pass."""
        return sum(row.weight for row in rows)

    def forward(self, model: Any, piece: Piece) -> Any:
        """Make the pass that is trained through: what `loss` needs, with gradient."""
        return forward_tokens(model, piece.packed, with_grad=True)

    @abstractmethod
    def loss(self, piece: Piece, states: Any, sums: Sums) -> Tensor:
        """Sum the losses of a piece's rows, a scalar; add its metrics."""


def own_rows(answers: Sequence[Answers]) -> list[Row]:
    """Make a row from each prompt's answers by the policy itself, with their scores."""
    rows = []
    for one in answers:
        places = one.by(CURRENT)
        finished = tuple(one.group.completions[at].finished for at in places)
        rows.append(Row(one.item(places), numbers=tuple(one.score(at) for at in places), finished=finished))
    return rows


class SampleLoss(StepLoss):
    """Any loss on the policy's own scored answers that declares how a batch of them becomes rows: RLOO, GRPO."""

    rows_are_own = True

    def __init__(self, settings: Objective) -> None:
        super().__init__(settings)
        self.needs = settings.declared.needs
        if "passes" in settings.declared.defaults:
            self.passes = settings.passes

    @override
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        return own_rows(answers)

    @override
    def denominator(self, rows: Sequence[Row]) -> float:
        return sum(row.weight * len(row.item.completions) for row in rows)

    @override
    def loss(self, piece: Piece, states: TokenStates, sums: Sums) -> Tensor:
        logp, mask = piece.padded(states.logps)
        reference = piece.kept.get("ref")
        group = torch.tensor(piece.places, device=mask.device)
        batch = SampleBatch(
            logp=logp,
            old_logp=piece.padded(piece.kept["old"])[0],
            mask=mask,
            scores=piece.numbers().to(logp.dtype),
            group=group,
            longest=self.longest,
            ref_logp=None if reference is None else piece.padded(reference)[0],
        )
        terms = self.settings.declared.loss(batch, self.settings)
        sums.add_all(terms.metrics)
        return (piece.weights()[group] * terms.loss).sum()


class Values(NamedTuple):
    """The values of one pass for C answers, (C,): log-prob sums, or rewards; for some losses a second value of each."""

    of: Tensor
    second: Tensor | None = None  # cringe sums, collision sums, or divergences from the teacher


class RowLoss(StepLoss):
    """Any loss with terms from rows: pairs, stored or labelled in the step, answers to imitate, scored groups."""

    def __init__(self, settings: Objective) -> None:
        super().__init__(settings)
        self.needs = settings.declared.needs
        self._per_token = settings.rows == "demonstrations"
        self._extra_share = 0.0

    @override
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        if self.settings.rows == "demonstrations":
            return [Row(one.item((at,))) for one in answers for at in one.by(CURRENT)]
        return [
            Row(one.item((pair.i, pair.j)), p_first=pair.p, target=self._target(one, pair))
            for one in answers
            for pair in pairs.get(one.row, ())
            if pair.p is not None
        ]

    def _target(self, one: Answers, pair: Pair) -> int | None:
        """Which answer of a pair counts by itself: the one that is not the policy's own, where the loss has such."""
        if self.settings.target != "reference":
            return None
        own = one.by(CURRENT)
        return next((place for place, at in enumerate((pair.i, pair.j)) if at not in own), None)

    @override
    def denominator(self, rows: Sequence[Row]) -> float:
        total = sum(row.weight * (row.n_tokens if self._per_token else 1) for row in rows)
        extra = sum(row.weight * len(row.item.completions[row.target]) for row in rows if row.target is not None)
        self._extra_share = total / extra if extra else 0.0  # a second term is divided by the tokens of the targets
        return total

    @override
    def forward(self, model: Any, piece: Piece) -> Values:
        if "teacher" in self.needs:
            return Values(
                divergence := forward_divergence(model, self.teacher, piece.packed, beta=self.settings.beta), divergence
            )
        if "cringe" in self.needs:
            return Values(*forward_cringe(model, piece.packed, k=self.settings.k))
        if "collision" in self.needs:
            return Values(*forward_collision(model, piece.packed))
        if "rewards" in self.needs:
            return Values(forward_rewards(model, piece.packed, with_grad=True))
        return Values(piece.sums(forward_tokens(model, piece.packed, with_grad=True).logps))

    @override
    def loss(self, piece: Piece, states: Values, sums: Sums) -> Tensor:
        batches: Mapping[str, Callable[[Piece, Values], Sequence[object]]]
        batches = {"demonstrations": self._completions, "answers": self._answers, "groups": self._groups}
        parts = []
        for batch in batches.get(self.settings.rows, self._pairs)(piece, states):
            parts.append(self.settings.declared.loss(batch, self.settings))
            sums.add_all(parts[-1].metrics)
        weights = piece.weights()
        total = (weights * torch.cat([terms.loss for terms in parts])).sum()
        extra = [terms.extra for terms in parts if terms.extra is not None]
        return total + self._extra_share * (weights * torch.cat(extra)).sum() if extra else total

    def _completions(self, piece: Piece, values: Values) -> list[CompletionBatch]:
        return [CompletionBatch(values.of, piece.packed.lengths(), values.second)]

    def _answers(self, piece: Piece, values: Values) -> list[AnswerBatch]:
        logps = values.of
        return [
            AnswerBatch(
                logps,
                torch.tensor([row.desirable for row in piece.rows], device=logps.device),
                ref_logp_sum=self._references(piece, logps.dtype),
                mismatched=logps.new_tensor(self.mismatched),
            )
        ]

    def _groups(self, piece: Piece, values: Values) -> list[GroupBatch]:
        """A batch for each group, since they may have different sizes."""
        own: list[list[int]] = [[] for _ in piece.rows]
        for at, place in enumerate(piece.places):
            own[place].append(at)
        logps, lengths = values.of, piece.packed.lengths()
        return [
            GroupBatch(logps[at][None], lengths[at][None], piece.column(row.numbers, logps.dtype)[None])
            for at, row in zip(own, piece.rows, strict=True)
        ]

    def _pairs(self, piece: Piece, values: Values) -> list[PairBatch]:
        first, (logps, more) = piece.first_of_row, values
        cringe, collision = (more if name in self.needs else None for name in ("cringe", "collision"))
        second, target, lengths = first + 1, None, piece.packed.lengths().to(logps.dtype)
        has = torch.tensor([row.target is not None for row in piece.rows], device=first.device)
        if bool(has.any()):
            target = first + torch.tensor([row.target or 0 for row in piece.rows], device=first.device)
        references = self._references(piece, logps.dtype)
        return [
            PairBatch(
                first_logp_sum=logps[first],
                second_logp_sum=logps[second],
                p_first=piece.column([row.p_first for row in piece.rows], logps.dtype),
                ref_first_logp_sum=None if references is None else references[first],
                ref_second_logp_sum=None if references is None else references[second],
                first_length=lengths[first],
                second_length=lengths[second],
                target_logp_sum=None if target is None else logps[target] * has,
                target_length=None if target is None else lengths[target] * has,
                first_cringe_sum=None if cringe is None else cringe[first],
                second_cringe_sum=None if cringe is None else cringe[second],
                first_collision_sum=None if collision is None else collision[first],
                second_collision_sum=None if collision is None else collision[second],
            )
        ]

    def _references(self, piece: Piece, dtype: torch.dtype) -> Tensor | None:
        """The reference's log-prob sums (C,): computed in this step, or before with the stored rows."""
        if "ref" not in self.needs:
            return None
        if "ref" in piece.kept:
            return piece.sums(piece.kept["ref"])
        return piece.references(dtype)


def make_step_loss(settings: Objective) -> StepLoss:
    """Make the loss of a run's steps: the class that the loss declares for itself, or that of its rows."""
    if settings.declared.step:
        module, name = settings.declared.step.split(":")
        made: StepLoss = getattr(import_module(module), name)(settings)
        return made
    return SampleLoss(settings) if settings.rows == "samples" else RowLoss(settings)
