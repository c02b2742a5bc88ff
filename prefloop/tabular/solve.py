"""Find the logits at which a method's expected gradient is zero, or where it is after some steps.

A surrogate is a function of the logits (m,) whose gradient is the expected update; its value may mean nothing (a policy
gradient's does not), so the solver looks at gradients only. Autograd gives the gradient; the Jacobian is by central
differences, since a surrogate's own derivative knows nothing of how the policy's draws move with the policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prefloop.types import PrefloopError

Surrogate = Callable[[Tensor], Tensor]

TOLERANCE = 1e-10
MOST_STEPS = 500
POLISH = 3  # steps past the tolerance: where a loss is flat, a small gradient is still some way from its optimum
MOST_DAMPING = 1e12


class NotSolved(PrefloopError):
    """The solver did not converge: the method may have no optimum here."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The solution: logits (m,), the largest entry of the gradient there, and the solver's steps."""

    logits: Tensor
    gradient: float
    steps: int


def gradient_of(surrogate: Surrogate, logits: Tensor) -> Tensor:
    """Give the surrogate's gradient (m,) with respect to the logits."""
    x = logits.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(surrogate(x), x)
    return found.detach()


def solve(surrogate: Surrogate, start: Tensor, *, own_draws: bool = False, tolerance: float = TOLERANCE) -> Rest:
    """Follow the gradient until it is smaller than `tolerance`, and further while Newton's method still improves it.

    Damped Newton steps, (J + damping) step = -residual: a large damping is plain descent, none is Newton. A step that
    makes the residual larger than before is taken back and damped more. The residual is the gradient; where the policy
    is trained on its `own_draws` it is the natural gradient, since the plain one also vanishes in every corner of the
    simplex, where what would lead out is never drawn. Raises NotSolved.
    """

    def residual_of(logits: Tensor) -> Tensor:
        gradient = gradient_of(surrogate, logits)
        if not own_draws:
            return gradient
        natural = gradient / logits.softmax(0)
        return natural - natural.mean()

    logits, residual = start.clone(), residual_of(start)
    damping, size, polished = 1.0, _largest(residual), 0
    for step in range(MOST_STEPS):
        gradient = _largest(gradient_of(surrogate, logits))
        if size == 0 or polished == POLISH:
            return Rest(logits, gradient, step)
        polished += gradient < tolerance
        jacobian = _jacobian(residual_of, logits)
        while True:
            trial = logits + _newton_move(jacobian, residual, damping * size)
            trial_residual = residual_of(trial)
            if _largest(trial_residual) < size:
                break
            if gradient < tolerance:  # as far as float64 goes
                return Rest(logits, gradient, step)
            damping = max(damping, 1e-3) * 10
            if damping > MOST_DAMPING:
                raise NotSolved(f"no rest was found: the gradient stays at {gradient:.3g}; give --steps to see it move")
        logits, residual, size = trial, trial_residual, _largest(trial_residual)
        damping /= 10
    raise NotSolved(f"no rest was found in {MOST_STEPS} steps: the gradient is {gradient:.3g}; give --steps")


def _largest(values: Tensor) -> float:
    size = float(values.abs().max())
    return size if math.isfinite(size) else math.inf


def _jacobian(residual_of: Callable[[Tensor], Tensor], logits: Tensor, width: float = 1e-5) -> Tensor:
    """The residual's derivative (m, m), by central differences."""
    columns = []
    for at in range(len(logits)):
        move = torch.zeros_like(logits)
        move[at] = width
        columns.append((residual_of(logits + move) - residual_of(logits - move)) / (2 * width))
    return torch.stack(columns, dim=1)


def _newton_move(jacobian: Tensor, residual: Tensor, damping: float) -> Tensor:
    """Solve the damped system; if a constant added to all logits changes nothing, among moves that sum to zero."""
    m = len(residual)
    eye = torch.eye(m, dtype=residual.dtype)
    scale = max(float(jacobian.abs().max()), 1e-300)
    if float(jacobian.sum(dim=1).abs().max()) > 1e-6 * scale:  # a reward that is held near zero, not a policy
        return _least_move(jacobian + damping * eye, -residual)
    centre = eye - 1 / m
    system = centre @ jacobian @ centre + damping * eye + (scale + damping) / m
    return centre @ _least_move(system, -(centre @ residual))


def _least_move(system: Tensor, wanted: Tensor) -> Tensor:
    """The shortest move that solves the system as well as float64 can, without moving in undetermined directions.

    An outcome that the data never hold has a logit on its way to minus infinity, and its row of the system may be
    1e-260 beside entries of 0.2. A plain solver then divides by a pivot that is zero or not as rounding has it, and
    rounding differs from processor to processor. Where the system is not finite the move is not a number, which `solve`
    refuses.
    """
    if not bool(system.isfinite().all() and wanted.isfinite().all()):
        return torch.full_like(wanted, math.nan)
    found: Tensor = torch.linalg.lstsq(system, wanted.unsqueeze(1), driver="gelsd").solution
    return found.squeeze(1)
