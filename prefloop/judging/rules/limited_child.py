"""Matching an untrusted regular expression or JSON schema, in the separate process that `limited` starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from prefloop.judging.rules.declaration import BadRules
from prefloop.judging.rules.text import unfenced_json

_SHOWN = 200  # characters of a value in a sentence


def decide(what: str, *arguments: Any) -> Any:
    """Count matches, or say what is wrong with a JSON answer ("" if nothing)."""
    function: Callable[..., Any] = n_matches if what == "matches" else schema_fault
    return function(*arguments)


def n_matches(pattern: str, ignore_case: bool, text: str) -> int:
    """Count the places where the expression matches; ^ and $ are the ends of lines."""
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
    return sum(1 for _ in re.compile(pattern, flags).finditer(text))


def schema_fault(schema: dict[str, Any] | bool, text: str) -> str:
    """Say where the JSON of an answer breaks the schema. References to other documents are not followed."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = validator_for(schema)(schema, registry=Registry())
    try:
        fault = best_match(validator.iter_errors(json.loads(unfenced_json(text))))
    except Unresolvable as error:
        raise BadRules(f"the schema refers to {error.ref[:_SHOWN]}, which it does not hold") from error
    except re.error as error:
        raise BadRules(f"a pattern of the schema is not a valid regular expression: {error}") from error
    if fault is None:
        return ""
    message = fault.message if len(fault.message) <= _SHOWN else fault.message[:_SHOWN] + "…"
    return f"at {fault.json_path}: {message}"
