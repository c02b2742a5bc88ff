"""One protection for every CSV: a spreadsheet must not take somebody's text for a formula."""

from __future__ import annotations

import unicodedata

_STARTS = frozenset("=+-@\t\r\n")


def csv_safe(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet may read as a formula, full-width signs and blanks included."""
    plain = unicodedata.normalize("NFKC", text[:16]).lstrip(" \u200b\ufeff\x00")
    return f"'{text}" if plain[:1] in _STARTS or text[:1] in _STARTS else text
