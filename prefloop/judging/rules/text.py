"""Counting the parts of an answer: words, sentences, paragraphs, bullets, marked passages.

Everything here takes time in proportion to the answer's length, whatever the answer is: a model may write ten thousand
brackets. The definitions are IFEval's (Zhou et al. 2023, arXiv:2311.07911, and its authors' code) but for two, which
need no data files here:

1. Sentences are found by punctuation, abbreviations and initials; IFEval uses NLTK's trained Punkt model.
2. A word in capitals is what stands between spaces without the punctuation around it; IFEval takes NLTK's word tokens,
   where "DON'T" is two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_WORD = re.compile(r"\w+")
_SECTION_NUMBER = re.compile(r"\s?\d+")
_ENDS = ".!?…。！？"
_CLOSERS = "\"'”’»)]*_"
_WIDE_ENDS = "。！？"  # no space follows these
_CONTINUED = re.compile(r"mr|mrs|ms|dr|prof|st|rev|gen|capt|lt|col|sgt|hon|vs|fig|e\.g|i\.e|cf")  # a name follows
_ABBREVIATION = re.compile(
    r"sr|jr|etc|inc|ltd|co|corp|dept|est|no|vol|pp|approx|al|a\.m|p\.m|u\.s|u\.k|ph\.d"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)


def n_words(text: str) -> int:
    """Count runs of letters, digits and underscores; "don't" is two words, as in IFEval."""
    return sum(1 for _ in _WORD.finditer(text))


def n_sentences(text: str) -> int:
    """Count sentences: pieces that end in . ! ? or … before a space, or at the end."""
    n = 0
    rest = False  # whether something has been said since the last end
    tokens = text.split()
    for i, token in enumerate(tokens):
        inner = sum(1 for a, b in pairwise(token) if a in _WIDE_ENDS and b not in _ENDS + _CLOSERS)
        n += inner
        rest = True
        if _ends_sentence(token, tokens[i + 1] if i + 1 < len(tokens) else ""):
            n += 1
            rest = False
    return n + rest


def _ends_sentence(token: str, following: str) -> bool:
    bare = token.rstrip(_CLOSERS)
    if not bare or bare[-1] not in _ENDS:
        return False
    if bare[-1] not in ".…" or not following:
        return True
    named = bare.rstrip(".…").lstrip(_CLOSERS + "([“‘«")
    word = named.lower()
    starts_new = following.lstrip(_CLOSERS + "([“‘«")[:1]
    if _CONTINUED.fullmatch(word) or (len(named) == 1 and named.isupper() and named != "I"):
        return False
    if _ABBREVIATION.fullmatch(word):
        return starts_new.isupper()
    if word.isdigit() and len(token) <= 3:  # "1." heads an item of a list
        return False
    return not (starts_new.islower() and bare.endswith(("..", "…")))


def paragraphs(text: str) -> list[str]:
    """Split at empty lines; a piece may be blank."""
    return text.split("\n\n")


def divided(text: str, divider: str) -> list[str]:
    """Split at a divider; a piece may be blank."""
    return text.split(divider)


def n_bullets(text: str) -> int:
    """Count lines that begin with "-", or with "*" and something other than another "*"."""
    lines = [line.lstrip() for line in text.split("\n")]
    n = sum(1 for line in lines if line.startswith("-"))
    rest = iter(lines)
    for line in rest:
        if line == "*":  # the end of the line is something other than a star, and the next line is this bullet's text
            n += next(rest, None) is not None
        elif line.startswith("*") and line[1] != "*":
            n += 1
    return n


def n_sections(text: str, marker: str) -> int:
    """Count places where `marker` is followed by a number."""
    n = at = 0
    while (at := text.find(marker, at)) >= 0:
        number = _SECTION_NUMBER.match(text, at + len(marker))
        n += number is not None
        at = number.end() if number else at + 1
    return n


def n_placeholders(text: str) -> int:
    """Count [placeholders], each within one line."""
    n = 0
    for line in text.split("\n"):
        at = 0
        while (opens := line.find("[", at)) >= 0 and (closes := line.find("]", opens)) >= 0:
            n += 1
            at = closes + 1
    return n


def n_highlights(text: str) -> int:
    """Count *highlighted* and **highlighted** passages within one line; a passage in ** counts once."""
    return sum(1 for passage in _starred(text, 1) if passage.strip("*").strip()) + sum(
        1 for passage in _starred(text, 2) if passage[2:-2].strip()
    )


def _starred(text: str, n: int) -> Iterator[str]:
    stars = r"\*" * n
    for found in re.finditer(rf"{stars}[^\n*]*{stars}", text):
        yield found.group()


def n_capital_words(text: str) -> int:
    """Count words without a small letter, such as NASA or I; what a hyphen joins is one word."""
    return sum(1 for token in text.split() if token.isupper())


def has_title(text: str) -> bool:
    """Whether there is a <<title>>, within one line."""
    for line in text.split("\n"):
        opens, closes = line.find("<<"), line.rfind(">>")
        if 0 <= opens < closes and line[opens : closes + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def first_word(paragraph: str) -> str:
    """The first word of a paragraph in small letters, up to the first punctuation mark."""
    for token in paragraph.split():
        return re.split(r"[.,?!'\"]", token.lstrip("'").lstrip('"'), maxsplit=1)[0].lower()
    return ""


def unfenced_json(text: str) -> str:
    """The text without a fence of ``` or ```json around it."""
    bare = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        bare = bare.removeprefix(fence)
    return bare.removesuffix("```").strip()


def whole_words(text: str) -> str:
    """A regular expression for `text` where no word goes on before or after it."""
    return rf"\b{re.escape(text)}\b"
