"""Each objective in expectation: the real loss, weighted by the probability of its row.

A method is a function of the logits (m,), of the law that answers are drawn from at this step, and of the anchor's
log-probs; its gradient in the logits is the expected update. An answer counts as one token: averages over tokens are
over one, and GAE and the value head, which act between tokens, only subtract the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor

from prefloop.losses.bond import (
    backward_reward,
    bond_backward_loss,
    bond_forward_loss,
    j_bond_loss,
    j_bond_reward,
    jeffreys_loss,
)
from prefloop.losses.cringe import expected_cringe_token_loss
from prefloop.losses.declaration import AnswerBatch, CompletionBatch, GroupBatch, PairBatch, SampleBatch
from prefloop.losses.gkd import generalised_jsd_loss
from prefloop.losses.ppo import gae, ppo_clip_loss, token_rewards
from prefloop.recipes.objective import Objective
from prefloop.tabular.draws import Floats


class Method(Protocol):
    """The expected loss at `logits` (m,), answers drawn from `drawn` (m,), the anchor's log-probs `anchor` (m,)."""

    def __call__(self, logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor: ...


Wins = Callable[[Tensor], Tensor]  # law drawn from -> (m, m) mass of "a is said to be better than b"


class Bed(Protocol):
    """What an expectation needs from the run: the world's numbers, and the laws of what is drawn and kept."""

    def scores(self) -> Tensor:
        """The score of each outcome (m,)."""
        ...

    def learned_scores(self) -> Tensor:
        """The scores (m,) of the reward model that the recipe uses."""
        ...

    def teacher(self) -> Tensor:
        """The law (m,) of the teacher."""
        ...

    def groups(self, law: Tensor) -> tuple[Tensor, Tensor]:
        """Groups (G, K) of as many draws from a law (m,) as a prompt has answers, and the probability of each."""
        ...

    def best_of(self, n: int) -> Callable[[Tensor], Tensor]:
        """The law of the best of n of a law."""
        ...


def own_expectation(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """Make the method of a loss that declares its own expectation; `pull` (m,) is the reference's log-probs."""
    module, name = settings.declared.expectation.split(":")
    made: Method = getattr(import_module(module), name)(settings, bed, pull)
    return made


def pairs(settings: Objective, wins: Wins, reference: Tensor | None, target: Tensor | None = None) -> Method:
    """Any loss on pairs; `reference` (m,) are log-probs, `target` (m,) the law of the answer that is kept likely.

    Without a reference the anchor is the one. For a reward model the logits are rewards. Cringe's vocabulary is the
    outcomes.
    """

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        first, second, weight = _rows(wins(drawn))
        values = logits if settings.makes_reward_model else logits.log_softmax(0)
        pull = anchor if reference is None else reference
        kept = None
        if target is not None:  # every pair with every target
            m, n = len(target), len(weight)
            first, second, weight = (x.repeat_interleave(m) for x in (first, second, weight))
            kept = torch.arange(m).repeat(n)
            weight = weight * target[kept]
        one, cringe, collision = torch.ones_like(weight), None, None
        if settings.needs("collision"):
            collision = (2 * values).logsumexp(0).detach().expand(len(logits))
        if settings.needs("cringe"):
            k = min(settings.k, len(logits) - 1)
            cringe = expected_cringe_token_loss(logits.expand(len(logits), -1), torch.arange(len(logits)), k=k)
        batch = PairBatch(
            first_logp_sum=values[first],
            second_logp_sum=values[second],
            p_first=one,
            ref_first_logp_sum=pull[first],
            ref_second_logp_sum=pull[second],
            first_length=one,
            second_length=one,
            target_logp_sum=None if kept is None else values[kept],
            target_length=None if kept is None else one,
            first_cringe_sum=None if cringe is None else cringe[first],
            second_cringe_sum=None if cringe is None else cringe[second],
            first_collision_sum=None if collision is None else collision[first],
            second_collision_sum=None if collision is None else collision[second],
        )
        rows = settings.declared.loss(batch, settings)
        return (weight * (rows.loss if rows.extra is None else rows.loss + rows.extra)).sum()

    return method


def completions(settings: Objective, law: Tensor) -> Method:
    """A loss on single answers with a fixed law (m,)."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        batch = CompletionBatch(logits.log_softmax(0), torch.ones_like(law))
        return (law * settings.declared.loss(batch, settings).loss).sum()

    return method


def answers(settings: Objective, wins: Wins, reference: Tensor) -> Method:
    """A loss on single answers: of each pair the better one is desirable, the other is not.

    There is one prompt: answers to "other prompts" are answers of pairs as they come. `reference` (m,) are log-probs.
    """

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        mass = wins(drawn)
        weight = torch.cat([mass.sum(1), mass.sum(0)]) / 2  # (2m,) each outcome as the better one, then as the other
        logp = logits.log_softmax(0).repeat(2)
        batch = AnswerBatch(
            logp_sum=logp,
            desirable=torch.arange(len(logp)) < len(logits),
            ref_logp_sum=reference.repeat(2),
            mismatched=(weight * (logp - reference.repeat(2))).sum().detach(),
        )
        return (weight * settings.declared.loss(batch, settings).loss).sum()

    return method


def groups(settings: Objective, groups: Tensor, probability: Tensor, scores: Tensor) -> Method:
    """A loss on whole groups (G, K) of outcomes, each with its probability (G,)."""

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp = logits.log_softmax(0)[groups]
        batch = GroupBatch(logp, torch.ones_like(logp), scores[groups])
        return (probability * settings.declared.loss(batch, settings).loss).sum()

    return method


def samples(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """A loss on groups of the policy's own scored answers."""
    score = bed.learned_scores()

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        every, probability = bed.groups(drawn)
        seen = probability > 0
        shape, outcomes = every[seen].shape, every[seen].reshape(-1)
        batch = SampleBatch(
            logp=logits.log_softmax(0)[outcomes, None],
            old_logp=drawn[outcomes, None].log(),
            mask=torch.ones(len(outcomes), 1, dtype=torch.bool),
            scores=score[outcomes],
            group=torch.arange(shape[0]).repeat_interleave(shape[1]),
            longest=1,
            ref_logp=pull[outcomes, None],
        )
        rows = settings.declared.loss(batch, settings).loss.reshape(shape)
        return (probability[seen] * rows.mean(1)).sum()

    return method


def distillation(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """The divergence from the teacher at the only token: it does not depend on who drew the answer before it."""
    teacher = bed.teacher()

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        return generalised_jsd_loss(teacher.log()[None], logits[None], beta=settings.beta).loss.sum()

    return method


def ppo(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """PPO on answers drawn from the old policy, the value head at its own optimum; advantages are not whitened."""
    score = bed.learned_scores()

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        seen = (drawn > 0).nonzero().squeeze(1)
        weight, old = drawn[seen], drawn[seen].log()[:, None]
        mask = torch.ones_like(old, dtype=torch.bool)
        rewards = token_rewards(old, pull[seen, None], mask, score[seen], kl_coef=settings.beta)
        values = (weight @ rewards).expand_as(rewards)
        advantages = gae(rewards, values, mask, lam=settings.lambda_).advantages
        logp = logits.log_softmax(0)[seen, None]
        rows = ppo_clip_loss(logp, old, advantages, mask, clip=settings.clip_range).loss
        return (weight[:, None] * rows).sum()

    return method


def bond(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """BOND's three objectives, with the law of the best of N of the anchor's law."""
    scores, best_of, anchors = bed.scores(), bed.best_of(settings.n), settings.declared.anchors

    def method(logits: Tensor, drawn: Tensor, anchor: Tensor) -> Tensor:
        logp, law = logits.log_softmax(0), anchor.exp()
        if anchors == "imitate":
            return (best_of(law) * bond_forward_loss(logp)).sum()
        below = (law * (scores[None] < scores[:, None])).sum(1)
        up_to = (law * (scores[None] <= scores[:, None])).sum(1)
        # what a run measures on the anchor's answers, in the limit of many of them
        reward = backward_reward(below, up_to, n=settings.n, both_terms=anchors == "both")
        backward = drawn * bond_backward_loss(logp, anchor, reward, n=settings.n).loss
        if anchors == "measure":
            return backward.sum()
        forward = best_of(law) * bond_forward_loss(logp)
        return jeffreys_loss(forward, backward, jeffreys=settings.jeffreys).sum()

    return method


def j_bond(settings: Objective, bed: Bed, pull: Tensor) -> Method:
    """J-BOND's step: one answer of the policy, two of the anchor, in expectation over all three."""
    scores, best_of = bed.scores(), bed.best_of(settings.declared.n_anchor)
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
    """Turn comparisons (m, m) into the mass of "a is labelled better than b", 1 in total.

    Without `prefers` the comparisons are labelled already, the better one first.
    """
    pair = torch.from_numpy(made)
    mass = pair if prefers is None else (pair + pair.T) * prefers
    return mass / mass.sum()


def _rows(wins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs that have any mass: the better one (B,), the other (B,), the mass (B,)."""
    first, second = wins.nonzero(as_tuple=True)
    return first, second, wins[first, second]
