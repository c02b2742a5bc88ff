"""What people's ratings of answers say by one item of a rubric: of the answers' sources, of each other, and of pairs.

An answer that several people rated counts once, by the mean of its ratings. Answers to one prompt belong together, so
the prompt is the unit of every interval: a mean's is that of a share of the scale (intervals.py, `share_interval`), so
it never leaves the scale and never has no width; agreement is Krippendorff's alpha, ordinal on a scale, nominal for yes
and no, and interval for a total, which may lie anywhere between 0 and 1, with the interval of a bootstrap over prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloop.stats.agreement import (
    Level,
    coincidences,
    krippendorff_alphas,
    sums_interval,
    value_alphas,
    value_sums,
)
from prefloop.stats.intervals import lean_interval, share_interval
from prefloop.types import Interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """Ratings by one item, one a person and answer. `options`: the values that it can have, the lowest first; none
    where it can have any between `lowest` and `highest`.
    """

    value: Floats  # (ratings,)
    answer: Ints  # (ratings,) whichever numbers, equal for one answer
    rater: Ints  # (ratings,) a place in `raters`
    prompt: Ints  # (ratings,) whichever numbers
    source: Ints  # (ratings,) who wrote the answer: a place in `sources`
    raters: tuple[str, ...]
    sources: tuple[str, ...]
    lowest: float
    highest: float
    options: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len({len(one) for one in (self.value, self.answer, self.rater, self.prompt, self.source)}) != 1:
            raise ValueError("the columns of ratings differ in length")
        if len(self.value) and not (self.lowest <= self.value.min() and self.value.max() <= self.highest):
            raise ValueError("a rating lies outside of its scale")


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers, each with the prompt, source, sum and number of its ratings; `of` says which a rating is about."""

    of: Ints
    prompt: Ints
    source: Ints
    sums: Floats
    n: Ints


def ratings_report(columns: RatingColumns, *, level: Level, n_bootstrap: int = 1000, seed: int = 0) -> Report:
    """Describe the ratings by one item; null where there is nothing to say a figure from."""
    answers = _answers(columns)
    return {
        "n": len(columns.value),
        "n_answers": len(answers.n),
        "n_prompts": len(np.unique(answers.prompt)),
        "n_people": len(np.unique(columns.rater)),
        **_mean(columns, answers, np.ones(len(answers.n), dtype=bool)),
        "distribution": {str(value): int((columns.value == value).sum()) for value in columns.options},
        "sources": _sources(columns, answers),
        "alpha": _alpha(columns, answers, level, n_bootstrap, seed),
        "people": _people(columns, answers),
    }


def _answers(columns: RatingColumns) -> _Answers:
    _, first, of = np.unique(columns.answer, return_index=True, return_inverse=True)
    of = of.ravel()
    return _Answers(
        of=of,
        prompt=columns.prompt[first],
        source=columns.source[first],
        sums=_sums(of, columns.value, len(first)),
        n=np.bincount(of, minlength=len(first)),
    )


def _mean(columns: RatingColumns, answers: _Answers, which: NDArray[np.bool_]) -> Report:
    """The mean of these answers' means, with its interval over prompts."""
    if not which.any():
        return {"mean": None, "ci95": None}
    means = answers.sums[which] / answers.n[which]
    reach = columns.highest - columns.lowest
    sums, n = _by_prompt(answers.prompt[which], (means - columns.lowest) / reach)
    ends = share_interval(np.clip(sums, 0.0, n), n)
    return {"mean": float(means.mean()), "ci95": _ends(ends, reach, columns.lowest)}


def _by_prompt(prompt: Ints, value: Floats) -> tuple[Floats, Floats]:
    _, place = np.unique(prompt, return_inverse=True)
    return _sums(place.ravel(), value), np.bincount(place.ravel()).astype(np.float64)


def _sums(of: Ints, value: Floats, n: int = 0) -> Floats:
    return np.bincount(of, value, minlength=n).astype(np.float64)


def _ends(interval: Interval | None, reach: float = 1.0, start: float = 0.0) -> list[float] | None:
    return None if interval is None else [start + reach * interval.low, start + reach * interval.high]


