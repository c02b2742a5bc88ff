"""The judges of a project, one judge, and running it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.jobs.models import Job
from apps.judging import selectors, services
from apps.judging.access import judge_for_read, judge_for_write
from apps.judging.asking_forms import AskForm, AttackForm
from apps.judging.attack_figures import attack_figures
from apps.judging.figures import Figures, judge_figures
from apps.judging.kind_forms import FORMS
from apps.judging.prices import has_price
from apps.labels.measured import ALIGNED
from apps.labels.models import Judge
from apps.labels.selectors import label_judge_name
from apps.labels.services import label_judge_set
from apps.policies.endpoints import endpoint_keeps_schema, endpoint_key, endpoint_test
from apps.projects.access import has_role, project_for
from apps.projects.models import Role
from apps.samples.exposure import labels_shown
from apps.samples.live import live
from apps.samples.progress import version_of
from prefloop.judging.kinds import ALIGNING, ASKING, ATTACK
from prefloop.judging.modes import SCORE_MODES
from prefloop.types import PrefloopError

VERDICTS_A_PAGE = 20
SHOWN_OPTIONS = ("temperature", "max_tokens", "samples", "tie_delta", "noise", "soft", "rule")
STATES = ("ok", "unparseable", "error", "skipped")


@login_required
@never_cache
@require_GET
def judges(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.LEAD)
    context = {
        "project": project,
        "active": "judges",
        "cards": selectors.judge_cards(project),
        "may_write": has_role(person(request), project, Role.ENGINEER),
    }
    return render(request, "judging/list.html", context)


@login_required
@never_cache
@require_GET
def judge(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = judge_for_read(person(request), slug, pk)
    # a call to a model that somebody pays for starts small
    costs = found.declared.costs and not found.is_simulated
    return _judge_page(request, found, AskForm(initial={"which": "sample" if costs else "all"}))


def _judge_page(request: HttpRequest, found: Judge, form: AskForm, *, status: int = 200) -> HttpResponse:
    project = found.project
    state = request.GET.get("state", "")
    state = state if state in STATES else ""
    page = Paginator(selectors.verdict_list(found, state=state), VERDICTS_A_PAGE).get_page(request.GET.get("page"))
    labels_shown(request, [verdict.comparison_id for verdict in page])
    rows = selectors.judging_rows(found)
    versions = list(selectors.judge_versions(found))
    n_orders = 1 if found.order_policy == "random" else 2
    n_orders = 2 * int(found.options.get("samples", 1)) if found.mode in SCORE_MODES else n_orders
    n_unjudged = selectors.unjudged(found).count()
    context = {
        "project": project,
        "active": "judges",
        "judge": found,
        "figures": judge_figures(project).get(found.pk, Figures()),
        "is_unpriced": found.endpoint is not None and not found.is_simulated and not has_price(found),
        "is_label_judge": label_judge_name(project, found.criterion_name) == found.name,
        "is_newest": versions[0].pk == found.pk,
        "versions": versions,
        "n_examples": len(found.options.get("examples", ())),
        "is_aligned": bool(found.options.get(ALIGNED)),
        "template": services.judge_template(found) if found.declared.criterion else "",
        "keeps_schema": endpoint_keeps_schema(found.endpoint) if found.mode == "json" and found.endpoint else None,
        "rows": rows,
        "runs_version": version_of([row.key for row in rows]),
        "runs_done": not any(row.progress.is_open for row in rows),
        "page": page,
        "state": state,
        "states": STATES,
        "form": form,
        "attacks": attack_figures(found),
        "attack_form": None if found.refusal(ATTACK) else AttackForm(),
        "attack_job": Job.objects.filter(kind="judging.attack", payload__judge=found.pk).order_by("-id").first(),
        "n_failed": selectors.failed_only(found).count(),
        "members": Judge.objects.filter(pk__in=found.options.get("members", ())),
        "settings_shown": {key: value for key, value in found.options.items() if key in SHOWN_OPTIONS},
        "version_figures": [(row, judge_figures(project).get(row.pk, Figures())) for row in versions],
        "n_unjudged": n_unjudged,
        "n_orders": n_orders,
        "n_calls": n_unjudged * n_orders,
        "can_be_edited": found.kind in FORMS and found.retired_at is None,
        "can_be_aligned": not found.refusal(ALIGNING) and found.retired_at is None,
        "can_be_asked": not found.refusal(ASKING) and found.retired_at is None,
        "may_write": has_role(person(request), project, Role.ENGINEER),
        "may_lead": True,  # the page itself is for leads
    }
    return render(request, "judging/judge.html", context, status=status)


@login_required
@never_cache
@require_GET
def runs(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The live part of a judge's page: its runs."""
    found = judge_for_read(person(request), slug, pk)
    rows = selectors.judging_rows(found)
    return live(
        request,
        page="judging/_runs.html",
        part="judging/_runs.html",
        context={
            "project": found.project,
            "judge": found,
            "rows": rows,
            "may_write": has_role(person(request), found.project, Role.ENGINEER),
        },
        version=version_of([row.key for row in rows]),
        is_done=not any(row.progress.is_open for row in rows),
    )


