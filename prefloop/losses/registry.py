"""Objectives by name: what each is trained on, what it needs, its numbers, and how a batch becomes per-row terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from prefloop.losses.bo2 import bo2_loss
from prefloop.losses.click import click_loss
from prefloop.losses.cringe import binary_cringe_loss, pairwise_cringe_loss
from prefloop.losses.dpo import DPOResult, dpo_loss, implicit_reward_accuracy
from prefloop.losses.ipo import ipo_loss, ipo_mean_loss
from prefloop.losses.nll import nll_loss
from prefloop.losses.reward_model import bradley_terry_loss
from prefloop.losses.rrhf import rrhf_loss
from prefloop.losses.rso import sigmoid_norm_loss
from prefloop.losses.slic import hinge_norm_loss, slic_loss
from prefloop.losses.spin import spin_loss
from prefloop.types import PrefloopError

Need = Literal["token_logp", "ref", "old", "scores", "teacher_logits"]
Rows = Literal["pairs", "completions", "reward_pairs", "groups"]


class UnknownObjective(PrefloopError):
    """No objective has that name, or it has no such number."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs in canonical order; every tensor is (B,). Log-probs are sums in nats over completion tokens.

    For `reward_pairs` the two `logp_sum` hold the scalar rewards instead.
    """

    first_logp_sum: Tensor
    second_logp_sum: Tensor
    p_first: Tensor
    ref_first_logp_sum: Tensor | None = None
    ref_second_logp_sum: Tensor | None = None
    first_length: Tensor | None = None
    second_length: Tensor | None = None
    target_logp_sum: Tensor | None = None  # of an answer to keep likely beside the pair
    target_length: Tensor | None = None
    first_cringe_sum: Tensor | None = None  # sums of the cringe token loss, as if the answer were the unwanted one
    second_cringe_sum: Tensor | None = None


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """Completions that are trained on by themselves; every tensor is (B,)."""

    logp_sum: Tensor
    n_tokens: Tensor
    divergence_sum: Tensor | None = None  # from a teacher, summed over the completion's tokens


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """Several answers to each prompt with a score each; every tensor is (G, K)."""

    logp_sum: Tensor
    n_tokens: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class LossRows:
    loss: Tensor  # (B,) not reduced
    denominator: Tensor  # (B,) what a sum of losses is divided by: 1 a row, or its tokens
    metrics: Mapping[str, Tensor] = field(default_factory=dict)  # each (B,), detached
    # a second term with a denominator of its own: sum(loss) / sum(denominator) + sum(extra) / sum(extra_denominator)
    extra: Tensor | None = None  # (B,)
    extra_denominator: Tensor | None = None  # (B,)


@dataclass(frozen=True, slots=True)
class Objective:
    name: str
    rows: Rows
    needs: frozenset[Need]
    defaults: Mapping[str, float]
    source: str
    rows_loss: Callable[..., LossRows]

    def loss(self, batch: PairBatch | CompletionBatch | GroupBatch, **numbers: Any) -> LossRows:
        """Turn a batch into per-row terms; `numbers` override `defaults`. Raises UnknownObjective on a strange one."""
        if strange := sorted(numbers.keys() - self.defaults.keys()):
            raise UnknownObjective(f"{self.name} has no number {strange[0]!r}; it has {sorted(self.defaults)}")
        return self.rows_loss(batch, **{**self.defaults, **numbers})


def _dpo(batch: PairBatch, *, beta: float, label_smoothing: float) -> LossRows:
    ref_first, ref_second = _references(batch, "dpo")
    # Smoothing pulls a label towards 1/2 by the chance e that it is wrong: p(1 - e) + (1 - p)e.
    p = batch.p_first * (1 - label_smoothing) + (1 - batch.p_first) * label_smoothing
    result = dpo_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        ref_first,
        ref_second,
        beta=beta,
        p_first=p,
    )
    return _implicit_reward_rows(result, batch)


def _implicit_reward_rows(result: DPOResult, batch: PairBatch) -> LossRows:
    first_better = batch.p_first >= 0.5
    margin = torch.where(first_better, 1.0, -1.0) * (result.chosen_reward - result.rejected_reward)
    return LossRows(
        result.loss,
        torch.ones_like(result.loss),
        {
            "margin": margin,
            "accuracy": implicit_reward_accuracy(result, batch.p_first).float(),
            "chosen_logp_sum": torch.where(first_better, batch.first_logp_sum, batch.second_logp_sum).detach(),
            "rejected_logp_sum": torch.where(first_better, batch.second_logp_sum, batch.first_logp_sum).detach(),
        },
    )


def _references(batch: PairBatch, name: str) -> tuple[Tensor, Tensor]:
    if batch.ref_first_logp_sum is None or batch.ref_second_logp_sum is None:
        raise ValueError(f"{name} needs reference log-probs")
    return batch.ref_first_logp_sum, batch.ref_second_logp_sum


def _pair_rows(loss: Tensor, margin: Tensor, batch: PairBatch) -> LossRows:
    """Per-row terms of a pair loss; `margin` is towards the first answer and reported towards the better one."""
    signed = torch.where(batch.p_first >= 0.5, 1.0, -1.0) * margin
    return LossRows(loss, torch.ones_like(loss), {"margin": signed, "accuracy": (signed > 0).float()})


def _ipo(batch: PairBatch, *, tau: float) -> LossRows:
    references = _references(batch, "ipo")
    loss, h = ipo_loss(batch.first_logp_sum, batch.second_logp_sum, *references, tau=tau, p_first=batch.p_first)
    return _pair_rows(loss, h, batch)


def _ipo_mean(batch: PairBatch, *, tau: float) -> LossRows:
    ref_first, ref_second = _references(batch, "ipo-mean")
    if batch.first_length is None or batch.second_length is None:
        raise ValueError("ipo-mean needs the answers' lengths in tokens")
    first, second = batch.first_length, batch.second_length
    loss, h = ipo_mean_loss(
        batch.first_logp_sum / first,
        batch.second_logp_sum / second,
        ref_first / first,
        ref_second / second,
        tau=tau,
        p_first=batch.p_first,
    )
    return _pair_rows(loss, h, batch)


def _sigmoid_norm(batch: PairBatch, *, gamma: float) -> LossRows:
    references = _references(batch, "sigmoid-norm")
    result = sigmoid_norm_loss(
        batch.first_logp_sum, batch.second_logp_sum, *references, gamma=gamma, p_first=batch.p_first
    )
    return _implicit_reward_rows(result, batch)


def _spin(batch: PairBatch, *, lambda_: float) -> LossRows:
    real, generated, ref_real, ref_generated = _by_label(batch, "spin")
    if ref_real is None or ref_generated is None:
        raise ValueError("spin needs the opponent's log-probs as reference")
    result = spin_loss(real, generated, ref_real, ref_generated, lambda_=lambda_)
    return _implicit_reward_rows(result, PairBatch(real, generated, torch.ones_like(batch.p_first)))


def _click(batch: PairBatch, *, alpha: float, gamma: float) -> LossRows:
    """gamma times the contrast, mean over pairs, and the target's likelihood, mean over tokens."""
    positive, negative, _, _ = _by_label(batch, "click")
    loss, margin = click_loss(positive, negative, alpha=alpha)
    metrics = {"margin": margin, "accuracy": (margin > 0).float()}
    if batch.target_logp_sum is None or batch.target_length is None:
        return LossRows(gamma * loss, torch.ones_like(loss), metrics)
    target = nll_loss(batch.target_logp_sum, batch.target_length)
    return LossRows(gamma * loss, torch.ones_like(loss), metrics, target.loss, target.n_tokens.to(target.loss.dtype))


