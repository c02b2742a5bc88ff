"""The checks that rules can ask for. Each says in one sentence why an answer does not meet it."""

from __future__ import annotations

import json
import re
from typing import Any

from prefloop.judging.rules import limited
from prefloop.judging.rules import text as measure
from prefloop.judging.rules.declaration import (
    Answer,
    BadRules,
    Optional,
    check,
    counts,
    flag,
    language,
    letter,
    one_of,
    one_text,
    pattern,
    position,
    schema,
    short,
    stripped,
    texts,
    wanted,
)
from prefloop.judging.rules.language import LANGUAGES, language_of


@counts("word", "words")
def words(answer: Answer) -> int:
    """The number of words."""
    return measure.n_words(answer.text)


@counts("sentence", "sentences")
def sentences(answer: Answer) -> int:
    """The number of sentences."""
    return measure.n_sentences(answer.text)


@counts("character", "characters")
def characters(answer: Answer) -> int:
    """The number of characters, without space around the answer."""
    return len(answer.text.strip())


@counts("line", "lines")
def lines(answer: Answer) -> int:
    """The number of lines that say something."""
    return sum(1 for line in answer.text.splitlines() if line.strip())


@counts("paragraph", "paragraphs")
def paragraphs(answer: Answer) -> int:
    """The number of paragraphs, between empty lines."""
    return sum(1 for piece in measure.paragraphs(answer.text) if piece.strip())


@check("divided", divider=Optional(stripped, "***"), into=position)
def divided(answer: Answer, *, divider: str, into: int) -> str:
    """The number of parts that a divider such as *** makes; empty ones at the start and the end don't count."""
    pieces = [bool(piece.strip()) for piece in answer.text.split(divider)]
    if not all(pieces[1:-1]):
        return f'A part between two "{short(divider)}" is empty.'
    n = sum(pieces)
    parts = f'{n:,} {"part" if n == 1 else "parts"} divided by "{short(divider)}"'
    return "" if n == into else f"It has {parts}; {wanted(exactly=into)} asked for."


@counts("bullet", "bullets")
def bullets(answer: Answer) -> int:
    """The number of lines that begin with - or *."""
    return measure.n_bullets(answer.text)


@counts("section", "sections", marker=stripped)
def sections(answer: Answer, *, marker: str) -> int:
    """The number of sections, each begun by a marker and a number: Section 1."""
    return measure.n_sections(answer.text, marker)


@counts("placeholder in [brackets]", "placeholders in [brackets]")
def placeholders(answer: Answer) -> int:
    """The number of [placeholders]."""
    return measure.n_placeholders(answer.text)


@counts("*highlighted* passage", "*highlighted* passages")
def highlights(answer: Answer) -> int:
    """The number of *highlighted* or **highlighted** passages."""
    return measure.n_highlights(answer.text)


@counts("word in capitals", "words in capitals")
def capital_words(answer: Answer) -> int:
    """The number of words in capitals."""
    return measure.n_capital_words(answer.text)


@counts('letter "{letter}"', 'letters "{letter}"', name="letter", letter=letter)
def letters(answer: Answer, *, letter: str) -> int:
    """How often a letter, or another character, occurs; small or capital."""
    return answer.text.lower().count(letter.lower())


@counts(
    "time",
    "times",
    has='contains "{text}"',
    at_least=1,
    text=one_text,
    ignore_case=flag(default=True),
    whole_word=flag(default=False),
)
def contains(answer: Answer, *, text: str, ignore_case: bool, whole_word: bool) -> int:
    """How often a text occurs; at least once where nothing else is said."""
    expression = measure.whole_words(text) if whole_word else re.escape(text)
    return sum(1 for _ in re.finditer(expression, answer.text, re.IGNORECASE if ignore_case else 0))


@check("lacks", texts=texts, ignore_case=flag(default=True), whole_word=flag(default=True))
def lacks(answer: Answer, *, texts: tuple[str, ...], ignore_case: bool, whole_word: bool) -> str:
    """Texts that must not occur, as whole words where nothing else is said."""
    for text in texts:
        if contains(answer, text=text, ignore_case=ignore_case, whole_word=whole_word):
            return f'It contains "{short(text)}".'
    return ""


@check("starts", text=stripped, ignore_case=flag(default=True))
def starts(answer: Answer, *, text: str, ignore_case: bool) -> str:
    """The text that the answer starts with."""
    said = answer.text.strip()
    met = _cased(said, ignore_case).startswith(_cased(text, ignore_case))
    return "" if met else f'It starts with "{short(said)}", not with "{short(text)}".'


@check("ends", text=stripped, ignore_case=flag(default=True))
def ends(answer: Answer, *, text: str, ignore_case: bool) -> str:
    """The text that the answer ends with; a quotation mark may follow."""
    said = answer.text.strip().strip('"')
    met = _cased(said, ignore_case).endswith(_cased(text, ignore_case))
    return "" if met else f'It ends with "{_tail(said)}", not with "{_tail(text)}".'


