"""Testing a draft of a judge: the request for a real pair, and its verdicts on a few; and the attack corpus."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.models import User
from apps.accounts.views import person
from apps.jobs.models import Job
from apps.judging.access import judge_for_write
from apps.judging.asking_forms import AttackForm
from apps.judging.forms import JudgeForm, LlmJudgeForm
from apps.judging.services import built_in_template
from apps.judging.trials import attack_start, trial_comparisons, trial_pairs, trial_start
from apps.policies.spending import dollars
from apps.projects.access import project_for
from apps.projects.models import Project, Role
from apps.samples.exposure import labels_shown
from apps.samples.live import live
from apps.samples.models import Comparison
from prefloop.judging.modes import SCORE_MODES
from prefloop.judging.render import Message, judge_mode, new_delimiter, render, render_score, template_from_text
from prefloop.types import PrefloopError


def preview_of(user: User, project: Project, form: LlmJudgeForm) -> dict[str, Any]:
    """The messages that the draft would send about a real pair; nothing is sent."""
    del user
    form.is_valid()
    data = form.cleaned_data
    row = trial_comparisons(project).first()
    if row is None:
        return {"trouble": _("There are no comparisons yet for a preview.")}
    mode = judge_mode(data.get("mode") or "text")
    try:
        text = str(data.get("template") or built_in_template(mode))
        if "template" in form.errors:
            return {"trouble": _errors(form, "template")}
        template = template_from_text(text, name="the draft", mode=mode)
        return {"preview": _messages(template, row, str(data.get("criterion") or "")), "row": row}
    except PrefloopError as error:
        return {"trouble": str(error)}


def _messages(template: Any, row: Comparison, criterion: str) -> list[Message]:
    prompt, first, second = row.prompt.text, row.first.text, row.second.text
    code = new_delimiter(prompt, first, second, criterion, seed=0)
    if template.mode in SCORE_MODES:
        return render_score(template, prompt=prompt, answer=first, criterion=criterion, delimiter=code)
    return render(template, prompt=prompt, first_shown=first, second_shown=second, criterion=criterion, delimiter=code)


def trial_of(user: User, project: Project, form: JudgeForm) -> dict[str, Any]:
    """Start a trial of the draft on a few pairs: its job, or what stands in its way."""
    form.is_valid()
    for name in form.fields:
        if name in form.errors and name not in ("name", "endpoint_name", "base_url", "model", "api_key"):
            return {"trouble": f"{form.fields[name].label}: {_errors(form, name)}"}
    try:
        job = trial_start(
            draft=form.draft(),
            comparison_ids=trial_pairs(project),
            started_by=user,
        )
    except PrefloopError as error:
        return {"trouble": str(error)}
    return {"job": job, "rows": [], "version": ""}


def _errors(form: JudgeForm, name: str) -> str:
    return " ".join(str(error) for error in form.errors[name])


@login_required
@never_cache
@require_GET
def trial(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The live part of a trial: its results."""
    project = project_for(person(request), slug, Role.ENGINEER)
    job = Job.objects.filter(pk=pk, project=project, kind="judging.trial").first()
    if job is None:
        raise Http404
    shown = _result(job)
    labels_shown(request, [row["pair"].pk for row in shown["rows"]])
    return live(
        request,
        page="judging/_trial.html",
        part="judging/_trial.html",
        context={"project": project, "job": job, **shown},
        version=f"{job.state}.{job.step}",
        is_done=job.is_terminal,
    )


def _result(job: Job) -> dict[str, Any]:
    calls = job.result.get("calls", [])
    ids = {call["comparison"] for call in calls}
    pairs = Comparison.objects.filter(pk__in=ids).select_related("prompt", "first", "second").in_bulk()
    rows = [
        {
            "pair": pairs[int(key)],
            "label": label,
            "calls": [call for call in calls if call["comparison"] == int(key)],
        }
        for key, label in job.result.get("labels", {}).items()
        if int(key) in pairs
    ]
    cost = dollars(job.result["nanos"]) if "nanos" in job.result else None
    seconds = sum(call["seconds"] for call in calls) / len(calls) if calls else None
    return {"rows": rows, "cost": cost, "n_calls": len(calls), "seconds": seconds}


@login_required
@require_POST
def attack(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Put the attack corpus into answers that this judge found worse."""
    judge = judge_for_write(person(request), slug, pk)
    form = AttackForm(request.POST)
    try:
        n = form.cleaned_data["n"] if form.is_valid() else 10
        attack_start(judge=judge, n=n, started_by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, _("The attacks on %(name)s are running. Their result appears here.") % {"name": judge.name}
        )
    return redirect("judging:judge", slug=slug, pk=pk)
