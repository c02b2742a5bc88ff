"""Agreement between raters, from counts.

Everything is a function of count tables, so that a bootstrap weighs tables instead of looping over items. A figure that
the data do not define (no data, or no expected disagreement) is None, never NaN.

Sources: Cohen 1960, 1968; Fleiss, Cohen and Everitt 1969 (standard errors, as SAS PROC FREQ); Fleiss 1971;
Randolph 2005; Krippendorff 2011 ("Computing Krippendorff's Alpha-Reliability"); Gwet 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from prefloop.stats.intervals import bootstrap_sums, student_quantile, wilson_interval
from prefloop.types import Interval

Weights = Literal["unweighted", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MISSING = -1  # the code of "this rater did not say"
_EPS = 1e-12  # an expected disagreement below this is zero up to rounding


@dataclass(frozen=True, slots=True)
class Kappa:
    """A kappa with its asymptotic standard error and two-sided normal interval."""

    kappa: float
    ase: float
    ci: Interval


def codes(values: Sequence[Hashable], *, categories: Sequence[Hashable]) -> Ints:
    """Number each value by its place in `categories`; None becomes MISSING. Raises KeyError for another value."""
    index: dict[Hashable | None, int] = {c: i for i, c in enumerate(categories)}
    index[None] = MISSING
    return np.fromiter((index[v] for v in values), dtype=np.int64, count=len(values))


def categories_of(values: Iterable[Hashable | None]) -> list[Hashable]:
    """List the values that occur, sorted (by their text if they can't be compared), None left out."""
    found = {v for v in values if v is not None}
    try:
        return sorted(found)  # type: ignore[type-var]
    except TypeError:
        return sorted(found, key=str)


def contingency(a: ArrayLike, b: ArrayLike, *, k: int) -> Ints:
    """Count (k, k) how often code i of `a` meets code j of `b`; pairs with a MISSING side are left out."""
    x, y = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"two label sequences of one length, not {x.shape} and {y.shape}")
    keep = (x >= 0) & (y >= 0)
    return np.bincount(x[keep] * k + y[keep], minlength=k * k).reshape(k, k).astype(np.int64)


def confusion(truth: Sequence[Hashable | None], said: Sequence[Hashable | None]) -> tuple[list[Hashable], Ints]:
    """Cross-tabulate two label sequences; rows are truth. Gives the labels, sorted, and the counts."""
    labels = categories_of([*truth, *said])
    k = len(labels)
    return labels, contingency(codes(truth, categories=labels), codes(said, categories=labels), k=k)


def _square(table: ArrayLike) -> Floats:
    t = np.asarray(table, dtype=np.float64)
    if t.ndim < 2 or t.shape[-1] != t.shape[-2]:
        raise ValueError(f"a contingency table is square, not {t.shape}")
    if not np.isfinite(t).all() or (t < 0).any():
        raise ValueError("a contingency table holds counts")
    return t


def agreement_weights(k: int, weights: Weights) -> Floats:
    """Give Cicchetti–Allison (linear) or Fleiss–Cohen (quadratic) agreement weights (k, k), 1 on the diagonal."""
    if weights == "unweighted" or k < 2:
        return np.eye(k)
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / (k - 1)
    return 1.0 - (distance if weights == "linear" else distance**2)


def raw_agreement(table: ArrayLike) -> float | None:
    """Give the share on the diagonal."""
    t = _square(table)
    return float(np.trace(t) / t.sum()) if t.sum() > 0 else None


def kappas(tables: ArrayLike, *, weights: Weights = "unweighted") -> Floats:
    """Give Cohen's kappa of each table of shape (..., k, k); NaN if undefined. For bootstraps, not for people."""
    t = _square(tables)
    w = agreement_weights(t.shape[-1], weights)
    n = t.sum(axis=(-2, -1))
    rows, columns = t.sum(axis=-1), t.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.einsum("...ij,ij->...", t, w) / n
        expected = np.einsum("...i,ij,...j->...", rows, w, columns) / n**2
        result = (observed - expected) / (1.0 - expected)
    return np.where((n > 0) & (1.0 - expected > _EPS), result, np.nan)


