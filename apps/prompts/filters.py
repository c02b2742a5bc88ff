"""Filters that live in a page's address: text of strangers, made harmless for the database."""

from __future__ import annotations

from django.http import HttpRequest

MOST_CHARS = 200


def chosen_filters(request: HttpRequest, *names: str) -> dict[str, str]:
    """Give each named filter as the address has it, trimmed; NUL, which PostgreSQL refuses in text, is left out."""
    return {name: request.GET.get(name, "").replace("\0", "").strip()[:MOST_CHARS] for name in names}
