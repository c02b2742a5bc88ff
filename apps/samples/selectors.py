"""Reads of completions and comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from django.core.paginator import Page
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.core.paging import PagesAhead
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, ready
from apps.samples.models import EDIT, Comparison, Completion, SamplingRun, comparable
from apps.samples.progress import GroupProgress, group_progress_of

ANSWERS_SHOWN = 4  # of one prompt, in the browser; its own page shows more
PROMPT_ANSWERS_SHOWN = 200


def completion_list(
    project: Project,
    *,
    model_name: str = "",
    run_id: int | None = None,
    search: str = "",
    split: str = "",
    finished: bool | None = None,
) -> QuerySet[Completion]:
    """Return completions with their prompts, those of one prompt together."""
    completions = (
        Completion.objects.filter(ready(), project=project)
        .select_related("prompt", "run", "run__checkpoint")
        .order_by("prompt_id", "run_id", "index")
    )
    if model_name:
        completions = completions.filter(model_name=model_name)
    if run_id is not None:
        completions = completions.filter(run_id=run_id)
    if split:
        completions = completions.filter(prompt__split=split)
    if finished is not None:
        completions = completions.filter(finished=finished)
    if search:
        completions = completions.filter(Q(text__icontains=search) | Q(prompt__text__icontains=search))
    return completions


def comparison_list(project: Project) -> QuerySet[Comparison]:
    """Return the comparisons that people or judges can be asked about: all but those of equal answers."""
    return Comparison.objects.filter(ready(), comparable(), project=project).order_by("id")


def sampling_run_list(project: Project) -> QuerySet[SamplingRun]:
    # counted run by run, so that a page counts the answers of its own runs only
    answers = Completion.objects.filter(run=OuterRef("pk")).order_by().values("run").annotate(n=Count("pk")).values("n")
    return (
        SamplingRun.objects.filter(project=project)
        .select_related("checkpoint", "endpoint", "prompt_set", "group")
        .annotate(n_completions=Coalesce(Subquery(answers), 0))
        .order_by("-id")
    )


def recent_run_choices(project: Project) -> list[SamplingRun]:
    """Give the last runs, to choose one from."""
    runs = SamplingRun.objects.filter(project=project).select_related("checkpoint", "endpoint").defer("prompt_ids")
    return list(runs.order_by("-id")[:50])


def model_names(project: Project) -> list[str]:
    """Name the models that answered, by one look into the index for each rather than one for each answer."""
    table = connection.ops.quote_name(Completion._meta.db_table)
    after = f"SELECT MIN(model_name) FROM {table} WHERE project_id = %s AND model_name > "  # noqa: S608 - no value is in it
    statement = (
        f"WITH RECURSIVE named(name) AS ({after} %s UNION ALL "  # noqa: S608 - nor here
        f"SELECT ({after} named.name) FROM named WHERE named.name IS NOT NULL) "
        "SELECT name FROM named WHERE name IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [project.pk, "", project.pk])
        names = [str(name) for (name,) in cursor.fetchall()]
    if ImportBatch.objects.filter(project=project, ready=False).exists():
        there = Completion.objects.filter(ready(), project=project)
        names = [name for name in names if there.filter(model_name=name).exists()]
    return sorted(names)


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion as pages show it. `scores`: (judge's name, mean of its scores); `flags`: (name, desirable)."""

    completion: Completion
    scores: tuple[tuple[str, float], ...]
    flags: tuple[tuple[str, bool], ...]
    n_tokens: int | None
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class EditedAnswer:
    """An answer that a person edited. `comparisons`: of it with the answer before, where it was said to be better."""

    completion: Completion
    comparisons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptAnswers:
    prompt: Prompt
    answers: list[Answer] = field(default_factory=list)
    n: int = 0  # answers that fit the filter; `answers` may hold fewer


def answered_prompts(
    project: Project, completions: QuerySet[Completion], *, page: str | None, size: int
) -> Page[Prompt]:
    """Return a page of the prompts with matching completions; their answers come from `page_groups`."""
    theirs = completions.order_by().filter(prompt_id=OuterRef("pk")).values("pk")
    prompts = Prompt.objects.filter(Exists(theirs), project=project).select_related("prompt_set").order_by("id")
    return PagesAhead(prompts, size).get_page(page)


