"""What each setting means in a recipe as a whole. Commands, forms, API and laboratory read it here.

A part knows which of its own keys make sense together (`parts.py`, `objective.py`); only the recipe knows that
on-policy training has no review gate, or that PPO's log-probs are at temperature 1. A key that would change nothing is
not offered, and setting it anyway is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefloop.config import ConfigError
from prefloop.recipes import engines
from prefloop.recipes.parts import AI_REWARD_MODEL, BY_RATINGS, RANKING_PAIRINGS

if TYPE_CHECKING:
    from prefloop.recipes.recipe import Recipe

_SAMPLING = ("temperature", "top_p", "top_k")


def meaningless(recipe: Recipe) -> dict[str, str]:
    """Return the parts and keys that have no meaning in this recipe, each with the reason."""
    out = {
        **_of_the_group(recipe),
        **_of_draws(recipe),
        **_of_scores(recipe),
        **_of_labels(recipe),
    }
    if recipe.anchor.moves and recipe.objective.pairs_with_reference:
        out["objective.reference"] = "its reference is the anchor, which begins as the policy that training starts from"
    if not recipe.objective.trains:
        out["adapter"] = "nothing is trained"
        out["evaluation"] = "it is measured on the answers that it samples and scores"
    if recipe.objective.makes_reward_model:
        out["evaluation"] = "a reward model is measured on held-out comparisons with a known truth"
    if recipe.memory.kind == "replay":
        same = "a replay uses the logged steps and rows"
        out |= {"prompts": same, "filter": same, "objective.batch": same, "objective.epochs": same}
        out |= dict.fromkeys(("label", "review"), "the pairs keep their logged labels")
    return out


def ratings_refusal(recipe: Recipe) -> str:
    """Say in one sentence why people's ratings can't be what this recipe names them for; "" if they can.

    People rate answers that are stored. What a loop draws, nobody has rated.
    """
    if recipe.score.by != "none" and recipe.score.judge == BY_RATINGS:
        return (
            f"score.judge={BY_RATINGS} can't be used: people have rated stored answers only, and {recipe.name} scores "
            "the answers that it draws"
        )
    if recipe.label.judge != BY_RATINGS or (recipe.label.by == "preferences" and recipe.objective.takes_single_answers):
        return ""
    if recipe.label.by != "preferences":
        return (
            f"label.judge={BY_RATINGS} can't be used: people have rated stored answers only, and {recipe.name} labels "
            "the answers that it draws"
        )
    return (
        f"label.judge={BY_RATINGS} can't be used: ratings are of single answers, and {recipe.name} compares two; "
        "whoever rated both has compared them, and that is among people's labels"
    )


def _of_the_group(recipe: Recipe) -> dict[str, str]:
    out: dict[str, str] = {}
    if recipe.group == "offline":
        out["refresh"] = "it trains once, on answers that are sampled once"
        out["objective.start_from"] = "it trains once, from the policy that the loop starts with"
    if recipe.refresh != "round":
        out["prompts.generator"] = "new prompts are written between rounds, and this recipe has no rounds"
    elif any(draw.source == "data" for draw in recipe.draws):
        out["prompts.generator"] = "its prompts must have stored answers"
    if recipe.is_online and recipe.objective.needs("teacher"):
        out["objective.lambda"] = "every answer of a step is the student's own"
    if recipe.is_online:
        out["filter"] = "every answer of a step is trained on"
        out["review"] = "a step does not wait for people; their overrides are replayed with memory.kind=overrides"
        out["objective.start_from"] = "a block of steps continues from the one before"
        out["memory.k"] = "inside steps only overrides can be replayed"
    return out


def _of_draws(recipe: Recipe) -> dict[str, str]:
    out: dict[str, str] = {}
    loss, declared = recipe.objective.loss, recipe.objective.declared
    if recipe.is_online:
        out["draws.source"] = "the method decides which model answers inside a step"
    if declared.at_temperature_1:
        reason = f"{loss} weighs answers by their log-probs at temperature 1, so they are drawn so"
        out |= {f"draws.{key}": reason for key in _SAMPLING}
    if recipe.objective.target == "reference":
        one_each = "it compares one answer of the policy with one of its reference"
        out |= {"draws.n": one_each, "pairing": one_each}
    if declared.anchors == "imitate":
        out["draws.n"] = "it samples objective.n answers and imitates the best of them"
    if declared.n_anchor:
        anchors = [at for at, draw in enumerate(recipe.draws) if draw.source == "anchor"]
        out |= {f"draws.{at}.n": f"{loss} compares with {declared.n_anchor} answers of the anchor" for at in anchors}
    return out


def _of_scores(recipe: Recipe) -> dict[str, str]:
    out: dict[str, str] = {}
    if recipe.score.by == "none":
        out |= dict.fromkeys(("score", "filter.kind"), "it scores no answers")
    if recipe.score.by == "judge":
        out["score.samples"] = "a reward model gives an answer one score"
    if recipe.score.by != "policy":
        out["teach"] = "its starting policy does not need to judge"
    if not recipe.objective.trains:
        out["filter"] = "it measures the best answer for each number of answers, and filters none"
    if recipe.objective.rows == "groups":
        out["filter.kind"] = f"{recipe.objective.loss} ranks all answers to a prompt"
    return out


def _of_labels(recipe: Recipe) -> dict[str, str]:
    out: dict[str, str] = {}
    if recipe.pairing.kind == "none":
        out |= dict.fromkeys(("pairing", "label", "review"), "it does not compare answers")
    if recipe.label.by in ("preferences", "data"):
        out["pairing"] = "its pairs are given by the data"
    if recipe.label.by == "data":
        out["review"] = "the data's answer is the better one by definition"
    if recipe.label.by in ("scores", "judge"):
        out["label.criterion"] = "its labels are not stored ones: who gives them judges by one criterion"
    if recipe.label.by == "scores":
        whose = "the policy's own scores" if recipe.score.by == "policy" else "the scores (score.judge says whose)"
        out["label.judge"] = f"its labels are {whose}"
    if recipe.score.by == "policy":
        out["label.labels"] = "points on a scale show which answer is better, but not with what probability"
    if recipe.score.by == "judge" and recipe.score.judge == AI_REWARD_MODEL:
        out.pop("label", None)  # its reward model is made from these labels
        out["label.criterion"] = "its reward model is made from a judge's labels, which are by the judge's criterion"
    return out


def explain_key(recipe: Recipe, key: str) -> Mapping[str, Any]:
    """Return what this recipe allows of a key, if that is less than the part allows."""
    if key == "refresh":
        stale = _can_step(recipe) and recipe.objective.declared.anchors != "imitate"  # whose anchor's answers never age
        return _choices(*_refreshes(recipe), prefixes=("every:",) if stale else ())
    if key == "draws.engine" and recipe.is_online:
        return _choices(*engines.OURS)
    if key == "draws.source":
        own = "previous" if recipe.pairing.kind == "real-against-generated" else "current"
        found = ("initial",) if recipe.group == "offline" else (own, "initial")
        return _choices(*found, prefixes=("checkpoint:",))
    if key == "pairing.kind":
        kinds = ("the-two", "best-against-worst", "first-round", "tournament", "all-ranked")
        return _choices(*(kind for kind in kinds if recipe.score.by != "none" or kind not in RANKING_PAIRINGS))
    if key == "memory.kind" and recipe.memory.kind != "replay":
        if recipe.is_online:
            return _choices("none", "overrides")
        if recipe.objective.rows == "demonstrations":
            return _choices("none", "rounds")
    if key == "objective.reference" and recipe.group == "offline":
        return _choices("initial", prefixes=("checkpoint:",))
    if key == "filter.kind" and recipe.objective.rows == "pairs":
        return _choices("all", "rejection")
    return {}


def _refreshes(recipe: Recipe) -> tuple[str, ...]:
    taught = recipe.objective.needs("teacher") and all(draw.source != "data" for draw in recipe.draws)
    rounds = not recipe.objective.only_in_steps and recipe.label.by != "judge" and not taught
    return (*(("round",) if rounds else ()), *(("step",) if _can_step(recipe) else ()))


def _can_step(recipe: Recipe) -> bool:
    sampled_alone = all(draw.source != "data" for draw in recipe.draws)
    return recipe.objective.declared.in_steps and sampled_alone and recipe.score.by != "policy"


def _choices(*names: str, prefixes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"choices": names, "prefixes": prefixes}


def idle(recipe: Recipe) -> dict[str, str]:
    """Return the keys that have no effect unless another one is set."""
    numbers = recipe.objective.declared.numbers
    out = {f"objective.{one.name.rstrip('_')}": why for one in numbers if (why := one.idle(recipe.objective))}
    if recipe.review.mode in ("none", "all"):
        out["review.budget"] = f"review.mode is {recipe.review.mode}"
    if recipe.label.named_judge:
        out["label.criterion"] = f"label.judge is {recipe.label.judge}, whose labels are by its own criterion"
    if recipe.memory.kind != "rounds":
        out["memory.k"] = f"memory.kind is {recipe.memory.kind}"
    if recipe.memory.kind == "none":
        out["memory.weight"] = "memory.kind is none"
    drawn = sum(draw.n for draw in recipe.draws if draw.source != "data")
    if recipe.filter.kind == "rejection" and recipe.filter.keep >= drawn:
        keeps = f"all {drawn} answers (draws.n) are kept: filter.keep is {recipe.filter.keep}"
        out |= dict.fromkeys(("filter.kind", "filter.beta", "filter.keep"), keeps)
    if recipe.samples and drawn == 2 and recipe.pairing.kind not in ("none", "the-two"):
        out["pairing.kind"] = "there are two answers (draws.n)"
    for at, draw in enumerate(recipe.draws):
        if draw.source != "data" and draw.temperature == 0:
            names = [f"draws.{at}", "draws"]
            out |= {f"{name}.{key}": "draws.temperature is 0" for name in names for key in ("top_p", "top_k")}
    return out


def check_settings(recipe: Recipe) -> None:
    """Raise ConfigError if settings that are valid alone can't be combined."""
    objective = recipe.objective
    theirs = sum(draw.n for draw in recipe.draws if draw.source in ("anchor", "initial"))
    imitates = objective.declared.anchors in ("imitate", "both") and not objective.declared.n_anchor
    if imitates and objective.n > theirs:
        raise ConfigError(
            f"objective.n must be at most {theirs}, the anchor's answers to a prompt (draws.n), of which the best of n "
            f"is taken, not {objective.n}"
        )
    for draw in recipe.draws:
        said = engines.refusal(
            draw.engine,
            loss=objective.loss,
            needs_tokens=objective.declared.at_temperature_1,
            source=draw.source,
            in_steps=recipe.is_online,
            top_k=draw.top_k,
        )
        if said:
            raise ConfigError(said)
    if recipe.is_online and recipe.filter.kind != "all":
        raise ConfigError(f"filter.kind must be all where refresh is {recipe.refresh}, not {recipe.filter.kind}")
    if recipe.is_online and not objective.declared.in_steps:
        raise ConfigError(f"refresh must be round: {objective.loss} does not learn inside a step")
    if recipe.review.mode != "none" and len(recipe.label.weights) > 1:
        raise ConfigError(
            f"review.mode must be none where label.criterion weighs several, not {recipe.review.mode}: people review a "
            "judge's labels by one criterion"
        )
