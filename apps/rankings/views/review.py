"""The review page: a judge's verdict, and whether a person agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.labels.effect import OverrideEffect, override_effect, override_effect_kept
from apps.labels.models import Judge
from apps.labels.selectors import counting_votes, decision_of, label_judge, preferences
from apps.projects.models import Project, Role
from apps.rankings import access, rounds, selectors, services
from apps.rankings.views.said import said_why
from apps.samples.exposure import labels_shown
from apps.samples.models import Comparison
from prefloop.types import PrefloopError

SHOW = ("todo", "done", "all")
_DECIDED = {"todo": False, "done": True, "all": None}


@login_required
@never_cache
@require_GET
def queue(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_review(request.user, slug)
    context = _queue_context(request, project)
    if context["items"] and context["judge"] is not None:
        first = access.comparison_for_review(request.user, slug, context["items"][0].comparison_id)
        context |= _detail_context(request, first, context["judge"])
    context["next_id"] = _after(context["items"], context.get("selected"))
    return render(request, "rankings/review.html", context)


@login_required
@never_cache
@require_GET
def item(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    comparison = access.comparison_for_review(request.user, slug, comparison_id)
    project = comparison.project
    judge = _judge(request, project, comparison)
    if request.GET.get("part") == "detail":
        if judge is None:
            raise Http404("no judge has given a verdict here")
        context = {"project": project, "filters": _filters(request), **_detail_context(request, comparison, judge)}
        return render(request, "rankings/_review_detail.html", context)
    if judge is None:
        raise Http404("no judge has given a verdict here")
    context = _queue_context(request, project, judge)
    context |= _detail_context(request, comparison, judge)
    context["next_id"] = _after(context["items"], comparison.pk)
    return render(request, "rankings/review.html", context)


@login_required
@never_cache
@require_POST
def decide(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Agree with the judge's label, or correct it with a reason."""
    comparison = access.comparison_for_review(request.user, slug, comparison_id)
    judge = _judge(request, comparison.project, comparison)
    if judge is None:
        raise Http404("no judge has given a verdict here")
    choice = request.POST.get("choice", "")
    try:
        services.override_create(
            comparison=comparison,
            judge=judge,
            user=access.person(request.user),
            kind=request.POST.get("kind") or ("override" if choice else ""),
            choice=choice,
            reason=said_why(request, services.REASONS),
            now=timezone.now(),
        )
    except PrefloopError as error:
        return _refused(request, comparison, error)
    return _decided(request, comparison)


