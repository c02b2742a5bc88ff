"""What a page sends of a rubric's items."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def values_sent(request: HttpRequest, start: str) -> dict[str, Any]:
    """The values of a form with a field for each item, named so from its start on; what is no number stays as it is, to
    be refused with its item's name.
    """
    return {
        name.removeprefix(start): int(value) if value.isascii() and value.isdigit() else value
        for name, value in request.POST.items()
        if name.startswith(start) and isinstance(value, str)
    }