@check("paragraph_starts", paragraph=position, word=stripped)
def paragraph_starts(answer: Answer, *, paragraph: int, word: str) -> str:
    """The first word of one paragraph, counted from 1."""
    pieces = measure.paragraphs(answer.text)
    if paragraph > sum(1 for piece in pieces if piece.strip()):
        return f"It has no paragraph {paragraph:,}."
    first = measure.first_word(pieces[paragraph - 1])
    return (
        ""
        if first == word.lower()
        else f'Paragraph {paragraph:,} starts with "{short(first)}", not with "{short(word)}".'
    )


@check("case", all=one_of("capital", "small"))
def case(answer: Answer, *, all: str) -> str:
    """All letters capital, or all small."""
    if all == "capital":
        return "" if answer.text.isupper() else "Not all of its letters are capitals."
    return "" if answer.text.islower() else "Not all of its letters are small."


@check("language", language=language)
def in_language(answer: Answer, *, language: str) -> str:
    """The language of the answer, by its two-letter code. What can't be told passes."""
    found = language_of(answer.text)
    met = found is None or found == language
    return "" if met else f"It reads as {LANGUAGES[str(found)]}; {LANGUAGES[language]} is asked for."


@check("json", schema=Optional(schema, None))
def is_json(answer: Answer, *, schema: dict[str, Any] | bool | None) -> str:
    """Valid JSON, with or without a fence of ``` around it; where a schema is given, JSON that meets it."""
    try:
        json.loads(measure.unfenced_json(answer.text))
    except ValueError as error:
        return f"It is not valid JSON: {error}."
    except RecursionError:
        return "It is not valid JSON: it is nested too deeply."
    fault = "" if schema is None else limited.schema_fault(schema, answer.text)
    return fault and f"Its JSON does not meet the schema {fault}."


@counts("match of {pattern}", "matches of {pattern}", at_least=1, pattern=pattern, ignore_case=flag(default=False))
def matches(answer: Answer, *, pattern: str, ignore_case: bool) -> int:
    """How often a regular expression matches; at least once where nothing else is said."""
    return limited.n_matches(pattern, answer.text, ignore_case=ignore_case)


@check("postscript", marker=Optional(stripped, "P.S."))
def postscript(answer: Answer, *, marker: str) -> str:
    """A postscript, begun by its marker."""
    known = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}  # a space may stand between the letters
    found = re.search(known.get(marker, re.escape(marker.lower())), answer.text.lower())
    return "" if found else f'It has no postscript that begins with "{short(marker)}".'


@check("title")
def title(answer: Answer) -> str:
    """A <<title>> in double angular brackets."""
    return "" if measure.has_title(answer.text) else "It has no <<title>> in double angular brackets."


@check("quoted")
def quoted(answer: Answer) -> str:
    """The whole answer in double quotation marks."""
    said = answer.text.strip()
    met = len(said) > 1 and said[0] == said[-1] == '"'
    return "" if met else "It is not in double quotation marks."


@check("no_comma")
def no_comma(answer: Answer) -> str:
    """No comma anywhere."""
    n = answer.text.count(",")
    return "" if not n else f"It has {n:,} {'comma' if n == 1 else 'commas'}; none is asked for."


@check("repeats_prompt", text=Optional(one_text, ""))
def repeats_prompt(answer: Answer, *, text: str) -> str:
    """The answer begins with the prompt, word for word, or with the text that is given."""
    asked = (text or answer.prompt).strip().lower()
    if not asked:
        raise BadRules("there is no prompt to repeat")
    return "" if answer.text.strip().lower().startswith(asked) else "It does not begin by repeating the prompt."


@check("two_answers", divider=Optional(stripped, "******"))
def two_answers(answer: Answer, *, divider: str) -> str:
    """Two different answers with a divider between them."""
    pieces = [piece.strip() for piece in answer.text.split(divider)]
    if not all(pieces[1:-1]):
        return f'A part between two "{short(divider)}" is empty.'
    said = [piece for piece in pieces if piece]
    if len(said) != 2:
        answers = f'{len(said):,} {"answer" if len(said) == 1 else "answers"} divided by "{short(divider)}"'
        return f"It has {answers}; 2 are asked for."
    return "" if said[0] != said[1] else "Its two answers are the same."


@check("one_of", texts=texts, whole=flag(default=True))
def is_one_of(answer: Answer, *, texts: tuple[str, ...], whole: bool) -> str:
    """The answer is one of these texts; with "whole": false, it contains one of them."""
    said = answer.text.strip()
    if any(said == text.strip() if whole else text in said for text in texts):
        return ""
    options = ", ".join(f'"{short(text)}"' for text in texts[:5]) + (", …" if len(texts) > 5 else "")
    return f"It {'is' if whole else 'contains'} none of {options}."


def _cased(text: str, ignore_case: bool) -> str:
    return text.lower() if ignore_case else text


def _tail(text: str) -> str:
    return text if short(text) == text else "…" + text[-60:]
