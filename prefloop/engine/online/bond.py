"""BOND and J-BOND inside a step: the policy's own answers against those of its anchor.

1. Quantiles are measured on the anchor's answers of the same prompt, one added to every count. `bond` has both terms of
   the reward, as in the laboratory; `bond-backward` the first alone, as the paper practises it.
2. The best of N, for the forward term, is the best of the first N of them. It and the quantile share answers; each
   term's gradient is unbiased by itself, because the policy's own answer is independent of both.
3. Returns have the mean of the others as baseline: of the prompt's other own answers where there are any, else of the
   other prompts'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor
from typing_extensions import override

from prefloop.engine.pieces import Piece, Row
from prefloop.engine.step_losses import CURRENT, Answers, StepLoss
from prefloop.engine.sums import Sums
from prefloop.losses.bond import (
    backward_reward,
    bond_backward_loss,
    bond_forward_loss,
    j_bond_loss,
    j_bond_reward,
    jeffreys_loss,
    mean_of_others,
    sampled_quantiles,
)
from prefloop.losses.ppo import rloo_advantages
from prefloop.policy.scoring import TokenStates
from prefloop.recipes.recipe import Objective
from prefloop.types import Pair

ANCHORS = ("anchor", "initial")


class Bond(StepLoss):
    """`bond-forward`, `bond-backward`, `bond` (both, Jeffreys) and `j-bond`. A row: own answers, then the best one."""

    def __init__(self, settings: Objective) -> None:
        super().__init__(settings)
        self._is_j = settings.declared.n_anchor > 0
        self._forward = settings.declared.anchors != "measure"
        self._backward = settings.declared.anchors != "imitate"
        self.needs = frozenset({"scores", "old", "ref"} if self._backward else {"scores"})

    @override
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        return [self._row(one) for one in answers]

    def _row(self, one: Answers) -> Row:
        own = one.by(CURRENT) if self._backward else []
        theirs = one.by(*ANCHORS)
        scores = [one.score(at) for at in theirs]
        rewards = self._rewards([one.score(at) for at in own], scores)
        if not self._forward:
            return Row(one.item(own), numbers=rewards)
        n = self.settings.declared.n_anchor or self.settings.n
        best = max(theirs[:n], key=one.score)  # of equals the first: they come in random order
        return Row(one.item([*own, best]), numbers=(*rewards, 0.0))

    def _rewards(self, own: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
        if not own:
            return ()
        mine, others = torch.tensor(own, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64)
        if self._is_j:
            one, two = others[0].expand_as(mine), others[1].expand_as(mine)
            return tuple(j_bond_reward(mine, one, two).tolist())
        below, at_most = ((compare(others[None, :], mine[:, None])).sum(1) for compare in (torch.lt, torch.le))
        quantiles = sampled_quantiles(below, at_most, k=len(theirs))
        both_terms = self._forward and self._backward
        return tuple(backward_reward(*quantiles, n=self.settings.n, both_terms=both_terms).tolist())

    @override
    def prepare(self, pieces: Sequence[Piece], sums: Sums) -> None:
        if not self._backward:
            return
        weight = 1.0 if self._is_j else 1.0 / (self.settings.n - 1)
        returns = []
        for piece in pieces:
            own = self._own(piece)
            ratio = piece.sums(piece.kept["old"]) - piece.sums(piece.kept["ref"])
            returns.append((piece.numbers() - weight * ratio)[own])
            sums.add("objective/rlhf_reward", returns[-1])
            sums.add("bond/reward", piece.numbers()[own])
        for piece, part in zip(pieces, self._baselines(pieces, returns), strict=True):
            piece.kept["baseline"] = part

    def _baselines(self, pieces: Sequence[Piece], returns: Sequence[Tensor]) -> list[Tensor]:
        """The baseline of each own answer: from its prompt's other ones, or of the whole step, over all processes."""
        each = max(len(part) // len(piece.rows) for piece, part in zip(pieces, returns, strict=True)) if pieces else 0
        if max(self.ranks.gather(each)) > 1:
            tables = [part.reshape(len(piece.rows), -1) for piece, part in zip(pieces, returns, strict=True)]
            return [(table - rloo_advantages(table)).reshape(-1) for table in tables]
        found = self.ranks.gather([part.cpu() for part in returns])
        everyone = torch.cat([part for parts in found for part in parts])
        baseline = mean_of_others(everyone) if len(everyone) > 1 else torch.zeros_like(everyone)
        parts = iter(baseline.split([len(part) for parts in found for part in parts]))
        mine = [list(islice(parts, len(theirs))) for theirs in found][self.ranks.rank]
        return [part.to(piece.packed.owner.device) for piece, part in zip(pieces, mine, strict=True)]

    def _own(self, piece: Piece) -> Tensor:
        """Mark the policy's own answers, (C,): all but the last of each row, which is the anchor's best."""
        last = len(piece.rows[0].item.completions) - 1 if self._forward else -1
        return torch.tensor([at != last for _, at in piece.answers()], device=piece.packed.owner.device)

    @override
    def loss(self, piece: Piece, states: TokenStates, sums: Sums) -> Tensor:
        logp = piece.sums(states.logps)
        own = self._own(piece)
        if not self._backward:
            sums.add("loss/forward", -logp.detach())
            return bond_forward_loss(logp).sum()
        reference, rewards = piece.sums(piece.kept["ref"]), piece.numbers()
        each = len(piece.rows[0].item.completions) - self._forward
        best = logp[~own].repeat_interleave(each) if self._forward else None
        settings, baseline = self.settings, piece.kept["baseline"]
        if self._is_j and best is not None:
            terms = j_bond_loss(
                logp[own],
                reference[own],
                best,
                rewards[own],
                jeffreys=settings.jeffreys,
                gamma=settings.gamma,
                baseline=baseline,
            )
            sums.add("loss/forward", terms.forward.detach())
            sums.add("loss/backward", terms.backward.detach())
            return terms.loss.sum() / each
        backward = bond_backward_loss(logp[own], reference[own], rewards[own], n=settings.n, baseline=baseline)
        sums.add("loss/backward", backward.loss.detach())
        if best is None:
            return backward.loss.sum() / each
        forward = bond_forward_loss(best)
        sums.add("loss/forward", forward.detach())
        return jeffreys_loss(forward, backward.loss, jeffreys=settings.jeffreys).sum() / each
