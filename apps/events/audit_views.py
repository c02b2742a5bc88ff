"""The pages of the audit log."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.models import User
from apps.accounts.views import person
from apps.core.acts import AREAS
from apps.core.paging import PagesAhead
from apps.events import audit_log
from apps.events.audit_log import Wanted
from apps.projects.models import Project

A_PAGE = 50


class FilterForm(forms.Form):
    """Which entries are shown; the people are those who did something there."""

    person = forms.TypedChoiceField(label=_("Who"), coerce=int, empty_value=None, required=False)
    area = forms.ChoiceField(label=_("What"), required=False, choices=[("", _("Everything")), *AREAS.items()])
    since = forms.DateField(label=_("First day"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Last day"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, people: list[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.TypedChoiceField, self.fields["person"])
        field.choices = [("", _("Everybody")), *((user.pk, str(user)) for user in people)]

    def wanted(self) -> Wanted:
        """What was asked for; a filter that can't be read is shown with its error and filters nothing."""
        self.is_valid()
        return Wanted(**{name: value for name, value in self.cleaned_data.items() if value})


def _page(request: HttpRequest, project: Project | None) -> HttpResponse:
    rows = audit_log.entries_of(project)
    form = FilterForm(request.GET, people=audit_log.people_in(rows))
    page = PagesAhead(audit_log.entries_wanted(rows, form.wanted()), A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "active": "settings",
        "tab": "audit",
        "is_owner": True,
        "form": form,
        "page": page,
        "lines": audit_log.lines_of(page),
        "is_filtered": any(request.GET.get(name) for name in form.fields),
    }
    return render(request, "events/audit.html", context)


@login_required
@never_cache
@require_GET
def of_project(request: HttpRequest, slug: str) -> HttpResponse:
    return _page(request, audit_log.project_for_audit(person(request), slug))


@login_required
@never_cache
@require_GET
def of_installation(request: HttpRequest) -> HttpResponse:
    """Everything, sign-ins and tokens included: for whoever runs the installation."""
    audit_log.operators_only(person(request))
    return _page(request, None)
