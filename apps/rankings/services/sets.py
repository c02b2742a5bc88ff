"""Sets of answers to one prompt, which people rank together: making them, and laying them out for a person.

A set is stored in the comparisons between its answers. One of them leads: its seats are the seats of the set, and the
others point to it (`Comparison.asked_with`). While pairs are compared, the leading pair is a pair like any other, and
so are those that were compared before the set was made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import combinations
from random import Random

from django.db import transaction

from apps.core.chunks import chunks
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.labels.models import Vote
from apps.projects.models import Guideline, Project
from apps.projects.selectors import guideline_current
from apps.prompts.models import ready
from apps.rankings.models import Assignment
from apps.rankings.services.seats import seats_settle, seats_wanted_changed
from apps.samples.models import Comparison, Completion
from apps.samples.services import EVALUATION, comparisons_create
from prefloop.seeds import derive_seed
from prefloop.tasks import FEWEST_IN_SET, PAIR, TASKS, Task

PROMPTS_AT_ONCE = 200  # in a transaction; more than that are a job
_MANUAL = "manual"  # the purpose of a sampling run that belongs to no loop and no evaluation


def sets_make(*, project: Project, size: int, prompt_ids: Sequence[int] | None = None) -> int:
    """Put the answers of prompts (all unless ids are given) that are in no set into sets of at most `size`.

    Who is in a set with whom is drawn by the project's and the prompt's ids. Answers of loops and evaluations are left
    out, and so are edited ones, whose editors would know them, repeated texts, and fewer than three that remain.
    Returns how many sets were made.
    """
    if prompt_ids is None:
        prompt_ids = prompts_with_answers(project)
    return sum(_make(project, size, ids) for ids in chunks(sorted(set(prompt_ids)), PROMPTS_AT_ONCE))


def prompts_with_answers(project: Project) -> list[int]:
    rows = Completion.objects.filter(ready(), project=project).order_by("prompt").values_list("prompt", flat=True)
    return list(rows.distinct())


@transaction.atomic
def _make(project: Project, size: int, prompt_ids: Sequence[int]) -> int:
    made: list[list[Completion]] = []
    for prompt, answers in _free_answers(project, prompt_ids).items():
        Random(derive_seed(project.pk, "sets", prompt)).shuffle(answers)
        made += [list(part) for part in chunks(answers, size) if len(part) >= FEWEST_IN_SET]
    if not made:
        return 0
    known = set(Comparison.objects.filter(prompt__in=prompt_ids).values_list("pk", flat=True))
    rows = comparisons_create(
        project=project, pairs=[pair for answers in made for pair in combinations(answers, 2)], origin=_MANUAL
    )
    answered = set(Vote.objects.filter(comparison__in=rows).values_list("comparison_id", flat=True))
    by_answers = {(row.first_id, row.second_id): row for row in rows}
    changed: list[Comparison] = []
    for answers in made:
        pairs = [by_answers[min(a.pk, b.pk), max(a.pk, b.pk)] for a, b in combinations(answers, 2)]
        changed += _led(pairs, known, answered)
    Comparison.objects.bulk_update(changed, ["asked_with", "for_people"], batch_size=200)
    seats_settle(project=project, comparison_ids=[row.pk for row in rows])
    return len(made)


def _led(pairs: list[Comparison], known: Collection[int], answered: Collection[int]) -> list[Comparison]:
    """Let one pair lead the others, one that nobody has answered if there is one; returns the others, changed.

    Pairs that are only there because of the set are not asked about as pairs. Those of evaluations, and those whose
    answer is known, stay as they are.
    """
    pairs = [row for row in pairs if not row.origin.startswith(EVALUATION) and not row.gold]
    lead = min(pairs, key=lambda row: (row.pk in answered, row.pk), default=None)
    others = [row for row in pairs if row is not lead]
    for row in others:
        row.asked_with = lead
        row.for_people = row.for_people and row.pk in known
    return others


def _free_answers(project: Project, prompt_ids: Sequence[int]) -> dict[int, list[Completion]]:
    """The answers of each prompt that are in no set, each text once."""
    in_sets = Comparison.objects.filter(prompt__in=prompt_ids, asked_with__isnull=False)
    taken = {pk for both in in_sets.values_list("first_id", "second_id") for pk in both}
    rows = Completion.objects.filter(ready(), project=project, prompt__in=prompt_ids, parent=None)
    rows = (rows.filter(run=None) | rows.filter(run__purpose=_MANUAL)).order_by("prompt", "pk")
    found: dict[int, dict[str, Completion]] = defaultdict(dict)
    for answer in rows.only("prompt_id", "project_id", "text"):
        found[answer.prompt_id].setdefault(answer.text, answer)
    return {prompt: [one for one in texts.values() if one.pk not in taken] for prompt, texts in found.items()}


def task_changed(project: Project, guideline: Guideline) -> None:
    """Make the sets that a guideline's task asks about, and let the seats follow; for many prompts in a job."""
    if not guideline.declared.of_sets:
        seats_wanted_changed(project)
    elif len(prompts_with_answers(project)) > PROMPTS_AT_ONCE:
        title = f"Make sets of {guideline.set_size} answers to rank"
        job_enqueue(
            kind="rankings.sets",
            turn=Turn.SOON,
            queue="cpu",
            payload={"size": guideline.set_size},
            project=project,
            title=title,
        )
    else:
        sets_make(project=project, size=guideline.set_size)
        seats_wanted_changed(project)


def sets_follow(project: Project, prompt_ids: Sequence[int]) -> None:
    """Put new answers into sets, where the project's task asks for sets."""
    current = guideline_current(project)
    if current is not None and current.declared.of_sets:
        sets_make(project=project, size=current.set_size, prompt_ids=prompt_ids)


def task_now(assignment: Assignment) -> Task:
    """The task of its project's guideline as it is now."""
    if assignment.task_now is None:
        current = guideline_current(assignment.project)
        return PAIR if current is None else current.declared
    return TASKS[assignment.task_now]


def sets_lay_out(assignments: Sequence[Assignment], task: Task, rng: Random) -> None:
    """Draw the order in which a person sees the answers of each set among the seats they hold, once for each seat.

    A seat of a set becomes one of its leading pair where the task has changed to pairs.
    """
    if not task.of_sets:
        changed = [seat for seat in assignments if seat.shown is not None]
        for seat in changed:
            seat.shown = None
    else:
        new = [seat for seat in assignments if seat.shown is None]
        answers = _answers_of([seat.comparison_id for seat in new])
        changed = [seat for seat in new if seat.comparison_id in answers]
        for seat in changed:
            seat.shown = answers[seat.comparison_id]
            rng.shuffle(seat.shown)
    if changed:
        Assignment.objects.bulk_update(changed, ["shown"])


def _answers_of(leading: Sequence[int]) -> dict[int, list[int]]:
    """The answers of the sets that these comparisons lead, by comparison; those that lead none are left out."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = Comparison.objects.filter(asked_with__in=leading) if leading else Comparison.objects.none()
    for lead, *both in rows.values_list("asked_with_id", "first_id", "second_id"):
        found[lead].update(both)
    return {lead: sorted(answers) for lead, answers in found.items()}
