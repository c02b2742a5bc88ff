"""Pages for the jobs of a project, and one job with its log. Both update themselves by asking `?since=`."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.jobs import access, selectors, services
from apps.jobs.clock import database_now
from apps.jobs.waiting import why_waiting
from apps.projects import access as projects_access
from apps.projects.models import Role
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_GET
def jobs_all(request: HttpRequest) -> HttpResponse:
    """The jobs of all the person's projects."""
    return _list(request, project=None)


@login_required
@never_cache
@require_GET
def jobs(request: HttpRequest, slug: str) -> HttpResponse:
    return _list(request, project=projects_access.project_for(person(request), slug, Role.ANNOTATOR))


def _list(request: HttpRequest, *, project: Any) -> HttpResponse:
    user = person(request)
    rows = access.jobs_for(user) if project is None else access.jobs_for(user).filter(project=project)
    shown = selectors.recent_jobs(rows)
    engineer = project is not None and projects_access.has_role(user, project, Role.ENGINEER)
    context = {
        "project": project,
        "active": "",
        "jobs": shown,
        "writable": {job.pk for job in shown if engineer or job.started_by_id == user.pk},
    }
    return _fresh(request, "jobs/list.html", "jobs/_drawer.html", context, selectors.version_of(shown))


@login_required
@never_cache
@require_GET
def job(request: HttpRequest, slug: str, job_id: int) -> HttpResponse:
    project, found = access.job_for_read(person(request), slug, job_id)
    log = selectors.job_log(found)
    context = {
        "project": project,
        "active": "",
        "job": found,
        "log": log,
        "retries": found.retries.order_by("id"),
        "may_write": access.may_write(person(request), project, found),
        "why_waiting": why_waiting(found, now=database_now()),
    }
    version = selectors.version_of([found], extra=f"{log[-1].pk if log else ''}{context['why_waiting']}")
    return _fresh(request, "jobs/detail.html", "jobs/_detail.html", context, version, done=found.is_terminal)


def _fresh(
    request: HttpRequest, page: str, part: str, context: dict[str, Any], version: str, *, done: bool = False
) -> HttpResponse:
    """The page; with `since`, only its live part, or 204 if nothing changed."""
    since = request.GET.get("since")
    if since is not None and since == version:
        response = HttpResponse(status=204)
    else:
        response = render(request, page if since is None else part, context | {"version": version})
    response["X-Since"] = version
    if done:
        response["X-Poll"] = "stop"
    return response


@login_required
@require_POST
def cancel(request: HttpRequest, slug: str, job_id: int) -> HttpResponse:
    _project, found = access.job_for_write(person(request), slug, job_id)
    services.job_cancel(job=found, by=person(request))
    return redirect("jobs:job", slug=slug, job_id=job_id)


@login_required
@require_POST
def retry(request: HttpRequest, slug: str, job_id: int) -> HttpResponse:
    _project, found = access.job_for_write(person(request), slug, job_id)
    try:
        new = services.job_retry(job=found, by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("jobs:job", slug=slug, job_id=job_id)
    return redirect("jobs:job", slug=slug, job_id=new.pk)
