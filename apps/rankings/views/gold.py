"""Gold pairs, for leads: marking a pair's right answer, the list of them, and their share of what people get."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.rankings import access, selectors, services
from apps.rankings.forms import ShareForm
from apps.samples.exposure import answers_shown, labels_shown
from prefloop.types import PrefloopError

SHOWN = 50


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def gold(request: HttpRequest, slug: str) -> HttpResponse:
    """List the gold pairs and answers with how people and judges answered them; POST sets their share."""
    project = access.project_for_adjudication(request.user, slug)
    form = ShareForm(request.POST or None, initial={"share": project.gold_share})
    if request.method == "POST" and form.is_valid():
        services.gold_share_set(project=project, share=form.cleaned_data["share"], by=access.person(request.user))
        messages.success(request, _("Saved."))
        return redirect("rankings:gold", slug=slug)
    page = Paginator(selectors.gold_of(project), SHOWN).get_page(request.GET.get("page"))
    items = selectors.gold_answers(page.object_list)
    labels_shown(request, [item.comparison.pk for item in items])
    rated_page = Paginator(selectors.gold_rated(project), SHOWN).get_page(request.GET.get("answers"))
    rated = selectors.gold_rated_answers(rated_page.object_list)
    told = [one.answer.pk for one in rated]
    answers_shown(user_id=access.person(request.user).pk, answer_ids=told, where="rankings:gold")
    context = {"project": project, "active": "review", "form": form, "page": page, "items": items}
    context |= {"rated_page": rated_page, "rated": rated}
    return render(request, "rankings/gold.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def mark(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    """Say which answer of a pair is right, or with an empty choice that it is not known."""
    comparison = access.comparison_for_adjudication(request.user, slug, comparison_id)
    by, outcome = access.person(request.user), request.POST.get("choice", "")
    try:
        if outcome:
            note, practice = request.POST.get("note", ""), bool(request.POST.get("for_practice"))
            services.gold_mark(comparison=comparison, outcome=outcome, by=by, note=note, for_practice=practice)
        else:
            services.gold_unmark(comparison=comparison, by=by)
    except PrefloopError as error:
        messages.error(request, _(str(error)))
    else:
        messages.success(request, _("Saved as gold.") if outcome else _("The pair is not gold any more."))
    if request.POST.get("back") == "gold":
        return redirect("rankings:gold", slug=slug)
    return redirect("rankings:comparison", slug=slug, comparison_id=comparison_id)
