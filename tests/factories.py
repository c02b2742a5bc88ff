"""Factories of what a project holds: prompts, answers, comparisons, judges, verdicts and votes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_numbers = itertools.count(1)


@pytest.fixture
def make_prompt(db: None) -> Callable[..., Any]:
    """make_prompt(project, text="…", split="train", prompt_set="main", **fields)."""
    from apps.prompts.models import Prompt, PromptSet

    def make(project: Any, text: str = "", *, prompt_set: Any = "main", **fields: Any) -> Any:
        if isinstance(prompt_set, str):
            prompt_set, _ = PromptSet.objects.get_or_create(project=project, name=prompt_set)
        number = next(_numbers)
        fields.setdefault("external_id", f"p{number}")
        text = text or f"Write a thank-you note to Maria about the flowers ({number})."
        return Prompt.objects.create(project=project, prompt_set=prompt_set, text=text, **fields)

    return make


@pytest.fixture
def make_completion(make_prompt: Callable[..., Any]) -> Callable[..., Any]:
    """make_completion(prompt, "text", **fields): the next answer of that prompt."""
    from apps.samples.models import Completion

    def make(prompt: Any, text: str = "Dear Maria, thank you.", **fields: Any) -> Any:
        if "index" not in fields:
            fields["index"] = Completion.objects.filter(prompt=prompt, run=fields.get("run")).count()
        return Completion.objects.create(project=prompt.project, prompt=prompt, text=text, **fields)

    return make


@pytest.fixture
def unsettled() -> dict[int, set[int]]:
    """The comparisons of each project whose seats and counts wait for the end of an `at_once`."""
    return {}


@pytest.fixture
def at_once(db: None, unsettled: dict[int, set[int]]) -> Callable[..., Any]:
    """with at_once(project, …): what the factories make of these projects gets its seats and counts at the end.

    By itself each vote and each comparison settles its own, which takes thirty statements.
    """
    from django.db import transaction

    from apps.labels.review_counts import reviews_refresh
    from apps.rankings.services.counts import counts_repair
    from apps.rankings.services.seats import seats_fill

    @contextmanager
    def settled(*projects: Any) -> Iterator[None]:
        unsettled.update({project.pk: set() for project in projects})
        yield
        for project in projects:
            comparisons = sorted(unsettled.pop(project.pk))
            reviews_refresh(comparisons)
            with transaction.atomic():
                seats_fill(project.pk, comparisons)
            counts_repair(project)

    return settled


@pytest.fixture
def make_comparison(
    make_prompt: Callable[..., Any], make_completion: Callable[..., Any], unsettled: dict[int, set[int]]
) -> Callable[..., Any]:
    """make_comparison(project, texts=("a", "b"), prompt=None, models=("", ""), **fields): canonical order."""
    from apps.rankings.services import seats_settle
    from apps.samples.models import Comparison

    def make(
        project: Any,
        texts: tuple[str, str] = ("Dear Maria, thank you for the flowers.", "Hey, I got the flowers."),
        *,
        prompt: Any = None,
        models: tuple[str, str] = ("", ""),
        **fields: Any,
    ) -> Any:
        prompt = prompt or make_prompt(project)
        first = make_completion(prompt, texts[0], model_name=models[0])
        second = make_completion(prompt, texts[1], model_name=models[1])
        made = Comparison.objects.create(project=project, prompt=prompt, first=first, second=second, **fields)
        if project.pk in unsettled:
            unsettled[project.pk].add(made.pk)
        else:
            seats_settle(project=project, comparison_ids=[made.pk])
        return made

    return make


@pytest.fixture
def make_comparisons(make_comparison: Callable[..., Any], at_once: Callable[..., Any]) -> Callable[..., Any]:
    """make_comparisons(project, 30): so many, whose seats are made at the end."""

    def make(project: Any, n: int) -> list[Any]:
        with at_once(project):
            return [make_comparison(project) for _ in range(n)]

    return make


@pytest.fixture
def make_judge(db: None) -> Callable[..., Any]:
    """make_judge(project, "name", kind="imported", **fields)."""
    from apps.labels.models import Judge

    def make(project: Any, name: str = "", *, kind: str = "imported", **fields: Any) -> Any:
        return Judge.objects.create(project=project, name=name or f"judge-{next(_numbers)}", kind=kind, **fields)

    return make


@pytest.fixture
def make_verdict(make_judge: Callable[..., Any], unsettled: dict[int, set[int]]) -> Callable[..., Any]:
    """make_verdict(comparison, "first", judge=None, order="01", state="ok", **fields)."""
    from apps.labels.models import Verdict
    from apps.labels.review_counts import reviews_counted

    def make(comparison: Any, outcome: str = "first", *, judge: Any = None, order: str = "01", **fields: Any) -> Any:
        judge = judge or make_judge(comparison.project)
        fields.setdefault("state", "ok" if outcome else "unparseable")
        fields |= {"judge": judge, "comparison": comparison, "order": order, "outcome": outcome}
        if comparison.project_id in unsettled:
            unsettled[comparison.project_id].add(comparison.pk)
            return Verdict.objects.create(**fields)
        with reviews_counted([comparison.pk]):
            return Verdict.objects.create(**fields)

    return make


@pytest.fixture
def make_vote(db: None, unsettled: dict[int, set[int]]) -> Callable[..., Any]:
    """make_vote(comparison, "first", user=None, rater="", **fields): a blind vote of a person."""
    from apps.labels.models import Vote
    from apps.labels.review_counts import reviews_settle
    from apps.rankings.services.counts import counted
    from apps.rankings.services.seats import seats_fill

    def make(comparison: Any, choice: str = "first", *, user: Any = None, rater: str = "", **fields: Any) -> Any:
        rater = rater or (user.username if user is not None else f"rater{next(_numbers)}")
        fields.setdefault("order", "01")
        fields |= {"comparison": comparison, "user": user, "rater": rater, "choice": choice}
        if comparison.project_id in unsettled:
            unsettled[comparison.project_id].add(comparison.pk)
            return Vote.objects.create(**fields)
        with counted(comparison.project_id, [comparison.pk]):
            made = Vote.objects.create(**fields)
            reviews_settle([comparison.pk])
            seats_fill(comparison.project_id, [comparison.pk])
        return made

    return make
