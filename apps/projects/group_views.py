"""What leads do to groups on the People page: each is one request that goes back there."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.views import person
from apps.projects import access, groups
from apps.projects.forms import GroupForm
from apps.projects.models import Project, Role
from prefloop.types import PrefloopError


@login_required
@require_POST
def new(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.LEAD)
    form = GroupForm(project, request.POST)
    if _is_right(request, form):
        try:
            made = groups.group_create(project=project, by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            messages.error(request, _(str(error)))
        else:
            messages.success(request, _("The group %(name)s is there now.") % {"name": made.name})
    return _back(project)


@login_required
@require_POST
def change(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    group = access.group_for_lead(person(request), slug, pk)
    form = GroupForm(group.project, request.POST)
    if _is_right(request, form):
        try:
            groups.group_change(group=group, by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            messages.error(request, _(str(error)))
        else:
            messages.success(request, _("The group is changed. Pairs that somebody has already stay with them."))
    return _back(group.project)


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    group = access.group_for_lead(person(request), slug, pk)
    groups.group_delete(group=group, by=person(request), now=timezone.now())
    messages.success(request, _("The group is deleted. Batches that are for it stay with whoever was in it."))
    return _back(group.project)


def _is_right(request: HttpRequest, form: GroupForm) -> bool:
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else ""
        messages.error(request, f"{label}: {' '.join(map(str, errors))}" if label else " ".join(map(str, errors)))
    return not form.errors


def _back(project: Project) -> HttpResponse:
    return redirect(reverse("reports:people", args=[project.slug]) + "#groups")
