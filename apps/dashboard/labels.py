"""Whose verdicts fill in where no person has spoken. It joins judges to labels, so it lies above both."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.models import User
from apps.accounts.views import person
from apps.core.services import audit
from apps.jobs.services import job_enqueue
from apps.judging.access import judge_for_read
from apps.judging.models import Judge
from apps.rankings.preferences import preferences_derive
from apps.samples.models import Comparison

AT_ONCE = 2000  # comparisons whose labels are made again within the request; more is a job


def label_judge_set(*, judge: Judge, by: User) -> None:
    """Let this judge's word fill in where no person has spoken, and make the labels again."""
    project = judge.project
    with transaction.atomic():
        project.label_judge = judge.name
        project.save(update_fields=["label_judge"])
        audit(
            actor=by,
            verb="project.label_judge",
            target=f"judge:{judge.pk}",
            project=project,
            data={"judge": judge.name},
        )
        if Comparison.objects.filter(project=project).count() > AT_ONCE:
            job_enqueue(
                kind="labels.derive",
                queue="cpu",
                payload={},
                project=project,
                title=f"Make labels again, by {judge.name}",
                started_by=by,
            )
            return
    preferences_derive(project=project, now=timezone.now())


@login_required
@require_POST
def use_for_labels(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    judge = judge_for_read(person(request), slug, pk)  # for leads and above
    label_judge_set(judge=judge, by=person(request))
    messages.success(request, _("%(name)s fills in now where no person has spoken.") % {"name": judge.name})
    return redirect("judging:judge", slug=slug, pk=pk)
