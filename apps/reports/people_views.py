"""The leads' page: who labels, how well, and leaving somebody's labels out."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person
from apps.labels.exclusions import MAX_REASON, exclusion_create, exclusion_effect, exclusion_lift, people_who_said
from apps.projects.forms import GroupForm
from apps.projects.models import Project
from apps.projects.selectors import groups_of
from apps.reports import access
from apps.reports.people import crew_of
from apps.reports.people_words import crew_sentence, sentence_of
from prefloop.types import PrefloopError


class ExcludeForm(forms.Form):
    since = forms.DateField(
        required=False,
        label=gettext_lazy("From this day on"),
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Empty: all their labels, from the first on."),
    )
    reason = forms.CharField(required=False, max_length=MAX_REASON, label=gettext_lazy("Reason"))

    def moment(self) -> datetime | None:
        """The first moment of the day chosen."""
        day = self.cleaned_data["since"]
        return None if day is None else datetime.combine(day, time(), timezone.get_current_timezone())


@login_required
@never_cache
@require_GET
def people(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_reports(person(request), slug)
    found = crew_of(project=project, now=timezone.now())
    context = {
        "project": project,
        "active": "reports",
        "heading": _("Who labels, and how well?"),
        "crew": found,
        "sentence": crew_sentence(len(found.people), found.n_now, len({one.person for one in found.suspicious})),
        "suspicions": [(one, sentence_of(one)) for one in found.suspicious],
        "excluded": [row for row in found.exclusions if row.lifted_at is None],
        "groups": [
            (group, GroupForm(project, initial=GroupForm.initial_of(group), auto_id=f"group-{group.pk}-%s"))
            for group in groups_of(project)
        ],
        "group_form": GroupForm(project, auto_id="new-group-%s"),
        "lifted": [row for row in found.exclusions if row.lifted_at is not None],
    }
    return render(request, "reports/people.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def exclude(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what leaving a person out would change; POST does it."""
    project = access.project_for_reports(person(request), slug)
    values = request.POST if request.method == "POST" else request.GET
    rater = values.get("rater", "")
    if rater not in people_who_said(project):
        raise Http404("nobody of this name has labelled anything here")
    form = ExcludeForm(values)
    if not form.is_valid():
        return render(request, "reports/exclude.html", _exclude_context(project, rater, form), status=400)
    if request.method == "POST":
        try:
            made = exclusion_create(
                project=project,
                rater=rater,
                since=form.moment(),
                reason=form.cleaned_data["reason"],
                by=person(request),
                now=timezone.now(),
            )
        except PrefloopError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("The labels of %(name)s do not count any more.") % {"name": made.rater})
        return redirect("reports:people", slug=project.slug)
    context = _exclude_context(project, rater, form)
    context["effect"] = effect = exclusion_effect(project=project, rater=rater, since=form.moment())
    context["changed"] = ngettext("%d label changes", "%d labels change", effect.n_changed) % effect.n_changed
    return render(request, "reports/exclude.html", context)


def _exclude_context(project: Project, rater: str, form: ExcludeForm) -> dict[str, Any]:
    return {"project": project, "active": "reports", "rater": rater, "form": form}


@login_required
@require_POST
def lift(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Undo an exclusion: the person's labels count again."""
    exclusion = access.exclusion_for_write(person(request), slug, pk)
    try:
        exclusion_lift(exclusion=exclusion, by=person(request), now=timezone.now())
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The labels of %(name)s count again.") % {"name": exclusion.rater})
    return redirect("reports:people", slug=slug)
