"""Scores by a reward model; the answers to one prompt share its forward pass. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from apps.policies.models import Checkpoint
from apps.samples.ids import StoredIds
from apps.samples.models import Completion
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.scoring import reward_scores
from workers import model_cache


def reward_scores_of(checkpoint: Checkpoint, rows: Sequence[Completion]) -> list[float]:
    """Return the reward of each completion; `rows` come with their prompts, those of one prompt together."""
    model = model_cache.reward_model(checkpoint)
    ids = StoredIds(checkpoint)
    items = []
    for _, group in groupby(rows, key=lambda row: row.prompt_id):
        members = list(group)
        prompt = members[0].prompt
        items.append(
            PackItem(
                encode_prompt(model.tokenizer, prompt.messages or prompt.text),
                tuple(
                    # what was drawn with this tokenizer is taken as it was drawn, never re-tokenised
                    ids(row) or encode_completion(model.tokenizer, row.text)
                    for row in members
                ),
            )
        )
    return [value for values in reward_scores(model, items) for value in values]
