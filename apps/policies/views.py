"""Pages on checkpoints: lineage, details, and importing one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person, posted
from apps.jobs.models import Job
from apps.policies import selectors, services
from apps.policies.access import checkpoint_for_read, checkpoint_for_write
from apps.policies.approval import NOTE_CHARS, approval_withdraw, checkpoint_approve
from apps.policies.averaging import average_start, averageable
from apps.policies.endpoints import endpoint_create, endpoint_test
from apps.policies.forms import AverageForm, ImportForm, NewEndpointForm
from apps.policies.lineage import draw_lineage, short_count
from apps.policies.store import import_folders
from apps.policies.uploads import upload_list
from apps.projects.access import has_role, is_operator, project_for
from apps.projects.models import Role
from prefloop.types import PrefloopError

MOST_DRAWN = 300


@login_required
@never_cache
@require_GET
def policies(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.LEAD)
    rows = list(selectors.checkpoint_list(project).defer("manifest"))
    context = {
        "project": project,
        "active": "policies",
        "rows": [(row, short_count(row.n_parameters)) for row in reversed(rows)],
        "may_average": sum(row.parent_id is not None for row in rows) > 1,
        "drawing": draw_lineage(rows[-MOST_DRAWN:]) if rows else None,
        "endpoints": list(selectors.endpoint_list(project)),
        "may_write": has_role(person(request), project, Role.ENGINEER),
    }
    return render(request, "policies/list.html", context)


@login_required
@never_cache
@require_GET
def checkpoint(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = checkpoint_for_read(person(request), slug, pk)
    context = {
        "project": found.project,
        "active": "policies",
        "checkpoint": found,
        "size": short_count(found.n_parameters),
        "ancestors": selectors.checkpoint_ancestors(found),
        "children": found.children.order_by("id")[:100],
        "runs": found.sampling_runs.select_related("prompt_set").order_by("-id")[:10],
        "manifest": _facts(found.manifest),
        "note_chars": NOTE_CHARS,
        "may_write": has_role(person(request), found.project, Role.ENGINEER),
    }
    return render(request, "policies/checkpoint.html", context)


def _facts(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the manifest's facts that the page does not show yet; added ones come first."""
    extra = manifest.get("extra")
    facts = list(extra.items()) if isinstance(extra, dict) else []
    facts += [(key, value) for key, value in sorted(manifest.items()) if key not in ("extra", "fingerprint", "files")]
    return [(key.replace("_", " "), value) for key, value in facts if value not in (None, "", {}, [])]


@login_required
@require_POST
def make_default(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = checkpoint_for_write(person(request), slug, pk)
    services.checkpoint_make_default(checkpoint=found)
    messages.success(request, _("%(name)s is now the default.") % {"name": found.name})
    return redirect("policies:checkpoint", slug=slug, pk=pk)


@login_required
@require_POST
def approve(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = checkpoint_for_write(person(request), slug, pk)
    try:
        checkpoint_approve(checkpoint=found, note=request.POST.get("note", ""), by=person(request), now=timezone.now())
    except PrefloopError as error:
        messages.error(request, str(error))
    return redirect("policies:checkpoint", slug=slug, pk=pk)


@login_required
@require_POST
def withdraw_approval(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = checkpoint_for_write(person(request), slug, pk)
    try:
        approval_withdraw(checkpoint=found, seen=request.POST.get("seen", ""), by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
    return redirect("policies:checkpoint", slug=slug, pk=pk)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def import_(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.ENGINEER)
    given = {key: request.GET[key] for key in ("path", "name") if key in request.GET}  # of an upload that is whole
    form = ImportForm(posted(request), initial=given)
    look: services.ModelLook | None = None
    if request.method == "POST" and request.POST.get("action") == "look":
        form.fields["name"].required = False  # a name is not needed to look
        if form.is_valid():
            try:
                look = services.model_look(form.cleaned_data["path"], project=project, by=person(request))
            except PrefloopError as error:
                form.add_error("path", str(error))
    elif request.method == "POST" and form.is_valid():
        try:
            made = services.checkpoint_import_start(project=project, created_by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            if isinstance(made, Job):
                return redirect("jobs:job", slug=slug, job_id=made.pk)
            messages.success(request, _("%(name)s is imported.") % {"name": made.name})
            return redirect("policies:checkpoint", slug=slug, pk=made.pk)
    operator = is_operator(person(request))
    uploads = upload_list(project)
    context = {
        "project": project,
        "active": "policies",
        "form": form,
        "folders": import_folders(project, is_operator=operator),
        "is_operator": operator,
        "look": look,
        "uploads": uploads,
        "uploaded": any(given.get("path") == upload.path for upload in uploads),
    }
    return render(request, "policies/import.html", context, status=400 if form.errors else 200)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def average(request: HttpRequest, slug: str) -> HttpResponse:
    """Average checkpoints that were trained from one, as a job."""
    project = project_for(person(request), slug, Role.ENGINEER)
    rows = averageable(project)
    form = AverageForm(rows, posted(request), initial={"of": request.GET.getlist("of")})
    if request.method == "POST" and form.is_valid():
        try:
            job = average_start(project=project, created_by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            return redirect("jobs:job", slug=slug, job_id=job.pk)
    context = {"project": project, "active": "policies", "form": form, "rows": rows}
    return render(request, "policies/average.html", context, status=400 if form.errors else 200)


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def endpoint_new(request: HttpRequest, slug: str) -> HttpResponse:
    """Add a model on another server: it can answer prompts and act as a judge."""
    project = project_for(person(request), slug, Role.ENGINEER)
    form = NewEndpointForm(posted(request))
    tested: dict[str, Any] | None = None
    if request.method == "POST" and request.POST.get("action") == "test":
        form.is_valid()  # a name is not needed to ask
        where = {name: str(form.cleaned_data.get(name) or "") for name in ("base_url", "model", "api_key")}
        try:
            tested = {"ok": True, "text": endpoint_test(**where)}
        except PrefloopError as error:
            tested = {"ok": False, "text": str(error)}
        if request.headers.get("HX-Request"):
            return render(request, "judging/_tested.html", {"tested": tested})
    elif request.method == "POST" and form.is_valid():
        try:
            made = endpoint_create(project=project, by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("%(name)s is there.") % {"name": made.name})
            return redirect("policies:list", slug=slug)
    context = {"project": project, "active": "policies", "form": form, "tested": tested}
    return render(request, "policies/endpoint_new.html", context, status=400 if form.errors and tested is None else 200)