@login_required
@require_POST
def ask(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = judge_for_write(person(request), slug, pk)
    if found.retired_at is not None:
        messages.error(request, _("%(name)s is retired and can't be run any more.") % {"name": found.name})
        return redirect("judging:judge", slug=slug, pk=pk)
    form = AskForm(request.POST)
    if not form.is_valid():
        return _judge_page(request, found, form, status=400)
    data = form.cleaned_data
    try:
        run = services.judge_ask(
            judge=found,
            split=data["split"],
            n=data["n"] if data["which"] == "sample" else None,
            seed=data["seed"] or 0,
            started_by=person(request),
        )
    except PrefloopError as error:
        if found.refusal(ASKING):  # its page has no form to say it on
            messages.error(request, str(error))
            return redirect("judging:judge", slug=slug, pk=pk)
        form.add_error(None, str(error))
        return _judge_page(request, found, form, status=400)
    messages.success(
        request, _("%(name)s is judging %(n)d comparisons.") % {"name": found.name, "n": run.n_comparisons}
    )
    return redirect("judging:judge", slug=slug, pk=pk)


@login_required
@require_POST
def retry(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Ask again where a judge gave only errors and unreadable replies."""
    found = judge_for_write(person(request), slug, pk)
    try:
        run = services.judge_retry(judge=found, started_by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("%(n)d comparisons are being asked again.") % {"n": run.n_comparisons})
    return redirect("judging:judge", slug=slug, pk=pk)


@login_required
@require_POST
def go_on(request: HttpRequest, slug: str, pk: int, run: int) -> HttpResponse:
    """Continue an interrupted run: its verdicts stay, and only the rest is asked."""
    found = judge_for_write(person(request), slug, pk)
    row = get_object_or_404(found.runs.select_related("judge", "project"), pk=run)
    try:
        services.judging_run_enqueue(run=row)
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Run %(n)d continues.") % {"n": run})
    return redirect("judging:judge", slug=slug, pk=pk)


@login_required
@require_POST
def retire(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = judge_for_write(person(request), slug, pk)
    services.judge_retire(judge=found, now=timezone.now())
    messages.success(request, _("%(name)s is retired. Its verdicts stay.") % {"name": found.name})
    return redirect("judging:list", slug=slug)


@login_required
@require_POST
def test_stored(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Ask a judge's endpoint, with its stored key at its stored URL, for its models."""
    found = judge_for_write(person(request), slug, pk)
    if found.endpoint is None:
        messages.error(request, _("This judge has no endpoint."))
        return redirect("judging:judge", slug=slug, pk=pk)
    try:
        said = endpoint_test(
            base_url=found.endpoint.base_url, model=found.endpoint.model, api_key=endpoint_key(found.endpoint)
        )
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said)
    return redirect("judging:judge", slug=slug, pk=pk)


@login_required
@require_POST
def use_for_labels(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    judge = judge_for_read(person(request), slug, pk)  # for leads and above
    label_judge_set(judge=judge, by=person(request))
    messages.success(request, _("%(name)s now gives the label where no person has voted.") % {"name": judge.name})
    return redirect("judging:judge", slug=slug, pk=pk)
