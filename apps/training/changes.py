"""The current settings of a loop: those it started with, and people's changes from some round on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from apps.training.models import Loop, LoopChange
from prefloop.config import ConfigError, KeyInfo, Value, apply_settings, describe
from prefloop.recipes.recipe import Recipe

# Parts of what the loop is: another judge, another kind of weights or another source would be another loop.
FIXED = frozenset(
    {
        "refresh",
        "prompts.generator",
        "prompts.sets",
        "prompts.where",
        "draws.source",
        "score.judge",
        "label.judge",
        "memory.run",
        "memory.order",
    }
)
FIXED_PARTS = frozenset({"adapter", "anchor", "teach"})
# A on-policy block goes on with the optimizer, the value head and the step count of the one before: what those
# count must stay as it was.
STEPWISE_FIXED = frozenset(
    {
        "prompts.n",
        "draws.n",
        "memory.kind",
        "objective.batch",
        "objective.epochs",
        "objective.passes",
        "objective.minibatches",
        "objective.warmup",
        "objective.schedule",
        "objective.reference",
        "objective.start_from",
    }
)


def bare_key(key: str) -> str:
    """Return the key without the number of a draw: `draws.1.n` is `draws.n`."""
    return ".".join(step for step in key.split(".") if not step.isdigit())


def changes_of(loop: Loop) -> list[LoopChange]:
    """Return the changes, the oldest first."""
    return sorted(loop.changes.all(), key=lambda change: change.pk)


def recipe_of(loop: Loop, index: int | None = None) -> Recipe:
    """Return the recipe as round `index` runs it; None: after every change."""
    recipe = Recipe.from_json(loop.config)
    for change in changes_of(loop):
        if index is None or change.from_round <= index:
            recipe = with_stored(recipe, change.chosen)
    return recipe


def with_stored(recipe: Recipe, chosen: Mapping[str, Value]) -> Recipe:
    """Apply settings that were once accepted. Settings that would now be refused because they change nothing are
    left out.
    """
    try:
        return apply_settings(recipe, chosen)
    except ConfigError:
        for key, value in chosen.items():
            with suppress(ConfigError):
                recipe = apply_settings(recipe, {key: value})
        return recipe


def chosen_of(loop: Loop, index: int | None = None) -> dict[str, Value]:
    """Return people's settings, key by key, as of round `index`; None: after every change."""
    chosen: dict[str, Value] = dict(loop.chosen)
    for change in changes_of(loop):
        if index is None or change.from_round <= index:
            chosen |= change.chosen
    return chosen


def changeable(recipe: Recipe) -> list[KeyInfo]:
    """List the settings that may change while the loop runs, with their present values."""
    fixed = FIXED | STEPWISE_FIXED if recipe.learns_in_steps else FIXED
    return [
        info
        for info in describe(recipe)
        if info.group not in FIXED_PARTS
        and bare_key(info.key) not in fixed
        and (len(info.choices) != 1 or info.prefixes)
    ]
