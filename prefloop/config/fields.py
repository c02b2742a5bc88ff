"""Fields of a frozen dataclass that people can set: what each allows, and how a value is read or refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_type_hints

from prefloop.types import PrefloopError

KeyType = Literal["number", "integer", "text", "choice", "flag"]
Value = str | int | float | bool

_SPEC = "prefloop.setting"
N = TypeVar("N", int, float)


class ConfigError(PrefloopError):
    """A setting that is unknown, of the wrong type or out of its limits: names key, value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """The allowed values of one field; limits are in the field's own unit, `above` and `below` are exclusive."""

    help: str
    label: str = ""  # a few words for a form; a key that has none is labelled by the form itself
    folded: bool = False  # whether a form shows it only where it is asked for
    source: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()  # beside the choices: `checkpoint:` allows checkpoint:ANYTHING


def setting(
    default: Any,
    *,
    help: str,
    source: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field that a person may set."""
    spec = SettingSpec(
        help=help,
        source=source,
        minimum=minimum,
        maximum=maximum,
        above=above,
        below=below,
        choices=choices,
        prefixes=prefixes,
    )
    return dataclasses.field(default=default, metadata={_SPEC: spec})


def check_fields(part: Any) -> None:
    """Check every declared field of a part against its own limits; for `__post_init__`.

    Raises ConfigError. Fields that do not apply to the part keep their defaults and are checked all the
    same, unless they hold None.
    """
    for name, annotation, declared in declared_fields(type(part)):
        spec = explained(part, name, declared)
        value = getattr(part, name)
        if value is None and name in hidden_of(part):
            continue
        checked = read(public(name), value, annotation, spec)
        if checked != value or type(checked) is not type(value):
            object.__setattr__(part, name, checked)  # an int given for a number becomes one


# Reading one value


def read(key: str, value: object, annotation: Any, spec: SettingSpec) -> Value:
    parsed = _parse(value, annotation)
    if parsed is None or not _within(parsed, spec):
        raise ConfigError(f"{key} must be {allowed(annotation, spec)}, not {_shown(value)}")
    return parsed


def _parse(value: object, annotation: Any) -> Value | None:
    """Return the value in the field's type, None if it can't be one."""
    if annotation is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            value.strip().lower() if isinstance(value, str) else ""
        )
    if isinstance(value, bool):  # a bool is an int to Python, never to a person
        return None
    if annotation is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int):
            return value
        return _number(value, int)
    if annotation is float:
        number = float(value) if isinstance(value, int | float) else _number(value, float)
        return number if number is not None and math.isfinite(number) else None
    return value.strip() if isinstance(value, str) else None


def _number(value: object, kind: Callable[[str], N]) -> N | None:
    if not isinstance(value, str):
        return None
    try:
        return kind(value.strip())
    except ValueError:
        return None


def _within(value: Value, spec: SettingSpec) -> bool:
    if isinstance(value, str):
        if not spec.choices and not spec.prefixes:
            return True
        return value in spec.choices or any(value.startswith(p) and len(value) > len(p) for p in spec.prefixes)
    if isinstance(value, bool):
        return True
    return not (
        (spec.minimum is not None and value < spec.minimum)
        or (spec.maximum is not None and value > spec.maximum)
        or (spec.above is not None and value <= spec.above)
        or (spec.below is not None and value >= spec.below)
    )


def allowed(annotation: Any, spec: SettingSpec) -> str:
    if annotation is bool:
        return "true or false"
    if annotation is str:
        options = [*spec.choices, *(f"{prefix}NAME" for prefix in spec.prefixes)]
        if not options:
            return "a text"
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    noun = "a whole number" if annotation is int else "a number"
    limits = [
        f"{sign} {_shown_number(limit)}"
        for sign, limit in ((">", spec.above), ("≥", spec.minimum), ("<", spec.below), ("≤", spec.maximum))
        if limit is not None
    ]
    return f"{noun} {' and '.join(limits)}" if limits else noun


def _shown_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def type_name(annotation: Any, spec: SettingSpec) -> KeyType:
    if annotation is bool:
        return "flag"
    if annotation is int:
        return "integer"
    if annotation is float:
        return "number"
    return "choice" if spec.choices and not spec.prefixes else "text"


# Declarations


def public(name: str) -> str:
    return name.rstrip("_")  # `lambda_` is a field, `lambda` its key


def hidden_of(part: Any) -> frozenset[str]:
    hidden: frozenset[str] = part.hidden() if hasattr(part, "hidden") else frozenset()
    return hidden


def explained(part: Any, name: str, spec: SettingSpec) -> SettingSpec:
    """Return what the field means in this part."""
    changes: Mapping[str, Any] = part.explain(name) if hasattr(part, "explain") else {}
    return dataclasses.replace(spec, **changes) if changes else spec


def _declared_fields(cls: Any) -> tuple[tuple[str, Any, SettingSpec], ...]:
    specs = ((item.name, item.metadata.get(_SPEC)) for item in dataclasses.fields(cls))
    return tuple((name, _plain(hints_of(cls)[name]), spec) for name, spec in specs if spec is not None)


# The types of a class's fields by name, which Python works out of their texts anew each time it is asked; and name,
# type and declaration of each field that was declared by `setting`.
hints_of: Callable[[Any], Mapping[str, Any]] = cache(get_type_hints)
declared_fields: Callable[[Any], tuple[tuple[str, Any, SettingSpec], ...]] = cache(_declared_fields)


def _plain(hint: Any) -> Any:
    """A Literal of texts is read as a text: its choices are in the metadata."""
    return hint if hint in (bool, int, float) else str
