"""The OpenAPI document for people: operations in groups, with their parameters and bodies."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[dict[str, Any], ...]
    request: str  # its body's schema as indented JSON, or empty
    responses: tuple[tuple[str, str, str], ...]  # status, description, schema as JSON
    anchor: str


def _resolved(schema: Any, components: dict[str, Any], depth: int = 0) -> Any:
    """Replace a $ref by what it names, a few levels deep (references may be circular)."""
    if isinstance(schema, list):
        return [_resolved(item, components, depth) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return _resolved(components.get(name, {}), components, depth + 1) if depth < 5 else name
    return {key: _resolved(value, components, depth) for key, value in schema.items()}


def _body(content: dict[str, Any] | None, components: dict[str, Any]) -> str:
    if not content:
        return ""
    schema = next(iter(content.values())).get("schema", {})
    return json.dumps(_resolved(schema, components), indent=2, ensure_ascii=False)


@cache
def operations() -> tuple[tuple[str, tuple[Operation, ...]], ...]:
    """Return every operation, grouped by the first word of its path below /api/v1/. Computed once per process."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    components = document.get("components", {}).get("schemas", {})
    groups: dict[str, list[Operation]] = defaultdict(list)
    for path, methods in sorted(document.get("paths", {}).items()):
        words = [word for word in path.removeprefix("/api/v1/").split("/") if word and not word.startswith("{")]
        group = " ".join(words[:2]) if words[:1] == ["projects"] else (words or ["other"])[0]
        for method in METHODS:
            if method not in methods:
                continue
            operation = methods[method]
            first, _, rest = str(operation.get("description", "")).partition("\n")
            groups[group].append(
                Operation(
                    method=method.upper(),
                    path=path,
                    summary=str(operation.get("summary") or first),
                    description=rest.strip(),
                    parameters=tuple(operation.get("parameters", ())),
                    request=_body(operation.get("requestBody", {}).get("content"), components),
                    responses=tuple(
                        (str(status), str(answer.get("description", "")), _body(answer.get("content"), components))
                        for status, answer in sorted(operation.get("responses", {}).items())
                    ),
                    anchor=str(operation.get("operationId", f"{method}-{path}")),
                )
            )
    return tuple((name, tuple(found)) for name, found in sorted(groups.items()))
