"""Sampling runs: the list, a run with its progress, starting one, and making comparisons from one."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person, posted
from apps.policies.selectors import checkpoint_default, checkpoint_list
from apps.policies.store import checkpoint_outline
from apps.projects.access import has_role, project_for
from apps.projects.models import Project, Role
from apps.prompts.selectors import prompt_list, prompt_set_list
from apps.samples import selectors, services
from apps.samples.access import sampling_run_for_read, sampling_run_for_write
from apps.samples.forms import CompareForm, SampleForm
from apps.samples.live import live
from apps.samples.next_steps import next_steps
from apps.samples.pairs import MadeComparisons, comparisons_from_answers, comparisons_from_run
from apps.samples.progress import version_of
from prefloop.models import shipped_sampling
from prefloop.types import PrefloopError

PAGE = 25


@login_required
@never_cache
@require_GET
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.LEAD)
    page = Paginator(selectors.sampling_run_list(project), PAGE).get_page(request.GET.get("page"))
    rows = selectors.run_rows(list(page))
    context = {
        "project": project,
        "active": "samples",
        "tab": "runs",
        "page": page,
        "rows": rows,
        "may_write": has_role(person(request), project, Role.ENGINEER),
    }
    return live(
        request,
        page="samples/runs.html",
        part="samples/_runs.html",
        context=context,
        version=version_of([row.key for row in rows]),
        is_done=not any(row.progress.is_open for row in rows),
    )


@login_required
@never_cache
@require_GET
def run(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return _run_page(request, slug, pk, CompareForm(initial={"pairing": "two"}))


def _run_page(request: HttpRequest, slug: str, pk: int, form: CompareForm, *, status: int = 200) -> HttpResponse:
    found = sampling_run_for_read(person(request), slug, pk)
    row = selectors.run_rows(list(selectors.sampling_run_list(found.project).filter(pk=found.pk)))[0]
    context = {
        "project": found.project,
        "active": "samples",
        "row": row,
        "form": form,
        "may_write": has_role(person(request), found.project, Role.ENGINEER),
        "next_steps": next_steps(found.project) if row.progress.state == "done" else None,
    }
    return live(
        request,
        page="samples/run.html",
        part="samples/_run_progress.html",
        context=context,
        version=version_of([row.key]),
        is_done=not row.progress.is_open,
        status=status,
    )


@login_required
@require_POST
def compare(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = sampling_run_for_write(person(request), slug, pk)
    form = CompareForm(request.POST)
    if not form.is_valid():
        return _run_page(request, slug, pk, form, status=400)
    try:
        made = comparisons_from_run(run=found, **form.cleaned_data)
    except PrefloopError as error:
        form.add_error(None, str(error))
        return _run_page(request, slug, pk, form, status=400)
    messages.success(request, _made_in_words(made))
    return redirect("samples:run", slug=slug, pk=pk)


@login_required
@require_POST
def compare_answers(request: HttpRequest, slug: str) -> HttpResponse:
    """Make comparisons from all answers of the project, and go on to annotate them."""
    project = project_for(person(request), slug, Role.ENGINEER)
    wanted = request.POST.get("per_prompt", "")
    try:
        per_prompt = int(wanted) if wanted.isascii() and wanted.isdigit() else 1
        made = comparisons_from_answers(project=project, per_prompt=per_prompt)
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _made_in_words(made))
    return redirect(f"/p/{project.slug}/annotate/")


def _made_in_words(made: MadeComparisons) -> str:
    said = ngettext("%(n)d comparison made.", "%(n)d comparisons made.", made.n_new) % {"n": made.n_new}
    if made.n_there:
        said += " " + _("%(n)d were already in the set.") % {"n": made.n_there}
    if made.n_same:
        said += " " + _("%(n)d were left out because both answers are the same.") % {"n": made.n_same}
    return said


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    user = person(request)
    project = project_for(user, slug, Role.ENGINEER)
    default = checkpoint_default(project, "policy")
    initial = {"checkpoint": request.GET.get("checkpoint") or (default.pk if default is not None else None)}
    if request.GET.get("endpoint") or not checkpoint_list(project).filter(role="policy").exists():
        initial |= {"engine": "endpoint", "endpoint": request.GET.get("endpoint")}
    initial |= {name: request.GET[name] for name in ("temperature", "top_p", "top_k") if name in request.GET}
    form = SampleForm(posted(request), project=project, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = dict(form.cleaned_data)
        prompt_set, split = data["prompt_set"], data.pop("split")
        ids = list(prompt_list(project, set_name=prompt_set.name, split=split).values_list("id", flat=True))
        try:
            made = services.sampling_run_create(project=project, prompt_ids=ids, started_by=user, **data)
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            return redirect("samples:run", slug=slug, pk=made.pk)
    sets = list(prompt_set_list(project))
    context = {
        "project": project,
        "active": "samples",
        "form": form,
        "sizes": {str(row.pk): {"train": row.n_train, "eval": row.n_eval} for row in sets},  # type: ignore[attr-defined]
        "has_source": any(form.fields[name].queryset.exists() for name in ("checkpoint", "endpoint")),  # type: ignore[attr-defined]
        "has_endpoint": form.fields["endpoint"].queryset.exists(),  # type: ignore[attr-defined]
        "has_prompts": bool(sets),
        "shipped": _shipped(project, str(form["checkpoint"].value() or "")),
    }
    return render(request, "samples/new.html", context, status=400 if form.errors else 200)


def _shipped(project: Project, checkpoint: str) -> dict[str, str] | None:
    """The settings for sampling that a checkpoint ships: in words, and as the query that puts them into the form."""
    chosen = checkpoint_list(project).filter(pk=checkpoint).first() if checkpoint.isdigit() else None
    if chosen is None:
        return None
    try:
        settings = shipped_sampling(checkpoint_outline(chosen))
    except PrefloopError:  # the store does not answer: what would be offered is not worth an error
        return None
    if not settings:
        return None
    said = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in settings.items())
    return {"name": chosen.name, "said": said, "query": urlencode({"checkpoint": chosen.pk, **settings})}
