"""The five outcomes of the methods page, and one call that runs a recipe on them or on others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from prefloop.tabular.laboratory import Outcome, run
from prefloop.tabular.options import read_request
from prefloop.tabular.world import World, make_world

REFERENCE = [0.10, 0.20, 0.30, 0.25, 0.15]
REWARD = [0.0, 1.0, 0.5, 2.0, -1.0]

Lab = Callable[..., Outcome]


@pytest.fixture(scope="session")
def t5() -> World:
    return make_world(reference=REFERENCE, reward=REWARD)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Run a recipe: `world` options by name (the five outcomes where none are given), `set` as on the command line."""

    def call(
        recipe: str,
        set: dict[str, Any] | None = None,
        *,
        reference: list[float] | None = None,
        reward: list[float] | None = None,
        preference: list[list[float]] | None = None,
        data: list[float] | None = None,
        mu: list[float] | None = None,
        teacher: list[float] | None = None,
        **options: Any,
    ) -> Outcome:
        given = reference is not None
        world = make_world(
            reference=reference if given else REFERENCE,
            reward=reward if given else REWARD,
            preference=preference,
            data=data,
            mu=mu,
            teacher=teacher,
        )
        return run(read_request(recipe, set or {}), world, **options)

    return call


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    """Say that a policy is the wanted one, outcome by outcome."""

    def check(found: torch.Tensor, wanted: Any, tolerance: float = 1e-6) -> None:
        values = wanted.tolist() if isinstance(wanted, torch.Tensor) else list(wanted)
        assert found.tolist() == pytest.approx(values, abs=tolerance, rel=0)

    return check
