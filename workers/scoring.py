"""Scores by a reward model; the answers to one prompt share its forward pass. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from apps.policies.models import Checkpoint
from apps.samples.models import Completion
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.scoring import reward_scores
from workers import model_cache


def reward_scores_of(checkpoint: Checkpoint, rows: Sequence[Completion]) -> list[float]:
    """Return the reward of each completion; `rows` come with their prompts, those of one prompt together."""
    model = model_cache.reward_model(checkpoint)
    items = []
    for _, group in groupby(rows, key=lambda row: row.prompt_id):
        members = list(group)
        prompt = members[0].prompt
        items.append(
            PackItem(
                encode_prompt(model.tokenizer, prompt.messages or prompt.text),
                tuple(
                    # what a policy drew is taken as it was drawn, never re-tokenised
                    tuple(row.token_ids) if row.token_ids else encode_completion(model.tokenizer, row.text)
                    for row in members
                ),
            )
        )
    return [value for values in reward_scores(model, items) for value in values]
