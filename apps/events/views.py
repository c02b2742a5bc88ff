"""A project's webhooks, and the log of each."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.views import person, posted
from apps.events import access, selectors, services
from apps.events import notifications as notices
from apps.events.forms import WebhookForm
from apps.events.types import EVENTS
from apps.events.waiting import MOST_ATTEMPTS
from prefloop.types import PrefloopError

DELIVERIES_A_PAGE = 50
NOTIFICATIONS_A_PAGE = 30


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """What this person was notified of, the latest first; POST marks all as read."""
    user = person(request)
    if request.method == "POST":
        notices.notifications_read(user=user, now=timezone.now())
        return redirect("events:notifications")
    page = Paginator(notices.notification_list(user), NOTIFICATIONS_A_PAGE).get_page(request.GET.get("page"))
    rows = [(row, notices.sentence(row.event), notices.page_of(row.event)) for row in page]
    return render(request, "events/notifications.html", {"page": page, "rows": rows})


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def webhooks(request: HttpRequest, slug: str) -> HttpResponse:
    """List the webhooks; POST makes one and shows its secret, once."""
    project = access.project_for_webhooks(person(request), slug)
    form, made, secret = WebhookForm(posted(request)), None, ""
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = services.webhook_create(project=project, by=person(request), **form.cleaned_data)
        except PrefloopError as error:
            form.add_error("url", str(error))
        else:
            form = WebhookForm()
    context = {
        "project": project,
        "active": "settings",
        "tab": "webhooks",
        "is_owner": True,
        "form": form,
        "webhooks": selectors.webhook_list(project),
        "made": made,
        "secret": secret,
    }
    return render(request, "events/webhooks.html", context, status=422 if form.errors else 200)


@login_required
@never_cache
@require_GET
def webhook(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One webhook and its log. What the events said of single pairs is not shown."""
    found = access.webhook_for(person(request), slug, pk)
    page = Paginator(selectors.delivery_list(found), DELIVERIES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": found.project,
        "active": "settings",
        "tab": "webhooks",
        "is_owner": True,
        "webhook": found,
        "kinds": [(name, EVENTS[name].about) for name in found.kinds if name in EVENTS],
        "page": page,
        "most_attempts": MOST_ATTEMPTS,
        "waits": found.waits_until is not None and found.waits_until > timezone.now(),
    }
    return render(request, "events/webhook.html", context)


@login_required
@require_POST
def switch(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = access.webhook_for(person(request), slug, pk)
    services.webhook_switch(webhook=found, active=not found.active, by=person(request))
    messages.success(request, _("The webhook is on.") if found.active else _("The webhook is off."))
    return redirect("events:webhook", slug=slug, pk=pk)


@login_required
@require_POST
def ping(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    services.webhook_ping(webhook=access.webhook_for(person(request), slug, pk), now=timezone.now())
    messages.success(request, _("A test event is on its way. Its result appears in the log."))
    return redirect("events:webhook", slug=slug, pk=pk)


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    services.webhook_delete(webhook=access.webhook_for(person(request), slug, pk), by=person(request))
    messages.success(request, _("The webhook is deleted."))
    return redirect("events:webhooks", slug=slug)


@login_required
@require_POST
def again(request: HttpRequest, slug: str, pk: int, delivery: int) -> HttpResponse:
    try:
        services.delivery_retry(delivery=access.delivery_for(person(request), slug, pk, delivery))
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The event is sent again."))
    return redirect("events:webhook", slug=slug, pk=pk)
