"""Deleting a prompt's, a person's or a project's data, and how long data are kept: an owner's pages."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts.views import person, posted
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.removal.forms import DeletionForm, RetentionForm, names_in
from apps.removal.retention import retention_set
from apps.removal.services import Asked, check_free, effect_of, last_failure, removal_start
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def deletion(request: HttpRequest, slug: str) -> HttpResponse:
    """Choose what is deleted and see what goes with it; POST deletes it."""
    project = project_for(person(request), slug, Role.OWNER)
    given = posted(request) or (request.GET if "kind" in request.GET else None)
    form = DeletionForm(given, project=project)
    effect = None
    if given is not None and form.is_valid():
        asked = Asked(**form.cleaned_data)
        try:
            if request.method == "POST":
                removal_start(project=project, asked=asked, by=person(request))
                messages.success(request, _("The deletion has begun. The audit log says when it is done."))
                return redirect("/" if asked.kind == "project" else f"/p/{slug}/settings/deletion/")
            effect = effect_of(project, asked)
            check_free(project, asked)
        except PrefloopError as error:
            form.add_error(None, str(error))
    context = {
        "project": project,
        "active": "settings",
        "tab": "deletion",
        "is_owner": True,
        "form": form,
        "effect": effect,
        "failure": last_failure(project),
        "people": names_in(project),
        "retention_form": RetentionForm(initial=project.retention),
    }
    return render(request, "removal/deletion.html", context, status=400 if form.errors else 200)


@login_required
@require_http_methods(["POST"])
def retention(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.OWNER)
    form = RetentionForm(request.POST)
    if form.is_valid():
        retention_set(project=project, days=form.cleaned_data, by=person(request))
        messages.success(request, _("Saved."))
    else:
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    return redirect("removal:deletion", slug=slug)