def cohen_kappa(table: ArrayLike, *, weights: Weights = "unweighted") -> float | None:
    """Give Cohen's kappa of a (k, k) table in category order; None when empty or when chance agrees fully."""
    return _finite(kappas(table, weights=weights))


def cohen_kappa_interval(
    table: ArrayLike, *, weights: Weights = "unweighted", confidence: float = 0.95
) -> Kappa | None:
    """Give kappa with its asymptotic standard error under the alternative (Fleiss, Cohen and Everitt 1969, Eq. 13)."""
    t = _square(table)
    kappa = cohen_kappa(t, weights=weights)
    if kappa is None:
        return None
    n = t.sum()
    p = t / n
    w = agreement_weights(len(t), weights)
    row, column = p.sum(axis=1), p.sum(axis=0)
    w_row, w_column = w @ column, row @ w  # mean weight of a row category, of a column category
    expected = float(row @ w @ column)
    inner = w - (w_row[:, None] + w_column[None, :]) * (1.0 - kappa)
    variance = ((p * inner**2).sum() - (kappa - expected * (1.0 - kappa)) ** 2) / (n * (1.0 - expected) ** 2)
    ase = float(np.sqrt(max(variance, 0.0)))
    half = float(ndtri(0.5 + confidence / 2)) * ase
    return Kappa(kappa, ase, Interval(kappa - half, kappa + half))


def kappa_interval(
    table: ArrayLike, variance: float, *, raw: Interval, n_items: int, confidence: float = 0.95
) -> Interval | None:
    """Give the interval of a kappa whose variance was estimated from `n_items` items; `raw` is that of raw agreement.

    It is symmetric in arctanh of kappa, where its distribution is closest to a normal one, with Student's quantile. A
    kappa of ±1, or one without spread, does not tell its error: then `raw` is used, corrected for chance.
    """
    t = _square(table)
    kappa = cohen_kappa(t)
    if kappa is None:
        return None
    if variance <= 1e-18 or abs(kappa) > 1.0 - 1e-12:
        chance = float(t.sum(axis=-1) @ t.sum(axis=-2)) / float(t.sum()) ** 2
        return Interval(max(-1.0, (raw.low - chance) / (1.0 - chance)), (raw.high - chance) / (1.0 - chance))
    half = student_quantile(n_items - 1, confidence) * variance**0.5 / (1.0 - kappa**2)
    centre = float(np.arctanh(kappa))
    return Interval(float(np.tanh(centre - half)), float(np.tanh(centre + half)))


def rating_counts(ratings: ArrayLike, *, k: int) -> Ints:
    """Count (units, k) from codes of shape (raters, units), MISSING left out."""
    r = np.asarray(ratings, dtype=np.int64)
    if r.ndim != 2:
        raise ValueError(f"ratings are raters x units, not of shape {r.shape}")
    units = np.broadcast_to(np.arange(r.shape[1]), r.shape)
    keep = r >= 0
    flat = np.bincount(units[keep] * k + r[keep], minlength=r.shape[1] * k)
    return flat.reshape(r.shape[1], k).astype(np.int64)


def _counts(counts: ArrayLike) -> Floats:
    c = np.asarray(counts, dtype=np.float64)
    if c.ndim != 2 or (c < 0).any() or not np.isfinite(c).all():
        raise ValueError("counts are units x categories, none negative")
    return c


def _fixed_agreement(counts: Floats) -> tuple[float, float] | None:
    """Give the mean share of agreeing rater pairs, and the raters a unit; None without units or with one rater."""
    if counts.size == 0:
        return None
    n = counts.sum(axis=1)
    if not (n == n[0]).all():
        raise ValueError("every unit needs the same number of ratings here")
    if n[0] < 2:
        return None
    return float(((counts * (counts - 1)).sum(axis=1) / (n * (n - 1))).mean()), float(n[0])


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Give Fleiss' kappa of (units, k) counts with one number of ratings a unit. Raises ValueError otherwise."""
    c = _counts(counts)
    if (observed := _fixed_agreement(c)) is None:
        return None
    share = c.sum(axis=0) / c.sum()
    return _chance_corrected(observed[0], float((share**2).sum()))


