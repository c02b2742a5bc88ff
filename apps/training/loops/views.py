"""Pages on loops: the list, the gallery of recipes, the form, and a loop."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person
from apps.jobs.clock import database_now
from apps.jobs.models import Job, JobState
from apps.jobs.waiting import why_waiting
from apps.projects import access as projects_access
from apps.projects.models import Role
from apps.samples.exposure import labels_shown
from apps.samples.models import Completion
from apps.training import access
from apps.training.changes import chosen_of, recipe_of
from apps.training.lineage import alarms, evidence, measurers, selectors
from apps.training.lineage.cards import loop_command
from apps.training.lineage.failures import failure_in_words
from apps.training.loops import starting
from apps.training.loops.forecast import forecast
from apps.training.loops.forms import LoopForm
from apps.training.loops.suggested import suggestions
from apps.training.models import ACTIVE, Loop, LoopState, Round, Snapshot, Stage
from apps.training.rounds import stations
from apps.training.sets.snapshots import snapshot_export
from prefloop.recipes.catalogue import UnknownRecipe, get_recipe, list_recipes
from prefloop.recipes.recipe import RECIPE_GROUPS, Recipe
from prefloop.types import PrefloopError

PARTS = ("top", "side", "rest")
GROUP_WORDS = {
    "offline": gettext_noop("Trains once, on existing comparisons."),
    "round by round": gettext_noop(
        "Each round the current policy answers, its answers are judged, and it is trained on the labels."
    ),
    "online": gettext_noop("On-policy: samples, labels and trains at every step."),
}


@login_required
@never_cache
@require_GET
def loop_list(request: HttpRequest, slug: str) -> HttpResponse:
    project = projects_access.project_for(request.user, slug, Role.LEAD)
    rows = selectors.loop_cards(project, now=timezone.now())
    shown = hashlib.blake2s(repr([row.version for row in rows]).encode(), digest_size=8).hexdigest()
    context = {
        "project": project,
        "active": "loops",
        "rows": rows,
        "may_start": projects_access.has_role(request.user, project, Role.ENGINEER),
    }
    return _live(request, "training/loops.html", "training/_loop_rows.html", context, shown)


@login_required
@never_cache
@require_GET
def gallery(request: HttpRequest, slug: str) -> HttpResponse:
    """The recipes as cards: the idea, the requirements, and whether it can start now."""
    project = projects_access.project_for(request.user, slug, Role.LEAD)
    recipes = list_recipes()
    groups: list[dict[str, Any]] = [
        {
            "name": name,
            "about": _(GROUP_WORDS[name]),
            "cards": [
                {"recipe": recipe, "obstacle": starting.loop_obstacle(project, recipe)}
                for recipe in recipes
                if recipe.group == name
            ],
        }
        for name in RECIPE_GROUPS
    ]
    cards = {card["recipe"].name: card for group in groups for card in group["cards"]}
    startable = [name for name, card in cards.items() if card["obstacle"] is None]
    context = {
        "project": project,
        "active": "loops",
        "suggested": [(cards[one.recipe]["recipe"], one.why) for one in suggestions(project, startable)],
        "groups": [group for group in groups if group["cards"]],
        "may_start": projects_access.has_role(request.user, project, Role.ENGINEER),
    }
    return render(request, "training/gallery.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, slug: str, recipe: str) -> HttpResponse:
    """The recipe's form. Leads may look; engineers start."""
    posting = request.method == "POST"
    project = projects_access.project_for(request.user, slug, Role.ENGINEER if posting else Role.LEAD)
    found = _recipe(recipe)
    branch = access.branch_for_read(request.user, slug, request.GET.get("branch", ""), found.name)
    form = LoopForm(project, found, request.POST if posting else None, branch=branch)
    if posting and form.is_valid():
        try:
            loop = starting.loop_start(
                project=project,
                recipe=found.name,
                settings=form.chosen,
                n_rounds=form.cleaned_data["rounds"],
                seed=form.cleaned_data["seed"],
                start=form.cleaned_data["start"],
                branched_from=branch,
                started_by=person(request),
            )
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            return redirect("training:loop", slug=slug, pk=loop.pk)
    n_rounds = form.cleaned_data.get("rounds") if posting and hasattr(form, "cleaned_data") else found.rounds
    context = {
        "project": project,
        "active": "loops",
        "recipe": found,
        "branch": branch,
        "form": form,
        "obstacle": starting.loop_obstacle(project, getattr(form, "made", found)),
        "forecast": forecast(
            project=project,
            recipe=getattr(form, "made", found),
            n_rounds=n_rounds or found.rounds,
            start=form["start"].value() or "",
        ),
        "may_start": projects_access.has_role(request.user, project, Role.ENGINEER),
    }
    return render(request, "training/new.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def ingredient(request: HttpRequest, slug: str, recipe: str) -> HttpResponse:
    """Start the loop that makes what this recipe needs, and show it."""
    project = projects_access.project_for(request.user, slug, Role.ENGINEER)
    try:
        loop = starting.ingredient_start(project=project, recipe=_recipe(recipe), started_by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("training:new", slug=slug, recipe=recipe)
    return redirect("training:loop", slug=slug, pk=loop.pk)


@login_required
@never_cache
@require_GET
def forecast_part(request: HttpRequest, slug: str, recipe: str) -> HttpResponse:
    """The forecast for the current form, or its errors."""
    project = projects_access.project_for(request.user, slug, Role.LEAD)
    found = _recipe(recipe)
    branch = access.branch_for_read(request.user, slug, request.GET.get("branch", ""), found.name)
    form = LoopForm(project, found, request.GET, branch=branch)
    if not form.is_valid():
        return render(
            request, "training/_forecast.html", {"errors": [e for many in form.errors.values() for e in many]}
        )
    context = {
        "project": project,
        "recipe": form.made,
        "obstacle": starting.loop_obstacle(project, form.made),
        "forecast": forecast(
            project=project,
            recipe=form.made,
            n_rounds=form.cleaned_data["rounds"],
            start=form.cleaned_data["start"],
        ),
        "may_start": projects_access.has_role(request.user, project, Role.ENGINEER),
    }
    return render(request, "training/_forecast.html", context)


@login_required
@never_cache
@require_GET
def loop(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One loop; `part` top, side or rest with `since` gives that part if something changed."""
    found = access.loop_for_read(request.user, slug, pk)
    version = stations.loop_version(found)
    part = request.GET.get("part", "")
    if part and part not in PARTS:
        raise Http404("no such part")
    if part and request.GET.get("since") == version:
        response = HttpResponse(status=204)
    else:
        response = render(
            request,
            f"training/_loop_{part}.html" if part else "training/loop.html",
            _loop_context(request, found, version, part),
        )
    response["X-Since"] = version
    if found.state not in ACTIVE and selectors.state_shown(found) == found.state:
        response["X-Poll"] = "stop"
    return response


def _why_waiting(jobs: Sequence[Job]) -> str:
    """Say why nothing of a stage is taken up; "" while some of it runs, or only waits for its turn."""
    first = next((job for job in jobs if not job.is_terminal), None)  # what runs comes before what waits
    return why_waiting(first, now=database_now()) if first is not None else ""


def _loop_context(request: HttpRequest, found: Loop, version: str, part: str) -> dict[str, Any]:
    round_ = stations.current_round(found)
    recipe = recipe_of(found, round_.index if round_ is not None else None)
    context: dict[str, Any] = {
        "project": found.project,
        "active": "loops",
        "loop": found,
        "state": selectors.state_shown(found),
        "not_left_yet": selectors.not_left_yet(found),
        "branched_from": found.branched_from,
        "recipe": recipe,
        "round": round_,
        "version": version,
        "is_active": found.state in ACTIVE,
        "may_change": found.state != LoopState.DONE and recipe.group != "offline",
        "may_write": projects_access.has_role(request.user, found.project, Role.ENGINEER),
    }
    if part in {"", "top"}:
        jobs = selectors.stage_jobs(round_) if round_ is not None and round_.stage != Stage.DONE else []
        context |= {
            "stations": stations.stations_of(found, round_, timezone.now()),
            "alarms": alarms.alarms_of(found),
            "failure": failure_in_words(found.failure_class) if found.state == LoopState.FAILED else None,
            "gate": selectors.gate_of(found, round_) if found.state == LoopState.WAITING else None,
            "jobs": jobs,
            "trained": selectors.last_trained(found) if found.state == LoopState.DONE else None,
            "took": selectors.took(found),
            "why_waiting": _why_waiting(jobs) if found.state in ACTIVE else "",
            "held": (JobState.STARTING, JobState.RUNNING, JobState.CANCELLING),
        }
    if part in {"", "side"}:
        context |= _answers(found, round_)
        labels_shown(request, [pair.comparison.pk for pair in context["pairs"] if pair.outcome])
    if part in {"", "rest"}:
        context |= _evidence(found, recipe)
    if not part:
        context["curves"] = selectors.curves_since(found, "")
    return context


def _answers(found: Loop, round_: Round | None) -> dict[str, Any]:
    """New answers with their labels; while a round samples, the newest answers."""
    answers: list[Completion] = []
    is_sampling = round_ is not None and round_.stage == Stage.SAMPLING
    if round_ is not None and is_sampling:
        answers = evidence.latest_answers(round_, limit=3)
    pairs_round, pairs = evidence.latest_pairs(found, limit=3 if answers else 5)
    if round_ is not None and not pairs:
        answers = evidence.latest_answers(round_)
    filters = {"judge": found.judge.name} if found.judge is not None else {}
    if pairs_round is not None:
        filters["round"] = str(pairs_round.pk)
    return {
        "pairs_round": pairs_round,
        "pairs": pairs,
        "answers": answers,
        "is_sampling": is_sampling,
        "review_filters": f"?{urlencode(filters)}" if filters else "",
    }


def _evidence(found: Loop, recipe: Recipe) -> dict[str, Any]:
    run, log = evidence.training_log(found)
    rows = selectors.round_table(found)
    return {
        "rows": rows,
        "measured_by": measurers.measurer_in_words(found),
        "people_said": measurers.people_said(list(found.rounds.order_by("index"))),
        "counterfactuals": selectors.counterfactuals_of(found),
        "history": selectors.history_of(found),
        "command": loop_command(found),
        "chosen": chosen_of(found),
        "measures_accuracy": recipe.objective.makes_reward_model,
        "judges_itself": recipe.score.by == "policy",
        "snapshots": selectors.training_sets(found),
        "run": run,
        "log": log,
    }


@login_required
@never_cache
@require_GET
def curves(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The loop's metrics as JSON; with `since`, only new ones, or 204."""
    found = access.loop_for_read(request.user, slug, pk)
    body = selectors.curves_since(found, request.GET.get("since", ""))
    if request.GET.get("since") == body["since"]:
        response: HttpResponse = HttpResponse(status=204)
    else:
        response = JsonResponse(body)
    if found.state not in ACTIVE:
        response["X-Poll"] = "stop"
    return response


@login_required
@never_cache
@require_GET
def snapshot(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The exact bytes of a training set; refused if the file no longer matches its hash."""
    found: Snapshot = access.snapshot_for_read(request.user, slug, pk)
    try:
        content = snapshot_export(found)
    except (PrefloopError, FileNotFoundError) as error:
        text = str(error) if isinstance(error, PrefloopError) else _("The file of this training set no longer exists.")
        return HttpResponse(text, status=409, content_type="text/plain; charset=utf-8")
    labels_shown(request, found.items.order_by().values_list("comparison_id", flat=True))
    response = HttpResponse(content, content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{found.name}.jsonl"'
    response["X-Content-SHA256"] = found.sha256
    return response


def _recipe(name: str) -> Recipe:
    try:
        return get_recipe(name)
    except UnknownRecipe as error:
        raise Http404(str(error)) from None


def _live(request: HttpRequest, page: str, part: str, context: dict[str, Any], version: str) -> HttpResponse:
    """The page; with `since`, only its live part, or 204 if nothing changed."""
    since = request.GET.get("since")
    if since is not None and since == version:
        response = HttpResponse(status=204)
    else:
        response = render(request, page if since is None else part, context | {"version": version})
    response["X-Since"] = version
    return response
