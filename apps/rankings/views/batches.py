"""Batches, for leads: pairs that come first for everybody or for named people, with a deadline and their progress."""

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
from apps.rankings.forms import BatchForm
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def batches(request: HttpRequest, slug: str) -> HttpResponse:
    """List the batches; POST makes one of the pairs that fit."""
    project = access.project_for_adjudication(request.user, slug)
    form = BatchForm(project, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.batch_of_fitting(project=project, by=access.person(request.user), **form.wanted())
        except PrefloopError as error:
            form.add_error(None, _(str(error)))
        else:
            messages.success(request, _("The batch has %(n)d pairs.") % {"n": made.items.count()})
            return redirect("rankings:batches", slug=slug)
    context = {
        "project": project,
        "active": "review",
        "form": form,
        "batches": selectors.batches_of(project, now=timezone.now()),
        "n_fitting": selectors.batchable(project).count(),
    }
    return render(request, "rankings/batches.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def close(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    batch = access.batch_for_lead(request.user, slug, pk)
    services.batch_close(batch=batch, by=access.person(request.user), now=timezone.now())
    messages.success(request, _("The batch is closed. What was left of it comes like any other pair."))
    return redirect("rankings:batches", slug=slug)
