"""Webhooks: made, changed, sent to. Signed after the Standard Webhooks specification 1.0.0 (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
from django.conf import settings
from django.db import transaction

from apps.accounts.models import User
from apps.core.sealed import seal, unseal
from apps.core.services import audit
from apps.events.models import Delivery, Event, Webhook
from apps.events.notifications import mails_start, notifications_make
from apps.events.types import CHOSEN, PING
from apps.events.waiting import MOST_ATTEMPTS, wait_after
from apps.jobs.models import Job, Turn
from apps.jobs.selectors import OPEN
from apps.jobs.services import job_enqueue
from apps.projects.models import Project
from prefloop.judging.addresses import check_base_url
from prefloop.judging.errors import JudgeError
from prefloop.judging.transport import GuardedTransport, deadline
from prefloop.types import PrefloopError

MOST_WEBHOOKS = 20
SPREAD_AT_ONCE = 500
SECONDS = 10.0  # of one request
KEPT = timedelta(days=30)
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix
_PURPOSE = "webhook"


class BadWebhook(PrefloopError):
    """A webhook that can't be made."""


class NothingToSend(PrefloopError):
    """This delivery has not failed."""

    http_status = 409


def webhook_create(*, project: Project, url: str, kinds: Sequence[str], by: User) -> tuple[Webhook, str]:
    """Make a webhook; returns it with its secret, which is not shown again. Raises BadWebhook, EndpointForbidden."""
    url = url.strip()
    check_base_url(url, allow=settings.ENDPOINT_ALLOW)
    if len(url) > 500:
        raise BadWebhook("an address has at most 500 characters")
    if unknown := sorted(set(kinds) - set(CHOSEN)):
        raise BadWebhook(f"there is no event {unknown[0]!r}; there are {', '.join(CHOSEN)}")
    if not kinds:
        raise BadWebhook("choose at least one event")
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    with transaction.atomic():
        if Project.objects.select_for_update().get(pk=project.pk).webhooks.count() >= MOST_WEBHOOKS:
            raise BadWebhook(f"a project has at most {MOST_WEBHOOKS} webhooks")
        made = Webhook.objects.create(
            project=project,
            url=url,
            kinds=[name for name in CHOSEN if name in kinds],
            sealed_secret=seal(secret, purpose=_PURPOSE, bound_to=url),
            created_by=by,
        )
        _listen(project)
        audit(actor=by, verb="webhook.create", target=f"webhook:{made.pk}", project=project, data={"url": url})
    return made, secret


def webhook_switch(*, webhook: Webhook, active: bool, by: User) -> None:
    """Turn a webhook on or off. What is pending waits; turned on again, it is sent at once."""
    with transaction.atomic():
        webhook.active, webhook.n_failures, webhook.waits_until = active, 0, None
        webhook.save(update_fields=["active", "n_failures", "waits_until"])
        _listen(webhook.project)
        verb = "webhook.on" if active else "webhook.off"
        audit(actor=by, verb=verb, target=f"webhook:{webhook.pk}", project=webhook.project)


def webhook_delete(*, webhook: Webhook, by: User) -> None:
    """Delete a webhook and its log."""
    with transaction.atomic():
        audit(
            actor=by,
            verb="webhook.delete",
            target=f"webhook:{webhook.pk}",
            project=webhook.project,
            data={"url": webhook.url},
        )
        webhook.delete()
        _listen(webhook.project)


def _listen(project: Project) -> None:
    """Note with the project which events anybody hears of, so that telling costs nothing where nobody does."""
    heard = {name for kinds in project.webhooks.filter(active=True).values_list("kinds", flat=True) for name in kinds}
    project.listened = [name for name in CHOSEN if name in heard]
    project.save(update_fields=["listened"])


def webhook_ping(*, webhook: Webhook, now: datetime) -> Delivery:
    """Send a test event to one webhook, at once whatever it waits for."""
    with transaction.atomic():
        event = Event.objects.create(project=webhook.project, kind=PING, spread_at=now)
        Webhook.objects.filter(pk=webhook.pk).update(waits_until=None)
        return Delivery.objects.create(webhook=webhook, event=event)


def delivery_retry(*, delivery: Delivery) -> None:
    """Try a failed delivery again. Raises NothingToSend."""
    with transaction.atomic():
        if not Delivery.objects.filter(pk=delivery.pk, state="failed").update(state="pending"):
            raise NothingToSend("only a failed delivery can be sent again")
        Webhook.objects.filter(pk=delivery.webhook_id).update(waits_until=None)


# --- what the workers do ---------------------------------------------------------------------------------------------


def turn(now: datetime) -> None:
    """One turn of a worker: give new events to the webhooks and people that hear of them, and start what is due."""
    while events_spread(now=now) == SPREAD_AT_ONCE:
        pass
    deliveries_start(now=now)
    mails_start(now=now)


