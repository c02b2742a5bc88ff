"""Memory: which past examples a round trains on again, beside its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from prefloop.recipes.recipe import Memory
from prefloop.types import TrainingPair


def remembered(settings: Memory, past_rounds: Sequence[Sequence[TrainingPair]]) -> list[TrainingPair]:
    """Return the past pairs to train on again, oldest first, with the memory's weight.

    rounds: those of the last k rounds; overrides: those of every past round that a person overrode. A pair that
    occurs in several rounds is taken once, as the latest of them has it.
    """
    if settings.kind == "none":
        return []
    rounds = past_rounds[-settings.k :] if settings.kind == "rounds" else past_rounds
    latest = {pair.id: pair for rows in rounds for pair in rows}
    return [
        dataclasses.replace(pair, weight=pair.weight * settings.weight)
        for pair in latest.values()
        if settings.kind == "rounds" or pair.source == "override"
    ]
