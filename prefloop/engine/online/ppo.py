"""PPO: per-token KL in the reward, the score at the end, advantages from the policy's own value head.

Unusual here: the value head reads the policy's last hidden states and sends no gradient into them, so that one forward
pass serves both, and fitting values never changes the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from prefloop.engine.pieces import Piece, Row
from prefloop.engine.step_losses import Answers, StepLoss, own_rows
from prefloop.engine.sums import Sums
from prefloop.losses.ppo import gae, ppo_clip_loss, token_rewards, value_clip_loss, whiten
from prefloop.policy.scoring import TokenStates
from prefloop.recipes.recipe import Objective
from prefloop.types import Pair

GAMMA = 1.0  # an answer's reward comes at its end: nothing is discounted


class ValueHead(nn.Module):
    """Predicts the future reward from a hidden state: two layers; it starts at 0 everywhere."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)
        self.outer = nn.Linear(size, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """(T, H) to (T,), fp32."""
        values: Tensor = self.outer(torch.tanh(self.inner(hidden.to(self.inner.weight.dtype)))).squeeze(-1)
        return values


class PPO(StepLoss):
    """`beta` weighs the KL, `lambda_` is GAE's; the rest are PPO's own."""

    needs = frozenset({"old", "ref", "scores"})
    rows_are_own = True

    def __init__(self, settings: Objective) -> None:
        super().__init__(settings)
        self.passes, self.minibatches = settings.passes, settings.minibatches
        self._head: ValueHead | None = None

    @override
    def modules(self, model: Any) -> nn.Module:
        self._head = ValueHead(model.config.get_text_config().hidden_size)
        return self._head

    @override
    def rows(self, answers: Sequence[Answers], pairs: Mapping[int, Sequence[Pair]]) -> list[Row]:
        return own_rows(answers)

    @override
    def prepare(self, pieces: Sequence[Piece], sums: Sums) -> None:
        with torch.no_grad():
            for piece in pieces:
                self._advantages(piece, sums)
            found = self.ranks.gather([piece.kept["advantages"].cpu() for piece in pieces])
            flat = torch.cat([part for parts in found for part in parts])
            if len(flat) > 1:
                flat = whiten(flat[None], torch.ones_like(flat[None], dtype=torch.bool))[0]
            whitened = iter(flat.split([len(part) for parts in found for part in parts]))
            mine = [list(islice(whitened, len(parts))) for parts in found][self.ranks.rank]
            for piece, part in zip(pieces, mine, strict=True):
                piece.kept["advantages"] = part.to(piece.packed.owner.device)

    def _advantages(self, piece: Piece, sums: Sums) -> None:
        logp, mask = piece.padded(piece.kept["old"])
        ref_logp, _ = piece.padded(piece.kept["ref"])
        piece.kept["values"] = self._values(piece.kept["hidden"])
        values, _ = piece.padded(piece.kept["values"])
        scores = piece.numbers()
        finished = torch.tensor([piece.rows[place].finished[at] for place, at in piece.answers()], device=mask.device)
        rewards = token_rewards(
            logp,
            ref_logp,
            mask,
            scores,
            kl_coef=self.settings.beta,
            finished=finished,
            missing_eos_penalty=self.settings.missing_eos_penalty,
        )
        found = gae(rewards, values, mask, gamma=GAMMA, lam=self.settings.lambda_)
        piece.kept |= {"advantages": piece.flat(found.advantages), "returns": piece.flat(found.returns)}
        total = rewards.sum(1)
        sums.add("objective/rlhf_reward", total)
        sums.add("objective/non_score_reward", -self.settings.beta * (logp - ref_logp).sum(1))
        sums.add("val/num_eos_tokens", finished.float())

    @override
    def denominator(self, rows: Sequence[Row]) -> float:
        return float(sum(row.n_tokens for row in rows))

    @override
    def loss(self, piece: Piece, states: TokenStates, sums: Sums) -> Tensor:
        kept, mask = piece.kept, torch.ones_like(states.logps, dtype=torch.bool)[None]
        policy = ppo_clip_loss(
            states.logps[None], kept["old"][None], kept["advantages"][None], mask, clip=self.settings.clip_range
        )
        values = self._values(states.hidden)
        value = value_clip_loss(
            values[None], kept["values"][None], kept["returns"][None], mask, clip=self.settings.clip_range
        )
        ratio = (states.logps - kept["old"]).detach()
        sums.add("loss/policy_avg", policy.loss.detach())
        sums.add("loss/value_avg", value.loss.detach())
        sums.add("policy/clipfrac_avg", policy.clipped.float())
        sums.add("val/clipfrac_avg", value.clipped.float())
        sums.add("policy/approxkl_avg", 0.5 * ratio**2)
        sums.add("val/ratio", ratio.exp())
        return policy.loss.sum() + self.settings.value_coef * value.loss.sum()

    def _values(self, hidden: Tensor) -> Tensor:
        if self._head is None:
            raise AssertionError("the value head is made before the first step")
        values: Tensor = self._head(hidden.detach())
        return values
