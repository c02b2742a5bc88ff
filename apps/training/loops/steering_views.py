"""Actions on a loop from its page: pause, cancel, resume, leave the gate, change it, train without overrides."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.views import person
from apps.projects import access as projects_access
from apps.projects.models import Role
from apps.training import access
from apps.training.changes import changes_of
from apps.training.loops import steering
from apps.training.loops.counterfactual import counterfactual_start
from apps.training.loops.forms import ChangeForm
from apps.training.models import Loop
from prefloop.types import PrefloopError


@login_required
@require_POST
def pause(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return _done(request, slug, pk, lambda loop: steering.loop_pause(loop=loop, by=person(request)))


@login_required
@require_POST
def cancel(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    now = timezone.now()
    return _done(request, slug, pk, lambda loop: steering.loop_cancel(loop=loop, by=person(request), now=now))


@login_required
@require_POST
def resume(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return _done(request, slug, pk, lambda loop: steering.loop_resume(loop=loop, by=person(request)))


@login_required
@require_POST
def go_on(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Leave the review gate without the remaining labels."""
    return _done(request, slug, pk, lambda loop: steering.loop_continue(loop=loop, by=person(request)))


@login_required
@require_POST
def without_overrides(request: HttpRequest, slug: str, pk: int, index: int) -> HttpResponse:
    """Train a finished round again without people's overrides."""

    def start(loop: Loop) -> None:
        round_ = loop.rounds.filter(index=index).first()
        if round_ is None:
            raise Http404
        counterfactual_start(round_=round_, by=person(request))

    return _done(request, slug, pk, start)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The settings that may change from the next round on. Leads may look; engineers change."""
    posting = request.method == "POST"
    loop = (access.loop_for_write if posting else access.loop_for_read)(request.user, slug, pk)
    form = ChangeForm(loop, request.POST if posting else None)
    if posting and form.is_valid():
        try:
            steering.loop_change(
                loop=loop, settings=form.chosen, n_rounds=form.cleaned_data["rounds"], by=person(request)
            )
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            return redirect("training:loop", slug=slug, pk=pk)
    begun = loop.rounds.order_by("-index").values_list("index", flat=True).first() or 0
    context = {
        "project": loop.project,
        "active": "loops",
        "loop": loop,
        "form": form,
        "next_round": begun + 1,
        "changes": changes_of(loop),
        "may_write": projects_access.has_role(request.user, loop.project, Role.ENGINEER),
    }
    return render(request, "training/change.html", context, status=400 if form.errors else 200)


def _done(request: HttpRequest, slug: str, pk: int, act: Callable[[Loop], object]) -> HttpResponse:
    loop = access.loop_for_write(request.user, slug, pk)
    try:
        act(loop)
    except PrefloopError as error:
        messages.error(request, str(error))
    return redirect("training:loop", slug=slug, pk=pk)
