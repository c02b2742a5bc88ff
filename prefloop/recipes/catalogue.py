"""The catalogue: each method is one point in the space of `recipe.py`, with the paper it comes from."""

from __future__ import annotations

from prefloop.recipes.recipe import (
    Draw,
    Filter,
    Label,
    Memory,
    Objective,
    Pairing,
    Prompts,
    Recipe,
    Score,
)
from prefloop.types import PrefloopError


class UnknownRecipe(PrefloopError):
    """No recipe has this name; the text lists those that there are."""


SFT = Recipe(
    name="sft",
    title="Supervised fine-tuning",
    idea="Learn to write what the chosen answers say.",
    paper="Ouyang et al. 2022, arXiv:2203.02155",
    group="offline",
    draws=(Draw(source="data"),),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="nll", lr=1e-3, epochs=1, batch=32, warmup=10),
)

REWARD_MODEL = Recipe(
    name="reward-model",
    title="Reward model",
    idea="Learn a score whose difference between two answers gives the odds of preferring one.",
    paper="Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences", labels="soft"),
    objective=Objective(loss="bradley-terry", lr=6e-4, epochs=2, batch=32, warmup=10, schedule="linear"),
)

BEST_OF_N = Recipe(
    name="best-of-n",
    title="Best of n",
    idea="Draw n answers and keep the one that the reward model likes best; nothing is trained.",
    paper="Stiennon et al. 2020, arXiv:2009.01325; Nakano et al. 2021, arXiv:2112.09332",
    group="offline",
    draws=(Draw(source="initial", n=16),),
    score=Score(by="judge"),
    filter=Filter(kind="best"),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="none"),
    needs=("reward-model",),
)

DPO = Recipe(
    name="dpo",
    title="DPO",
    idea="Learn directly from stored preferences, as if the policy itself were the reward model.",
    paper="Rafailov et al. 2023, arXiv:2305.18290",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="dpo", beta=0.1, lr=1e-4, epochs=1, batch=32),
)

ITERATIVE_DPO = Recipe(
    name="iterative-dpo",
    title="Iterative DPO",
    idea="Each round, today's policy answers, the reward model picks the best and the worst, and DPO learns.",
    paper="Xu et al. 2023, arXiv:2312.16682v2",
    group="round by round",
    prompts=Prompts(n=384),
    draws=(Draw(source="current", n=8, temperature=1.0, max_tokens=96),),
    refresh="round",
    score=Score(by="judge"),
    pairing=Pairing(kind="best-against-worst"),
    label=Label(by="scores"),
    # a departure from the paper, which has no people: what they corrected is trained on in every round
    memory=Memory(replays=True, kind="overrides"),
    # measured on letters (docs/experiments.md): at a constant rate the KL of three rounds is several times as large
    objective=Objective(
        loss="dpo",
        beta=0.3,
        lr=1.7e-4,
        epochs=1,
        batch=16,
        warmup=4,
        schedule="linear",
        reference="initial",
        start_from="previous",
    ),
    needs=("reward-model",),
    rounds=3,
)

CATALOGUE: dict[str, Recipe] = {recipe.name: recipe for recipe in (SFT, REWARD_MODEL, BEST_OF_N, DPO, ITERATIVE_DPO)}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name. Raises UnknownRecipe."""
    if name not in CATALOGUE:
        raise UnknownRecipe(f"no recipe {name!r}; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def list_recipes() -> list[Recipe]:
    """Return all recipes in the catalogue's order."""
    return list(CATALOGUE.values())
