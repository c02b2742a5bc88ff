"""The right rating of an answer, for leads who know it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.rankings.services.gold import MAX_NOTE
from apps.ratings import access, selectors, services
from apps.ratings.views.sent import values_sent
from apps.samples.exposure import answers_shown
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def gold(request: HttpRequest, slug: str, answer_id: int) -> HttpResponse:
    """Show an answer with its right rating, if one is known; POST says which it is, or with `act` = forget that none
    is.
    """
    answer = access.answer_for_adjudication(request.user, slug, answer_id)
    by = access.person(request.user)
    item = getattr(answer, "gold_item", None)
    if request.method == "POST":
        try:
            if request.POST.get("act") == "forget":
                services.rating_gold_unmark(answer=answer, by=by)
                messages.success(request, _("The answer is not gold any more."))
            else:
                services.rating_gold_mark(
                    answer=answer,
                    values=values_sent(request, "item-"),
                    by=by,
                    note=request.POST.get("note", ""),
                    for_practice=bool(request.POST.get("for_practice")),
                )
                messages.success(request, _("Saved as gold."))
        except PrefloopError as error:
            messages.error(request, _(str(error)))
            return redirect("ratings:gold", slug=slug, answer_id=answer_id)
        return redirect("rankings:gold", slug=slug)
    known = item.values if item is not None else {}
    if item is not None:
        answers_shown(user_id=by.pk, answer_ids=[answer.pk], where="ratings:gold")
    context = {
        "project": answer.project,
        "active": "review",
        "answer": answer,
        "turns": selectors.turns_of(answer.prompt),
        "items": [(one, known.get(one.name)) for one in selectors.items_shown(selectors.rubric_now(answer))],
        "item": item,
        "max_note": MAX_NOTE,
    }
    return render(request, "ratings/gold.html", context)
