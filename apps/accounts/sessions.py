"""The sessions of a person: in which browsers they are signed in, and ending one or all others."""

from __future__ import annotations

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from apps.accounts.models import OpenSession, User
from apps.core.origin import origin_now
from apps.core.services import audit
from prefloop.types import PrefloopError


class NoSession(PrefloopError):
    """There is no such session of this person any more."""

    http_status = 404


def is_own_path(request: HttpRequest, target: str) -> bool:
    """Say whether somebody may be sent there after signing in: only to a path of this site."""
    return target.startswith("/") and url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )


def session_note(*, request: HttpRequest, user: User) -> None:
    """Note the session at hand, which a sign-in or a new password gave another key, and from where it is."""
    key = request.session.session_key
    if key is not None:
        browser, address = request.headers.get("User-Agent", ""), origin_now().address
        OpenSession.objects.update_or_create(
            session_key=key, defaults={"user": user, "address": address, "browser": browser[:200]}
        )


def sessions_of(user: User, *, now: datetime) -> QuerySet[OpenSession]:
    """Give the sessions of a person that are still good, the newest first."""
    good = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    return OpenSession.objects.filter(Exists(good), user=user).order_by("-id")


def session_end(*, user: User, pk: int) -> None:
    """End one session of the person: that browser is signed out. Raises NoSession."""
    with transaction.atomic():
        found = OpenSession.objects.filter(user=user, pk=pk).first()
        if found is None:
            raise NoSession("that session has ended already")
        _end(OpenSession.objects.filter(pk=pk))
        audit(actor=user, verb="session.end", target=f"user:{user.pk}", data={"n": 1})


def sessions_end(*, user: User, but: str | None = None) -> int:
    """End all sessions of a person but the one of this key; return how many there were."""
    with transaction.atomic():
        n = _end(OpenSession.objects.filter(user=user).exclude(session_key=but or ""))
        if n:
            audit(actor=user, verb="session.end", target=f"user:{user.pk}", data={"n": n})
    return n


def _end(rows: QuerySet[OpenSession]) -> int:
    keys = list(rows.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    return OpenSession.objects.filter(session_key__in=keys).delete()[0]
