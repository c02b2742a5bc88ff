"""Every instruction id of IFEval is read and means what its authors' code means."""

import json

import pytest

from prefloop.judging.rules import BadRules, read_rules, rules_of
from prefloop.judging.rules.__main__ import accuracy, main
from prefloop.judging.rules.ifeval import INSTRUCTIONS

FRENCH = "Je voudrais un café et un croissant, s'il vous plaît, avec du beurre."
ENGLISH = "I would like a coffee and a croissant, please, with some butter."
TWO_PARTS = "First part.\n\n***\n\nSecond part."

# id, its values, an answer that follows it, one that does not
CASES = [
    ("keywords:existence", {"keywords": ["river", "bank"]}, "The Bank of the RIVER.", "The bank of the lake."),
    ("keywords:existence", {"keywords": ["c++"]}, "C++ it is.", "C it is."),
    ("keywords:frequency", {"keyword": "yes", "frequency": 2, "relation": "at least"}, "Yes, yesterday.", "Yes."),
    ("keywords:frequency", {"keyword": "yes", "frequency": 2, "relation": "less than"}, "Yes.", "Yes, yesterday."),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "The train is late.", "Rain again."),
    (
        "keywords:letter_frequency",
        {"letter": "Z", "let_frequency": 3, "let_relation": "at least"},
        "Zigzag puzzle.",
        "Zigzag.",
    ),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "less than"}, "Oh.", "Oh!"),
    ("language:response_language", {"language": "fr"}, FRENCH, ENGLISH),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "One, two."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Dr. Who?", "One. Two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, TWO_PARTS, "First part.\n\nSecond part."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 1}, "***\nOnly this.\n***", TWO_PARTS),
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "don't do it", "do it now"),
    ("length_constraints:number_words", {"num_words": 4, "relation": "less than"}, "do it now", "don't do it"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"Then, it rained.',
        "Then.\n\nIt rained.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [place]", "[name\nof] [place]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. Thanks", "Bye. PS thanks"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S. Thanks", "Bye.\nP.S. Thanks"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n  - two\n**bold**", "* one\n\n1. two"),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe. Or so.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "**a** and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\nA\nSECTION 2\nB",
        "SECTION 1\nA\nSection 2\nB",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', '{"a": 1} is JSON'),
    ("detectable_format:title", {}, "<<poem of joy>>\nLa la.", "<< >>\n<poem>"),
    ("combination:two_responses", {}, "One way.\n******\nAnother.", "The same.\n******\nThe same."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi!", "Hi! Say hi."),
    ("startend:end_checker", {"end_phrase": "Peace!"}, 'So long. "PEACE!"', "Peace! So long."),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and (ESA).",
        "NASA and Esa.",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "less than"},
        "No Word.",
        "I do.",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), FRENCH.upper()),
    ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
    ("punctuation:no_comma", {}, "No pause here.", "A pause, here."),
    ("startend:quotation", {}, ' "All of it." ', '"Half" of it.'),
]


def checked(name, values, answer, **how):
    return rules_of({"instruction_id_list": [name], "kwargs": [values]}).check(answer, **how)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "values", "good", "bad"), CASES)
def test_an_answer_follows_the_instruction_or_the_reason_is_said(name, values, good, bad):
    assert checked(name, values, good).sentence() == "1 of 1 rule met."
    found = checked(name, values, bad)
    assert not found.all_met
    assert found.results[0].why.endswith(".")
    assert found.sentence() == f"0 of 1 rule met. {name}: {found.results[0].why}"


def test_all_25_ids_have_a_case():
    assert {name for name, *_ in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 25


@pytest.mark.parametrize(("name", "values", "good", "bad"), CASES)
def test_a_table_with_a_column_for_every_value_is_read(name, values, good, bad):
    everything = {key: None for _, others, *_ in CASES for key in others}
    assert checked(name, everything | values, good).all_met


def test_an_empty_answer_follows_nothing():
    for name, values, *_ in CASES:
        assert checked(name, values, " \n ").results[0].why == "It is empty."


def test_a_loose_check_forgives_a_first_line_a_last_line_and_stars():
    lower = ("change_case:english_lowercase", {})
    text = "Sure, here it is:\nthis is all written in small letters for you.\nI hope that it helps!"
    assert not checked(*lower, text).all_met
    assert checked(*lower, text, loose=True).all_met
    quoted = '**"It is all in quotation marks."**'
    assert not checked("startend:quotation", {}, quoted).all_met
    assert checked("startend:quotation", {}, quoted, loose=True).all_met
    assert not checked("punctuation:no_comma", {}, "a, b\nc, d\ne, f\ng, h", loose=True).all_met


@pytest.mark.parametrize(
    ("ids", "values", "why"),
    [
        (["length_constraints:number_words"], [{"relation": "at least"}], "num_words is missing"),
        (["length_constraints:number_words"], [{"num_words": 3, "relation": "over"}], "relation must be less than or"),
        (["punctuation:no_comma"], [{"num_words": 3}], "it takes no 'num_words'"),
        (["keywords:letter_frequency"], [{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}], "one char"),
        (["punctuation:no_comas"], [{}], "did you mean punctuation:no_comma"),
        (["punctuation:no_comma"], [{}, {}], "kwargs must be a list of 1"),
        (["punctuation:no_comma"], [3], "each of kwargs must be an object"),
        ("punctuation:no_comma", [{}], "instruction_id_list is not a list of ids"),
        (["language:response_language"], [{"language": "klingon"}], "two-letter code"),
    ],
)
def test_bad_instructions_are_refused_in_a_sentence(ids, values, why):
    with pytest.raises(BadRules, match=why):
        rules_of({"instruction_id_list": ids, "kwargs": values})


def test_accuracy_counts_answers_and_rules():
    rules = read_rules({"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]})
    found = accuracy([rules.check('"yes"'), rules.check('"yes, yes"'), rules.check("yes")])
    assert found == {
        "answers": 1 / 3,
        "rules": 4 / 6,
        "by_rule": {"punctuation:no_comma": 2 / 3, "startend:quotation": 2 / 3},
    }


def test_a_file_of_answers_has_a_strict_and_a_loose_accuracy(tmp_path, capsys):
    asked = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}], "prompt": "Say it."}
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(asked | {"response": text}) + "\n" for text in ('"a"', '*"b"*', "c")))
    (tmp_path / "rules.json").write_text('[{"check": "words", "exactly": 1}]')
    assert main([str(answers), "--rules", str(tmp_path / "rules.json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["strict"]["answers"], found["loose"]["answers"]) == (3, 1 / 3, 2 / 3)
    assert found["strict"]["by_rule"] == {"startend:quotation": 1 / 3, "words": 1.0}
    answers.write_text('{"response": "a"}\n')
    assert main([str(answers)]) == 1
    assert capsys.readouterr().err == "error: line 1 has no rules, and no others are given\n"
