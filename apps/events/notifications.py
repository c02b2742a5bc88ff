"""Telling people of events: a line on their page, and a mail if they wish and the operator has set up mail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parseaddr
from smtplib import SMTPRecipientsRefused, SMTPResponseException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import override

from apps.accounts.models import User
from apps.events.models import Event, Notification
from apps.events.types import EVENTS
from apps.events.waiting import MOST_ATTEMPTS, wait_after
from apps.jobs.models import Job, Turn
from apps.jobs.selectors import OPEN
from apps.jobs.services import job_enqueue
from apps.projects.access import includes
from apps.projects.models import Membership, Role

MAILS_AT_ONCE = 100


def notifications_make(events: Sequence[Event]) -> None:
    """Notify each member whose role the event's kind names, once."""
    told = [(event, role) for event in events if (role := EVENTS[event.kind].notifies) is not None]
    if not told:
        return
    members = Membership.objects.filter(project__in={event.project_id for event, _role in told}, user__is_active=True)
    rows = list(members.select_related("user"))
    Notification.objects.bulk_create(
        [
            Notification(user=row.user, event=event, mail="due" if may_mail(row.user) else "")
            for event, role in told
            for row in rows
            if row.project_id == event.project_id and includes(Role(row.role), role)
        ],
        ignore_conflicts=True,
        batch_size=500,
    )


def may_mail(user: User) -> bool:
    """Whether this person wants mails, has an address, and the operator has set up a mail server."""
    return bool(user.wants_mail and user.email and settings.EMAIL_HOST)


def notification_list(user: User) -> QuerySet[Notification]:
    """Return a person's notifications of projects that they still belong to, the latest first."""
    theirs = Notification.objects.filter(user=user, event__project__memberships__user=user)
    return theirs.select_related("event__project").order_by("-id")


def n_unread(user: User) -> int:
    return notification_list(user).filter(read_at=None).count()


def notifications_read(*, user: User, now: datetime) -> int:
    """Mark all of a person's notifications as read; return how many were not."""
    return Notification.objects.filter(user=user, read_at=None).update(read_at=now)


def sentence(event: Event) -> str:
    """Say what happened, in the reader's language."""
    declared = EVENTS[event.kind]
    return str(declared.words) % event.data if declared.words else str(declared.about)


def page_of(event: Event) -> str:
    return f"/p/{event.project.slug}/{EVENTS[event.kind].page % event.data}"


def mails_due(now: datetime) -> QuerySet[Notification]:
    """Return the notifications that wait for their mail, the oldest first."""
    due = Notification.objects.filter(mail="due").exclude(mail_after__gt=now)
    return due.select_related("user", "event__project").order_by("id")


def mails_start(*, now: datetime) -> None:
    """Start a job for the mails that are due, one at a time: two would send the same mail."""
    if Job.objects.filter(kind="events.mail", state__in=OPEN).exists():
        return
    head = mails_due(now).first()
    if head is not None:
        job_enqueue(
            kind="events.mail",
            turn=Turn.SOON,
            queue="cpu",
            payload={},
            title="Send mails",
            unique_key=f"mail:{head.pk}:{head.mail_attempts}",  # the same for two workers that look at once
        )


def mail_claim(row: Notification, *, now: datetime) -> bool:
    """Count an attempt before it is made: a mail that is lost with its worker is sent again, but not for ever."""
    mine = Notification.objects.filter(pk=row.pk, mail="due", mail_attempts=row.mail_attempts)
    row.mail_attempts += 1
    if row.mail_attempts > MOST_ATTEMPTS:
        mine.update(mail="failed")
        return False
    return bool(mine.update(mail_attempts=row.mail_attempts, mail_after=now + wait_after(row.mail_attempts)))


def mail_record(row: Notification, error: Exception | None) -> bool:
    """Note what became of an attempt; after an error a mail stays due, unless it was refused for good.

    True: there will be no other attempt.
    """
    is_over = error is None or _is_final(error) or row.mail_attempts >= MOST_ATTEMPTS
    if is_over:
        Notification.objects.filter(pk=row.pk).update(mail="sent" if error is None else "failed", mail_after=None)
    return is_over


def _is_final(error: Exception) -> bool:
    """Whether the server refused a mail for good (5xx), so that another attempt has no use."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _said in error.recipients.values())
    return isinstance(error, SMTPResponseException) and error.smtp_code >= 500


def mail_send(row: Notification) -> None:
    """Send one notification; raises OSError or SMTPException where the server can't be reached or refuses.

    Its Message-ID is the same at every attempt, so that a mail program shows once what had to be sent again.
    """
    with override(row.user.language or settings.LANGUAGE_CODE):
        _send(row)


def _send(row: Notification) -> None:
    text = sentence(row.event)
    EmailMessage(
        subject=f"[{row.event.project.name}] {text}".replace("\n", " ")[:200],
        body=f"{text}\n\n{settings.BASE_URL}{page_of(row.event)}\n\n"
        + _("You get these mails because you asked for them on your profile."),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[row.user.email],
        headers={"Message-ID": f"<notification-{row.pk}.{row.created_at:%Y%m%d%H%M%S%f}@{_domain()}>"},
    ).send()


def _domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
