"""Two checkpoints' answers to the same prompts, side by side: from their evaluations, or from sampling runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from django.db.models import Count, QuerySet

from apps.policies.models import Checkpoint
from apps.prompts.models import Prompt
from apps.samples.models import Completion

ORDERS = ("prompt", "longer", "shorter")
ANSWERS = 4  # shown of each checkpoint to one prompt


@dataclass(frozen=True, slots=True)
class Sides:
    """A prompt and both checkpoints' answers to it, in order."""

    prompt: Prompt
    first: tuple[Completion, ...]
    second: tuple[Completion, ...]

    @property
    def rows(self) -> list[tuple[Completion | None, Completion | None]]:
        """The answers beside each other: the first of each, the second of each, …"""
        return list(zip_longest(self.first, self.second))

    @property
    def longer(self) -> float:
        """How many characters longer the second's answers are, on average."""
        return _mean_length(self.second) - _mean_length(self.first)


def sampled_checkpoints(project_id: int) -> QuerySet[Checkpoint]:
    """Return the policies with answers here, the newest first."""
    answered = Completion.objects.filter(project_id=project_id, run__checkpoint__isnull=False)
    return Checkpoint.objects.filter(
        project_id=project_id, role="policy", pk__in=answered.values("run__checkpoint").distinct()
    ).order_by("-id")


def shared_prompts(first: Checkpoint, second: Checkpoint) -> list[int]:
    """Return the prompts that both have answered, held-out ones first: their answers were sampled with the same
    seed.
    """
    both = (
        Prompt.objects.filter(project_id=first.project_id, completions__run__checkpoint__in=[first.pk, second.pk])
        .annotate(n=Count("completions__run__checkpoint", distinct=True))
        .filter(n=2)
    )
    return [pk for pk, split in sorted(both.values_list("pk", "split"), key=lambda row: (row[1] != "eval", row[0]))]


def side_by_side(first: Checkpoint, second: Checkpoint, prompt_ids: list[int], *, order: str = "prompt") -> list[Sides]:
    """Return both checkpoints' answers to these prompts; `longer`, `shorter`: sorted by how the second's lengths
    differ.
    """
    prompts = Prompt.objects.in_bulk(prompt_ids)
    answers: dict[tuple[int, int], list[Completion]] = {}
    rows = Completion.objects.filter(run__checkpoint__in=[first.pk, second.pk], prompt__in=prompt_ids)
    for row in rows.select_related("run").defer("token_ids").order_by("run__purpose", "-run_id", "index"):
        # one run of each, an evaluation before others: its seed and temperature are the same for every checkpoint
        kept = answers.setdefault((row.prompt_id, int(row.run.checkpoint_id or 0)) if row.run else (0, 0), [])
        if len(kept) < ANSWERS and (not kept or kept[0].run_id == row.run_id):
            kept.append(row)
    found = [
        Sides(prompts[pk], tuple(answers.get((pk, first.pk), ())), tuple(answers.get((pk, second.pk), ())))
        for pk in prompt_ids
    ]
    if order in ("longer", "shorter"):
        found.sort(key=lambda sides: sides.longer, reverse=order == "longer")
    return found


def _mean_length(answers: tuple[Completion, ...]) -> float:
    return sum(len(answer.text) for answer in answers) / len(answers) if answers else 0.0
