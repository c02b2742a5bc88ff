"""Formulas in Markdown: `$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]` stay as they were written, inside an element that
`static/js/rich-text.js` typesets. Without scripts, and where a formula is wrong, its source is what is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.utils.html import escape
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

MAX_FORMULA = 2_000  # characters; what is longer is text
MAX_OPENINGS = 400  # of formulas in one text; looking for the ends of more could take seconds
CLASSES = {"math", "math-block"}
_MONEY = re.compile(r"\d[\d.,]*\s+[A-Za-z]{2,}")  # of "it costs $10 or US$", which is no formula
_CLOSING = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}


def has_too_many(text: str) -> bool:
    return text.count("$") + text.count("\\(") + text.count("\\[") > MAX_OPENINGS


def formulas_plugin(markdown: MarkdownIt) -> None:
    """Teach Markdown the four ways to write a formula. Dollars beside digits or blanks are money."""
    dollarmath_plugin(
        markdown, allow_labels=False, allow_space=False, allow_digits=False, allow_blank_lines=False, double_inline=True
    )
    markdown.inline.ruler.before("escape", "math_brackets", _inline)
    markdown.block.ruler.before("fence", "math_brackets", _block, {"alt": ["paragraph", "reference", "blockquote"]})
    for name in ("math_inline", "math_inline_double", "math_block"):
        markdown.add_render_rule(name, _render)


def _render(self: RendererHTML, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
    token = tokens[idx]
    source = escape(token.markup + token.content + _CLOSING[token.markup])
    if token.markup == "$" and _MONEY.match(token.content):
        return source
    if token.type == "math_block":
        return f'<p><span class="math math-block">{source}</span></p>\n'
    is_block = token.markup in {"$$", "\\["}
    return f'<span class="math{" math-block" if is_block else ""}">{source}</span>'


def _end_of(text: str, start: int) -> int:
    """Where the formula that opens at `start` with a bracket has its closing bracket; -1 if it has none."""
    closing = _CLOSING.get(text[start : start + 2])
    if closing is None or not text.startswith("\\", start):
        return -1
    end = text.find(closing, start + 2, start + 2 + MAX_FORMULA)
    return -1 if end < 0 or not text[start + 2 : end].strip() or "\n\n" in text[start:end] else end


def _inline(state: StateInline, silent: bool) -> bool:
    end = _end_of(state.src, state.pos)
    if end < 0:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.markup = state.src[state.pos : state.pos + 2]
        token.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Read a displayed formula over whole lines, whose own lines may look like lists or headings."""
    start = state.bMarks[start_line] + state.tShift[start_line]
    if not state.src.startswith("\\[", start) or state.is_code_block(start_line):
        return False
    end = _end_of(state.src, start)
    if end < 0:
        return False
    line = next((line for line in range(start_line, end_line) if end < state.eMarks[line]), -1)
    if line < 0 or state.src[end + 2 : state.eMarks[line]].strip():
        return False
    if not silent:
        token = state.push("math_block", "math", 0)
        token.block = True
        token.markup = "\\["
        token.content = state.src[start + 2 : end]
        token.map = [start_line, line + 1]
    state.line = line + 1
    return True
