"""Who must have a second factor, and that they set one up before anything else (PREFLOOP_MFA_REQUIRED)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.accounts.factors import has_factor
from apps.accounts.models import User
from apps.projects.access import is_operator
from apps.projects.models import Membership, Role

# What they may use until then: allauth's pages have no namespace, as those of signing in and of second factors.
_OPEN = {"accounts:login", "accounts:logout", "accounts:password-set", "accounts:language", "accounts:theme"}
_OPEN_APPS = {"", "core"}


def lacks_factor(user: User) -> bool:
    """Say whether this person must have a second factor and has none. Admins are asked for it as owners are."""
    who = settings.MFA_REQUIRED
    asked = who == "everybody" or (
        who == "owners" and (is_operator(user) or Membership.objects.filter(user=user, role=Role.OWNER).exists())
    )
    return asked and not has_factor(user)


class SecondFactorFirst:
    """Lead who lacks a second factor to the page where they set one up, and answer scripts with one sentence.

    API tokens are not held up: they are no password that somebody could guess, reuse or be talked out of, they end by
    themselves, and the page that makes them comes after this.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if settings.MFA_REQUIRED == "nobody" or request.path.startswith("/api/") or not isinstance(request.user, User):
            return None
        route = request.resolver_match
        if route is None or route.namespace in _OPEN_APPS or route.view_name in _OPEN or not lacks_factor(request.user):
            return None
        navigates = (
            request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate" and "HX-Request" not in request.headers
        )
        page = reverse("mfa_index")
        if request.method in {"GET", "HEAD"} and navigates:
            return redirect(f"{page}?needed=1")
        text = _("You need a second factor here. Set one up at %(page)s first.") % {"page": page}
        return HttpResponse(text, status=403, content_type="text/plain; charset=utf-8")
