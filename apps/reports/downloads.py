"""Whole reports as files: JSON, a long CSV table, and a self-contained page."""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from apps.core.csv import csv_safe

_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8"}
_STYLES = ("css/tokens.css", "css/base.css", "css/layout.css", "css/components.css", "css/pages/reports.css")
_SYMBOL = re.compile(r'<symbol id="([\w-]+)" viewBox="0 0 24 24"([^>]*)>(.*?)</symbol>', re.DOTALL)
_SYMBOL_USED = re.compile(r'<use href="[^"#]*icons[^"#]*#([\w-]+)"/>')


def answer(text: str, name: str, form: str) -> HttpResponse:
    response = HttpResponse(text, content_type=_TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def page(request: HttpRequest, name: str, body: str, context: dict[str, Any]) -> HttpResponse:
    """Render the report with the template `body` in a self-contained page."""
    drawn = render_to_string("reports/file.html", context | {"body": body}, request)
    return answer(standing_alone(drawn), name, "html")


def table_of(report: dict[str, Any]) -> str:
    """Write a report as a table of two columns: a figure's path in the JSON, and its value.

    Rows of a list are named by their round, loop, name, judge or reason if they have one, else by their index.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["figure", "value"])
    for path, value in _leaves(report, ()):
        writer.writerow([csv_safe(" / ".join(path)), csv_safe(value) if isinstance(value, str) else value])
    return out.getvalue()


def _leaves(value: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, str(key)))]
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(end, int | float) for end in value):
            return [((*path, "low"), value[0]), ((*path, "high"), value[1])]
        return [leaf for place, inner in enumerate(value) for leaf in _leaves(inner, (*path, _name(inner, place)))]
    return [(path, value)]


def _name(row: Any, place: int) -> str:
    if isinstance(row, dict):
        if "a" in row and "b" in row:
            return f"{row['a']} · {row['b']}"
        for key in ("round", "loop"):
            if key in row:
                return f"{key} {row[key]}"
        for key in ("name", "judge", "reason"):
            if isinstance(row.get(key), str):
                return row[key] or str(place)
    return str(place)


def standing_alone(page: str) -> str:
    """Put the stylesheets and symbols that a report needs into its page, so that the file needs no others."""
    drawn = _SYMBOL_USED.sub(lambda used: _symbols().get(used[1], ""), page)
    return drawn.replace("<link data-styles>", f"<style>{_styles()}</style>", 1)


@lru_cache(maxsize=1)
def _symbols() -> dict[str, str]:
    found = finders.find("icons.svg")
    drawn = _SYMBOL.findall(Path(str(found)).read_text(encoding="utf-8")) if found else []
    return {name: f"<g{style}>{shapes}</g>" for name, style, shapes in drawn}


@lru_cache(maxsize=1)
def _styles() -> str:
    found = [finders.find(name) for name in _STYLES]
    sheets = [Path(str(path)).read_text(encoding="utf-8") for path in found if path]
    alone = (
        ".no-print, form, .pager { display: none; } body { padding: 24px; } "
        "main { display: grid; gap: 12px; max-width: 1120px; margin: 0 auto; }"
    )
    return "\n".join([*sheets, alone])
