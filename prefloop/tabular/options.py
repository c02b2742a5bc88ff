"""The options of the laboratory: which settings have a meaning for a recipe, and whether it has an optimum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.sparse.csgraph import connected_components
from torch import Tensor

from prefloop.config import ConfigError, Value, apply_settings
from prefloop.config.numbers import rising_numbers
from prefloop.losses.declaration import AT_ODDS, AT_SET_ODDS, RESTS
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import Recipe
from prefloop.tabular.world import World

ASK_STEPS = "give --steps N --lr X to see where it is after N steps"
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
    "teach": "nobody has to judge by itself",
    "adapter": "a logit each is all that there is to train",
    "memory.run": "the online run is made here",
    "objective.lr": "give --lr",
    "objective.epochs": _DESCENT,
    "objective.batch": _DESCENT,
    "objective.warmup": _DESCENT,
    "objective.schedule": _DESCENT,
    "objective.clip": _DESCENT,
    "objective.weight_decay": _DESCENT,
    "objective.value_coef": "the value head is at its optimum",
    "objective.missing_eos_penalty": "every outcome is a whole answer",
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

    Raises UnknownRecipe, and ConfigError for a setting that is wrong or has no meaning in the laboratory.
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
    """Read thresholds as rewards: their law is known here, so that quantiles are not needed."""
    if not (numbers := rising_numbers(text)):
        raise ConfigError(f"{_THRESHOLDS} must be rising rewards here, like 0.5,1.5, not {text!r}")
    return numbers


def check_request(recipe: Recipe, world: World, *, rounds: int | None, steps: int | None) -> None:
    """Raise ConfigError if an option has no meaning for the recipe, or a necessary one is missing."""
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
    _option("--mu", world.mu, recipe.name, allowed=stored_pairs or objective.needs("values"))
    taught = objective.needs("teacher")
    _option("--teacher", world.teacher, recipe.name, allowed=taught, needed=taught)
    imitates = objective.rows == "demonstrations" and not recipe.samples
    from_data = imitates or recipe.pairing.kind == "real-against-generated"
    allowed = from_data or taught or objective.target == "data"
    _option("--data", world.data, recipe.name, allowed=allowed, needed=from_data)


def anchor_moves(recipe: Recipe) -> bool:
    """Whether the anchor follows the policy: at rate 0 it does not."""
    return recipe.anchor.kind == "copy" or (recipe.anchor.kind == "ema" and recipe.anchor.rate > 0)


def replays(recipe: Recipe) -> bool:
    return recipe.memory.kind == "replay"


def why_no_rest(recipe: Recipe, wins: Tensor | None) -> str | None:
    """Say why the recipe has no optimum to solve for, None if it has one; `wins` (m, m) is the mass of a over b."""
    rest = recipe.objective.declared.rest(recipe.objective)
    if recipe.is_online and recipe.objective.declared.drifts:
        return recipe.objective.declared.drifts
    if rest not in (RESTS, AT_ODDS, AT_SET_ODDS):
        return rest
    if wins is None or rest == RESTS:
        return None
    directed = rest == AT_ODDS
    if connected_components((wins > 0).numpy(), directed=directed, connection="strong")[0] == 1:
        return None
    if directed:
        return "some outcomes never beat some others, so that their margin grows without end"
    return "some outcomes are never compared with others, so that nothing sets their odds"


def _option(option: str, given: Tensor | None, recipe: str, *, allowed: bool, needed: bool = False) -> None:
    if given is not None and not allowed:
        raise ConfigError(f"{option} means nothing to {recipe}")
    if given is None and needed:
        raise ConfigError(f"{recipe} needs {option}")
