"""RLAIF's labels: a score read from the probabilities of its digits (d-RLAIF).

Departures: none. The other label of the paper, P(first) averaged over both orders, is
`prefloop.judging.verdicts.combine`; the soft-label cross-entropy on it is `bradley_terry_loss(p=...)`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def direct_score(probabilities: Tensor) -> Tensor:
    """Turn the probabilities (B, K) of the scores 1..K into an expected score (B,) in [-1, 1].

    Probabilities are renormalised over the K scores, since a judge gives some to other tokens. K is 10 in the paper.
    Source: Lee et al. 2023, arXiv:2309.00267, direct RLAIF. Raises ValueError where a row has no mass.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be (B, K) with K of 2 or more, not {tuple(probabilities.shape)}")
    mass = probabilities.sum(dim=1)
    if not bool((probabilities >= 0).all()) or not bool((mass > 0).all()):
        raise ValueError("every row needs probabilities of 0 or more, and some above 0")
    k = probabilities.shape[1]
    values = torch.arange(1, k + 1, dtype=probabilities.dtype, device=probabilities.device)
    expected = (probabilities * values).sum(dim=1) / mass
    return 2 * (expected - 1) / (k - 1) - 1
