"""The browser of completions, and one prompt with all of its answers."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.projects.access import has_role, project_for
from apps.projects.models import Role
from apps.prompts.access import prompt_for_read
from apps.prompts.filters import chosen_filters
from apps.prompts.forms import SPLITS
from apps.samples import selectors
from apps.samples.exposure import labels_shown, scores_shown

PROMPTS_A_PAGE = 10
ENDS = {"finished": True, "cut": False}


@login_required
@never_cache
@require_GET
def answers(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.LEAD)
    chosen = chosen_filters(request, "model", "run", "split", "end", "q")
    run = chosen["run"] if chosen["run"].isascii() and chosen["run"].isdigit() and len(chosen["run"]) < 18 else ""
    completions = selectors.completion_list(
        project,
        model_name=chosen["model"],
        run_id=int(run) if run else None,
        split=chosen["split"],
        search=chosen["q"],
        finished=ENDS.get(chosen["end"]),
    )
    page = selectors.answered_prompts(project, completions, page=request.GET.get("page"), size=PROMPTS_A_PAGE)
    groups = selectors.page_groups(completions, list(page))
    scores_shown(
        request, [answer.completion.pk for group in groups for answer in group.answers if answer.scores or answer.flags]
    )
    context = {
        "project": project,
        "active": "samples",
        "tab": "answers",
        "page": page,
        "groups": groups,
        "chosen": chosen | {"run": run},
        "is_filtered": any(chosen.values()),
        "models": selectors.model_names(project),
        "runs": selectors.recent_run_choices(project),
        "splits": SPLITS,
        "may_write": has_role(person(request), project, Role.ENGINEER),
    }
    return render(request, "samples/answers.html", context)


@login_required
@never_cache
@require_GET
def prompt(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = prompt_for_read(person(request), slug, pk)
    group, comparisons = selectors.prompt_answers(found)
    scores_shown(request, [answer.completion.pk for answer in group.answers if answer.scores or answer.flags])
    labels_shown(request, [row.pk for row in comparisons if row.preferences.all()])
    context = {
        "project": found.project,
        "active": "prompts",
        "prompt": found,
        "turns": found.messages if isinstance(found.messages, list) else None,
        "group": group,
        "comparisons": comparisons,
        "may_write": has_role(person(request), found.project, Role.ENGINEER),
        "may_know": found.project.asks_ratings and has_role(person(request), found.project, Role.LEAD),
    }
    return render(request, "samples/prompt.html", context)
