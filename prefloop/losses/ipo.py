"""Identity preference optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prefloop.losses.declaration import AT_SET_ODDS, Loss, LossRows, PairBatch, number, reference
from prefloop.losses.pairs import lengths, pair_metrics, references
from prefloop.losses.shapes import same_rows, soft_label

if TYPE_CHECKING:
    from torch import Tensor


class IPOResult(NamedTuple):
    loss: Tensor  # (B,) nats squared, not reduced
    log_ratio_difference: Tensor  # (B,) h, detached; the loss pulls it to 1 / (2 tau)


def ipo_loss(
    chosen_logp_sum: Tensor,
    rejected_logp_sum: Tensor,
    ref_chosen_logp_sum: Tensor,
    ref_rejected_logp_sum: Tensor,
    *,
    tau: float,
    p_first: Tensor | float | None = None,
) -> IPOResult:
    """Pull the difference of log-ratios to 1 / (2 tau), and no further.

    Shapes: all four tensors (B,), sums over completion tokens, in nats: the paper's pi(y|x) is of the whole answer.
    (TRL's DPOTrainer averages over tokens instead, which changes what tau means by about the length.)
    Source: Azar et al. 2023, arXiv:2310.12036, the sampled IPO loss. p_first mixes both labels of a soft one.
    At policy == reference the loss is 1 / (4 tau^2); the least of it is at h = (2 p - 1) / (2 tau).
    """
    same_rows(chosen_logp_sum, rejected_logp_sum, ref_chosen_logp_sum, ref_rejected_logp_sum)
    if tau <= 0:
        raise ValueError(f"tau must be positive, not {tau}")
    p = soft_label(p_first, 0.0, like=chosen_logp_sum)
    h = (chosen_logp_sum - ref_chosen_logp_sum) - (rejected_logp_sum - ref_rejected_logp_sum)
    target = 1 / (2 * tau)
    return IPOResult(p * (h - target) ** 2 + (1 - p) * (h + target) ** 2, h.detach())


def ipo_mean_loss(
    chosen_logp_mean: Tensor,
    rejected_logp_mean: Tensor,
    ref_chosen_logp_mean: Tensor,
    ref_rejected_logp_mean: Tensor,
    *,
    tau: float,
    p_first: Tensor | float | None = None,
) -> IPOResult:
    """Pull the difference of log-ratios *per token* to 1 / (2 tau): IPO as TRL's DPOTrainer has it.

    Shapes: all four tensors (B,), means over each answer's own tokens, in nats a token. The same form as `ipo_loss`,
    under a name of its own, because tau means something else here (by a factor of about the length).
    Source: TRL pull request 1265, whose comment reports that the authors of arXiv:2310.12036 confirmed averaging.
    """
    return ipo_loss(
        chosen_logp_mean, rejected_logp_mean, ref_chosen_logp_mean, ref_rejected_logp_mean, tau=tau, p_first=p_first
    )


def _rows(batch: PairBatch, *, tau: float, form: str) -> LossRows:
    ref_first, ref_second = references(batch, "ipo")
    first, second = batch.first_logp_sum, batch.second_logp_sum
    if form == "mean":
        n_first, n_second = lengths(batch, "ipo per token")
        first, second = first / n_first, second / n_second
        ref_first, ref_second = ref_first / n_first, ref_second / n_second
        loss, _ = ipo_mean_loss(first, second, ref_first, ref_second, tau=tau, p_first=batch.p_first)
    else:
        loss, _ = ipo_loss(first, second, ref_first, ref_second, tau=tau, p_first=batch.p_first)
    return LossRows(loss, pair_metrics(batch, tau * (first - ref_first), tau * (second - ref_second)))


IPO = Loss(
    name="ipo",
    source="Azar et al. 2023, arXiv:2310.12036",
    rows_of=_rows,
    needs=frozenset({"ref"}),
    in_steps=True,
    numbers=(
        number(
            "tau",
            0.1,
            above=0.0,
            label="τ, the pull to the reference",
            help="IPO's pull to the reference: the target margin is 1 / (2τ).",
            source="Tang et al. 2024, arXiv:2405.08448v1: 0.1; OAIF 1.0",
        ),
        number(
            "form",
            "sum",
            choices=("sum", "mean"),
            folded=True,
            label="Form of the loss",
            help="Log-probabilities summed over an answer, as in the paper, or averaged per token, as in TRL's "
            "DPOTrainer.",
            source="Azar et al. 2023, arXiv:2310.12036; TRL pull request 1265",
        ),
        reference(),
    ),
    rest=lambda settings: AT_SET_ODDS,
)
