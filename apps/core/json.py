"""How commands print results: sorted, indented, and the same bytes for the same values."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> str:
    """Write JSON for people and programs; NaN and infinities are refused (ValueError), undefined values are null."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