def _cringe(batch: PairBatch, *, alpha: float, b: float, tau: float) -> LossRows:
    """The gated binary loss of each pair; the token loss's k is used where the two cringe sums are made."""
    cringe, length = batch.first_cringe_sum, batch.first_length
    other_cringe, other_length = batch.second_cringe_sum, batch.second_length
    if cringe is None or other_cringe is None or length is None or other_length is None:
        raise ValueError("cringe needs both answers' cringe sums and lengths")
    better, worse, _, _ = _by_label(batch, "cringe")
    first_better = batch.p_first > 0.5
    binary = binary_cringe_loss(
        better,
        torch.where(first_better, length, other_length),
        torch.where(first_better, other_cringe, cringe),
        torch.where(first_better, other_length, length),
        alpha=alpha,
    )
    result = pairwise_cringe_loss(better, worse, binary, b=b, tau=tau)
    margin = (better - worse).detach()
    metrics = {"margin": margin, "accuracy": (margin > 0).float(), "gate": result.gate}
    return LossRows(result.loss, torch.ones_like(result.loss), metrics)


def _rrhf(batch: GroupBatch, *, rank_weight: float) -> LossRows:
    result = rrhf_loss(batch.logp_sum, batch.n_tokens, batch.scores, rank_weight=rank_weight)
    metrics = {"rank": result.rank, "imitation": result.imitation}
    return LossRows(result.loss, torch.ones_like(result.loss), metrics)


def _bo2(batch: PairBatch) -> LossRows:
    loss = bo2_loss(batch.first_logp_sum, batch.second_logp_sum, p_first=batch.p_first).loss
    return _pair_rows(loss, (batch.first_logp_sum - batch.second_logp_sum).detach(), batch)


