"""Each objective in expectation: the real loss, weighted by the probability of its row.

A method is a function of the logits (m,), of the law that answers are drawn from at this step, and of the anchor's
log-probs; its gradient in the logits is the expected update. An answer counts as one token: what averages over tokens
averages over one, and GAE and the value head, which act between tokens, have nothing to do but subtract the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from prefloop.losses.bond import (
    bond_backward_loss,
    bond_forward_loss,
    bond_reward,
    j_bond_loss,
    j_bond_reward,
    jeffreys_loss,
)
from prefloop.losses.cringe import binary_cringe_loss, expected_cringe_token_loss, pairwise_cringe_loss
from prefloop.losses.gkd import generalised_jsd_loss
from prefloop.losses.nll import nll_loss
from prefloop.losses.ppo import gae, ppo_clip_loss, token_rewards
from prefloop.losses.registry import PairBatch, objective
from prefloop.losses.rrhf import rrhf_loss
from prefloop.losses.slic import slic_loss
from prefloop.recipes.objective import Objective
from prefloop.tabular.draws import Floats


class Method(Protocol):
    """The expected loss at `logits` (m,), answers drawn from `drawn` (m,), the anchor's log-probs `anchor` (m,)."""

    def __call__(self, logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor: ...


Wins = Callable[[Tensor], Tensor]  # law drawn from -> (m, m) mass of "a is said to be better than b"

# What the registry calls the numbers of the pair losses.
_NUMBERS = {
    "dpo": {"beta": "beta", "label_smoothing": "label_smoothing"},
    "ipo": {"tau": "tau"},
    "ipo-mean": {"tau": "tau"},
    "sigmoid-norm": {"gamma": "gamma"},
    "hinge-norm": {"gamma": "gamma"},
    "spin": {"lambda_": "lambda_"},
    "click": {"alpha": "alpha"},
    "bo2": {},
    "bradley-terry": {"center": "center_coef"},
}


def pairs(settings: Objective, wins: Wins, reference: Tensor) -> Method:
    """The pair losses of the registry; `reference` (m,) are log-probs. For a reward model the logits are rewards."""
    name = settings.registry_name
    numbers = {there: getattr(settings, here) for here, there in _NUMBERS[name].items()}
    is_reward = name == "bradley-terry"

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        first, second, weight = _rows(wins(drawn))
        values = logits if is_reward else logits.log_softmax(0)
        one = torch.ones_like(weight)
        batch = PairBatch(values[first], values[second], one, reference[first], reference[second], one, one)
        return (weight * objective(name).loss(batch, **numbers).loss).sum()

    return method


def imitation(law: Tensor) -> Method:
    """The likelihood of a fixed law (m,) of answers."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        return (law * nll_loss(logits.log_softmax(0), torch.ones_like(law)).loss).sum()

    return method


def click(settings: Objective, wins: Wins, data: Tensor) -> Method:
    """The likelihood of the data, and gamma times the contrast of own answers."""
    contrast, likelihood = pairs(settings, wins, torch.zeros_like(data)), imitation(data)
    return lambda logits, drawn, anchor: (
        likelihood(logits, drawn, anchor) + settings.gamma * contrast(logits, drawn, anchor)
    )


def slic(settings: Objective, wins: Wins, best: Tensor) -> Method:
    """The calibration of ranked candidates, and the likelihood of the best of them, whose law is `best` (m,)."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp = logits.log_softmax(0)
        first, second, weight = _rows(wins(drawn))
        if settings.lambda_ == 0:
            return (weight * slic_loss(logp[first], logp[second], delta=settings.delta).loss).sum()
        m, n = len(best), len(weight)
        target = torch.arange(m).repeat(n)
        result = slic_loss(
            logp[first].repeat_interleave(m),
            logp[second].repeat_interleave(m),
            logp[target],
            delta=settings.delta,
            regularisation=settings.lambda_,
        )
        return (weight.repeat_interleave(m) * best[target] * result.loss).sum()

    return method


def rrhf(settings: Objective, groups: Tensor, probability: Tensor, scores: Tensor) -> Method:
    """The ranking of whole groups (G, K) of outcomes, each of its probability (G,)."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp = logits.log_softmax(0)[groups]
        rows = rrhf_loss(logp, torch.ones_like(logp), scores[groups], rank_weight=settings.rank_weight)
        return (probability * rows.loss).sum()

    return method


def pairwise_cringe(settings: Objective, wins: Wins) -> Method:
    """The gated loss of pairs; the policy's vocabulary is the outcomes."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        first, second, weight = _rows(wins(drawn))
        logp, one = logits.log_softmax(0), torch.ones_like(weight)
        k = min(settings.k, len(logits) - 1)
        cringe = expected_cringe_token_loss(logits.expand(len(second), -1), second, k=k)
        binary = binary_cringe_loss(logp[first], one, cringe, one, alpha=settings.alpha)
        gated = pairwise_cringe_loss(logp[first], logp[second], binary, b=settings.b, tau=settings.tau)
        return (weight * gated.loss).sum()

    return method


def distillation(settings: Objective, teacher: Tensor) -> Method:
    """The teacher's (m,) divergence at the one token there is: who drew the answer before it does not matter."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        return generalised_jsd_loss(teacher.log()[None], logits[None], beta=settings.beta).loss.sum()

    return method


def ppo(settings: Objective, score: Tensor, reference: Tensor) -> Method:
    """PPO on answers drawn from the old policy, the value head at its own optimum; advantages are not whitened."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        seen = (drawn > 0).nonzero().squeeze(1)
        weight, old = drawn[seen], drawn[seen].log()[:, None]
        mask = torch.ones_like(old, dtype=torch.bool)
        rewards = token_rewards(old, reference[seen, None], mask, score[seen], kl_coef=settings.beta)
        values = (weight @ rewards).expand_as(rewards)
        advantages = gae(rewards, values, mask, lam=settings.lambda_).advantages
        logp = logits.log_softmax(0)[seen, None]
        rows = ppo_clip_loss(logp, old, advantages, mask, clip=settings.clip_range).loss
        return (weight[:, None] * rows).sum()

    return method


def bond(settings: Objective, scores: Tensor, best_of: Callable[[Tensor], Tensor]) -> Method:
    """BOND's three objectives; `best_of` gives the law of the best of N of the anchor's law."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp, law = logits.log_softmax(0), anchor.exp()
        if settings.loss == "bond-forward":
            return (best_of(law) * bond_forward_loss(logp)).sum()
        below = (law * (scores[None] < scores[:, None])).sum(1)
        up_to = (law * (scores[None] <= scores[:, None])).sum(1)
        # the paper's practice drops the second term of the reward; its limit of many anchor samples is the first
        reward = up_to.log() if settings.loss == "bond-backward" else bond_reward(below, up_to, n=settings.n)
        backward = drawn * bond_backward_loss(logp, anchor, reward, n=settings.n).loss
        if settings.loss == "bond-backward":
            return backward.sum()
        forward = best_of(law) * bond_forward_loss(logp)
        return jeffreys_loss(forward, backward, jeffreys=settings.jeffreys).sum()

    return method


def j_bond(settings: Objective, scores: Tensor, best_of: Callable[[Tensor], Tensor]) -> Method:
    """J-BOND's step: one answer of the policy, two of the anchor, in expectation over all three."""
    m = len(scores)
    own, best = (index.reshape(-1) for index in torch.meshgrid(torch.arange(m), torch.arange(m), indexing="ij"))
    one, two = own, best  # the same grid of all pairs, here of the anchor's two
    penalty = torch.stack([j_bond_reward(scores[y].expand(m * m), scores[one], scores[two]) for y in range(m)])

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp, law = logits.log_softmax(0), anchor.exp()
        reward = penalty @ (law[one] * law[two])  # (m,) expected over the anchor's two
        result = j_bond_loss(
            logp[own], anchor[own], logp[best], reward[own], jeffreys=settings.jeffreys, gamma=settings.gamma
        )
        return (drawn[own] * best_of(law)[best] * result.loss).sum()

    return method


def labelled(made: Floats, prefers: Tensor | None) -> Tensor:
    """Turn comparisons made (m, m) into the mass of "a is said to be better than b", 1 in all.

    Without `prefers` the comparisons are labelled already, the better one first.
    """
    pair = torch.from_numpy(made)
    mass = pair if prefers is None else (pair + pair.T) * prefers
    return mass / mass.sum()


def _rows(wins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs that have any mass: the better one (B,), the other (B,), the mass (B,)."""
    first, second = wins.nonzero(as_tuple=True)
    return first, second, wins[first, second]