def page_groups(completions: QuerySet[Completion], prompts: Sequence[Prompt]) -> list[PromptAnswers]:
    """Return each prompt's matching answers, the first few of each, with their scores: four queries."""
    by_prompt: dict[int, list[int]] = defaultdict(list)
    ids = [prompt.pk for prompt in prompts]
    rows = completions.filter(prompt_id__in=ids).order_by("prompt_id", "run_id", "index")
    for prompt_id, pk in rows.values_list("prompt_id", "id"):
        by_prompt[prompt_id].append(pk)
    shown = [pk for group in by_prompt.values() for pk in group[:ANSWERS_SHOWN]]
    answers = {answer.completion.pk: answer for answer in answers_of(shown)}
    return [
        PromptAnswers(
            prompt=prompt,
            answers=[answers[pk] for pk in by_prompt[prompt.pk][:ANSWERS_SHOWN] if pk in answers],
            n=len(by_prompt[prompt.pk]),
        )
        for prompt in prompts
    ]


def answers_of(completion_ids: Iterable[int]) -> list[Answer]:
    """Return completions with their scores by judges, in order of creation."""
    rows = (
        Completion.objects.filter(pk__in=list(completion_ids))
        .select_related("run__checkpoint")
        .prefetch_related("scores__judge")  # of apps/judging, which lies above: read by name
        .order_by("prompt_id", "run_id", "index")
    )
    return [Answer(row, _scores(row), _flags(row), len(row.token_ids) or None) for row in rows]


def _scores(completion: Completion) -> tuple[tuple[str, float], ...]:
    values: dict[str, list[float]] = defaultdict(list)
    for score in completion.scores.all():
        if score.state == "ok" and score.value is not None and not score.flag:
            values[score.judge.name].append(score.value)
    return tuple((name, sum(many) / len(many)) for name, many in sorted(values.items()))


def _flags(completion: Completion) -> tuple[tuple[str, bool], ...]:
    rows = sorted(completion.scores.all(), key=lambda score: score.sample)
    return tuple(sorted({score.judge.name: score.value == 1 for score in rows if score.flag}.items()))


def edited_answers(project: Project, *, most: int = 200) -> list[EditedAnswer]:
    """Return the latest answers that people edited, with the answers before the edit."""
    rows = Completion.objects.filter(ready(), project=project, parent__isnull=False).select_related("prompt", "parent")
    found = list(rows.defer("token_ids", "parent__token_ids").order_by("-pk")[:most])
    pairs = Comparison.objects.filter(second__in=found, origin=EDIT).values_list("second_id", "first_id", "pk")
    by_pair = {(second, first): pk for second, first, pk in pairs}
    keys = [by_pair.get((row.pk, row.parent_id or 0)) for row in found]
    return [EditedAnswer(row, () if key is None else (key,)) for row, key in zip(found, keys, strict=True)]


def prompt_answers(prompt: Prompt) -> tuple[PromptAnswers, list[Comparison]]:
    """Return a prompt's answers, each with its comparisons and their labels."""
    ids = list(
        Completion.objects.filter(ready(), prompt=prompt)
        .order_by("run_id", "index")
        .values_list("id", flat=True)[:PROMPT_ANSWERS_SHOWN]
    )
    comparisons = list(
        Comparison.objects.filter(ready(), prompt=prompt)
        .select_related("first", "second")
        .prefetch_related("preferences")
        .order_by("id")[:PROMPT_ANSWERS_SHOWN]
    )
    mine: dict[int, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        mine[comparison.first_id].append(comparison)
        mine[comparison.second_id].append(comparison)
    answers = [replace(answer, comparisons=tuple(mine[answer.completion.pk])) for answer in answers_of(ids)]
    n = Completion.objects.filter(ready(), prompt=prompt).count()
    return PromptAnswers(prompt=prompt, answers=answers, n=n), comparisons


@dataclass(frozen=True, slots=True)
class RunRow:
    """A sampling run for pages: `n_done` of `n_wanted` answers exist."""

    run: SamplingRun
    n_wanted: int
    n_done: int
    progress: GroupProgress

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.run.pk, self.n_done, self.progress.state, self.progress.n_ended)


def run_rows(runs: Sequence[SamplingRun]) -> list[RunRow]:
    """Return runs (of `sampling_run_list`) with their progress."""
    progress = group_progress_of(run.group for run in runs)
    return [
        RunRow(
            run=run,
            n_wanted=len(run.prompt_ids) * run.n,
            n_done=run.n_completions,  # type: ignore[attr-defined]
            progress=progress.get(run.group_id or 0, GroupProgress(state="done")),
        )
        for run in runs
    ]
