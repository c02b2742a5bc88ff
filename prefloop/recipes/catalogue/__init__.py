"""The catalogue: each method as one choice of the parts in `recipe.py`, with the paper it comes from."""

from __future__ import annotations

from prefloop.recipes.catalogue import offline, online, rounds
from prefloop.recipes.recipe import Recipe
from prefloop.types import PrefloopError


class UnknownRecipe(PrefloopError):
    """No recipe has this name; the text lists the known ones."""


CATALOGUE: dict[str, Recipe] = {recipe.name: recipe for recipe in (*offline.RECIPES, *rounds.RECIPES, *online.RECIPES)}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name. Raises UnknownRecipe."""
    if name not in CATALOGUE:
        raise UnknownRecipe(f"no recipe {name!r}; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def list_recipes() -> list[Recipe]:
    """Return all recipes in the catalogue's order."""
    return list(CATALOGUE.values())