def _sources(columns: RatingColumns, answers: _Answers) -> list[Report]:
    found = []
    for place in np.unique(answers.source).tolist():
        theirs = answers.source == place
        found.append(
            {
                "name": columns.sources[place],
                "n": int(answers.n[theirs].sum()),
                "n_answers": int(theirs.sum()),
                "n_prompts": len(np.unique(answers.prompt[theirs])),
                **_mean(columns, answers, theirs),
            }
        )
    return sorted(found, key=lambda one: (-one["mean"], one["name"]))


def _alpha(columns: RatingColumns, answers: _Answers, level: Level, n_bootstrap: int, seed: int) -> Report | None:
    """Agreement on the answers that two people or more have rated; None where there is none."""
    shared = answers.n >= 2
    if not shared.any():
        return None
    sums, alphas = _sums_of_alpha(columns, answers, shared, level)
    _, prompt = np.unique(answers.prompt[shared], return_inverse=True)
    by_prompt = np.zeros((int(prompt.max()) + 1, sums.shape[1]))
    np.add.at(by_prompt, prompt.ravel(), sums)
    alpha = float(alphas(sums.sum(axis=0)[None])[0])
    ends = sums_interval(by_prompt, alphas, n_bootstrap=n_bootstrap, seed=seed)
    return {
        "value": alpha if np.isfinite(alpha) else None,
        "ci95": _ends(ends),
        "level": level,
        "n": int(answers.n[shared].sum()),
        "n_answers": int(shared.sum()),
        "n_prompts": len(by_prompt),
    }


def _sums_of_alpha(
    columns: RatingColumns, answers: _Answers, shared: NDArray[np.bool_], level: Level
) -> tuple[Floats, Callable[[Floats], Floats]]:
    """What alpha follows from, a row for each of the shared answers, and how: coincidences of the options, or sums of
    the values where they can be any.
    """
    if not columns.options:
        told = shared[answers.of]
        _, item = np.unique(answers.of[told], return_inverse=True)
        return value_sums(columns.value[told], item.ravel()), value_alphas
    k = len(columns.options)
    values = [float(option) for option in columns.options]
    place = np.searchsorted(np.array(values), columns.value)
    counts = np.bincount(answers.of * k + place, minlength=len(answers.n) * k).reshape(-1, k)[shared]
    alphas = partial(krippendorff_alphas, level=level, values=values)
    return coincidences(counts).reshape(-1, k * k), lambda sums: alphas(sums.reshape(-1, k, k))


def _people(columns: RatingColumns, answers: _Answers) -> list[Report]:
    """Each person's mean, and their lean: how far they rate above the others on the answers that others rated too."""
    n_others = answers.n[answers.of] - 1
    others = answers.sums[answers.of] - columns.value
    apart = columns.value - np.divide(others, n_others, out=np.zeros(len(others)), where=n_others > 0)
    reach = columns.highest - columns.lowest
    found = []
    for place in np.unique(columns.rater).tolist():
        theirs = columns.rater == place
        shared = theirs & (n_others > 0)
        sums, n = _by_prompt(columns.prompt[shared], apart[shared] / reach)
        found.append(
            {
                "name": columns.raters[place],
                "n": int(theirs.sum()),
                "mean": float(columns.value[theirs].mean()),
                "n_shared": int(shared.sum()),
                "lean": float(apart[shared].mean()) if shared.any() else None,
                "ci95": _ends(lean_interval(sums, n), reach),
            }
        )
    return sorted(found, key=lambda one: (-one["n"], one["name"]))


def rated_as_chosen(difference: Floats, chosen: Ints, prompt: Ints) -> Report:
    """Say how often the answer that people chose of a pair is the one they rated higher.

    Of each pair: its first answer's mean rating less its second's; what the votes on the pair chose (1 the first, -1
    the second, 0 neither); its prompt. Pairs where votes or ratings make no difference are counted apart.
    """
    decided = (chosen != 0) & (np.abs(difference) > 1e-9)
    right = np.sign(difference[decided]).astype(np.int64) == chosen[decided]
    sums, n = _by_prompt(prompt[decided], right.astype(np.float64))
    return {
        "n": int(decided.sum()),
        "k": int(right.sum()),
        "n_against": int((~right).sum()),
        "rate": float(right.mean()) if decided.any() else None,
        "ci95": _ends(share_interval(sums, n)),
        "n_pairs": len(chosen),
        "n_rated_equal": int(((chosen != 0) & ~decided).sum()),
        "n_tied": int((chosen == 0).sum()),
    }
