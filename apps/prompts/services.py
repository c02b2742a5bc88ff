"""Prompts come in sets; a prompt's id is unique in its project."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, PromptSet
from prefloop.types import PrefloopError


class NoSuchPromptSet(PrefloopError):
    """The project has no prompt set of this name."""


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
    """Add prompts to a set, making the set if it is new; a prompt whose id is there already is left as it is."""
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
