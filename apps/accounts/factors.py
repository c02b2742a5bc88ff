"""Second factors: what is written down when one comes or goes, and taking away a lost one."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.sessions import session_note, sessions_end
from apps.core.services import audit

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes only stand in for one of these


def has_factor(user: User) -> bool:
    """Say whether this person signs in with a second factor."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def factors_remove(*, user: User, actor: User | None = None) -> list[str]:
    """Take all second factors and recovery codes of a person away, and end their sessions; return the kinds."""
    with transaction.atomic():
        rows = Authenticator.objects.filter(user=user)
        kinds = sorted(rows.values_list("type", flat=True))
        if kinds:
            rows.delete()
            sessions_end(user=user)
            audit(actor=actor, verb="factor.remove", target=f"user:{user.pk}", data={"types": kinds})
    return kinds


def note_added(request: HttpRequest, user: User, authenticator: Authenticator, **more: Any) -> None:
    """Write down a new factor. With the first one, sessions that began without any end."""
    if authenticator.type not in FACTORS:
        note_codes(user=user)
        return
    audit(actor=user, verb="factor.add", target=f"user:{user.pk}", data={"types": [authenticator.type]})
    if Authenticator.objects.filter(user=user, type__in=FACTORS).count() == 1:
        request.session.cycle_key()
        session_note(request=request, user=user)
        sessions_end(user=user, but=request.session.session_key)


def note_removed(user: User, authenticator: Authenticator, **more: Any) -> None:
    audit(actor=user, verb="factor.remove", target=f"user:{user.pk}", data={"types": [authenticator.type]})


def note_codes(user: User, **more: Any) -> None:
    audit(actor=user, verb="factor.codes", target=f"user:{user.pk}")


def note_refused(user: User, **more: Any) -> None:
    """Write down a wrong code, before which the password was right. The throttle bounds how many there can be."""
    audit(actor=None, verb="factor.refused", target=f"user:{user.pk}")
