"""“Compare on N prompts”: two checkpoints answer the same prompts, and the verdicts count on the leaderboard."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.views import person
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.training.loops.meeting_forms import MeetingForm
from apps.training.rounds.meetings import meeting_start
from prefloop.types import PrefloopError


@login_required
@require_POST
def meet(request: HttpRequest, slug: str) -> HttpResponse:
    """Have both answer the same prompts, and the answers compared."""
    project = project_for(request.user, slug, Role.ENGINEER)
    form = MeetingForm(project, request.POST)
    if not form.is_valid():
        told = "; ".join(f"{form.fields[name].label}: {errors[0]}" for name, errors in form.errors.items())
        messages.error(request, told)
        return redirect("reports:leaderboard", project.slug)
    try:
        group = meeting_start(project=project, started_by=person(request), **form.meeting())
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request,
            _("%(what)s: running. Verdicts and votes appear here as they come in.") % {"what": group.name},
        )
    return redirect("reports:leaderboard", project.slug)