def _by_label(batch: PairBatch, name: str) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The better answer's log-probs, the worse one's, and the references of both, of hard labels only."""
    first_better = batch.p_first > 0.5
    if not bool(((batch.p_first == 0) | (batch.p_first == 1)).all()):
        raise ValueError(f"{name} takes hard labels only")

    def ordered(first: Tensor | None, second: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if first is None or second is None:
            return None, None
        return torch.where(first_better, first, second), torch.where(first_better, second, first)

    better = torch.where(first_better, batch.first_logp_sum, batch.second_logp_sum)
    worse = torch.where(first_better, batch.second_logp_sum, batch.first_logp_sum)
    return better, worse, *ordered(batch.ref_first_logp_sum, batch.ref_second_logp_sum)


def _hinge_norm(batch: PairBatch, *, gamma: float) -> LossRows:
    references = _references(batch, "hinge-norm")
    loss, margin = hinge_norm_loss(
        batch.first_logp_sum, batch.second_logp_sum, *references, gamma=gamma, p_first=batch.p_first
    )
    return _pair_rows(loss, margin, batch)


def _slic(batch: PairBatch, *, delta: float, regularisation: float) -> LossRows:
    loss, margin = slic_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        batch.target_logp_sum if regularisation else None,
        delta=delta,
        regularisation=regularisation,
        p_first=batch.p_first,
    )
    return _pair_rows(loss, margin, batch)


def _nll(batch: CompletionBatch) -> LossRows:
    result = nll_loss(batch.logp_sum, batch.n_tokens)
    return LossRows(result.loss, result.n_tokens.to(result.loss.dtype))


def _gkd(batch: CompletionBatch) -> LossRows:
    """The divergence of each completion's tokens from the teacher's; beta is used where their sums are made."""
    if batch.divergence_sum is None:
        raise ValueError("gkd needs the divergence from a teacher")
    return LossRows(batch.divergence_sum, batch.n_tokens.to(batch.divergence_sum.dtype))


def _bradley_terry(batch: PairBatch, *, margin: float, center_coef: float) -> LossRows:
    result = bradley_terry_loss(
        batch.first_logp_sum,
        batch.second_logp_sum,
        p=batch.p_first,
        margin=margin or None,
        center_coef=center_coef,
    )
    sign = torch.where(batch.p_first >= 0.5, 1.0, -1.0)
    return LossRows(
        result.loss,
        torch.ones_like(result.loss),
        {"margin": sign * result.difference, "accuracy": (sign * result.difference > 0).float()},
    )


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "dpo",
            "pairs",
            frozenset({"ref"}),
            {"beta": 0.1, "label_smoothing": 0.0},
            "Rafailov et al. 2023, arXiv:2305.18290",
            _dpo,
        ),
        Objective("ipo", "pairs", frozenset({"ref"}), {"tau": 0.1}, "Azar et al. 2023, arXiv:2310.12036", _ipo),
        Objective(
            "hinge-norm", "pairs", frozenset({"ref"}), {"gamma": 0.05}, "Liu et al. 2023, arXiv:2309.06657", _hinge_norm
        ),
        Objective(
            "slic",
            "pairs",
            frozenset(),
            {"delta": 1.0, "regularisation": 0.0},
            "Zhao et al. 2023, arXiv:2305.10425",
            _slic,
        ),
        Objective(
            "ipo-mean", "pairs", frozenset({"ref"}), {"tau": 0.1}, "TRL pull request 1265 (IPO per token)", _ipo_mean
        ),
        Objective(
            "sigmoid-norm",
            "pairs",
            frozenset({"ref"}),
            {"gamma": 0.05},
            "Liu et al. 2023, arXiv:2309.06657",
            _sigmoid_norm,
        ),
        Objective("spin", "pairs", frozenset({"ref"}), {"lambda_": 0.1}, "Chen et al. 2024, arXiv:2401.01335", _spin),
        Objective(
            "click",
            "pairs",
            frozenset(),
            {"alpha": 20.0, "gamma": 0.5},
            "Zheng et al. 2023, arXiv:2306.03350",
            _click,
        ),
        Objective(
            "cringe",
            "pairs",
            frozenset(),
            {"alpha": 1.0, "b": 0.0, "tau": 10.0},
            "Xu et al. 2023, arXiv:2312.16682v2",
            _cringe,
        ),
        Objective(
            "rrhf", "groups", frozenset({"scores"}), {"rank_weight": 1.0}, "Yuan et al. 2023, arXiv:2304.05302", _rrhf
        ),
        Objective(
            "gkd",
            "completions",
            frozenset({"teacher_logits"}),
            {},
            "Agarwal et al. 2023, arXiv:2306.13649",
            _gkd,
        ),
        Objective("bo2", "pairs", frozenset(), {}, "Tang et al. 2024, arXiv:2405.08448v1, Eq. 3", _bo2),
        Objective("nll", "completions", frozenset(), {}, "maximum likelihood", _nll),
        Objective(
            "bradley-terry",
            "reward_pairs",
            frozenset({"scores"}),
            {"margin": 0.0, "center_coef": 0.0},
            "Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155",
            _bradley_terry,
        ),
    )
}


def objective(name: str) -> Objective:
    """Find an objective by name; raises UnknownObjective listing the names there are."""
    try:
        return OBJECTIVES[name]
    except KeyError:
        raise UnknownObjective(f"no objective named {name!r}; there are {', '.join(sorted(OBJECTIVES))}") from None
