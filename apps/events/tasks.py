"""Sending events to one webhook, in their order; a failure ends the turn and the webhook waits."""

from __future__ import annotations

import time
from typing import Any

from apps.events import services
from apps.events.models import Webhook
from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler

TURN_SECONDS = 60.0  # then other jobs have their turn; what is left is started again


@handler("events.deliver", queue="cpu")
def events_deliver(ctx: JobContext) -> dict[str, Any]:
    """Send what is pending for a webhook: payload {webhook}."""
    webhook = Webhook.objects.select_related("project").filter(pk=ctx.payload["webhook"]).first()
    n, until = 0, time.monotonic() + TURN_SECONDS
    while webhook is not None and time.monotonic() < until:
        ctx.check()
        with ctx.fenced():
            delivery = services.delivery_claim(webhook=webhook, now=database_now())
        if delivery is None:
            break
        delivery.event.project = webhook.project
        status, said = services.send(webhook=webhook, event=delivery.event, now=database_now())
        with ctx.fenced():
            sent = services.delivery_record(delivery=delivery, status=status, said=said, now=database_now())
        if not sent:
            ctx.log(f"event {delivery.event_id}, attempt {delivery.attempts}: {said}")
            break
        n += 1
    if webhook is not None:
        with ctx.fenced():
            services.log_prune(webhook=webhook, now=database_now())
    return {"n_sent": n}
