"""The Data page: import a file after a preview, and export labels in a trainer's format."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.views import person
from apps.core.middleware import large_body
from apps.exchange import access, downloads, exports, selectors, uploads
from apps.exchange.fetching import FETCH, hub_fetch_start
from apps.exchange.models import Upload
from apps.jobs.models import Job, JobState
from apps.projects.models import Project
from apps.projects.selectors import criteria_of
from apps.samples.next_steps import next_steps
from prefloop.formats import Mapping
from prefloop.records import RecordsError
from prefloop.types import PrefloopError

_ENVELOPE = 64 * 1024  # what a form adds around its file


@login_required
@never_cache
@require_GET
def data(request: HttpRequest, slug: str) -> HttpResponse:
    """The page with imports, waiting files, and exports."""
    project = access.project_for_data(person(request), slug)
    return render(request, "exchange/data.html", _data_context(request, project))


def _data_context(request: HttpRequest, project: Project) -> dict[str, Any]:
    shape = next((s for s in exports.SHAPES if s.name == request.GET.get("format")), exports.SHAPES[0])
    labels = request.GET.get("labels", "effective")
    has_labels = shape.name not in {"records", "prompt-only", *exports.OF_ANSWERS}
    if not has_labels or labels not in exports.LABELS:
        labels = "effective"
    criterion = request.GET.get("criterion", "")
    criterion = criterion if has_labels and criterion in criteria_of(project) else ""
    command = f"python manage.py export_preferences --project {project.slug} --format {shape.name}"
    command += f" --labels {labels}" if labels != "effective" else ""
    command += f" --criterion {criterion}" if criterion else ""
    may_exchange = access.may_exchange(person(request), project)
    lines: list[str] = []
    if may_exchange and "format" in request.GET:  # lines tell labels: only whoever asks for them is told
        lines = exports.export_preview(
            project=project, format=shape.name, labels=labels, criterion=criterion, reader=person(request)
        )
    return {
        "project": project,
        "active": "data",
        "may_exchange": may_exchange,
        "next_steps": next_steps(project) if may_exchange else None,
        "uploads": uploads.upload_list(project) if may_exchange else [],
        "imports": selectors.import_list(project),
        "suffixes": uploads.SUFFIXES,
        "max_mb": uploads.MAX_BYTES // (1024 * 1024),
        "shapes": exports.SHAPES,
        "shape": shape,
        "labels": labels,
        "label_choices": exports.LABELS,
        "criterion": criterion,
        "criteria": criteria_of(project),
        "has_labels": has_labels,
        "left_out": exports.left_out_at_once(project, shape.name, labels, criterion) if may_exchange else None,
        "lines": lines,
        "has_lines": bool(lines) or _has_lines(project, shape.name, labels, criterion),
        "command": f"{command} --out {downloads.file_name(project, shape.name)}",
    }


def _has_lines(project: Project, shape: str, labels: str, criterion: str) -> bool:
    return (
        next(exports.export_lines(project=project, format=shape, labels=labels, criterion=criterion), None) is not None
    )


@login_required
@never_cache
@require_GET
def export(request: HttpRequest, slug: str) -> HttpResponseBase:
    """An export as a download, streamed line by line and never shown in the browser."""
    user = person(request)
    project = access.project_for_exchange(user, slug)
    try:
        return downloads.export_response(
            project=project,
            shape=request.GET.get("format", "records"),
            labels=request.GET.get("labels", "effective"),
            criterion=request.GET.get("criterion", ""),
            kind=request.GET.get("as", "jsonl"),
            reader=user,
        )
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("exchange:data", slug=slug)


@large_body
@csrf_exempt  # the token is in the body: the length is looked at first, then csrf_protect reads both
@login_required
@never_cache
@require_POST
def upload(request: HttpRequest, slug: str) -> HttpResponse:
    """Take an uploaded file and show its preview."""
    access.project_for_exchange(person(request), slug)
    length = request.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()) or int(length) > uploads.MAX_BYTES + _ENVELOPE:
        messages.error(request, str(uploads.UploadTooLarge()))
        return redirect("exchange:data", slug=slug)
    return _upload(request, slug)


@csrf_protect
def _upload(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for_exchange(person(request), slug)
    file = request.FILES.get("file")
    if not isinstance(file, UploadedFile) or not file.name:
        messages.error(request, _("Choose a file first."))
        return redirect("exchange:data", slug=slug)
    try:
        made = uploads.upload_create(project=project, name=file.name, chunks=file.chunks(), created_by=person(request))
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("exchange:data", slug=slug)
    return redirect("exchange:preview", slug=slug, token=made.token)


@login_required
@never_cache
@require_POST
def fetch(request: HttpRequest, slug: str) -> HttpResponse:
    """Start to fetch a data set from a hub, and show how it goes on."""
    project = access.project_for_exchange(person(request), slug)
    try:
        made = hub_fetch_start(
            project=project, address=request.POST.get("address", "").strip(), started_by=person(request)
        )
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("exchange:data", slug=slug)
    return redirect("exchange:preview", slug=slug, token=made.token)


@login_required
@never_cache
@require_GET
def preview(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """The preview of a file: format, first rows, problems by line; and the progress while it is fetched or imported."""
    found = access.upload_for(person(request), slug, token)
    if found.job is not None:
        return _running(request, found, found.job)
    if "since" in request.GET:  # the page that showed how the fetching went on
        response = render(request, "exchange/_fetched.html", {"project": found.project, "upload": found})
        response["X-Poll"] = "stop"
        return response
    shown = uploads.upload_preview(found)
    context = {"project": found.project, "active": "data", "upload": found, "preview": shown}
    return render(request, "exchange/preview.html", context)


def _running(request: HttpRequest, found: Upload, job: Job) -> HttpResponse:
    version = f"{job.state}:{job.step}:{job.message}"
    context = {
        "project": found.project,
        "active": "data",
        "upload": found,
        "job": job,
        "version": version,
        "is_fetch": job.kind == FETCH,
        "next_steps": next_steps(found.project) if job.state == JobState.SUCCEEDED else None,
    }
    since = request.GET.get("since")
    if since == version:
        response = HttpResponse(status=204)
    else:
        response = render(request, "exchange/running.html" if since is None else "exchange/_running.html", context)
    response["X-Since"] = version
    if job.is_terminal:
        response["X-Poll"] = "stop"
    return response


@login_required
@never_cache
@require_POST
def start(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """Import the file: at once where it is small, else as a job."""
    found = access.upload_for(person(request), slug, token)
    try:
        done = uploads.upload_import(upload=found, started_by=person(request), now=timezone.now())
    except RecordsError:
        return redirect("exchange:preview", slug=slug, token=token)  # which lists the problems by line
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("exchange:preview", slug=slug, token=token)
    if isinstance(done, Job):
        return redirect("exchange:preview", slug=slug, token=token)
    messages.success(request, _brought(selectors.batch_counts(done)))
    for note in selectors.batch_notes(done):
        messages.warning(request, note)
    return redirect("exchange:data", slug=slug)


def _brought(counts: dict[str, int]) -> str:
    """Describe the result of an import in words."""
    told = [
        (ngettext("%(n)s record is imported.", "%(n)s records are imported.", counts["n_records"]), counts["n_records"])
    ]
    if n_added := counts["n_added"]:
        one, many = (
            _("New labels were added to %(n)s existing record."),
            _("New labels were added to %(n)s existing records."),
        )
        told.append((one if n_added == 1 else many, n_added))
    if n_same := counts["n_same_answers"]:
        one = _("%(n)s comparison has two equal answers and gets no label.")
        many = _("%(n)s comparisons have two equal answers and get no label.")
        told.append((one if n_same == 1 else many, n_same))
    return " ".join(text % {"n": f"{n:,}"} for text, n in told)


@login_required
@never_cache
@require_POST
def drop(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """Remove an uploaded file."""
    found = access.upload_for(person(request), slug, token)
    try:
        uploads.upload_remove(upload=found)
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The file was removed. Nothing was imported."))
    return redirect("exchange:data", slug=slug)


@login_required
@never_cache
@require_POST
def map_columns(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """Read a table by the columns that a person mapped, or in the detected format."""
    found = access.upload_for(person(request), slug, token)
    parts = {item.name: request.POST.get(item.name, "").strip() for item in fields(Mapping)}
    try:
        uploads.upload_map(upload=found, mapping=None if "recognise" in request.POST else Mapping(**parts))
    except PrefloopError as error:
        messages.error(request, str(error))
    return redirect("exchange:preview", slug=slug, token=token)
