"""Practice for ratings: answers with the right rating afterwards, for people who are not qualified yet."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.projects.selectors import guideline_current
from apps.rankings import selectors as work
from apps.rankings.services import practice_rate
from apps.ratings import access, selectors
from apps.ratings.views.sent import values_sent
from prefloop.rubrics import rubric_loaded
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def practice(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the next practice answer, or with `?answered=ID` what is right of that one; POST rates."""
    user = access.person(request.user)
    project = access.project_for_rating(user, slug)
    if project.practice_bound is None or not project.asks_ratings:
        return redirect("rankings:annotate", slug=slug)
    here = reverse("ratings:practice", args=[slug])
    if request.method == "POST":
        item = work.practice_ratings(project).filter(completion=_id(request.POST.get("answer", ""))).first()
        if item is None:
            raise Http404("no such practice answer")
        try:
            practice_rate(item=item, user=user, values=values_sent(request, "item-"))
        except PrefloopError as error:
            messages.error(request, _(str(error)))
            return redirect(here)
        return redirect(f"{here}?answered={item.completion_id}")
    mine = work.practice_of(project, user)
    done = work.practice_rating_of(mine, _id(request.GET.get("answered", "")))
    item = None if done is not None else work.practice_rating_next(project, mine)
    context: dict[str, Any] = {"project": project, "active": "annotate", "practice": mine, "done": done, "item": item}
    if done is not None:
        right = done.right_items
        context["answer"] = done.completion
        context["said"] = [
            (one, done.values[one.name], done.known[one.name], right[one.name]) for one in rubric_loaded(done.rubric)
        ]
        context["note"] = getattr(getattr(done.completion, "gold_item", None), "note", "")
    elif item is not None:
        context["answer"] = item.completion
        context["items"] = [(one, None) for one in selectors.items_shown(rubric_loaded(item.rubric))]
    if context.get("answer") is not None:
        context["turns"] = selectors.turns_of(context["answer"].prompt)
    context["guideline"] = guideline_current(project)
    return render(request, "ratings/practice.html", context)


def _id(given: str) -> int:
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
