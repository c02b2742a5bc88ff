"""Worlds with a known truth, by the name in a project. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prefloop.judging.demonstrations import Judged, JudgeDemonstration
from prefloop.types import PrefloopError, PromptContent
from prefloop.worlds.letters import eft
from prefloop.worlds.letters.utility import utility

Utility = Callable[[str, str], float]
ScorePrompt = Callable[[str, str], PromptContent]

WORLDS: dict[str, Utility] = {"letters": utility}
SCORE_PROMPTS: dict[str, ScorePrompt] = {"letters": eft.score_prompt}


class UnknownWorld(PrefloopError):
    """A project names a world that is not installed."""


def utility_of(world: str) -> Utility | None:
    """Return the world's utility of (prompt, completion), None for a project without a world. Raises UnknownWorld."""
    if not world:
        return None
    if world not in WORLDS:
        raise UnknownWorld(f"no world {world!r}; there are: {', '.join(WORLDS)}")
    return WORLDS[world]


def score_prompt_of(world: str) -> ScorePrompt | None:
    """Return the prompt with which a policy of this world is asked for a score; None: the built-in template."""
    return SCORE_PROMPTS.get(world)


def demonstrations_of(world: str, prompts: Sequence[str], n: int, *, seed: int) -> list[JudgeDemonstration]:
    """Return n judge demonstrations on answers to these prompts. Raises UnknownWorld if there is no such world."""
    if world != "letters":
        raise UnknownWorld(f"there are judge demonstrations of the world letters only, not of {world or 'no world'}")
    return eft.demonstrations(prompts, n, seed=seed)


def judged_pairs_of(world: str, prompts: Sequence[str], *, seed: int) -> Iterator[Judged]:
    """Return a pair of judge demonstrations for each prompt with the world's preference; none without a world."""
    if world == "letters":
        for prompt in prompts:
            yield from eft.pairs(prompt, 1, seed=seed)
