"""What may be asked of the laboratory: options and settings that mean something to the recipe, and whether it rests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.sparse.csgraph import connected_components
from torch import Tensor

from prefloop.config import ConfigError, Value, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.parts import rising_numbers
from prefloop.recipes.recipe import Recipe
from prefloop.tabular.world import World

ASK_STEPS = "give --steps N --lr X to see where it is after N steps"
_LOGISTIC = frozenset({"dpo", "sigmoid-norm", "spin", "bradley-terry"})
_REGRESSION = frozenset({"ipo", "ipo-mean"})
_HINGES = frozenset({"hinge-norm", "slic", "rrhf", "click"})

# Settings that have no counterpart where a whole population is trained on, and why.
_LAW = "draws are the policy's own law of whole answers"
_DESCENT = "steps are plain gradient descent with the expected gradient"
_MEANINGLESS = {
    "prompts": "there is one prompt",
    "draws.temperature": _LAW,
    "draws.top_p": _LAW,
    "draws.top_k": _LAW,
    "draws.max_tokens": _LAW,
    "score": "scores are --reward",
    "label.judge": "labels are --labels of --reward or --preference",
    "review": "there are no people",
    "memory.run": "the online run is made here",
    "objective.lr": "give --lr",
    "objective.epochs": _DESCENT,
    "objective.batch": _DESCENT,
    "objective.warmup": _DESCENT,
    "objective.schedule": _DESCENT,
    "objective.clip": _DESCENT,
    "objective.weight_decay": _DESCENT,
    "objective.value_coef": "the value head is at its optimum",
}


_THRESHOLDS = "filter.thresholds"


@dataclass(frozen=True, slots=True)
class Request:
    """A recipe with its settings; `labels` is `bt` or `hard` where `label.labels` was set."""

    recipe: Recipe
    labels: str | None
    thresholds: tuple[float, ...]  # rewards, one for each Improve step of ReST


def read_request(name: str, settings: Mapping[str, Value]) -> Request:
    """Find the recipe and apply the settings.

    Raises UnknownRecipe, and ConfigError for a setting that is wrong or means nothing in the laboratory.
    """
    for key in settings:
        bare = ".".join(step for step in key.split(".") if not step.isdigit())
        if reason := _MEANINGLESS.get(bare) or _MEANINGLESS.get(bare.split(".")[0]):
            raise ConfigError(f"{key} means nothing in the laboratory: {reason}")
    here = dict(settings)
    thresholds = here.pop(_THRESHOLDS, None)
    recipe = apply_settings(get_recipe(name), here)
    if recipe.filter.kind != "thresholds":
        recipe = apply_settings(recipe, settings)  # which refuses thresholds that nothing would use
    labels: str | None = None
    if "label.labels" in settings:
        labels = "hard" if recipe.label.labels == "hard" else "bt"
    return Request(recipe, labels, _rewards(recipe.filter.thresholds if thresholds is None else str(thresholds)))


def _rewards(text: str) -> tuple[float, ...]:
    """Read thresholds as rewards: their law is known here, and needs no quantiles to follow it."""
    if not (numbers := rising_numbers(text)):
        raise ConfigError(f"{_THRESHOLDS} must be rising rewards here, like 0.5,1.5, not {text!r}")
    return numbers


def check_request(recipe: Recipe, world: World, *, rounds: int | None, steps: int | None) -> None:
    """Raise ConfigError where an option means nothing to the recipe, or one that it needs is missing."""
    objective = recipe.objective
    if rounds is not None and recipe.refresh != "round" and not anchor_moves(recipe):
        raise ConfigError(f"{recipe.name} has no rounds here: leave --rounds out")
    if anchor_moves(recipe) and rounds is None and steps is None:
        raise ConfigError(
            f"{recipe.name} has no optimum: its anchor moves after the policy. {ASK_STEPS}, or --rounds N for "
            "N optima, each with the anchor held, which moves once in between"
        )
    if replays(recipe) and steps is None:
        raise ConfigError(f"{recipe.name} replays an online run of some length: {ASK_STEPS}")
    sources = (objective.reference, *(draw.source for draw in recipe.draws))
    if any(source.startswith(("checkpoint:", "run:")) for source in sources):
        raise ConfigError("the laboratory knows initial, previous, current, anchor and data, and no checkpoint or run")
    stored_pairs = recipe.pairing.kind == "as-given" and not replays(recipe)
    _option("--mu", world.mu, recipe.name, allowed=stored_pairs or objective.loss == "ppo")
    _option("--teacher", world.teacher, recipe.name, allowed=objective.loss == "gkd", needed=objective.loss == "gkd")
    from_data = (objective.loss == "nll" and not recipe.samples) or objective.loss == "spin"
    _option(
        "--data", world.data, recipe.name, allowed=from_data or objective.loss in ("click", "gkd"), needed=from_data
    )


def anchor_moves(recipe: Recipe) -> bool:
    """Whether the anchor follows the policy: at rate 0 it does not."""
    return recipe.anchor.kind == "copy" or (recipe.anchor.kind == "ema" and recipe.anchor.rate > 0)


def replays(recipe: Recipe) -> bool:
    return recipe.memory.kind == "replay"


def why_no_rest(recipe: Recipe, wins: Tensor | None) -> str | None:
    """Say why the recipe has no optimum to solve for, None where it has; `wins` (m, m) is the mass of a over b."""
    name = recipe.objective.registry_name
    if name in _HINGES:
        return "its hinges are satisfied by a whole set of policies, and have no gradient there"
    if name == "cringe":
        return "its gate moves with the policy"
    if name == "bo2" and recipe.is_online:
        return "nothing holds the policy: each step imitates the better of its own two answers"
    if wins is None:
        return None
    if name == "dpo" and recipe.objective.label_smoothing > 0:
        wins = wins + wins.T  # no label is certain then
    if name in _LOGISTIC and connected_components((wins > 0).numpy(), connection="strong")[0] > 1:
        return "some outcomes never beat some others, so that their margin grows without end"
    if name in _REGRESSION and connected_components((wins > 0).numpy(), directed=False)[0] > 1:
        return "some outcomes are never compared with others, so that nothing sets their odds"
    return None


def _option(option: str, given: Tensor | None, recipe: str, *, allowed: bool, needed: bool = False) -> None:
    if given is not None and not allowed:
        raise ConfigError(f"{option} means nothing to {recipe}")
    if given is None and needed:
        raise ConfigError(f"{recipe} needs {option}")
