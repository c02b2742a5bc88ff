"""How gold reward rises and falls with distance from the start: the over-optimisation laws of Gao et al.

d = sqrt(KL(policy || start)) in sqrt(nats); gold reward recentred so that the start's is 0.
    best of n:  R(d) = d (alpha - beta d)        peak at d = alpha / (2 beta)
    RL:         R(d) = d (alpha - beta log d)    peak at d = exp(alpha / beta - 1)
Source: Gao, Schulman, Hilton 2022, arXiv:2210.10760. KL is not comparable across the two forms, and the RL form has
an infinite slope at 0: give it no points near there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Form = Literal["bon", "rl"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peak:
    distance: float  # sqrt(nats)
    reward: float  # gold, above the start's
    kl: float  # nats


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """A fitted law; alpha is the initial slope, beta how fast it is lost."""

    form: Form
    alpha: float
    beta: float
    residual: float  # root mean square of R - fit, in units of reward
    n: int

    def reward(self, distance: ArrayLike, *, n_models: int = 1) -> Floats:
        """Predict the gold reward at each distance; n_models is k of RL iterated with k fresh reward models."""
        return gold_reward(distance, form=self.form, alpha=self.alpha, beta=self.beta, n_models=n_models)

    def peak(self) -> Peak | None:
        """Find where the law is highest; None where it never turns down."""
        return peak(form=self.form, alpha=self.alpha, beta=self.beta)


def gold_reward(distance: ArrayLike, *, form: Form, alpha: float, beta: float, n_models: int = 1) -> Floats:
    """Give R(d), 0 at d = 0. With n_models = k > 1 (RL only): d (alpha - beta log d + beta log k)."""
    d = np.asarray(distance, dtype=np.float64)
    _check_form(form)
    if (d < 0).any():
        raise ValueError("distances must not be negative")
    if n_models < 1 or (n_models > 1 and form == "bon"):
        raise ValueError("n_models is at least 1, and more than 1 only for the RL form")
    if form == "bon":
        return np.asarray(d * (alpha - beta * d))
    log_d = np.log(np.where(d > 0, d, 1.0)) - np.log(n_models)
    return np.asarray(d * (alpha - beta * log_d))


def peak(*, form: Form, alpha: float, beta: float) -> Peak | None:
    """Give the law's highest point: (alpha / 2 beta, alpha^2 / 4 beta), or (exp(alpha / beta - 1), beta d).

    None where beta <= 0 (it rises for ever), or where a best-of-n law falls from the start.
    """
    _check_form(form)
    if beta <= 0 or (form == "bon" and alpha <= 0):
        return None
    if form == "bon":
        d = alpha / (2 * beta)
        return Peak(d, alpha**2 / (4 * beta), d**2)
    exponent = alpha / beta - 1
    if exponent > 300:
        return None  # beta is nothing but rounding: the turn is beyond any number
    d = float(np.exp(exponent))
    return Peak(d, beta * d, d**2)


def fit_overoptimisation(distance: ArrayLike, gold: ArrayLike, *, form: Form) -> Overoptimisation:
    """Fit alpha and beta by least squares of R / d on d (bon) or on log d (rl): a straight line either way.

    distance, gold (m,): at least two different distances, all above 0; gold is recentred already.
    """
    d, r = np.asarray(distance, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    _check_form(form)
    if d.shape != r.shape or d.ndim != 1:
        raise ValueError("distance and gold are two vectors of one length")
    if not (np.isfinite(d).all() and np.isfinite(r).all() and (d > 0).all()):
        raise ValueError("distances must be above 0, and everything finite")
    x = d if form == "bon" else np.log(d)
    if len(np.unique(x)) < 2:
        raise ValueError("a fit needs at least two different distances")
    design = np.stack([np.ones_like(x), -x], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(design, r / d, rcond=None)
    fitted = gold_reward(d, form=form, alpha=float(alpha), beta=float(beta))
    return Overoptimisation(form, float(alpha), float(beta), float(np.sqrt(np.mean((r - fitted) ** 2))), len(d))


def _check_form(form: str) -> None:
    if form not in get_args(Form):
        raise ValueError(f"no form {form!r}; there are bon and rl")
