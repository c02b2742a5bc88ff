"""Middleware that needs to know who asks, and from where."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import translation

from apps.accounts.throttle import address_of
from apps.core.origin import origin


def language_of_person(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer in the language that a signed-in person has chosen, rather than in the one that the browser asks for.

    It stands after `LocaleMiddleware`, which has read the browser's cookie and header, and ends what is begun here.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        chosen = getattr(request.user, "language", "")
        if chosen:
            translation.activate(chosen)
            request.LANGUAGE_CODE = translation.get_language()
        return get_response(request)

    return middleware


def origin_of_request(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let the audit log know the client's address; an API token's beginning is added when the token is known."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with origin(by="api" if request.path.startswith("/api/") else "page", address=address_of(request)):
            return get_response(request)

    return middleware
