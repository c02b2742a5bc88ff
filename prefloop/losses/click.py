"""CLICK: a likelihood contrast on the policy's own answers, labelled good or bad by a classifier.

Departures: none in the contrast. The other term of the paper's objective, the token-mean likelihood of language-model
data, is `nll_loss` on that data; the loop adds `gamma` times the contrast to it (gamma .5 dialogue, .1 sentiment,
.3 repetition).
"""

from __future__ import annotations

from torch import Tensor

from prefloop.losses.slic import HingeResult, slic_loss


def click_loss(positive_logp_sum: Tensor, negative_logp_sum: Tensor, *, alpha: float) -> HingeResult:
    """Ask the positive answer to be alpha nats more likely, as a whole, than the negative one.

    Shapes: (B,), sums over completion tokens, in nats; no reference model.
    loss = max(0, alpha - logp(y+) + logp(y-)): SLiC's calibration with a margin of alpha nats of the whole sequence,
    so alpha grows with length. Source: Zheng et al. 2023, arXiv:2306.03350; alpha 20 (dialogue), 15 (GPT-2 tasks).
    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative, not {alpha}")
    return slic_loss(positive_logp_sum, negative_logp_sum, delta=alpha)
