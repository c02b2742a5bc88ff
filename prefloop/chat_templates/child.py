"""Rendering chat templates, in the separate process that `prefloop.chat_templates` starts.

The environment is the one that transformers documents for chat templates (blocks trimmed, loop controls, `tojson`,
`raise_exception`, `strftime_now`, `{% generation %}`), so texts come out as from `apply_chat_template`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typing_extensions import override

from prefloop.types import PrefloopError

_REASON_CHARS = 300


class UnreadableTemplate(PrefloopError):
    """A chat template that can't be parsed."""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what an assistant writes; its text is rendered as it is."""

    tags = {"generation"}

    @override
    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render_all(
    template: str, tokens: Mapping[str, Any], asked: Sequence[tuple[list[dict[str, Any]], bool]]
) -> list[tuple[bool, str]]:
    """Render conversations, each given as (messages, whether to add the header of the next answer).

    Gives (True, text) or (False, the template's reason) for each. Raises UnreadableTemplate.
    """
    compiled = _compiled(template)
    return [_rendered(compiled, tokens, messages, generation=generation) for messages, generation in asked]


def _rendered(
    compiled: Template, tokens: Mapping[str, Any], messages: list[dict[str, Any]], *, generation: bool
) -> tuple[bool, str]:
    known = {"tools": None, "documents": None, **tokens}
    try:
        return True, compiled.render(messages=messages, add_generation_prompt=generation, **known)
    except MemoryError:
        raise
    except TemplateError as error:
        return False, _line(str(error.message or type(error).__name__))
    except Exception as error:  # noqa: BLE001 - whatever a template breaks of is its refusal of this conversation
        return False, _line(f"{type(error).__name__}: {error}")


def _line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARS]


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))  # noqa: DTZ005 - the template's own notion of now
    try:
        return environment.from_string(template)
    except TemplateSyntaxError as error:
        raise UnreadableTemplate(f"the chat template can't be read: line {error.lineno}: {error.message}") from None
    except (RecursionError, ValueError, SyntaxError) as error:
        raise UnreadableTemplate(f"the chat template can't be read: {_line(str(error))}") from None


def _raise(message: object) -> None:
    raise TemplateError(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # jinja2's own escapes for HTML
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
