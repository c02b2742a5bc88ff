"""“Compare on N prompts”: two checkpoints answer the same prompts, and the verdicts count on the leaderboard."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_POST

from apps.accounts.views import person
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_list
from apps.projects.access import project_for
from apps.projects.models import Project, Role
from apps.training.rounds.evaluators import measurers
from apps.training.rounds.meetings import meeting_start
from prefloop.types import PrefloopError

N_PROMPTS = 20


class MeetingForm(forms.Form):
    """Two policies of the project, how many prompts, and who compares."""

    first = forms.ModelChoiceField(Checkpoint.objects.none(), empty_label=None, label=_lazy("First checkpoint"))
    second = forms.ModelChoiceField(Checkpoint.objects.none(), empty_label=None, label=_lazy("Second checkpoint"))
    prompts = forms.IntegerField(initial=N_PROMPTS, min_value=1, max_value=10_000, label=_lazy("Held-out prompts"))
    judge = forms.ChoiceField(required=False, label=_lazy("Judge"))
    people = forms.IntegerField(
        initial=0, min_value=0, max_value=10_000, required=False, label=_lazy("Pairs for people")
    )

    def __init__(self, project: Project, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        policies = checkpoint_list(project).filter(role="policy").order_by("-id")
        self.policies = list(policies)
        names = [judge.name for judge in measurers(project)]
        for name, at in (("first", 0), ("second", -1)):
            field = self.fields[name]
            field.queryset = policies  # type: ignore[attr-defined]
            field.initial = self.policies[at] if self.policies else None
        self.fields["judge"].choices = [  # type: ignore[attr-defined]
            ("", _("a judge that labelled the training data of neither")),
            *((name, name) for name in names),
        ]


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
    chosen = form.cleaned_data
    try:
        group = meeting_start(
            project=project,
            first=chosen["first"],
            second=chosen["second"],
            n_prompts=chosen["prompts"],
            judge=chosen["judge"],
            people=chosen["people"] or 0,
            started_by=person(request),
        )
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request,
            _("%(what)s: running. Verdicts and votes appear here as they come in.") % {"what": group.name},
        )
    return redirect("reports:leaderboard", project.slug)
