"""BOND and J-BOND: distil the law of the best of N into the policy.

Departures from arXiv:2407.14622v1, all corrections of its print:
1. The practical reward is *log* of the quantile (section 4.2 prints the quantile itself; section 5 and appendix A log).
2. The extra KL to the anchor enters descent with a plus sign. Algorithm 2 prints a minus, which would push the policy
   away from the anchor and contradicts Eq. 19.
3. J-BOND's reward compares strictly (Eq. 17); appendix A.4's first display does not, which differs where scores tie.
4. The paper does not say what log 0 is for a Monte Carlo quantile: `sampled_quantiles` adds one to every count.
5. The factor N - 1 of the backward gradient is kept, since it sets the backward term's weight against the forward one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import Loss, number
from prefloop.losses.later import torch
from prefloop.losses.shapes import same_rows

if TYPE_CHECKING:
    from torch import Tensor

J_BOND_PENALTY = -math.log(16.0)  # alpha = 4 log 1/2: the expected reward is log 1/2 at the median


class BackwardResult(NamedTuple):
    loss: Tensor  # (B,) surrogate: its gradient is the estimate, its value means nothing
    returns: Tensor  # (B,) reward - beta * log-ratio, detached


class JBondResult(NamedTuple):
    loss: Tensor  # (B,) (1 - jeffreys) * forward + jeffreys * backward + gamma * regulariser
    forward: Tensor  # (B,) nats
    backward: Tensor  # (B,) surrogate
    regulariser: Tensor  # (B,) surrogate
    returns: Tensor  # (B,) detached


def bond_reward(p_below: Tensor, p_up_to: Tensor, *, n: int) -> Tensor:
    """Give the reward (B,) whose KL-regularised optimum at beta = 1/(n-1) is exactly best-of-n.

    p_below, p_up_to (B,): the reference's mass of strictly worse, and of at most as good, answers; p_up_to > 0.
    r = log p_up_to + log(sum over i < n of (p_below / p_up_to)^i) / (n - 1).
    Source: Sessa et al. 2024, arXiv:2407.14622v1, Theorem 1's law as a reward, both terms.
    The sum of powers is the telescoped (p_up_to^n - p_below^n) / (p_up_to - p_below) without its 0/0.
    """
    _check_n(n)
    same_rows(p_below, p_up_to)
    q = p_below / p_up_to
    collisions = (q[:, None] ** torch.arange(n, dtype=q.dtype, device=q.device)).sum(dim=1)
    return p_up_to.log() + collisions.log() / (n - 1)


def best_of_n_logp(p_below: Tensor, p_up_to: Tensor, *, n: int) -> Tensor:
    """Give log of best-of-n's law (B,) under a strict order of outcomes: log(p_up_to^n - p_below^n), telescoped."""
    same_rows(p_below, p_up_to)
    return n * p_up_to.log() + torch.log1p(-((p_below / p_up_to) ** n))


def backward_reward(p_below: Tensor, p_up_to: Tensor, *, n: int, both_terms: bool) -> Tensor:
    """Give the reward (B,) of BOND's backward term: both terms of Theorem 1, or the first alone, log p_up_to.

    The paper's practice leaves the second out (section 4.2): where no two answers score the same it is a constant.
    Where they do, the optimum of the first alone is not best-of-n.
    """
    return bond_reward(p_below, p_up_to, n=n) if both_terms else p_up_to.log()


