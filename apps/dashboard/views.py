"""The overview of a project."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.dashboard import belief, charts, demos, selectors
from apps.dashboard.finding import palette_find
from apps.dashboard.metrics import exposition
from apps.jobs.selectors import running_jobs
from apps.projects import access
from apps.projects.models import Project, Role
from apps.rankings.access import may_review
from prefloop.demos import DEMOS
from prefloop.types import PrefloopError

SCRAPED = "text/plain; version=0.0.4; charset=utf-8"
# station -> the least role that its page serves
LEAST = {"people": Role.ANNOTATOR}
BUSY_SECONDS, IDLE_SECONDS = "2", "10"


@login_required
@never_cache
@require_GET
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """The page; with `since`, only its live part, or 204 if nothing changed."""
    project = access.project_for(request.user, slug, Role.ANNOTATOR)
    version = selectors.version(project, person(request))
    since = request.GET.get("since")
    busy = False
    if since is not None and since == version:
        response = HttpResponse(status=204)
        busy = running_jobs(project).exists()
    else:
        context = _context(request, project) | {"version": version}
        busy = bool(context["jobs"] or context["seeding"])
        page = "dashboard/overview.html" if since is None else "dashboard/_overview.html"
        response = render(request, page, context)
    response["X-Since"] = version
    response["X-Poll"] = BUSY_SECONDS if busy else IDLE_SECONDS
    return response


@login_required
@require_POST
def demo(request: HttpRequest, world: str) -> HttpResponse:
    """Make a demo project, if the operator allows projects to this user and there is no such project yet."""
    user = person(request)
    if world not in DEMOS or not access.may_create_project(user):
        raise Http404("no such page")
    try:
        demos.demo_begin(DEMOS[world], owner=user)
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("/")
    return redirect("dashboard:overview", world)


@login_required
@never_cache
@require_GET
def belief_part(request: HttpRequest, slug: str) -> HttpResponse:
    """Whether the judge can be trusted, loaded separately for projects where this takes a while to compute."""
    project = access.project_for(request.user, slug, Role.LEAD)
    context = {"project": project, "belief": belief.belief(project, now=timezone.now())}
    return render(request, "dashboard/_belief.html", context)


def _context(request: HttpRequest, project: Project) -> dict[str, Any]:
    user, now = person(request), timezone.now()
    role = access.role_of(user, project)
    is_lead = access.includes(role, Role.LEAD)
    reviews = may_review(user, project)
    ring = selectors.ring(project, now=now)
    for station in ring.stations:
        station["is_open"] = access.includes(role, LEAST.get(station["key"], Role.LEAD))
    context: dict[str, Any] = {
        "project": project,
        "active": "overview",
        "is_lead": is_lead,
        "may_start": access.includes(role, Role.ENGINEER),
        "ring": ring,
        "needs": selectors.needs(project, user, now=now, may_review=reviews),
        "jobs": selectors.jobs_under_way(project, now=now),
        "seeding": demos.seeding(project),
        "is_empty": not ring.stations[0]["n"],
    }
    if is_lead:
        better = selectors.better(project)
        if better is not None:
            rate = better.best["win_rate_vs_initial"]
            ring.stations[-1]["note"] = _("best win rate %(rate).0f %%") % {"rate": 100 * rate}
        quick = belief.is_quick(project)
        context |= {
            "better": better,
            "frontier": charts.win_rate_against_kl(better) if better is not None else None,
            "belief_is_quick": quick,
            "belief": belief.belief(project, now=now) if quick else None,
            "events": selectors.recent_events(project),
        }
    return context


@login_required
@never_cache
@require_GET
def find(request: HttpRequest, slug: str) -> JsonResponse:
    """What the palette offers besides pages: recipes, loops and prompts that contain the typed text (`q`)."""
    project = access.project_for(request.user, slug, Role.LEAD)
    return JsonResponse({"entries": palette_find(project, request.GET.get("q", ""))})


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """The installation's state for Prometheus, for the operator's token; where none is set there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not constant_time_compare(given, settings.METRICS_TOKEN):
        return HttpResponse("give the token: Authorization: Bearer …\n", status=401, content_type="text/plain")
    return HttpResponse(exposition(), content_type=SCRAPED)