@login_required
@never_cache
@require_POST
def withdraw(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Withdraw one's own decision. A person without one gets an error, and nobody else's decision changes."""
    comparison = access.comparison_for_review(request.user, slug, comparison_id)
    judge = _judge(request, comparison.project, comparison)
    criterion = "" if judge is None else judge.criterion_name
    user, now = access.person(request.user), timezone.now()
    try:
        services.override_withdraw(comparison=comparison, user=user, now=now, criterion=criterion)
    except PrefloopError as error:
        return _refused(request, comparison, error, to="rankings:review")
    return _decided(request, comparison, stay=True)


@login_required
@never_cache
@require_POST
def undo(request: HttpRequest, slug: str) -> HttpResponse:
    """Withdraw one's last decision in the project, whenever it was made."""
    project = access.project_for_review(request.user, slug)
    try:
        taken = services.override_undo(project=project, user=access.person(request.user), now=timezone.now())
    except PrefloopError as error:
        if _wants_json(request):
            return JsonResponse({"detail": _(str(error))}, status=400)
        messages.error(request, _(str(error)))
        return redirect(reverse("rankings:review", args=[slug]) + _filters(request))
    return _decided(request, taken.comparison, stay=True, judge=taken.judge)


@login_required
@never_cache
@require_GET
def comparison(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """A comparison with all its labels."""
    found = access.comparison_for(request.user, slug, comparison_id, Role.LEAD)
    labels_shown(request, [found.pk])
    standing = counting_votes(None).filter(comparison=found).order_by()
    context = {
        "project": found.project,
        "active": "review",
        "comparison": found,
        "drawn": selectors.marks_drawn(selectors.marked(standing, found), found, whose=True),
        "turns": selectors.conversation(found),
        "judges": selectors.said_by_judges(found),
        "events": selectors.label_history(found),
        "decision": decision_of(found),
        "preference": preferences().filter(comparison=found).first(),
        "label_judge": label_judge(found.project),
        "gold_item": getattr(found, "gold_item", None),
        "may_edit": access.may_edit(request.user, found.project),
        "filters": _filters(request),
    }
    return render(request, "rankings/comparison.html", context)


def _queue_context(request: HttpRequest, project: Project, judge: Judge | None = None) -> dict[str, Any]:
    judge = judge or _judge(request, project)
    show = request.GET.get("show", "todo")
    show = show if show in SHOW else "todo"
    ids = _round_ids(request, project)
    user = access.person(request.user)
    items: list[selectors.QueueItem] = []
    n = 0
    if judge is not None:
        decided = _DECIDED[show]
        items = selectors.review_queue(
            project,
            judge=judge,
            comparison_ids=ids,
            decided=decided,
            viewer=user,
            with_people=access.may_see_people(user, project),
        )
        n = selectors.n_to_review(project, judge=judge, comparison_ids=ids, decided=decided)
    return {
        "project": project,
        "active": "review",
        "judge": judge,
        "judge_names": selectors.judges_to_review(project),
        "show": show,
        "round_id": request.GET["round"] if ids is not None else "",
        "items": items,
        "count_words": _count_words(n),
        "n_more": max(0, n - len(items)),
        "effect": _effect(project, judge, ids),
        "filters": _filters(request),
        "may_adjudicate": (leads := access.may_see_people(user, project)),
        "n_flags": selectors.flags_of(project).count() if leads else 0,
    }


def _effect(project: Project, judge: Judge | None, ids: Sequence[int] | None) -> OverrideEffect | None:
    if ids is not None:
        return override_effect(project, comparison_ids=ids, judge=judge)
    return None if judge is None else override_effect_kept(judge)


def _detail_context(request: HttpRequest, comparison: Comparison, judge: Judge) -> dict[str, Any]:
    user = access.person(request.user)
    labels_shown(request, [comparison.pk])
    may_see_people = access.may_see_people(user, comparison.project)
    detail = selectors.review_detail(comparison, judge, with_people=may_see_people)
    return {
        "detail": detail,
        "drawn": selectors.marks_drawn(detail.marks, comparison, whose=True) if may_see_people else {},
        "turns": selectors.conversation(comparison),
        "selected": comparison.pk,
        "reasons": services.REASONS,
        "may_see_people": may_see_people,
        "may_edit": access.may_edit(user, comparison.project),
        "is_mine": detail.decision is not None and detail.decision.user_id == user.pk,
    }


def _judge(request: HttpRequest, project: Project, comparison: Comparison | None = None) -> Judge | None:
    """The judge under review: the one asked for, else the one that labelled the round, else the project's.

    A judge without a verdict on the comparison under review is replaced by one that has one.
    """
    name = request.POST.get("judge") or request.GET.get("judge", "")
    ids = _round_ids(request, project) or ()
    if ids and not name:
        labelled = selectors.judge_on(ids)
        name = labelled.name if labelled is not None else ""
    return selectors.review_judge(project, name, comparison_ids=[comparison.pk] if comparison is not None else ids)


def _round_ids(request: HttpRequest, project: Project) -> Sequence[int] | None:
    """The comparisons that the round in the address asks people about; None if the address names no round."""
    round_id = request.GET.get("round", "")
    if not (round_id.isascii() and round_id.isdigit()):
        return None
    ids = rounds.comparison_ids_of_round(project, int(round_id))
    if ids is None:
        raise Http404("no such round")
    return ids


def _filters(request: HttpRequest, *, judge: Judge | None = None) -> str:
    """The queue's filters, for links that keep them: "" or "?judge=…&show=…". `judge`: another judge than theirs."""
    kept = {key: request.GET[key] for key in ("judge", "show", "round") if request.GET.get(key)}
    if judge is not None:
        kept["judge"] = judge.name
    return f"?{urlencode(kept)}" if kept else ""


def _count_words(n: int) -> str:
    words = ngettext("%(n)d comparison, most useful first", "%(n)d comparisons, most useful first", n)
    return words % {"n": n}


def _after(items: list[selectors.QueueItem], selected: int | None) -> int | None:
    ids = [item.comparison_id for item in items]
    if selected not in ids:
        return ids[0] if ids else None
    position = ids.index(selected) + 1
    return ids[position] if position < len(ids) else None


def _decided(
    request: HttpRequest, comparison: Comparison, *, stay: bool = False, judge: Judge | None = None
) -> HttpResponse:
    """Return the current state; `judge`: whose label the decision was about, if the request does not say it."""
    project = comparison.project
    if not _wants_json(request):
        following = "" if stay else request.POST.get("next", "")
        if following.isascii() and following.isdigit():
            address = reverse("rankings:review-item", args=[project.slug, int(following)])
        elif stay:
            address = reverse("rankings:review-item", args=[project.slug, comparison.pk])
        else:
            address = reverse("rankings:review", args=[project.slug])
        return redirect(address + _filters(request, judge=judge))
    labels_shown(request, [comparison.pk])
    ids = _round_ids(request, project)
    under_review = _judge(request, project)
    about = judge or under_review
    decision = decision_of(comparison, "" if about is None else about.criterion_name)
    effect = _effect(project, under_review, ids)
    n_left = selectors.n_to_review(project, judge=under_review, comparison_ids=ids)
    address = reverse("rankings:review-item", args=[project.slug, comparison.pk])
    body = {
        "comparison": comparison.pk,
        "address": address + _filters(request, judge=judge),
        "n_to_review": selectors.n_to_review(project),
        "count_words": _count_words(n_left) if request.GET.get("show", "todo") == "todo" else "",
        "kind": decision.kind if decision is not None else "",
        "choice": selectors.LETTER.get(decision.choice, "") if decision is not None else "",
        "strip": render_to_string("rankings/_review_strip.html", {"effect": effect, "project": project}, request),
    }
    return JsonResponse(body)


def _wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _refused(
    request: HttpRequest, comparison: Comparison, error: PrefloopError, *, to: str = "rankings:review-item"
) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"detail": _(str(error))}, status=getattr(error, "http_status", 400))
    messages.error(request, _(str(error)))
    args = [comparison.project.slug, comparison.pk] if to == "rankings:review-item" else [comparison.project.slug]
    address = reverse(to, args=args)
    return redirect(address + _filters(request))