def randolph_kappa(counts: ArrayLike) -> float | None:
    """Give Randolph's free-marginal kappa: chance is 1/k over the table's k columns, used or not."""
    c = _counts(counts)
    if (observed := _fixed_agreement(c)) is None:
        return None
    return _chance_corrected(observed[0], 1.0 / c.shape[1])


def gwet_ac1(counts: ArrayLike) -> float | None:
    """Give Gwet's AC1 of (units, k) counts; ratings may be missing.

    Observed agreement is over units with two ratings or more; category shares are over every unit with one or more.
    """
    c = _counts(counts)
    c = c[c.sum(axis=1) > 0]
    k = c.shape[1] if c.ndim == 2 else 0
    n = c.sum(axis=1)
    shared = n >= 2
    if not shared.any() or k < 2:
        return None
    m, r = c[shared], n[shared]
    observed = float(((m * (m - 1)).sum(axis=1) / (r * (r - 1))).mean())
    share = (c / n[:, None]).mean(axis=0)
    return _chance_corrected(observed, float((share * (1.0 - share)).sum() / (k - 1)))


def krippendorff_alpha(
    counts: ArrayLike, *, level: Level = "nominal", values: Sequence[float] | None = None
) -> float | None:
    """Give Krippendorff's alpha of (units, k) counts; units with fewer than two ratings don't enter.

    Columns are in order for `ordinal`; `interval` takes their `values` (default 0, 1, 2, ...).
    """
    met = coincidences(counts)
    return _finite(krippendorff_alphas(met.sum(axis=0), level=level, values=values)) if len(met) else None


def coincidences(counts: ArrayLike) -> Floats:
    """Give how often each value meets each in a unit (units, k, k), over pairs of its ratings; each rating weighs one.

    Sums of them are what alpha is made of. A unit with fewer than two ratings adds nothing.
    """
    c = _counts(counts)
    scale = 1.0 / np.maximum(c.sum(axis=1) - 1.0, 1.0)
    pairs = c[:, :, None] * c[:, None, :] * scale[:, None, None]
    diagonal = np.arange(c.shape[1])
    pairs[:, diagonal, diagonal] -= c * scale[:, None]
    pairs[c.sum(axis=1) < 2] = 0.0
    return np.asarray(pairs)


def krippendorff_alphas(
    coincidence: ArrayLike, *, level: Level = "nominal", values: Sequence[float] | None = None
) -> Floats:
    """Give alpha of each table (..., k, k) of coincidences; NaN where the data do not define it."""
    met = np.asarray(coincidence, dtype=np.float64)
    totals = met.sum(axis=-1)
    distance = _squared_distance(totals, level, values)
    observed = (met * distance).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.einsum("...i,...ij,...j->...", totals, distance, totals) / (totals.sum(axis=-1) - 1.0)
        alpha = 1.0 - observed / expected
    return np.where(expected > _EPS, alpha, np.nan)


def value_sums(value: Floats, item: Ints) -> Floats:
    """Give each item's (items, 4) sums that alpha of any values at the interval level needs: their number, sum, sum of
    squares, and the squared differences of all ordered pairs of them over their number less one. Items have two values
    or more; `item` says of which each value is.
    """
    n = np.bincount(item).astype(np.float64)
    first, second = np.bincount(item, value), np.bincount(item, value**2)
    return np.stack([n, first, second, 2.0 * (n * second - first**2) / (n - 1.0)], axis=1)


def value_alphas(sums: Floats) -> Floats:
    """Give alpha at the interval level of each row (..., 4) of what `value_sums` gives, added up; NaN where the data do
    not define it. It is that of `krippendorff_alphas` without a table of all values.
    """
    n, first, second, observed = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = 2.0 * (n * second - first**2) / (n - 1.0)
        alpha = 1.0 - observed / expected
    return np.where(expected > _EPS * n, alpha, np.nan)


