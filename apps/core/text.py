"""The only module that turns text by models and other people into HTML.

Steps: limit the length, make invisible characters visible, render Markdown without raw HTML, then apply an allow-list
(nh3) to the result. Images never load (their alt text is shown), links carry rel attributes for untrusted content. No
other module marks text as safe, except `svg.py`, which escapes every value it draws.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters.html import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import STANDARD_TYPES  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from apps.core import formulas

MAX_SHOWN = 200_000  # characters; what is longer is cut, and says so
MAX_MARKDOWN = 20_000  # characters; longer texts are shown as they are: Markdown's worst cases are quadratic
MAX_HIGHLIGHT = 8_000  # characters of one code block
MAX_LINE = 5_000  # one endless line is a layout attack, not prose: shown plain

# Characters that change how text reads without being seen: directional overrides and isolates, zero-width
# characters, byte order marks, tags (invisible ASCII), and every C0/C1 control but tab and newline.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_JOINERS = {"\u200c", "\u200d"}

_CODE_CLASSES = {name for name in STANDARD_TYPES.values() if name} | {"code", "highlight", "hll"}
_TAGS = {"p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "strong", "em", "s"}
_TAGS |= {"code", "pre", "a", "table", "thead", "tbody", "tr", "th", "td", "span"}


def visible_controls(text: str) -> str:
    """Replace every invisible character by its code point in brackets, so that nobody is misled by it.

    Joiners stay where they belong: between letters of a script that needs them, and inside emoji.
    """

    return _INVISIBLE.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    character, at, text = match.group(), match.start(), match.string
    if character == "\r":
        return ""
    if character in _JOINERS and 0 < at < len(text) - 1:
        around = {unicodedata.category(text[at - 1]), unicodedata.category(text[at + 1])}
        if around <= {"Lo", "Mn", "Mc", "So", "Sk"}:
            return character
    return f"⟦U+{ord(character):04X}⟧"


def span_in_text(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where a passage of `visible_controls(text)` lies in the text itself.

    One that begins or ends inside a character that is written out holds all of it.
    """
    return _place_in_text(text, start, is_end=False), _place_in_text(text, end, is_end=True)


def _place_in_text(text: str, shown: int, *, is_end: bool) -> int:
    ahead = 0  # how many characters more are shown than there are, up to here
    for match in _INVISIBLE.finditer(text):
        width, at = len(_written_out(match)), match.start() + ahead
        if at > shown or (at == shown and (is_end or width)):
            break
        if shown < at + width:
            return match.end() if is_end else match.start()
        ahead += width - 1
    return shown - ahead


def span_as_shown(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where a passage of a text lies in `visible_controls(text)`."""
    more = [(match.start(), len(_written_out(match)) - 1) for match in _INVISIBLE.finditer(text)]
    shown_start, shown_end = (place + sum(n for at, n in more if at < place) for place in (start, end))
    return shown_start, shown_end


def _image(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    alt = tokens[idx].content.strip()
    return f'<span class="no-image">[image{": " + escape(alt) if alt else ""}]</span>'


def _highlight(code: str, language: str, _attributes: str) -> str:
    if not language or len(code) > MAX_HIGHLIGHT:
        return str(escape(code))
    try:
        lexer = get_lexer_by_name(language[:40])
    except ClassNotFound:
        return str(escape(code))
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))


class Level(IntEnum):
    """How a text is shown, by what its length and marks allow. Two answers side by side get the plainer of theirs."""

    FORMULAS = 0
    MARKDOWN = 1
    PLAIN = 2


def _markdown(level: Level) -> MarkdownIt:
    # a line break is kept: in letters, poems and lists of models it is part of the answer
    markdown = MarkdownIt("commonmark", {"html": False, "highlight": _highlight, "maxNesting": 20, "breaks": True})
    markdown.enable(["table", "strikethrough"])
    markdown.add_render_rule("image", _image)
    if level == Level.FORMULAS:
        markdown.use(formulas.formulas_plugin)
    return markdown


_MARKDOWN = {level: _markdown(level) for level in (Level.FORMULAS, Level.MARKDOWN)}


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        allowed_classes={
            "span": _CODE_CLASSES | formulas.CLASSES | {"no-image"},
            "pre": _CODE_CLASSES,
            "code": _CODE_CLASSES,
        },
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow ugc",
        strip_comments=True,
    )


def level_of(text: str) -> Level:
    """Texts over MAX_MARKDOWN characters, or with a line over MAX_LINE, are plain; many formulas stay as written."""
    if len(text) > MAX_MARKDOWN or any(len(line) > MAX_LINE for line in text.split("\n")):
        return Level.PLAIN
    return Level.MARKDOWN if formulas.has_too_many(text) else Level.FORMULAS


def model_text_html(text: str, beside: str = "") -> SafeString:
    """Render Markdown by a model or an unknown author: never a script, an image, or a disguised character.

    `beside`: the text that it is compared with; both are shown the same way, the plainer one. Texts over MAX_SHOWN
    characters are cut.
    """
    if not text:
        return mark_safe('<p class="text-empty">(empty answer)</p>')
    n_hidden = len(text) - MAX_SHOWN
    note = f'<p class="text-cut">{n_hidden:,} more characters are not shown.</p>' if n_hidden > 0 else ""
    shown = visible_controls(text[:MAX_SHOWN])
    level = max(level_of(shown), level_of(visible_controls(beside[:MAX_SHOWN])))
    if level == Level.PLAIN:
        return mark_safe(f'<pre class="raw">{escape(shown)}</pre>{note}')  # noqa: S308 (escaped)
    return mark_safe(_clean(_MARKDOWN[level].render(shown)) + note)  # noqa: S308 (an allow-list over the whole output)
