"""Filters: which completions of a group are kept. Group to Group; scores stay with their completions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from prefloop.config import ConfigError
from prefloop.recipes.recipe import Filter
from prefloop.seeds import derive_seed
from prefloop.types import Group

FilterFunction = Callable[[Filter, Group, int], Group]


def apply_filter(settings: Filter, group: Group, *, seed: int) -> Group:
    """Keep what the filter keeps, in the group's own order.

    Raises ConfigError if the filter needs scores and there are none, and for a filter that needs more than one group.
    """
    if settings.kind not in _FILTERS:
        raise ConfigError(f"filter.kind {settings.kind} is over all prompts' scores, not one prompt's")
    return _FILTERS[settings.kind](settings, group, seed)


def keep_all(settings: Filter, group: Group, seed: int) -> Group:
    """Keep every completion."""
    del settings, seed
    return group


def keep_best(settings: Filter, group: Group, seed: int) -> Group:
    """Keep the one completion with the highest score: the rule of best-of-n.

    Ties are broken at random by the seed and the prompt: always taking the first would favour positions if rewards have
    few values.
    """
    del settings
    scores = scores_of(group)
    if not scores:
        return group
    best = max(scores)
    tied = [at for at, score in enumerate(scores) if score == best]
    kept = random.Random(derive_seed(seed, "best", group.prompt_id)).choice(tied)
    return Group(prompt_id=group.prompt_id, completions=(group.completions[kept],), scores=(scores[kept],))


def scores_of(group: Group) -> tuple[float, ...]:
    """Return the group's scores. Raises ConfigError if it has none."""
    if group.scores is None:
        raise ConfigError(f"the completions of prompt {group.prompt_id} have no scores")
    return group.scores


def acceptance_probabilities(scores: Sequence[float], *, beta: float) -> tuple[float, ...]:
    """Give each score's probability exp((r - max r) / beta) of acceptance; beta 0 accepts only the best, infinity all.

    Source: Liu et al. 2023 (RSO), arXiv:2309.06657. Its mean under the proposal is the acceptance rate.
    """
    if not beta >= 0:
        raise ConfigError(f"beta must be 0 or more, not {beta}")
    if any(not math.isfinite(score) for score in scores):
        raise ConfigError("rejection sampling needs finite scores")
    if not scores:
        return ()
    most = max(scores)
    if beta == 0:
        return tuple(1.0 if score == most else 0.0 for score in scores)
    return tuple(math.exp((score - most) / beta) for score in scores)


def rejection_sample(group: Group, *, beta: float, keep: int, seed: int) -> Group:
    """Keep `keep` completions distributed as closely to exp(score / beta) as the candidates allow, in the group's
    order.

    RSO's Algorithm 1 (arXiv:2309.06657): pass over the candidates, accept each with exp((r - m) / beta), m the best
    of those left at the start of the pass, until enough are kept. Departures, each because the printed code fails:
    candidates are positions and not texts, so equal texts keep their multiplicity; every pass goes in a new random
    order, since the early stop favours what comes first; with no more candidates than `keep`, all are kept; beta 0
    is its limit, the best of those left, ties at random.
    As in the paper, sampling is without replacement and against the best candidate seen: the mean score stays below
    that of the target law unless beta is large against the spread of scores.
    """
    scores = scores_of(group)
    if keep < 1:
        raise ConfigError(f"rejection sampling keeps at least 1, not {keep}")
    rng = random.Random(derive_seed(seed, "rejection", group.prompt_id))
    acceptance_probabilities(scores, beta=beta)  # refuses a wrong beta or score even where all are kept
    left = list(range(len(scores)))
    kept: list[int] = []
    while left and len(kept) < keep:
        rng.shuffle(left)
        chances = acceptance_probabilities([scores[at] for at in left], beta=beta)
        # random() < 1, so a pass accepts its best and the loop ends
        accepted = [at for at, chance in zip(left, chances, strict=True) if rng.random() < chance]
        kept += accepted[: keep - len(kept)]
        left = sorted(set(left) - set(kept))
    return _only(group, kept)


def keep_above(group: Group, *, threshold: float) -> Group:
    """Keep the completions that score strictly above the threshold, possibly none: ReST's F = 1[r > tau].

    Source: Gulcehre et al. 2023, arXiv:2308.08998. A prompt without survivors leaves the training set.
    """
    scores = scores_of(group)
    return _only(group, [at for at, score in enumerate(scores) if score > threshold])


def rising_thresholds(groups: Iterable[Group], *, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Turn rising quantiles in [0, 1) into the thresholds of ReST's Improve steps, over the scores of all prompts.

    Estimate them again after each Grow step, since scores change with the policy. Linear interpolation between scores.
    The scale is global; to threshold within prompts, pass one group at a time.
    """
    if not quantiles or any(not 0 <= q < 1 for q in quantiles):
        raise ConfigError("thresholds need quantiles from 0 to below 1")
    if any(later <= earlier for earlier, later in pairwise(quantiles)):
        raise ConfigError(f"the quantiles must rise: {list(quantiles)}")
    scores = sorted(score for group in groups for score in scores_of(group))
    if not scores:
        raise ConfigError("thresholds need scores")
    thresholds = []
    for q in quantiles:
        at = q * (len(scores) - 1)
        low = math.floor(at)
        high = min(low + 1, len(scores) - 1)
        thresholds.append(scores[low] + (at - low) * (scores[high] - scores[low]))
    return tuple(thresholds)


def _only(group: Group, kept: Iterable[int]) -> Group:
    at = sorted(kept)
    scores = scores_of(group)
    return Group(
        prompt_id=group.prompt_id,
        completions=tuple(group.completions[index] for index in at),
        scores=tuple(scores[index] for index in at),
    )


def _rejection(settings: Filter, group: Group, seed: int) -> Group:
    return rejection_sample(group, beta=settings.beta, keep=settings.keep, seed=seed)


# thresholds are over the scores of all prompts: `rising_thresholds`, then `keep_above`
_FILTERS: dict[str, FilterFunction] = {"all": keep_all, "best": keep_best, "rejection": _rejection}
