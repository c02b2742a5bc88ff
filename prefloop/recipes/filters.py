"""Filters: which completions of a group stay. Group to Group; scores stay beside their completions."""

from __future__ import annotations

import random
from collections.abc import Callable

from prefloop.config import ConfigError
from prefloop.recipes.recipe import Filter
from prefloop.seeds import derive_seed
from prefloop.types import Group

FilterFunction = Callable[[Filter, Group, int], Group]


def apply_filter(settings: Filter, group: Group, *, seed: int) -> Group:
    """Keep what the filter keeps, in the group's own order. Raises ConfigError where it needs scores and has none."""
    return _FILTERS[settings.kind](settings, group, seed)


def keep_all(settings: Filter, group: Group, seed: int) -> Group:
    """Keep every completion."""
    del settings, seed
    return group


def keep_best(settings: Filter, group: Group, seed: int) -> Group:
    """Keep the one completion with the highest score: the rule of best-of-n.

    Equal scores are broken at random by the seed and the prompt: taking the first would favour positions
    wherever rewards are few-valued.
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
    """Return the group's scores. Raises ConfigError where it has none."""
    if group.scores is None:
        raise ConfigError(f"the completions of prompt {group.prompt_id} have no scores")
    return group.scores


_FILTERS: dict[str, FilterFunction] = {"all": keep_all, "best": keep_best}
