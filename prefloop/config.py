"""Typed dotted settings over frozen dataclasses: `objective.beta=0.2`, checked, explained and listed.

The help, the limits and the source of a default live in the field's own metadata (see `setting`), so that one place
feeds the check, the error text, `run_recipe NAME --describe` and the web form.

What may be set: fields declared with `setting`, less those that the part says do not apply to it (`hidden()`). Where a
number means something else to each method, the part says what (`explain(field)`: help, source, limits, choices), and an
object may name the sources of its own defaults (`sources`: key to text).
A field that holds a tuple of dataclasses takes a setting for every member (`draws.n`) or for one (`draws.0.n`); where
the members differ, the keys of each are listed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_type_hints

from prefloop.types import PrefloopError

KeyType = Literal["number", "integer", "text", "choice", "flag"]
Value = str | int | float | bool

_SPEC = "prefloop.setting"
T = TypeVar("T")
N = TypeVar("N", int, float)


class ConfigError(PrefloopError):
    """A setting that is unknown, of the wrong type or out of its limits: names key, value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """What one field allows: limits are in the field's own unit, `above` and `below` are exclusive."""

    help: str
    source: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()  # beside the choices: `checkpoint:` allows checkpoint:ANYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """One settable key, as the web form and `--describe` show it."""

    key: str
    type: KeyType
    default: Value
    allowed: str
    source: str
    help: str
    group: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


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

    Raises ConfigError. Fields that do not apply to the part keep their defaults and are checked all the same.
    """
    for name, annotation, declared in _declared(type(part)):
        spec = _explained(part, name, declared)
        value = getattr(part, name)
        checked = _read(_public(name), value, annotation, spec)
        if checked != value or type(checked) is not type(value):
            object.__setattr__(part, name, checked)  # an int given for a number becomes one


def apply_settings(obj: T, settings: Mapping[str, Value]) -> T:
    """Return a copy of `obj` with the settings applied; `obj` itself is not touched.

    Values may be text (from a command line or a form) or of their own type (from JSON). The order of the keys does not
    matter: all that apply are applied together, then those that only apply because of them (`filter.kind=rejection`
    brings `filter.beta`). A key that means nothing in the end is refused. Raises ConfigError.
    """
    made, left = obj, dict(settings)
    while left:
        known = tuple(info.key for info in describe(made))
        found = {key: paths for key, value in left.items() if (paths := _resolve(made, key, value))}
        if not found:
            raise ConfigError(f"no setting {next(iter(left))!r}; known keys: {', '.join(known)}")
        tree: dict[str | int, Any] = {}
        for path, parsed in (one for paths in found.values() for one in paths):
            node = tree
            for step in path[:-1]:
                node = node.setdefault(step, {})
            node[path[-1]] = parsed
        made = _rebuild(made, tree)
        left = {key: value for key, value in left.items() if key not in found}
    known = tuple(info.key for info in describe(made))
    for key, value in settings.items():
        if not _resolve(made, key, value):
            raise ConfigError(f"no setting {key!r} here; known keys: {', '.join(known)}")
    return made


def describe(obj: Any) -> list[KeyInfo]:
    """List every settable key of `obj` with its present value as the default, in the order of its fields."""
    rows = list(_walk(obj, ()))
    sources: Mapping[str, str] = getattr(obj, "sources", {})
    values: dict[str, list[Value]] = {}
    for path, owner, name, _, _ in rows:
        values.setdefault(_bare(path, name), []).append(getattr(owner, name))
    found: dict[str, KeyInfo] = {}
    for path, owner, name, annotation, spec in rows:
        bare = _bare(path, name)
        one_for_all = all(value == values[bare][0] for value in values[bare])
        key = bare if one_for_all else ".".join((*map(str, path), _public(name)))
        if key in found:  # several draws alike: the bare key stands for all of them
            continue
        found[key] = KeyInfo(
            key=key,
            type=_type_name(annotation, spec),
            default=getattr(owner, name),
            allowed=_allowed(annotation, spec),
            source=sources.get(key, sources.get(bare, spec.source)),
            help=spec.help,
            group=str(path[0]) if path else _public(name),
            minimum=spec.minimum,
            maximum=spec.maximum,
            above=spec.above,
            below=spec.below,
            choices=spec.choices,
            prefixes=spec.prefixes,
        )
    return list(found.values())


# Reading one value


def _read(key: str, value: object, annotation: Any, spec: SettingSpec) -> Value:
    parsed = _parse(value, annotation)
    if parsed is None or not _within(parsed, spec):
        raise ConfigError(f"{key} must be {_allowed(annotation, spec)}, not {_shown(value)}")
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


def _allowed(annotation: Any, spec: SettingSpec) -> str:
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


def _type_name(annotation: Any, spec: SettingSpec) -> KeyType:
    if annotation is bool:
        return "flag"
    if annotation is int:
        return "integer"
    if annotation is float:
        return "number"
    return "choice" if spec.choices and not spec.prefixes else "text"


# Walking the dataclasses


def _public(name: str) -> str:
    return name.rstrip("_")  # `lambda_` is a field, `lambda` its key


def _bare(path: tuple[str | int, ...], name: str) -> str:
    """The key without the numbers of members: `draws.n`, whichever draw it is."""
    return ".".join((*(step for step in path if isinstance(step, str)), _public(name)))


def _hidden(part: Any) -> frozenset[str]:
    hidden: frozenset[str] = part.hidden() if hasattr(part, "hidden") else frozenset()
    return hidden


def _explained(part: Any, name: str, spec: SettingSpec) -> SettingSpec:
    """What the field means to this very part."""
    changes: Mapping[str, Any] = part.explain(name) if hasattr(part, "explain") else {}
    return dataclasses.replace(spec, **changes) if changes else spec


def _declared(cls: type) -> Iterator[tuple[str, Any, SettingSpec]]:
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        spec = item.metadata.get(_SPEC)
        if spec is not None:
            yield item.name, _plain(hints[item.name]), spec


def _plain(hint: Any) -> Any:
    """A Literal of texts is read as a text: its choices stand in the metadata."""
    return hint if hint in (bool, int, float) else str


def _walk(obj: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, str, Any, SettingSpec]]:
    hidden = _hidden(obj)
    declared = {name: (annotation, spec) for name, annotation, spec in _declared(type(obj))}
    for item in dataclasses.fields(obj):
        if item.name in hidden:
            continue
        if item.name in declared:
            annotation, spec = declared[item.name]
            yield path, obj, item.name, annotation, _explained(obj, item.name, spec)
            continue
        value = getattr(obj, item.name)
        here = (*path, _public(item.name))
        if isinstance(value, tuple):
            for at, member in enumerate(value):
                if dataclasses.is_dataclass(member) and not isinstance(member, type):
                    yield from _walk(member, (*here, at))
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, here)


def _resolve(obj: Any, key: str, value: object) -> list[tuple[tuple[str | int, ...], Value]]:
    """Return the paths that a key sets, each with the parsed value; none where the key does not apply."""
    nodes: list[tuple[tuple[str | int, ...], Any]] = [((), obj)]
    *parents, last = key.split(".")
    for step in parents:
        nodes = [found for path, node in nodes for found in _step(path, node, step)]
    nodes = [member for path, node in nodes for member in _members(path, node)]
    results: list[tuple[tuple[str | int, ...], Value]] = []
    for path, node in nodes:
        if not dataclasses.is_dataclass(node):
            continue
        hidden = _hidden(node)
        for name, annotation, spec in _declared(type(node)):
            if _public(name) == last and name not in hidden:
                results.append(((*path, name), _read(key, value, annotation, _explained(node, name, spec))))
    return results


def _members(path: tuple[str | int, ...], node: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    return [((*path, at), member) for at, member in enumerate(node)] if isinstance(node, tuple) else [(path, node)]


def _step(path: tuple[str | int, ...], node: Any, step: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """Go one name down; a tuple of parts opens into all of them, or into the one whose number is asked for."""
    if isinstance(node, tuple):
        if step.isdigit() and int(step) < len(node):
            return [((*path, int(step)), node[int(step)])]
        return [found for at, member in _members(path, node) for found in _step(at, member, step)]
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return []
    for item in dataclasses.fields(node):
        if _public(item.name) == step and item.name not in _hidden(node):
            return [((*path, item.name), getattr(node, item.name))]
    return []


def _rebuild(node: Any, tree: dict[Any, Any]) -> Any:
    if not tree:
        return node
    if isinstance(node, tuple):
        return tuple(_rebuild(member, tree.get(at, {})) for at, member in enumerate(node))
    changes = {
        name: _rebuild(getattr(node, name), change) if isinstance(change, dict) else change
        for name, change in tree.items()
    }
    return dataclasses.replace(node, **changes)