def events_spread(*, now: datetime) -> int:
    """Make the deliveries of new events; two workers at once make each once. Returns how many events."""
    if not Event.objects.filter(spread_at=None).exists():
        return 0
    with transaction.atomic():
        events = list(Event.objects.filter(spread_at=None).order_by("id")[:SPREAD_AT_ONCE])
        projects = {event.project_id for event in events}
        hooks = list(Webhook.objects.filter(project__in=projects, active=True))
        Delivery.objects.bulk_create(
            [
                Delivery(webhook=hook, event=event)
                for event in events
                for hook in hooks
                if hook.project_id == event.project_id and event.kind in hook.kinds
            ],
            ignore_conflicts=True,
            batch_size=500,
        )
        notifications_make(events)
        Event.objects.filter(pk__in=[event.pk for event in events]).update(spread_at=now)
    return len(events)


def deliveries_start(*, now: datetime) -> int:
    """Start a job for each webhook that has something to send and need not wait."""
    pending = Delivery.objects.filter(state="pending", webhook__active=True).exclude(webhook__waits_until__gt=now)
    n = 0
    for hook_id in pending.order_by().values_list("webhook_id", flat=True).distinct():
        if Job.objects.filter(kind="events.deliver", payload__webhook=hook_id, state__in=OPEN).exists():
            continue
        head = pending.filter(webhook=hook_id).select_related("webhook__project").order_by("id").first()
        if head is not None:
            job_enqueue(
                kind="events.deliver",
                turn=Turn.SOON,
                queue="cpu",
                payload={"webhook": hook_id},
                project=head.webhook.project,
                title="Send events",
                # the same for two workers that look at once
                unique_key=f"deliver:{hook_id}:{head.pk}:{head.attempts}",
            )
            n += 1
    return n


def delivery_claim(*, webhook: Webhook, now: datetime) -> Delivery | None:
    """Take the next event to send, counting the attempt before it is made; None: nothing, or another has it."""
    rows = Delivery.objects.filter(webhook=webhook, webhook__active=True, state="pending")
    head = rows.select_related("event").order_by("id").first()
    if head is None:
        return None
    mine = Delivery.objects.filter(pk=head.pk, attempts=head.attempts, state="pending")
    if not mine.update(attempts=head.attempts + 1, last_at=now):
        return None
    head.attempts += 1
    return head


def delivery_record(*, delivery: Delivery, status: int | None, said: str, now: datetime) -> bool:
    """Note what became of an attempt: sent, or wait longer than the last time. True: it was sent."""
    sent = status is not None and 200 <= status < 300
    state = "sent" if sent else "failed" if delivery.attempts >= MOST_ATTEMPTS else "pending"
    Delivery.objects.filter(pk=delivery.pk).update(state=state, status=status, said="" if sent else said[:300])
    hook = Webhook.objects.get(pk=delivery.webhook_id)
    if sent:
        if hook.n_failures:
            Webhook.objects.filter(pk=hook.pk).update(n_failures=0, waits_until=None)
    else:
        n = hook.n_failures + 1
        Webhook.objects.filter(pk=hook.pk).update(n_failures=n, waits_until=now + wait_after(n))
    return sent


def log_prune(*, webhook: Webhook, now: datetime) -> None:
    """Forget what was sent long ago."""
    Delivery.objects.filter(webhook=webhook, state="sent", created_at__lt=now - KEPT).delete()
    Event.objects.filter(
        project=webhook.project_id,
        created_at__lt=now - KEPT,
        spread_at__isnull=False,
        deliveries=None,
        notifications=None,
    ).delete()


def body_of(event: Event) -> bytes:
    """The content of a request, the same at every attempt."""
    told: dict[str, Any] = {
        "id": f"evt_{event.pk}",
        "type": event.kind,
        "project": event.project.slug,
        "timestamp": event.created_at.isoformat(),
        "data": event.data,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 of `id.timestamp.body`, as the specification says: "v1,…"."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def send(*, webhook: Webhook, event: Event, now: datetime) -> tuple[int | None, str]:
    """Send one event; returns the status, or None, and why it failed. Only to addresses that endpoints may have."""
    try:
        secret = unseal(webhook.sealed_secret, purpose=_PURPOSE, bound_to=webhook.url)
        body, message_id, timestamp = body_of(event), f"evt_{event.pk}", int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "prefloop-webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, message_id=message_id, timestamp=timestamp, body=body),
        }
        guarded = GuardedTransport(allow=settings.ENDPOINT_ALLOW, max_connections=1)
        limits = httpx.Timeout(SECONDS / 2, connect=SECONDS / 3)
        with (
            deadline(SECONDS),
            httpx.Client(transport=guarded, timeout=limits, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", webhook.url, content=body, headers=headers) as response,
        ):
            return response.status_code, f"it answered {response.status_code}"  # what it says is not read
    except (PrefloopError, JudgeError) as error:
        return None, str(error)
    except httpx.HTTPError as error:
        return None, f"no answer: {error}" if str(error) else f"no answer: {type(error).__name__}"
