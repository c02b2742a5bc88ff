"""Scores by a reward model; the answers to one prompt share its forward pass. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from apps.policies.models import Checkpoint
from apps.samples.ids import StoredIds
from apps.samples.models import Completion
from prefloop.policy.prompts import Answered
from prefloop.policy.scoring import answer_scores
from prefloop.types import BadData
from workers import model_cache


def reward_scores_of(checkpoint: Checkpoint, rows: Sequence[Completion]) -> list[float]:
    """Return the reward of each completion; `rows` include their prompts, those of one prompt together."""
    model = model_cache.reward_model(checkpoint)
    ids = StoredIds(checkpoint)
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.prompt_id)]
    wanted = [
        Answered(
            group[0].prompt.messages or group[0].prompt.text,
            tuple(row.text for row in group),
            tuple(ids(row) for row in group),  # what was drawn with this tokenizer is never re-tokenised
        )
        for group in groups
    ]
    try:
        scores = answer_scores(model, wanted)
    except BadData as error:
        raise type(error)(f"prompt {groups[error.index][0].prompt.external_id!r}: {error}") from error
    return [value for values in scores for value in values]
