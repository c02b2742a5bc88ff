"""What django-allauth asks of prefloop: who may sign in, where secrets are kept, and what is written down.

Allauth has the flows and the tables of second factors; accounts, pages, words and the audit log are prefloop's.
"""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.accounts.sessions import is_own_path, session_note
from apps.accounts.throttle import address_of
from apps.core.sealed import SecretUnreadable, seal, unseal
from apps.core.services import audit

FIRST_STEP = "first_step"  # in the session until the second step: the hash of the password that was shown
_PURPOSE = "second factor"
_TOO_MANY = gettext_lazy("Too many attempts. Wait a quarter of an hour, then try again.")


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """How people sign in: nobody signs up, and every session is listed and audited."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "incorrect_password": gettext_lazy("That is not your password."),
        "too_many_login_attempts": _TOO_MANY,
        "rate_limited": _TOO_MANY,
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        return is_own_path(self.request, url)

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request) or "unknown"

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return redirect("accounts:login")

    def login(self, request: HttpRequest, user: User) -> None:
        """Begin the session, once the second factor was shown where there is one.

        Not if the password was changed since the first step, or the provider's person is no longer known: what was
        shown there lets nobody in any more.
        """
        shown = request.session.pop(FIRST_STEP, None)
        if shown is not None and not constant_time_compare(shown, user.get_session_auth_hash()):
            raise ImmediateHttpResponse(redirect("accounts:login"))
        known = SocialAccount.objects.filter(user=user).values_list("uid", flat=True)
        said = {r["uid"] for r in get_authentication_records(request, user) if r["method"] == "socialaccount"}
        if said and not said <= set(known):
            raise ImmediateHttpResponse(redirect("accounts:login"))
        super().login(request, user)
        if request.session.session_key is None:  # it was flushed, since it had been another person's
            request.session.save()
        session_note(request=request, user=user)
        records = get_authentication_records(request, user)
        by_provider = any(record["method"] == "socialaccount" for record in records)
        ways = ["sso" if one == "socialaccount" else one for one in (r.get("type", r["method"]) for r in records)]
        verb = "sign_in.sso" if by_provider else "sign_in"
        audit(actor=user, verb=verb, target=f"user:{user.pk}", data={"by": ways})

    def logout(self, request: HttpRequest) -> None:
        """End the session of whoever was signed in when somebody comes back from the identity provider."""
        if request.user.is_authenticated:
            audit(actor=request.user, verb="sign_out", target=f"user:{request.user.pk}")
        super().logout(request)

    def is_reauthentication_required(self, *, app: str, **more: Any) -> bool:
        """Ask again who it is, unless they have just signed in."""
        records = get_authentication_records(self.request, self.request.user)
        timeout = app_settings.REAUTHENTICATION_TIMEOUT
        return not records or time.time() - float(records[-1]["at"]) > timeout

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Ask whoever has a second factor for that one: their password may be what somebody else has learned.

        Whoever has neither comes from the identity provider, and goes there again.
        """
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if not methods and settings.OIDC and user.is_authenticated and SocialAccount.objects.filter(user=user).exists():
            return [{"id": "sso", "url": reverse("openid_connect_login"), "description": settings.OIDC["name"]}]
        return [method for method in methods if method["id"].startswith("mfa_")] or methods


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: their secrets are encrypted by SECRET_KEY, as the keys of endpoints are."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": gettext_lazy("That is not right, or was used already. Try again with a new code."),
        "unreadable": gettext_lazy("This server's key was changed, so codes can't be checked. Ask whoever runs it."),
    }

    def encrypt(self, text: str) -> str:
        # Bound to no person: allauth does not say whose it is, and who can move it could also delete it.
        return seal(text, purpose=_PURPOSE, bound_to="")

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return unseal(encrypted_text, purpose=_PURPOSE, bound_to="")
        except SecretUnreadable:
            raise self.validation_error("unreadable") from None

    def get_totp_label(self, user: User) -> str:
        return user.username

    def get_totp_issuer(self) -> str:
        return f"prefloop {self._host()}"

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        n = Authenticator.objects.filter(user=user, type=type).count()
        return _("Passkey %(n)s") % {"n": n + 1}

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {"id": self._host(), "name": "prefloop"}

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return {**entity, "name": user.username, "display_name": str(user)}

    def _host(self) -> str:
        host: str = context.request.get_host()
        return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def passkeys_work(request: HttpRequest) -> bool:
    """Say whether browsers have passkeys for the address at hand: they need a name, and TLS except on this machine."""
    host = SecondFactorAdapter(request)._host()
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return request.is_secure() or host == "localhost" or host.endswith(".localhost")
    return False
