"""The second look: what a judge said, and whether a person agrees."""

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
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.judging.models import Judge
from apps.projects.models import Project, Role
from apps.rankings import access, rounds, selectors, services
from apps.samples.models import Comparison
from prefloop.types import PrefloopError

SHOWN = 200  # lines of the queue in the page; the rest is said in a number
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
    if request.GET.get("part") == "detail":
        judge = _judge(request, project)
        if judge is None:
            raise Http404("no judge has said anything here")
        context = {"project": project, "filters": _filters(request), **_detail_context(request, comparison, judge)}
        return render(request, "rankings/_review_detail.html", context)
    context = _queue_context(request, project)
    if context["judge"] is None:
        raise Http404("no judge has said anything here")
    context |= _detail_context(request, comparison, context["judge"])
    context["next_id"] = _after(context["items"], comparison.pk)
    return render(request, "rankings/review.html", context)


@login_required
@never_cache
@require_POST
def decide(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Agree with the judge's label, or say what it should have been, with the reason."""
    comparison = access.comparison_for_review(request.user, slug, comparison_id)
    judge = _judge(request, comparison.project)
    if judge is None:
        raise Http404("no judge has said anything here")
    choice = request.POST.get("choice", "")
    try:
        services.override_create(
            comparison=comparison,
            judge=judge,
            user=access.person(request.user),
            kind=request.POST.get("kind") or ("override" if choice else ""),
            choice=choice,
            reason=_reason(request),
            now=timezone.now(),
        )
    except PrefloopError as error:
        return _refused(request, comparison, error)
    return _decided(request, comparison)


@login_required
@never_cache
@require_POST
def withdraw(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Take back one's own decision."""
    comparison = access.comparison_for_review(request.user, slug, comparison_id)
    taken = services.override_withdraw(comparison=comparison, user=access.person(request.user), now=timezone.now())
    if taken is None and not _wants_json(request):
        messages.error(request, _("You have no decision here to take back."))
    return _decided(request, comparison, stay=True)


@login_required
@never_cache
@require_GET
def comparison(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """A comparison with everything ever said about it."""
    found = access.comparison_for(request.user, slug, comparison_id, Role.LEAD)
    user = access.person(request.user)
    services.comparison_mark_seen(comparison=found, user=user, now=timezone.now())
    context = {
        "project": found.project,
        "active": "review",
        "comparison": found,
        "turns": selectors.conversation(found),
        "judges": selectors.said_by_judges(found),
        "events": selectors.label_history(found),
        "decision": selectors.decision_of(found),
        "preference": getattr(found, "preference", None),
    }
    return render(request, "rankings/comparison.html", context)


def _queue_context(request: HttpRequest, project: Project) -> dict[str, Any]:
    judge = _judge(request, project)
    show = request.GET.get("show", "todo")
    show = show if show in SHOW else "todo"
    ids = _round_ids(request, project)
    items = selectors.review_queue(project, judge=judge, comparison_ids=ids, decided=_DECIDED[show]) if judge else []
    names = Judge.objects.filter(project=project, verdicts__isnull=False).values_list("name", flat=True)
    return {
        "project": project,
        "active": "review",
        "judge": judge,
        "judge_names": sorted(set(names)),
        "show": show,
        "round_id": request.GET["round"] if ids is not None else "",
        "items": items[:SHOWN],
        "n_items": len(items),
        "n_more": max(0, len(items) - SHOWN),
        "effect": selectors.override_effect(project, comparison_ids=ids, judge=judge),
        "filters": _filters(request),
    }


def _detail_context(request: HttpRequest, comparison: Comparison, judge: Judge) -> dict[str, Any]:
    user = access.person(request.user)
    # Seeing a judge's label ends blindness: this person is not asked for a blind vote on it any more.
    services.comparison_mark_seen(comparison=comparison, user=user, now=timezone.now())
    detail = selectors.review_detail(comparison, judge)
    return {
        "detail": detail,
        "turns": selectors.conversation(comparison),
        "selected": comparison.pk,
        "reasons": services.REASONS,
        "may_see_people": access.may_see_people(user, comparison.project),
        "is_mine": detail.decision is not None and detail.decision.user_id == user.pk,
    }


def _judge(request: HttpRequest, project: Project) -> Judge | None:
    """The judge under review: the one asked for, else the one that labelled the round, else the project's."""
    name = request.POST.get("judge") or request.GET.get("judge", "")
    ids = None if name else _round_ids(request, project)
    return (selectors.judge_on(ids) if ids else None) or selectors.review_judge(project, name)


def _round_ids(request: HttpRequest, project: Project) -> Sequence[int] | None:
    """What the round of the address asks people about; None where the address names no round."""
    round_id = request.GET.get("round", "")
    if not (round_id.isascii() and round_id.isdigit()):
        return None
    ids = rounds.comparison_ids_of_round(project, int(round_id))
    if ids is None:
        raise Http404("no such round")
    return ids


def _filters(request: HttpRequest) -> str:
    """The queue's filters, for links that keep them: "" or "?judge=…&show=…"."""
    kept = {key: request.GET[key] for key in ("judge", "show", "round") if request.GET.get(key)}
    return f"?{urlencode(kept)}" if kept else ""


def _after(items: list[selectors.QueueItem], selected: int | None) -> int | None:
    ids = [item.comparison_id for item in items]
    if selected not in ids:
        return ids[0] if ids else None
    position = ids.index(selected) + 1
    return ids[position] if position < len(ids) else None


def _reason(request: HttpRequest) -> str:
    """The reasons picked, in plain words, then whatever was written."""
    picked = [services.REASONS[code] for code in request.POST.getlist("why") if code in services.REASONS]
    return " — ".join(part for part in ("; ".join(picked), request.POST.get("reason", "").strip()) if part)


def _decided(request: HttpRequest, comparison: Comparison, *, stay: bool = False) -> HttpResponse:
    project = comparison.project
    if not _wants_json(request):
        following = "" if stay else request.POST.get("next", "")
        if following.isascii() and following.isdigit():
            address = reverse("rankings:review-item", args=[project.slug, int(following)])
        elif stay:
            address = reverse("rankings:review-item", args=[project.slug, comparison.pk])
        else:
            address = reverse("rankings:review", args=[project.slug])
        return redirect(address + _filters(request))
    decision = selectors.decision_of(comparison)
    ids = _round_ids(request, project)
    effect = selectors.override_effect(project, comparison_ids=ids, judge=_judge(request, project))
    body = {
        "kind": decision.kind if decision is not None else "",
        "choice": selectors.LETTER.get(decision.choice, "") if decision is not None else "",
        "strip": render_to_string("rankings/_review_strip.html", {"effect": effect, "project": project}, request),
    }
    return JsonResponse(body)


def _wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _refused(request: HttpRequest, comparison: Comparison, error: PrefloopError) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"detail": _(str(error))}, status=400)
    messages.error(request, _(str(error)))
    address = reverse("rankings:review-item", args=[comparison.project.slug, comparison.pk])
    return redirect(address + _filters(request))
