"""Downloading a checkpoint: its model card, and the zip."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.accounts.views import person
from apps.policies.access import checkpoint_for_read, checkpoint_for_write
from apps.policies.takeaway import checkpoint_files, checkpoint_zip
from apps.projects.access import has_role
from apps.projects.models import Role
from apps.training.lineage.cards import card_markdown, checkpoint_card
from apps.training.lineage.measured import in_words
from apps.training.lineage.takeaway import checkpoint_taken
from prefloop.types import PrefloopError


@login_required
@never_cache
@require_GET
def card(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The model card as a page: the facts, and the file that goes with the weights."""
    found = checkpoint_for_read(person(request), slug, pk)
    made = checkpoint_card(found)
    context = {
        "project": found.project,
        "active": "policies",
        "checkpoint": found,
        "card": made,
        "measured": [(one, [(figure, in_words(figure)) for figure in one.figures]) for one in made.measured],
        "markdown": card_markdown(made),
        "may_write": has_role(person(request), found.project, Role.ENGINEER),
    }
    return render(request, "training/card.html", context)


@login_required
@never_cache
@require_GET
def download(request: HttpRequest, slug: str, pk: int) -> HttpResponseBase:
    """The checkpoint as a zip, checked before its first byte leaves; it goes into the audit log."""
    found = checkpoint_for_write(person(request), slug, pk)
    try:
        files = checkpoint_files(found, card=card_markdown(checkpoint_card(found)))
    except PrefloopError as error:
        messages.error(request, str(error))
        return redirect("policies:checkpoint", slug=slug, pk=pk)
    checkpoint_taken(checkpoint=found, by=person(request), how="download")
    response = StreamingHttpResponse(checkpoint_zip(found, files), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{found.name}.zip"'
    response["X-Fingerprint"] = found.fingerprint
    return response