def sampled_quantiles(n_below: Tensor, n_at_most: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Estimate p_below and p_up_to (B,) from how many of k reference samples score less, and at most as much.

    Both are (count + 1) / (k + 1), never 0: the logarithm of p_up_to is biased up, and their difference, the mass that
    scores the same, is small by the factor k / (k + 1). k: 16 to train, 32 to evaluate in the paper.
    """
    if k < 1 or not bool(((n_below >= 0) & (n_below <= n_at_most) & (n_at_most <= k)).all()):
        raise ValueError("counts must be from 0 to k, those below at most those up to, and k at least 1")
    return (n_below.double() + 1) / (k + 1), (n_at_most.double() + 1) / (k + 1)


def mean_of_others(returns: Tensor) -> Tensor:
    """Give each return (B,) the mean of the others as baseline: it does not depend on the return's own sample."""
    same_rows(returns)
    if len(returns) < 2:
        raise ValueError("a baseline of the others needs at least two returns")
    return (returns.sum() - returns) / (len(returns) - 1)


def bond_forward_loss(best_logp_sum: Tensor) -> Tensor:
    """Imitate the best of N reference samples: -log pi (B,), whose gradient is that of KL(BoN || pi)."""
    same_rows(best_logp_sum)
    return -best_logp_sum


def bond_backward_loss(
    logp_sum: Tensor, ref_logp_sum: Tensor, reward: Tensor, *, n: int, baseline: Tensor | float = 0.0
) -> BackwardResult:
    """Estimate the gradient of KL(pi || BoN) from samples of the policy.

    Shapes: (B,), sums over completion tokens, in nats; `reward` from `backward_reward`.
    loss = -(n - 1) log pi(y) sg[R - baseline], R = r - (log pi - log pi_ref) / (n - 1).
    Source: Sessa et al. 2024, arXiv:2407.14622v1, the policy gradient of the backward KL.
    No gradient flows through R: an autograd KL beside it would count the KL twice.
    """
    _check_n(n)
    same_rows(logp_sum, ref_logp_sum, reward)
    returns = (reward - (logp_sum - ref_logp_sum) / (n - 1)).detach()
    return BackwardResult(-(n - 1) * logp_sum * _advantage(returns, baseline), returns)


def jeffreys_loss(forward: Tensor, backward: Tensor, *, jeffreys: float = 0.5) -> Tensor:
    """Mix the terms (B,): (1 - jeffreys) forward + jeffreys backward. The weight is the *backward* term's."""
    same_rows(forward, backward)
    if not 0 <= jeffreys <= 1:
        raise ValueError(f"jeffreys must be in [0, 1], not {jeffreys}")
    return (1 - jeffreys) * forward + jeffreys * backward


def j_bond_reward(reward: Tensor, anchor_reward_1: Tensor, anchor_reward_2: Tensor) -> Tensor:
    """Give -log 16 (B,) to a sample that scores below both of the anchor's two, else 0. Eq. 17, strict."""
    same_rows(reward, anchor_reward_1, anchor_reward_2)
    below_both = reward < torch.minimum(anchor_reward_1, anchor_reward_2)
    return torch.zeros_like(reward).masked_fill(below_both, J_BOND_PENALTY)


def j_bond_loss(
    logp_sum: Tensor,
    anchor_logp_sum: Tensor,
    best_anchor_logp_sum: Tensor,
    reward: Tensor,
    *,
    jeffreys: float = 0.5,
    gamma: float = 0.0,
    baseline: Tensor | float = 0.0,
) -> JBondResult:
    """Take one J-BOND step's terms: imitate the better of the anchor's two, reinforce one's own, stay near.

    Shapes: (B,), one row a prompt, sums over completion tokens, in nats. logp_sum and anchor_logp_sum are of the
    policy's own sample under policy and anchor; best_anchor_logp_sum is the policy's log-prob of the better of the
    anchor's two samples; reward from `j_bond_reward`.
    Source: Sessa et al. 2024, arXiv:2407.14622v1, Algorithm 2 and Eq. 19; jeffreys .5, gamma in {0, .5, 1, 2}.
    The anchor then moves by (1 - eta) anchor + eta policy, weight by weight and in fp32 (eta .02).
    """
    same_rows(logp_sum, anchor_logp_sum, best_anchor_logp_sum, reward)
    log_ratio = (logp_sum - anchor_logp_sum).detach()
    returns = reward.detach() - log_ratio
    forward = -best_anchor_logp_sum
    backward = -logp_sum * _advantage(returns, baseline)
    regulariser = logp_sum * log_ratio  # descends KL(pi || anchor): the plus sign of departure 2
    loss = jeffreys_loss(forward, backward, jeffreys=jeffreys) + gamma * regulariser
    return JBondResult(loss, forward, backward, regulariser, returns)


def _advantage(returns: Tensor, baseline: Tensor | float) -> Tensor:
    if isinstance(baseline, torch.Tensor):
        same_rows(returns, baseline)
        return returns - baseline.detach()
    return returns - baseline


def _check_n(n: int) -> None:
    if n < 2:
        raise ValueError(f"n must be at least 2, not {n}")


_PAPER = "Sessa et al. 2024 (BOND), arXiv:2407.14622v1"
_STEP, _EXPECTATION = "prefloop.engine.online.bond:Bond", "prefloop.tabular.methods:bond"
_N = number(
    "n",
    4,
    minimum=2,
    maximum=1024,
    label="N of Best-of-N",
    help="The N of the Best-of-N policy to distil.",
    source=f"{_PAPER}: 4, 8, 16",
)
_JEFFREYS = number(
    "jeffreys",
    0.5,
    minimum=0.0,
    maximum=1.0,
    label="β of Jeffreys, weight of the backward KL",
    help="Weight of the backward KL against the forward one.",
    source=_PAPER,
)

BOND_FORWARD = Loss(
    name="bond-forward",
    source=_PAPER,
    rows="samples",
    needs=frozenset({"scores", "anchor"}),
    in_steps=True,
    anchors="imitate",
    step=_STEP,
    expectation=_EXPECTATION,
    numbers=(_N,),
)
BOND_BACKWARD = Loss(
    name="bond-backward",
    source=_PAPER,
    rows="samples",
    needs=frozenset({"scores", "old", "anchor"}),
    in_steps=True,
    at_temperature_1=True,
    anchors="measure",
    step=_STEP,
    expectation=_EXPECTATION,
    surrogate=True,
    numbers=(_N,),
    note="the reward is its first term alone, log p_≤, as the paper practises it: its optimum is near the best of n "
    "and not it; bond has both terms",
)
BOND = Loss(
    name="bond",
    source=_PAPER,
    rows="samples",
    needs=frozenset({"scores", "old", "anchor"}),
    in_steps=True,
    at_temperature_1=True,
    anchors="both",
    step=_STEP,
    expectation=_EXPECTATION,
    surrogate=True,
    numbers=(_N, _JEFFREYS),
)
J_BOND = Loss(
    name="j-bond",
    source=_PAPER,
    rows="samples",
    needs=frozenset({"scores", "old", "anchor"}),
    in_steps=True,
    at_temperature_1=True,
    anchors="both",
    n_anchor=2,
    step=_STEP,
    expectation="prefloop.tabular.methods:j_bond",
    surrogate=True,
    numbers=(
        _JEFFREYS,
        number(
            "gamma",
            0.0,
            minimum=0.0,
            label="γ, weight of the extra KL",
            help="Weight of the extra KL to the anchor: a larger value means slower changes.",
            source=f"{_PAPER}: of 0, .5, 1, 2",
        ),
    ),
)
