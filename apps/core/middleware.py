"""Middleware for all requests: limits on the size of a body, and headers in addition to those of Django and CSP."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

_View = TypeVar("_View", bound=Callable[..., Any])

PERMISSIONS_POLICY = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
    "microphone=(), payment=(), usb=(), browsing-topics=()"
)
# Pages and answers that hold nothing private; everything else must not linger in a shared browser's cache.
PUBLIC_PATHS = ("/static/", "/favicon.ico", "/healthz", "/readyz", "/api/schema/")


def trusted_proxies_only(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Drop a request's claims about its scheme and client unless a trusted proxy sent it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        try:
            address = ip_address(str(request.META.get("REMOTE_ADDR", "")))
            trusted = any(address in network for network in settings.TRUSTED_PROXIES)
        except ValueError:  # a socket without an address
            trusted = False
        if not trusted:
            request.META.pop("HTTP_X_FORWARDED_PROTO", None)
        return get_response(request)

    return middleware


def security_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Add Permissions-Policy and CORP everywhere, and `no-store` if the view set no cache rule of its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        if not request.path.startswith(PUBLIC_PATHS):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware


def large_body(view: _View) -> _View:
    """Mark a view, or an APIView, that accepts large bodies: it checks their length itself before reading."""
    view.takes_large_bodies = True  # type: ignore[attr-defined]
    return view


class BodyLimit:
    """Refuse a body that is too large, or does not say how large it is, before anything reads it.

    Otherwise a form is read, and its files written to disk, before a view or the CSRF check knows the sender.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            return _refusal(request, 411, "Send the body with a Content-Length.")
        length = request.headers.get("Content-Length", "")
        n_bytes = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 10**18 if length else 0
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if n_bytes <= limit or getattr(getattr(view, "cls", view), "takes_large_bodies", False):
            return None
        return _refusal(request, 413, f"The body is larger than {limit // 2**20} MB.")


def _refusal(request: HttpRequest, status: int, text: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": text}, status=status)
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
