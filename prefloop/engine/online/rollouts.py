"""The prompts of a step and their answers; both depend only on the seed and the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from prefloop.engine.online.samplers import OnGroup, StepSampler
from prefloop.engine.step_losses import Answers
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt
from prefloop.recipes.prompts import PromptRow, read_prompts
from prefloop.recipes.recipe import Draw
from prefloop.seeds import sampler_seed
from prefloop.types import Group


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt of the run, as the policy reads it."""

    id: str
    prompt: Any
    ids: tuple[int, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_questions(path: Path, tokenizer: Any, *, sha256: str) -> list[Question]:
    """Read the run's prompts. Raises SnapshotError, UnusablePrompt."""
    rows: list[PromptRow] = read_prompts(path, sha256=sha256)
    ids = encode_named(tokenizer, [(row.id, row.prompt) for row in rows])
    return [Question(row.id, row.prompt, ids[row.id], row.metadata) for row in rows]


def draw_answers(
    questions: Sequence[Question],
    draws: Sequence[Draw],
    samplers: Mapping[str, StepSampler],
    *,
    step: int,
    seed: int,
    on_group: OnGroup = lambda _: None,
) -> list[Answers]:
    """Let every draw's policy answer every prompt of a step; a prompt's answers are in the order of the draws."""
    prompts = [SamplePrompt(question.id, question.ids) for question in questions]
    found: list[list[Any]] = [[] for _ in questions]
    for number, draw in enumerate(draws):
        chosen = sampler_seed(seed, "step", step, number)
        groups = samplers[draw.source].draw(prompts, draw, seed=chosen, on_group=on_group)
        for mine, group in zip(found, groups, strict=True):
            mine += group.completions
    return [
        Answers(row, question.id, question.prompt, question.ids, Group(question.id, tuple(mine)))
        for row, (question, mine) in enumerate(zip(questions, found, strict=True))
    ]


def dealt_back(parts: Sequence[Sequence[Answers]]) -> list[Answers]:
    """Put the prompts of a step that were dealt out to processes in turn (`Ranks.share`) back in order."""
    whole = [one for places in zip_longest(*parts) for one in places if one is not None]
    return [replace(one, row=row) for row, one in enumerate(whole)]


def with_scores(answers: Sequence[Answers], scores: Sequence[Sequence[float]]) -> list[Answers]:
    """Add a score to every answer, in order."""
    return [
        replace(one, group=replace(one.group, scores=tuple(values)))
        for one, values in zip(answers, scores, strict=True)
    ]
