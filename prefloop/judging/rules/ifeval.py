"""IFEval's instructions as checks of ours (Zhou et al. 2023, arXiv:2311.07911; ids and values as in its authors' data).

A data set in IFEval's form has, for each prompt, `instruction_id_list` and `kwargs`: for each id the values it takes,
null or absent where it takes none. Where the authors' code differs from what is written here:

1. A value that an id needs is an error where it is missing; there it is drawn at random.
2. Keywords, markers and section names are texts; there they are regular expressions.
3. Sentences, words in capitals and languages are found by other means (`text`, `language`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefloop.judging.rules.declaration import BadRules, letter, number, one_of, one_text, position, stripped, texts

Part = tuple[str, dict[str, Any]]  # the name of a check and its values
_relation = one_of("less than", "at least")
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One id of IFEval: its values, and the checks it stands for."""

    values: Mapping[str, Callable[[Any], Any]]
    parts: Callable[..., list[Part]]

    def read(self, given: Mapping[str, Any]) -> list[Part]:
        """Give the checks, with their values. Raises BadRules; null is as good as absent."""
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            if name not in self.values:
                raise BadRules(f"it takes no {name!r}")
        out = {}
        for name, read in self.values.items():
            if name not in given:
                raise BadRules(f"{name} is missing")
            try:
                out[name] = read(given[name])
            except ValueError as error:
                raise BadRules(f"{name} {error}") from error
        return self.parts(**out)


def _bounds(relation: str, n: int) -> dict[str, Any]:
    return {"at_least": n} if relation == "at least" else {"at_most": n - 1}


def _counted(name: str, n: str, relation: str = "relation") -> Instruction:
    """An id that compares a count with a number."""
    return Instruction({n: number, relation: _relation}, lambda **given: [(name, _bounds(given[relation], given[n]))])


def _plain(*parts: Part) -> Instruction:
    """An id that takes no values."""
    return Instruction({}, lambda: [(name, dict(values)) for name, values in parts])


_ENGLISH: Part = ("language", {"language": "en"})

INSTRUCTIONS: dict[str, Instruction] = {
    "keywords:existence": Instruction(
        {"keywords": texts}, lambda keywords: [("contains", {"text": word}) for word in sorted(keywords)]
    ),
    "keywords:frequency": Instruction(
        {"keyword": stripped, "frequency": number, "relation": _relation},
        lambda keyword, frequency, relation: [("contains", {"text": keyword} | _bounds(relation, frequency))],
    ),
    "keywords:forbidden_words": Instruction(
        {"forbidden_words": texts}, lambda forbidden_words: [("lacks", {"texts": sorted(set(forbidden_words))})]
    ),
    "keywords:letter_frequency": Instruction(
        {"letter": letter, "let_frequency": number, "let_relation": _relation},
        lambda letter, let_frequency, let_relation: [
            ("letter", {"letter": letter} | _bounds(let_relation, let_frequency))
        ],
    ),
    "language:response_language": Instruction(
        {"language": one_text}, lambda language: [("language", {"language": language})]
    ),
    "length_constraints:number_sentences": _counted("sentences", "num_sentences"),
    "length_constraints:number_paragraphs": Instruction(
        {"num_paragraphs": position}, lambda num_paragraphs: [("divided", {"into": num_paragraphs})]
    ),
    "length_constraints:number_words": _counted("words", "num_words"),
    "length_constraints:nth_paragraph_first_word": Instruction(
        {"num_paragraphs": position, "nth_paragraph": position, "first_word": stripped},
        lambda num_paragraphs, nth_paragraph, first_word: [
            ("paragraphs", {"exactly": num_paragraphs}),
            ("paragraph_starts", {"paragraph": nth_paragraph, "word": first_word}),
        ],
    ),
    "detectable_content:number_placeholders": Instruction(
        {"num_placeholders": number}, lambda num_placeholders: [("placeholders", {"at_least": num_placeholders})]
    ),
    "detectable_content:postscript": Instruction(
        {"postscript_marker": stripped}, lambda postscript_marker: [("postscript", {"marker": postscript_marker})]
    ),
    "detectable_format:number_bullet_lists": Instruction(
        {"num_bullets": number}, lambda num_bullets: [("bullets", {"exactly": num_bullets})]
    ),
    "detectable_format:constrained_response": _plain(("one_of", {"texts": _OPTIONS, "whole": False})),
    "detectable_format:number_highlighted_sections": Instruction(
        {"num_highlights": number}, lambda num_highlights: [("highlights", {"at_least": num_highlights})]
    ),
    "detectable_format:multiple_sections": Instruction(
        {"section_spliter": stripped, "num_sections": number},  # spelt so in the data
        lambda section_spliter, num_sections: [("sections", {"marker": section_spliter, "at_least": num_sections})],
    ),
    "detectable_format:json_format": _plain(("json", {})),
    "detectable_format:title": _plain(("title", {})),
    "combination:two_responses": _plain(("two_answers", {})),
    "combination:repeat_prompt": Instruction(
        {"prompt_to_repeat": one_text}, lambda prompt_to_repeat: [("repeats_prompt", {"text": prompt_to_repeat})]
    ),
    "startend:end_checker": Instruction({"end_phrase": stripped}, lambda end_phrase: [("ends", {"text": end_phrase})]),
    "change_case:capital_word_frequency": _counted("capital_words", "capital_frequency", "capital_relation"),
    "change_case:english_capital": _plain(("case", {"all": "capital"}), _ENGLISH),
    "change_case:english_lowercase": _plain(("case", {"all": "small"}), _ENGLISH),
    "punctuation:no_comma": _plain(("no_comma", {})),
    "startend:quotation": _plain(("quoted", {})),
}