def alpha_interval(
    by_item: ArrayLike,
    *,
    level: Level = "nominal",
    values: Sequence[float] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval | None:
    """Give the interval of alpha from each item's (items, k, k) sum of coincidences. None below two items with any."""
    met = np.asarray(by_item, dtype=np.float64)
    k = met.shape[-1]
    return sums_interval(
        met.reshape(len(met), -1),
        lambda sums: krippendorff_alphas(sums.reshape(-1, k, k), level=level, values=values),
        n_bootstrap=n_bootstrap,
        seed=seed,
        confidence=confidence,
    )


def sums_interval(
    by_item: Floats,
    alphas: Callable[[Floats], Floats],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval | None:
    """Give the interval of an alpha that follows from sums over items: `by_item` (items, sums) has each item's part,
    and `alphas` turns rows of sums into alphas. None below two items with any.

    Its error is a bootstrap's over items, corrected for their number; the interval is symmetric in arctanh of alpha,
    with Student's quantile, as that of kappa. Where all agree, or all resamples say the same, the error can't be seen:
    then it reaches down as far as the items that agree no more than by chance may be of these many, none of which did
    (Wilson 1927).
    """
    met = by_item[(by_item != 0).any(axis=1)]
    alpha = _finite(alphas(met.sum(axis=0)[None])[0]) if len(met) > 1 else None
    if alpha is None:
        return None
    drawn = alphas(bootstrap_sums(met, n_bootstrap=n_bootstrap, seed=seed))
    drawn = drawn[np.isfinite(drawn)]
    if alpha < 1.0 - 1e-12 and 2 * len(drawn) < n_bootstrap:
        return None
    variance = float(drawn.var()) * len(met) / (len(met) - 1) if len(drawn) else 0.0
    if variance <= 1e-18 or abs(alpha) > 1.0 - 1e-12:
        seen = wilson_interval(len(met), len(met), confidence=confidence)
        return Interval(max(-1.0, alpha - (1.0 - seen.low)) if seen else -1.0, min(1.0, alpha))
    half = student_quantile(len(met) - 1, confidence) * variance**0.5 / (1.0 - alpha**2)
    centre = float(np.arctanh(alpha))
    return Interval(float(np.tanh(centre - half)), float(np.tanh(centre + half)))


def _squared_distance(totals: Floats, level: Level, values: Sequence[float] | None) -> Floats:
    k = totals.shape[-1]
    if level == "nominal":
        return 1.0 - np.eye(k)
    if level == "interval":
        v = np.arange(k, dtype=np.float64) if values is None else np.asarray(values, dtype=np.float64)
        if v.shape != (k,):
            raise ValueError(f"{k} categories need {k} values")
        return np.asarray(np.subtract.outer(v, v) ** 2)
    middle = np.cumsum(totals, axis=-1) - totals / 2.0  # sum of n_g from c to k, less half the ends
    return np.asarray((middle[..., :, None] - middle[..., None, :]) ** 2)


@dataclass(frozen=True, slots=True)
class MacroScores:
    precision: float
    recall: float
    f1: float


def macro_scores(table: ArrayLike) -> MacroScores | None:
    """Average precision, recall and F1 over the categories that occur in truth (rows) or verdicts (columns).

    A category that is never predicted has precision 0, one that is never true has recall 0 (as scikit-learn with
    zero_division=0).
    """
    t = _square(table)
    hit, truth, said = np.diag(t), t.sum(axis=1), t.sum(axis=0)
    occurs = (truth + said) > 0
    if not occurs.any():
        return None
    hit, truth, said = hit[occurs], truth[occurs], said[occurs]
    precision = np.divide(hit, said, out=np.zeros_like(hit), where=said > 0)
    recall = np.divide(hit, truth, out=np.zeros_like(hit), where=truth > 0)
    f1 = 2.0 * hit / (truth + said)
    return MacroScores(float(precision.mean()), float(recall.mean()), float(f1.mean()))


def _chance_corrected(observed: float, expected: float) -> float | None:
    return (observed - expected) / (1.0 - expected) if 1.0 - expected > _EPS else None


def _finite(value: ArrayLike) -> float | None:
    number = float(np.asarray(value))
    return number if np.isfinite(number) else None
