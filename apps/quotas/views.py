"""The pages of quotas: of a project for its owners, of everything for an administrator, who sets them there."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.models import User
from apps.accounts.views import person, posted
from apps.core.paging import PagesAhead
from apps.projects.access import is_operator
from apps.projects.models import Project
from apps.quotas import access, selectors
from apps.quotas.forms import PersonQuotasForm, ProjectQuotasForm
from apps.quotas.kinds import written
from apps.quotas.services import quotas_set

A_PAGE = 50


@login_required
@never_cache
@require_GET
def of_project(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_quotas(person(request), slug)
    context = {
        "project": project,
        "active": "settings",
        "tab": "quotas",
        "is_owner": True,
        "lines": selectors.lines_of_project(project),
        "may_set": is_operator(person(request)),
    }
    return render(request, "quotas/project.html", context)


@login_required
@never_cache
@require_GET
def everything(request: HttpRequest) -> HttpResponse:
    """The quotas of all projects, or of all people: for whoever runs the installation."""
    access.operators_only(person(request))
    whose = "people" if request.GET.get("whose") == "people" else "projects"
    rows: list[tuple[Any, list[selectors.Line]]]
    if whose == "people":
        page: Any = PagesAhead(selectors.people_to_list(), A_PAGE).get_page(request.GET.get("page"))
        rows = [*selectors.lines_of_people(list(page))]
    else:
        page = PagesAhead(selectors.projects_to_list(), A_PAGE).get_page(request.GET.get("page"))
        rows = [*selectors.lines_of_projects(list(page))]
    context = {"project": None, "active": "", "whose": whose, "page": page, "rows": rows}
    return render(request, "quotas/everything.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def set_project(request: HttpRequest, slug: str) -> HttpResponse:
    found = access.project_to_limit(person(request), slug)
    return _set(request, found, ProjectQuotasForm, selectors.lines_of_project(found))


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def set_person(request: HttpRequest, pk: int) -> HttpResponse:
    found = access.person_to_limit(person(request), pk)
    return _set(request, found, PersonQuotasForm, selectors.lines_of_person(found))


def _set(
    request: HttpRequest, owner: Project | User, asks: type[forms.Form], lines: list[selectors.Line]
) -> HttpResponse:
    initial: dict[str, Any] = {name: written(amount) for name, amount in selectors.limits_set(owner).items()}
    form = asks(posted(request), initial=initial)
    if request.method == "POST" and form.is_valid():
        quotas_set(owner=owner, limits=form.cleaned_data, by=person(request))
        messages.success(request, _("Saved. Work that has begun goes on."))
        return redirect(request.path)
    context = {
        "project": None,
        "active": "",
        "owner": owner,
        "is_person": isinstance(owner, User),
        "lines": lines,
        "form": form,
    }
    return render(request, "quotas/set.html", context, status=400 if form.errors else 200)
