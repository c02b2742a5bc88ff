"""The five-outcome test bed of the methods page, and a solver for losses taken in expectation over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import root
from torch import Tensor

Expectation = Callable[[Tensor], Tensor]  # log-probs (m,) -> scalar surrogate


@dataclass(frozen=True)
class Bed:
    reference: Tensor
    reward: Tensor

    @property
    def ref_logp(self) -> Tensor:
        return self.reference.log()

    @property
    def p_below(self) -> Tensor:
        return (self.reference * (self.reward[None] < self.reward[:, None])).sum(1)

    @property
    def p_up_to(self) -> Tensor:
        return (self.reference * (self.reward[None] <= self.reward[:, None])).sum(1)

    @property
    def bradley_terry(self) -> Tensor:
        return torch.sigmoid(self.reward[:, None] - self.reward[None])

    def pairs(self, mu: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """All ordered pairs (i, j), and the weight mu_i mu_j P(i > j) of each as (winner, loser)."""
        mu = self.reference if mu is None else mu
        m = len(mu)
        i, j = (index.reshape(-1) for index in torch.meshgrid(torch.arange(m), torch.arange(m), indexing="ij"))
        return i, j, mu[i] * mu[j] * self.bradley_terry[i, j]

    def rlhf_optimum(self, beta: float) -> Tensor:
        return (self.ref_logp + self.reward / beta).softmax(0)

    def solve(self, expectation: Expectation, start: Tensor | None = None) -> Tensor:
        """Find the policy at which the surrogate's gradient with respect to the logits is zero."""
        first = self.ref_logp if start is None else start.log()

        def gradient(free: np.ndarray) -> np.ndarray:
            logits = torch.cat([torch.zeros(1, dtype=torch.float64), torch.from_numpy(free)]).requires_grad_()
            (grad,) = torch.autograd.grad(expectation(logits.log_softmax(0)), logits)
            return grad[1:].numpy()

        near = (first[1:] - first[0]).numpy()
        for _ in range(400):  # plain descent first: from afar a root finder may run off to a corner of the simplex
            near = near - 0.5 * gradient(near)
        found = root(gradient, near, method="hybr", tol=1e-14)
        assert np.abs(gradient(found.x)).max() < 1e-9
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.from_numpy(found.x)]).softmax(0)


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p.log() - q.log())).sum())


@pytest.fixture
def t5() -> Bed:
    return Bed(
        torch.tensor([0.10, 0.20, 0.30, 0.25, 0.15], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 0.5, 2.0, -1.0], dtype=torch.float64),
    )


@pytest.fixture
def make_bed() -> Callable[[list[float], list[float]], Bed]:
    def make(weights: list[float], reward: list[float]) -> Bed:
        reference = torch.tensor(weights, dtype=torch.float64)
        return Bed(reference / reference.sum(), torch.tensor(reward, dtype=torch.float64))

    return make


@pytest.fixture
def kl_of() -> Callable[[Tensor, Tensor], float]:
    return kl
