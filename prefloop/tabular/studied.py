"""A recipe at its exact optimum in a world drawn by a seed: the runs of studies in which nothing is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from prefloop.config import Value
from prefloop.seeds import derive_seed
from prefloop.tabular.laboratory import run
from prefloop.tabular.options import read_request
from prefloop.tabular.world import make_world

OUTCOMES = 6


def solved(recipe: str, settings: Mapping[str, Value], *, mu: str, seed: int) -> list[dict[str, Any]]:
    """Solve a recipe in the world of a seed: the start and the optimum, each with its law, KL, win rate and reward.

    The seed draws the starting policy, rewards in [-1, 1], and another law, of which both answers of a stored pair are
    drawn with `mu` "other"; with "reference" they are the starting policy's, and "" is for recipes without stored
    pairs. Raises ConfigError, NotSolved.
    """
    drawn = np.random.default_rng(derive_seed(seed, "study", "world"))
    reference, other = drawn.dirichlet(np.full(OUTCOMES, 4.0)), drawn.dirichlet(np.full(OUTCOMES, 4.0))
    reward = drawn.uniform(-1.0, 1.0, OUTCOMES)
    stored = {"": None, "reference": reference.tolist(), "other": other.tolist()}[mu]
    world = make_world(
        reference=reference.tolist(),
        reward=reward.tolist(),
        preference=None,
        data=None,
        mu=stored,
        teacher=None,
    )
    found = run(read_request(recipe, settings), world, seed=seed)
    return [
        {
            "step": step,
            "kl": world.kl(law),
            "values": {"law": law.tolist(), "win": [world.win_rate(law)], "gold": [world.expected_reward(law)]},
        }
        for step, law in ((0, world.reference), (1, found.policy))
    ]
