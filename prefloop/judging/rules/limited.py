"""Applying untrusted regular expressions and JSON schemas to an answer, in a process with limits.

Both may take unlimited time on some answers, and the author of a rule is not the operator of the worker. One process
serves all rules; a call that reaches a limit ends it, and the next call starts another.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from prefloop.confined import Helper, Limits
from prefloop.judging.rules.limited_child import decide

LIMITS = Limits(memory_mb=256, cpu_seconds=1, wait_seconds=30.0, output_bytes=1 << 20, value_bytes=1 << 20)
_IMPORTS = ("jsonschema", "referencing")
_lock = threading.Lock()
_helper: tuple[int, Helper] | None = None


def n_matches(pattern: str, text: str, *, ignore_case: bool) -> int:
    """Count the places where the expression matches. Raises LimitExceeded where it takes too long."""
    return int(_ask("matches", pattern, ignore_case, text))


def schema_fault(schema: dict[str, Any] | bool, text: str) -> str:
    """Say where the JSON of an answer breaks the schema; "" if it does not. Raises LimitExceeded, BadRules."""
    return str(_ask("schema", schema, text))


def _ask(*arguments: Any) -> Any:
    global _helper
    with _lock:
        if _helper is None or _helper[0] != os.getpid():  # after a fork the pipes are the other process's
            _helper = os.getpid(), Helper(decide, limits=LIMITS, what="it", imports=_IMPORTS)
        return _helper[1].ask(*arguments)
