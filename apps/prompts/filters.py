"""Filters in a page's address: made safe for the database."""

from __future__ import annotations

from django.http import HttpRequest

MOST_CHARS = 200


def chosen_filters(request: HttpRequest, *names: str) -> dict[str, str]:
    """Return each named filter from the address, trimmed; NUL, which PostgreSQL refuses in text, is removed."""
    return {name: request.GET.get(name, "").replace("\0", "").strip()[:MOST_CHARS] for name in names}
