"""Telling people of events: a line on their page, and a mail if they wish and the operator has set up mail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.events.models import Event, Notification
from apps.events.types import EVENTS
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


def mails_start() -> None:
    """Start a job for the mails that are due."""
    head = Notification.objects.filter(mail="due").order_by("id").first()
    if head is not None:
        job_enqueue(
            kind="events.mail",
            queue="cpu",
            payload={},
            title="Send mails",
            unique_key=f"mail:{head.pk}",
            max_attempts=3,
        )


def mail_send(row: Notification) -> None:
    """Send one notification; raises OSError or SMTPException where the server can't be reached or refuses."""
    text = sentence(row.event)
    send_mail(
        subject=f"[{row.event.project.name}] {text}".replace("\n", " ")[:200],
        message=f"{text}\n\n{settings.BASE_URL}{page_of(row.event)}\n\n"
        + _("You get these mails because you asked for them on your profile."),
        from_email=settings.DEFAULT_FROM_EMAIL,
        recipient_list=[row.user.email],
    )
