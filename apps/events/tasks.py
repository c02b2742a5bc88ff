"""Sending events to one webhook, in their order; a failure ends the turn and the webhook waits."""

from __future__ import annotations

import time
from smtplib import SMTPException
from typing import Any

from apps.events import services
from apps.events.models import Webhook
from apps.events.notifications import MAILS_AT_ONCE, mail_claim, mail_record, mail_send, mails_due
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


@handler("events.mail", queue="cpu")
def events_mail(ctx: JobContext) -> dict[str, Any]:
    """Send the mails that are due, each at least once; where the server can't be reached, the others wait as well."""
    n = 0
    for row in mails_due(database_now())[:MAILS_AT_ONCE]:
        ctx.check()
        with ctx.fenced():
            mine = mail_claim(row, now=database_now())
        if not mine:
            continue
        error: Exception | None = None
        try:
            mail_send(row)
            n += 1
        except (OSError, SMTPException) as failed:
            error = failed
            ctx.log(f"mail to {row.user.username}: {error}")
        with ctx.fenced():
            is_over = mail_record(row, error)
        if not is_over:
            break
    return {"n_sent": n}
