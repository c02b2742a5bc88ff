"""Aligning a judge: choose corrected pairs and a criterion, see both versions side by side, use the new one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person, posted
from apps.jobs.models import Job
from apps.judging import alignment as services
from apps.judging.access import alignment_for, judge_for_write
from apps.judging.asking_forms import AlignForm
from apps.judging.figures import Share
from apps.judging.models import Alignment
from apps.projects.access import has_role
from apps.projects.models import Role
from apps.samples.exposure import labels_shown
from apps.samples.live import live
from apps.samples.models import Comparison
from apps.samples.progress import GroupProgress, group_progress_of, version_of
from prefloop.judging.examples import MOST_EXAMPLES
from prefloop.judging.kinds import ALIGNING
from prefloop.types import PrefloopError

SHOWN = 100  # corrections on the page
TICKED = 12  # of them at first: what most models can read with every question
CHANGED = 20  # pairs on which the versions differ


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def align(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Choose what the next version of a judge is shown; POST tries it."""
    judge = judge_for_write(person(request), slug, pk)
    if refused := judge.refusal(ALIGNING):
        messages.error(request, refused)
        return redirect("judging:judge", slug=slug, pk=pk)
    found = services.corrections(judge)
    shown = found[:SHOWN]
    reasons = services.reasons_given(found)
    initial = {
        "examples": [one.comparison.pk for one in shown[:TICKED]],
        "criterion": judge.criterion,
        "n": services.USUAL_PAIRS,
    }
    form = AlignForm(posted(request), initial=initial, shown=shown, reasons=reasons)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.alignment_start(judge=judge, started_by=person(request), **form.settings())
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            return redirect("judging:alignment", slug=slug, pk=made.pk)
    labels_shown(request, [one.comparison.pk for one in shown])
    ticked = {int(key) for key in form["examples"].value() or ()}
    context = {
        "project": judge.project,
        "active": "judges",
        "judge": judge,
        "form": form,
        "rows": [(one, one.comparison.pk in ticked) for one in shown],
        "n_more": len(found) - len(shown),
        "n_measured": len(services.truths_measured(judge)),
        "most": MOST_EXAMPLES,
        "alignments": judge.alignments.select_related("made").order_by("-id")[:10],
    }
    return render(request, "judging/align.html", context, status=422 if form.errors else 200)


@login_required
@never_cache
@require_GET
def alignment(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The trial of an aligned version: its progress, then both agreements and their difference."""
    found = alignment_for(person(request), slug, pk, Role.LEAD)
    progress = group_progress_of([found.group]).get(found.group_id or 0, GroupProgress(state="done"))
    changed = _changed(found) if found.figures else []
    labels_shown(request, [row["pair"].pk for row in changed])
    job = Job.objects.filter(group=found.group_id).first() if found.group_id else None
    return live(
        request,
        page="judging/alignment.html",
        part="judging/_alignment.html",
        context={
            "project": found.judge.project,
            "active": "judges",
            "judge": found.judge,
            "alignment": found,
            "progress": progress,
            "before": _share(found, "before"),
            "after": _share(found, "after"),
            "verdict": _verdict(found),
            "changed": changed,
            "job": job,
            "may_use": services.can_adopt(found) and has_role(person(request), found.judge.project, Role.ENGINEER),
        },
        version=version_of([(progress.state, job and (job.step, job.n_steps, job.message), bool(found.figures))]),
        is_done=not progress.is_open,
    )


@login_required
@require_POST
def use(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Make the tried version the judge's next one."""
    found = alignment_for(person(request), slug, pk, Role.ENGINEER)
    try:
        made = services.alignment_adopt(alignment=found)
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("judging:alignment", slug=slug, pk=pk)
    messages.success(
        request, _("%(name)s, version %(version)d, has been created.") % {"name": made.name, "version": made.version}
    )
    return redirect("judging:judge", slug=slug, pk=made.pk)


def _share(found: Alignment, which: str) -> Share:
    figures = found.figures
    if not figures:
        return Share(0)
    low, high = figures[f"{which}_ci95"] or (None, None)
    return Share(figures["n"], figures[which], low, high)


def _verdict(found: Alignment) -> str:
    """What the interval of the difference allows to say."""
    if not found.figures or found.figures["difference_ci95"] is None:
        return ""
    low, high = found.figures["difference_ci95"]
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def _changed(found: Alignment) -> list[dict[str, Any]]:
    """The first pairs on which the versions said different things, with what they said in both orders."""
    said: dict[int, dict[bool, dict[str, str]]] = {}
    rows = found.verdicts.values_list("comparison_id", "is_new", "order", "state", "outcome")
    for key, is_new, order, state, outcome in rows.order_by("comparison_id", "order"):
        said.setdefault(key, {False: {}, True: {}})[is_new][order] = outcome or state
    different = [key for key, both in said.items() if both[False] != both[True]][:CHANGED]
    pairs = Comparison.objects.filter(pk__in=different).select_related("prompt", "first", "second").in_bulk()
    truth = {pair["comparison"]: pair["truth"] for pair in found.pairs}
    return [
        {
            "pair": pairs[key],
            "truth": truth[key],
            "before": list(said[key][False].values()),
            "after": list(said[key][True].values()),
        }
        for key in different
        if key in pairs
    ]
