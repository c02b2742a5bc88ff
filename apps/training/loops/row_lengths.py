"""How long a training's rows will be, in tokens, before any is encoded: the memory of a pass depends on it."""

from __future__ import annotations

from math import ceil

from django.db.models import F
from django.db.models.functions import Length

from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion, comparable
from prefloop.memory import PROMPT_TOKENS, ROW_TOKENS
from prefloop.recipes.recipe import Recipe

LOOKED_AT = 1000  # of the newest prompts and comparisons
ANSWERS_LOOKED_AT = 200
CHARACTERS_PER_TOKEN = 3.0  # where the start has answered nothing yet; English text has four and more
TEMPLATE_TOKENS = 32  # what a chat template writes around a prompt


def longest_row(project: Project, recipe: Recipe, start: Checkpoint) -> int:
    """Estimate the tokens of the longest row: as long as drawn answers may be, and as long as stored ones are."""
    characters = characters_per_token(start)
    drawn = [draw for draw in recipe.draws if draw.source != "data"]
    stored = _longest_stored(project, both=recipe.objective.rows == "pairs" and not drawn) / characters
    if not drawn:
        return TEMPLATE_TOKENS + ceil(stored) if stored else ROW_TOKENS
    answer: float = max(draw.max_tokens for draw in drawn)
    if len(drawn) < len(recipe.draws):  # it learns from stored answers too
        answer = max(answer, stored)
    answers = {"pairs": 2, "groups": max(draw.n for draw in drawn)}.get(recipe.objective.rows, 1)
    return _prompt_tokens(project, characters) + answers * ceil(answer)


def characters_per_token(start: Checkpoint) -> float:
    """Count the characters of a token in the newest answers of this policy."""
    newest = Completion.objects.filter(run__checkpoint=start).order_by("-id")
    found = list(newest.values_list("n_characters", "token_ids")[:ANSWERS_LOOKED_AT])
    tokens = sum(len(ids) for _, ids in found)
    return max(1.0, sum(length for length, _ in found) / tokens) if tokens else CHARACTERS_PER_TOKEN


def _prompt_tokens(project: Project, characters: float) -> int:
    newest = Prompt.objects.filter(project=project, split="train").order_by("-id")
    longest = max(newest.values_list(Length("text"), flat=True)[:LOOKED_AT], default=0)
    return TEMPLATE_TOKENS + ceil(longest / characters) if longest else PROMPT_TOKENS


def _longest_stored(project: Project, *, both: bool) -> int:
    """The characters of the longest of the newest comparisons: its prompt, and both answers or the longer one."""
    newest = Comparison.objects.filter(comparable(), project=project, held_out=False).order_by("-id")
    lengths = newest.annotate(prompt_length=Length("prompt__text")).values_list(
        "prompt_length", F("first__n_characters"), F("second__n_characters")
    )[:LOOKED_AT]
    return max(
        (prompt + (first + second if both else max(first, second)) for prompt, first, second in lengths), default=0
    )
