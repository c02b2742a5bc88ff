"""Who is asked in a step, and what they answer: both follow from the seed and the step alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefloop.engine.examples import batch_of
from prefloop.engine.online.objectives import Answers
from prefloop.policy.loading import Policy
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
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


def read_questions(path: Path, tokenizer: Any, *, sha256: str) -> tuple[list[Question], str]:
    """Read the run's prompts; returns them with the file's SHA-256. Raises SnapshotError, UnusablePrompt."""
    rows: list[PromptRow] = read_prompts(path, sha256=sha256)
    questions = [Question(row.id, row.prompt, encode_prompt(tokenizer, row.prompt)) for row in rows]
    return questions, sha256 or hashlib.sha256(path.read_bytes()).hexdigest()


def questions_of(questions: Sequence[Question], step: int, *, batch: int, seed: int) -> list[Question]:
    """Return the prompts of step 1, 2, …: each pass over them takes every one once, in an order of its own."""
    return batch_of(questions, step, batch=batch, seed=seed)


def draw_answers(
    questions: Sequence[Question],
    draws: Sequence[Draw],
    policies: Mapping[str, Policy],
    *,
    step: int,
    seed: int,
) -> list[Answers]:
    """Let every draw's policy answer every prompt of a step; a prompt's answers stand in the order of the draws."""
    prompts = [SamplePrompt(question.id, question.ids) for question in questions]
    found: list[list[Any]] = [[] for _ in questions]
    for number, draw in enumerate(draws):
        groups = sample(
            policies[draw.source],
            prompts,
            n=draw.n,
            temperature=draw.temperature,
            top_p=draw.top_p,
            top_k=draw.top_k,
            max_tokens=draw.max_tokens,
            seed=sampler_seed(seed, "step", step, number),
            source=draw.source,
        )
        for mine, group in zip(found, groups, strict=True):
            mine += group.completions
    return [
        Answers(row, question.id, question.prompt, question.ids, Group(question.id, tuple(mine)))
        for row, (question, mine) in enumerate(zip(questions, found, strict=True))
    ]


def with_scores(answers: Sequence[Answers], scores: Sequence[Sequence[float]]) -> list[Answers]:
    """Put a score on every answer, in their order."""
    return [
        replace(one, group=replace(one.group, scores=tuple(values)))
        for one, values in zip(answers, scores, strict=True)
    ]
