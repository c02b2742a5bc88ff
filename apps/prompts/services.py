"""Prompts come in sets; a prompt's id is unique in its project."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from apps.core.chunks import chunks
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, PromptSet
from prefloop.types import PrefloopError


class BadPrompts(PrefloopError):
    """Pasted lines that can't become prompts; gives the line and the reason."""


MAX_LINES = 10_000
MAX_PROMPT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Pasted:
    prompt_set: PromptSet
    n_added: int
    n_there: int  # lines whose prompt the set had already


@dataclass(frozen=True, slots=True)
class NewPrompt:
    text: str
    external_id: str = ""
    split: str = "train"
    messages: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def prompts_add(
    *, project: Project, set_name: str, prompts: Sequence[NewPrompt], batch: ImportBatch | None = None
) -> PromptSet:
    """Add prompts to a set, creating the set if it is new; a prompt with a known id is left unchanged."""
    with transaction.atomic():
        prompt_set, _ = PromptSet.objects.get_or_create(project=project, name=set_name)
        Prompt.objects.bulk_create(
            [
                Prompt(
                    project=project,
                    prompt_set=prompt_set,
                    batch=batch,
                    external_id=prompt.external_id
                    or f"{set_name}-{hashlib.sha256(prompt.text.encode()).hexdigest()[:12]}",
                    text=prompt.text,
                    messages=prompt.messages,
                    split=prompt.split,
                    metadata=prompt.metadata,
                )
                for prompt in prompts
            ],
            ignore_conflicts=True,
            batch_size=500,
        )
    return prompt_set


def prompts_paste(*, project: Project, set_name: str, split: str, text: str) -> Pasted:
    """Add one prompt for each line that is not empty; all of them or none.

    Raises BadPrompts, naming the line, for a line that is too long, that occurs twice, or whose prompt the project uses
    in the other split: prompts for measuring must not be trained on.
    """
    return prompts_new(project=project, set_name=set_name, split=split, texts=text.splitlines(), word="line")


def prompts_new(*, project: Project, set_name: str, split: str, texts: Sequence[str], word: str = "prompt") -> Pasted:
    """Add these prompts to a set, all or none; blank ones are skipped. `word`: what an error calls one of them.

    Raises BadPrompts as `prompts_paste` does.
    """
    set_name = " ".join(set_name.split())
    if not set_name:
        raise BadPrompts("the prompt set needs a name")
    if split not in ("train", "eval"):
        raise BadPrompts(f"a prompt is for train or eval, not for {split!r}")
    lines: dict[str, int] = {}
    for number, line in enumerate(texts, start=1):
        prompt = line.strip()
        if not prompt:
            continue
        if len(prompt) > MAX_PROMPT_CHARS:
            raise BadPrompts(f"{word} {number} has {len(prompt):,} characters; {MAX_PROMPT_CHARS:,} is the most")
        if prompt in lines:
            raise BadPrompts(f"{word} {number} says the same as {word} {lines[prompt]}")
        lines[prompt] = number
    if not lines:
        raise BadPrompts(f"there is no {word} with a prompt in it" if word == "line" else "there is no prompt in it")
    if len(lines) > MAX_LINES:
        raise BadPrompts(
            f"{len(lines):,} {word}s are too many at once: {MAX_LINES:,} is the most; import a file instead"
        )
    with transaction.atomic():
        for part in chunks(list(lines), 500):
            for known, known_split, known_set in Prompt.objects.filter(project=project, text__in=part).values_list(
                "text", "split", "prompt_set__name"
            ):
                if known_split != split:
                    use = "an evaluation" if known_split == "eval" else "a training"
                    raise BadPrompts(
                        f"{word} {lines[known]} is {use} prompt of the set {known_set!r} already: "
                        "prompts for measuring must not be trained on"
                    )
        before = Prompt.objects.filter(project=project, prompt_set__name=set_name).count()
        prompt_set = prompts_add(
            project=project, set_name=set_name, prompts=[NewPrompt(text=line, split=split) for line in lines]
        )
        added = Prompt.objects.filter(prompt_set=prompt_set).count() - before
    return Pasted(prompt_set=prompt_set, n_added=added, n_there=len(lines) - added)
