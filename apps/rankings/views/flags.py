"""Flagged pairs: raising a flag at the desk, and the leads' list with what is to be resolved."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.rankings import access, selectors, services
from apps.rankings.views.said import asked_id, said_at
from prefloop.records import FLAG_REASONS
from prefloop.types import PrefloopError

SHOWN = 50


@login_required
@never_cache
@require_POST
def raise_flag(request: HttpRequest, slug: str) -> HttpResponse:
    """Store a flag on the pair of an assignment, or with `withdraw` take one's own back."""
    assignment = access.assignment_for_write(access.person(request.user), asked_id(request), slug)
    if request.POST.get("withdraw"):
        return JsonResponse({"withdrawn": services.flag_withdraw(assignment=assignment, now=timezone.now())})
    try:
        made = services.flag_create(
            assignment=assignment,
            reason=request.POST.get("reason", ""),
            note=request.POST.get("note", ""),
            said_at=said_at(request),
            now=timezone.now(),
        )
    except PrefloopError as error:
        return JsonResponse({"detail": _(str(error))}, status=400)
    return JsonResponse({"flag": made.flag.pk}, status=201 if made.created else 200)


@login_required
@never_cache
@require_GET
def flags(request: HttpRequest, slug: str) -> HttpResponse:
    """The flags that wait for a lead, or with `?show=done` the resolved ones."""
    project = access.project_for_adjudication(request.user, slug)
    done = request.GET.get("show") == "done"
    page = Paginator(selectors.flags_of(project, resolved=done), SHOWN).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "active": "review",
        "show": "done" if done else "todo",
        "page": page,
        "flags": [(flag, FLAG_REASONS.get(flag.reason, flag.reason)) for flag in page],
    }
    return render(request, "rankings/flags.html", context)


@login_required
@never_cache
@require_POST
def resolve(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Resolve a flag, or with `reopen` open it again."""
    flag = access.flag_for_lead(request.user, slug, pk)
    reopens = bool(request.POST.get("reopen"))
    services.flag_resolve(flag=flag, by=access.person(request.user), now=timezone.now(), resolved=not reopens)
    messages.success(request, _("The flag is open again.") if reopens else _("The flag is resolved."))
    return redirect("rankings:flags", slug=slug)
