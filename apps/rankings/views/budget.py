"""Pausing annotation, and the budget of labels, for leads."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.rankings import access, selectors, services
from apps.rankings.forms import BudgetForm
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def budget(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the budget, what of it is used and by whom, and who is paused; POST sets the budget."""
    project = access.project_for_adjudication(request.user, slug)
    form = BudgetForm(request.POST or None, initial=BudgetForm.initial_of(project))
    if request.method == "POST" and form.is_valid():
        services.budget_set(project=project, by=access.person(request.user), **form.budget())
        messages.success(request, _("Saved."))
        return redirect("rankings:budget", slug=slug)
    context = {
        "project": project,
        "active": "review",
        "form": form,
        "budget": selectors.budget_of(project, now=timezone.now()),
    }
    return render(request, "rankings/budget.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def pause(request: HttpRequest, slug: str) -> HttpResponse:
    """Pause the project, or with `user` one member, for the reason `why`; without a reason go on."""
    project = access.project_for_adjudication(request.user, slug)
    by, why, whose = access.person(request.user), request.POST.get("why", ""), request.POST.get("user", "")
    pauses = request.POST.get("act") == "pause"
    user = access.member_of(project, whose) if whose else None
    try:
        services.queue_pause(project=project, pauses=pauses, why=why, user=user, by=by)
    except PrefloopError as error:
        messages.error(request, _(str(error)))
    else:
        messages.success(request, _("Paused.") if pauses else _("Annotation goes on."))
    return redirect("rankings:budget", slug=slug)
