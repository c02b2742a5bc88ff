"""Why somebody decided as they did: the reasons they picked, in plain words, then whatever they wrote."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest


def said_why(request: HttpRequest, declared: Mapping[str, str]) -> str:
    picked = [declared[code] for code in request.POST.getlist("why") if code in declared]
    return " — ".join(part for part in ("; ".join(picked), request.POST.get("reason", "").strip()) if part)
