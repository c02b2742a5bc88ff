"""Dotted keys of an object made of parts: applied, explained, listed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prefloop.config.fields import (
    ConfigError,
    KeyType,
    SettingSpec,
    Value,
    allowed,
    declared_fields,
    explained,
    hidden_of,
    public,
    read,
    type_name,
)

T = TypeVar("T")


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
    label: str = ""
    folded: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class Whole(Protocol):
    """What an object of several parts can say about its keys; every method may be missing. Keys are as in
    `describe`.
    """

    def meaningless(self) -> Mapping[str, str]:
        """Return keys, or whole parts, that have no meaning in this object, each with the reason."""
        ...

    def explain_key(self, key: str) -> Mapping[str, Any]:
        """Return how a key differs from the part's own declaration: choices, limits, help."""
        ...

    def idle(self) -> Mapping[str, str]:
        """Return keys that have no effect now, each with the setting of another key that is the cause."""
        ...

    def check_settings(self) -> None:
        """Raise ConfigError where settings contradict each other."""
        ...


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
            raise ConfigError(_unknown(made, next(iter(left)), known))
        tree: dict[str | int, Any] = {}
        for path, parsed in (one for paths in found.values() for one in paths):
            node = tree
            for step in path[:-1]:
                node = node.setdefault(step, {})
            node[path[-1]] = parsed
        made = _rebuild(made, tree)
        left = {key: value for key, value in left.items() if key not in found}
    known = tuple(info.key for info in describe(made))
    idle = _said(made, "idle")
    for key, value in settings.items():
        paths = _resolve(made, key, value)
        if not paths:
            raise ConfigError(_unknown(made, key, known, here=" here"))
        if key in idle and any(parsed != _at(obj, path) for path, parsed in paths):
            raise ConfigError(f"{key} does nothing while {idle[key]}")
    if hasattr(made, "check_settings"):
        made.check_settings()
    return made


def describe(obj: Any) -> list[KeyInfo]:
    """List every settable key of `obj` with its present value as the default, in the order of its fields."""
    rows = list(_walk(obj))
    sources: Mapping[str, str] = getattr(obj, "sources", {})
    values: dict[str, list[Value]] = {}
    for path, owner, name, _, _ in rows:
        values.setdefault(_bare(path, name), []).append(getattr(owner, name))
    found: dict[str, KeyInfo] = {}
    for path, owner, name, annotation, spec in rows:
        bare = _bare(path, name)
        one_for_all = all(value == values[bare][0] for value in values[bare])
        key = bare if one_for_all else ".".join((*map(str, path), public(name)))
        if key in found:  # several draws alike: the bare key stands for all of them
            continue
        found[key] = KeyInfo(
            key=key,
            type=type_name(annotation, spec),
            default=getattr(owner, name),
            allowed=allowed(annotation, spec),
            source=sources.get(key, sources.get(bare, spec.source)),
            help=spec.help,
            group=str(path[0]) if path else public(name),
            label=spec.label,
            folded=spec.folded,
            minimum=spec.minimum,
            maximum=spec.maximum,
            above=spec.above,
            below=spec.below,
            choices=spec.choices,
            prefixes=spec.prefixes,
        )
    return list(found.values())


def _unknown(obj: Any, key: str, known: tuple[str, ...], *, here: str = "") -> str:
    reasons = _said(obj, "meaningless")
    for name in (key, _numberless(key), key.split(".")[0]):
        if name in reasons:
            return f"no setting {key!r} here: {reasons[name]}"
    return f"no setting {key!r}{here}; known keys: {', '.join(known)}"


def _said(obj: Any, what: str) -> Mapping[str, str]:
    """What a `Whole` says; nothing if it has no such method."""
    told: Mapping[str, str] = getattr(obj, what)() if hasattr(obj, what) else {}
    return told


# Walking the dataclasses


def _bare(path: tuple[str | int, ...], name: str) -> str:
    """The key without the numbers of members: `draws.n` for any of the draws."""
    return ".".join((*(step for step in path if isinstance(step, str)), public(name)))


def _walk(whole: Any) -> Iterator[tuple[tuple[str | int, ...], Any, str, Any, SettingSpec]]:
    reasons = _said(whole, "meaningless")
    for path, owner, name, annotation, spec in _walk_part(whole, ()):
        keys = _keys_of(path, name)
        if not any(key in reasons for key in keys):
            yield path, owner, name, annotation, _explained_by(whole, keys[0], spec)


def _keys_of(path: tuple[str | int, ...], name: str) -> tuple[str, str]:
    """A field's key without the numbers of members, and with them."""
    return _bare(path, name), ".".join((*(public(str(step)) for step in path), public(name)))


def _explained_by(whole: Any, key: str, spec: SettingSpec) -> SettingSpec:
    changes: Mapping[str, Any] = whole.explain_key(key) if hasattr(whole, "explain_key") else {}
    return dataclasses.replace(spec, **changes) if changes else spec


def _numberless(key: str) -> str:
    return ".".join(step for step in key.split(".") if not step.isdigit())


def _at(obj: Any, path: tuple[str | int, ...]) -> Any:
    """The value at a path; None if this object has none there."""
    for step in path:
        inside = isinstance(step, int) and step < len(obj)
        obj = obj[step] if inside else getattr(obj, str(step), None)
    return obj


def _walk_part(
    obj: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, str, Any, SettingSpec]]:
    hidden = hidden_of(obj)
    declared = {name: (annotation, spec) for name, annotation, spec in declared_fields(type(obj))}
    for item in dataclasses.fields(obj):
        if item.name in hidden:
            continue
        if item.name in declared:
            annotation, spec = declared[item.name]
            yield path, obj, item.name, annotation, explained(obj, item.name, spec)
            continue
        value = getattr(obj, item.name)
        here = (*path, public(item.name))
        if isinstance(value, tuple):
            for at, member in enumerate(value):
                if dataclasses.is_dataclass(member) and not isinstance(member, type):
                    yield from _walk_part(member, (*here, at))
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _walk_part(value, here)


def _resolve(obj: Any, key: str, value: object) -> list[tuple[tuple[str | int, ...], Value]]:
    """Return the paths that a key sets, each with the parsed value; none if the key does not apply."""
    nodes: list[tuple[tuple[str | int, ...], Any]] = [((), obj)]
    *parents, last = key.split(".")
    for step in parents:
        nodes = [found for path, node in nodes for found in _step(path, node, step)]
    nodes = [member for path, node in nodes for member in _members(path, node)]
    results: list[tuple[tuple[str | int, ...], Value]] = []
    reasons = _said(obj, "meaningless")
    for path, node in nodes:
        if not dataclasses.is_dataclass(node):
            continue
        hidden = hidden_of(node)
        for name, annotation, spec in declared_fields(type(node)):
            keys = _keys_of(path, name)
            if public(name) == last and name not in hidden and not any(one in reasons for one in keys):
                meant = _explained_by(obj, keys[0], explained(node, name, spec))
                results.append(((*path, name), read(key, value, annotation, meant)))
    return results


def _members(path: tuple[str | int, ...], node: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    return [((*path, at), member) for at, member in enumerate(node)] if isinstance(node, tuple) else [(path, node)]


def _step(path: tuple[str | int, ...], node: Any, step: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """Go one name down; a tuple of parts gives all of them, or the one with the given number."""
    if isinstance(node, tuple):
        if step.isdigit() and int(step) < len(node):
            return [((*path, int(step)), node[int(step)])]
        return [found for at, member in _members(path, node) for found in _step(at, member, step)]
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return []
    for item in dataclasses.fields(node):
        if public(item.name) == step and item.name not in hidden_of(node):
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
