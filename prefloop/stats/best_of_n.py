"""Best-of-N: its exact law over few outcomes, its expected value from one pool of samples, and the bound on its KL.

Sources: BOND, arXiv:2407.14622, Theorem 1, in the telescoped form p_≤^N - p_<^N; WebGPT, arXiv:2112.09332, Appendix I
(the unbiased estimator); Beirami et al., arXiv:2401.01879 (the KL is a bound, exact only without atoms).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]


def best_of_n_law(reference: ArrayLike, reward: ArrayLike, n: float) -> Floats:
    """Give the law of the best of n draws from `reference` (m,) by `reward` (m,); ties broken uniformly.

    A reward level wins with P_≤^n - P_<^n, shared within it in proportion to the reference.
    """
    p, r = np.asarray(reference, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if p.shape != r.shape or p.ndim != 1 or len(p) == 0:
        raise ValueError("reference and reward are two vectors of one length")
    if n < 1 or (p < 0).any() or not np.isclose(p.sum(), 1.0, rtol=0, atol=1e-9):
        raise ValueError("n is at least 1 and the reference sums to 1")
    _, level = np.unique(r, return_inverse=True)
    mass = np.bincount(level, weights=p)
    up_to = np.minimum(np.cumsum(mass), 1.0)
    up_to[-1] = 1.0
    below = np.concatenate([[0.0], up_to[:-1]])
    wins = up_to**n - below**n
    share = np.divide(p, mass[level], out=np.zeros_like(p), where=mass[level] > 0)
    return np.asarray(share * wins[level])


def best_of_n_weights(pool: int, n: int) -> Floats:
    """Give the weight of each rank, worst first: C(i-1, n-1) / C(pool, n), in log space; (pool,), sums to 1."""
    if not 1 <= n <= pool:
        raise ValueError(f"best of {n} from a pool of {pool}")
    rank = np.arange(n, pool + 1, dtype=np.float64)
    log_choose = gammaln(rank) - gammaln(n) - gammaln(rank - n + 1)
    log_total = gammaln(pool + 1) - gammaln(n + 1) - gammaln(pool - n + 1)
    weights = np.zeros(pool)
    weights[n - 1 :] = np.exp(log_choose - log_total)
    return np.asarray(weights / weights.sum())


def expected_best_of_n(proxy: ArrayLike, gold: ArrayLike, n: int) -> float:
    """Give the mean gold value of the proxy's best over all size-n subsets of the pool, without bias.

    Equal proxies share their mean gold value, which is the expectation of breaking ties at random.
    """
    x, v = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if x.shape != v.shape or x.ndim != 1:
        raise ValueError("proxy and gold are two vectors of one length")
    weights = best_of_n_weights(len(x), n)
    _, level = np.unique(x, return_inverse=True)
    level_gold = np.bincount(level, weights=v) / np.bincount(level)
    return float(weights @ level_gold[np.sort(level)])


def kl_bound(n: float) -> float:
    """Give log n - (n - 1)/n nats, an upper bound of KL(best of n ‖ reference)."""
    if n < 1:
        raise ValueError("n is at least 1")
    return float(np.log(n) - (n - 1) / n)
