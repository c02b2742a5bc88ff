"""Headers that every response carries, beside those of Django's SecurityMiddleware and django-csp."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

PERMISSIONS_POLICY = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
    "microphone=(), payment=(), usb=(), browsing-topics=()"
)
# Pages and answers that hold nothing private; everything else must not linger in a shared browser's cache.
PUBLIC_PATHS = ("/static/", "/favicon.ico", "/healthz", "/readyz", "/api/schema/")


def security_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Add Permissions-Policy and CORP everywhere, and `no-store` wherever the view set no cache rule of its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        if not request.path.startswith(PUBLIC_PATHS):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware
