"""Worlds with a known truth, by the name in a project. Each is declared once. Torch-free."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.prompts.services import NewPrompt
from prefloop.judging.demonstrations import Judged, JudgeDemonstration
from prefloop.types import Outcome, PrefloopError, PromptContent, Split
from prefloop.worlds.chat import prompts as chat_prompts
from prefloop.worlds.chat.utility import utility as chat_utility
from prefloop.worlds.letters import corpus, eft
from prefloop.worlds.letters.utility import utility as letters_utility

Utility = Callable[[str, str], float]
ScorePrompt = Callable[[str, str], PromptContent]
Told = Callable[[int, int, str], None]


class UnknownWorld(PrefloopError):
    """A project names a world that is not installed, or one that lacks what is asked of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A world: its prompts, and what an answer is truly worth. What teaches a policy to judge may be missing."""

    name: str
    prompts: Callable[[Split, int], list[NewPrompt]]  # of a split and a seed
    utility: Utility
    score_prompt: ScorePrompt | None = None  # None: the built-in template asks for a score
    demonstrations: Callable[[Sequence[str], int, int], list[JudgeDemonstration]] | None = None  # prompts, n, seed
    judged_pairs: Callable[[Sequence[str], int], Iterator[Judged]] | None = None  # prompts, seed

    def gold(self, prompt: str, first: str, second: str) -> Outcome:
        """Say which of two answers is truly better; a tie only where their utilities are equal."""
        gap = self.utility(prompt, first) - self.utility(prompt, second)
        if abs(gap) < 1e-9:
            return "tie"
        return "first" if gap > 0 else "second"

    def make_policy(self, directory: Path, *, seed: int, threads: int, told: Told) -> None:
        """Write the world's policy to a directory that is not there yet; this imports torch. Raises PrefloopError."""
        module = importlib.import_module(f"prefloop.worlds.{self.name}.policy")
        module.make_policy(directory, seed=seed, threads=threads, told=told)


def _letters_prompts(split: Split, seed: int) -> list[NewPrompt]:
    return [
        NewPrompt(text=one.text, external_id=f"letters-{one.id}", split=split)
        for one in corpus.prompts(split, seed=seed)
    ]


def _letters_judged(prompts: Sequence[str], seed: int) -> Iterator[Judged]:
    for prompt in prompts:
        yield from eft.pairs(prompt, 1, seed=seed)


def _chat_prompts(split: Split, seed: int) -> list[NewPrompt]:
    return [
        NewPrompt(text=one.text, external_id=f"chat-{one.id}", split=split, metadata=one.metadata)
        for one in chat_prompts.prompts(split, seed=seed)
    ]


LETTERS = World(
    name="letters",
    prompts=_letters_prompts,
    utility=letters_utility,
    score_prompt=eft.score_prompt,
    demonstrations=lambda prompts, n, seed: eft.demonstrations(prompts, n, seed=seed),
    judged_pairs=_letters_judged,
)
CHAT = World(name="chat", prompts=_chat_prompts, utility=chat_utility)

WORLDS: dict[str, World] = {world.name: world for world in (LETTERS, CHAT)}


def world_of(name: str) -> World | None:
    """Return a project's world, None for a project without one. Raises UnknownWorld."""
    if not name:
        return None
    if name not in WORLDS:
        raise UnknownWorld(f"no world {name!r}; there are: {', '.join(WORLDS)}")
    return WORLDS[name]


def utility_of(name: str) -> Utility | None:
    """Return the world's utility of (prompt, completion), None for a project without a world. Raises UnknownWorld."""
    world = world_of(name)
    return world.utility if world is not None else None


def score_prompt_of(name: str) -> ScorePrompt | None:
    """Return the prompt with which a policy of this world is asked for a score; None: the built-in template."""
    world = world_of(name)
    return world.score_prompt if world is not None else None


def demonstrations_of(name: str, prompts: Sequence[str], n: int, *, seed: int) -> list[JudgeDemonstration]:
    """Return n judge demonstrations on answers to these prompts. Raises UnknownWorld where the world has none."""
    world = world_of(name)
    if world is None or world.demonstrations is None:
        raise UnknownWorld(f"there are no judge demonstrations of {f'the world {name}' if name else 'no world'}")
    return world.demonstrations(prompts, n, seed)


def judged_pairs_of(name: str, prompts: Sequence[str], *, seed: int) -> Iterator[Judged]:
    """Return a pair of judge demonstrations for each prompt with the world's preference; none where it has none."""
    world = world_of(name)
    if world is not None and world.judged_pairs is not None:
        yield from world.judged_pairs(prompts, seed)
