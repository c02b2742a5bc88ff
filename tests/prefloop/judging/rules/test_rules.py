"""Rules are read from data, checked then, and say of an answer which of them it meets and why not the others."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloop.confined import TakesTooLong
from prefloop.judging.rules import CHECKS, BadRules, compared, read_rules, rules_of

SCHEMA = {"type": "object", "required": ["name"], "properties": {"age": {"type": "integer", "minimum": 0}}}


def why(answer, prompt="", /, **rule):
    """The reason why the answer does not meet the rule; empty where it does."""
    return read_rules([rule]).check(answer, prompt=prompt).results[0].why


# a rule, an answer that meets it, one that does not, and the sentence then
CASES = [
    ({"check": "words", "at_least": 2, "at_most": 3}, "one two", "one", "It has 1 word; 2 to 3 are asked for."),
    ({"check": "sentences", "exactly": 1}, "One.", "One. Two.", "It has 2 sentences; exactly 1 is asked for."),
    ({"check": "characters", "at_most": 3}, " abc ", "abcd", "It has 4 characters; at most 3 are asked for."),
    ({"check": "lines", "at_least": 2}, "a\n\nb", "a\n", "It has 1 line; at least 2 are asked for."),
    ({"check": "paragraphs", "exactly": 2}, "a\nb\n\nc", "a\nb", "It has 1 paragraph; exactly 2 are asked for."),
    (
        {"check": "divided", "divider": "---", "into": 2},
        "a\n---\nb",
        "a",
        'It has 1 part divided by "---"; exactly 2 are asked for.',
    ),
    ({"check": "bullets", "at_least": 1}, "- a", "a - b", "It has 0 bullets; at least 1 is asked for."),
    (
        {"check": "sections", "marker": "Day", "exactly": 2},
        "Day 1 a Day2 b",
        "Day one",
        "It has 0 sections; exactly 2 are asked for.",
    ),
    (
        {"check": "placeholders", "at_most": 0},
        "a",
        "[a]",
        "It has 1 placeholder in [brackets]; at most 0 are asked for.",
    ),
    (
        {"check": "highlights", "at_least": 1},
        "**a**",
        "* a",
        "It has 0 *highlighted* passages; at least 1 is asked for.",
    ),
    (
        {"check": "capital_words", "at_most": 1},
        "OK now",
        "OK THEN",
        "It has 2 words in capitals; at most 1 is asked for.",
    ),
    (
        {"check": "letter", "letter": "e", "at_most": 1},
        "e f",
        "eE",
        'It has 2 letters "e"; at most 1 is asked for.',
    ),
    (
        {"check": "contains", "text": "Maria"},
        "dear maria",
        "dear Mary",
        'It contains "Maria" 0 times; at least 1 is asked for.',
    ),
    (
        {"check": "contains", "text": "on", "whole_word": True, "exactly": 1, "ignore_case": False},
        "on once On",
        "on on",
        'It contains "on" 2 times; exactly 1 is asked for.',
    ),
    ({"check": "lacks", "texts": ["cheap", "free"]}, "freedom", "Free!", 'It contains "free".'),
    ({"check": "lacks", "texts": "a(b", "whole_word": False}, "ab", "xa(b", 'It contains "a(b".'),
    ({"check": "starts", "text": "Dear"}, "  dear Maria", "Hi", 'It starts with "Hi", not with "Dear".'),
    ({"check": "ends", "text": "Yours."}, "Bye. yours. ", "Bye", 'It ends with "Bye", not with "Yours.".'),
    (
        {"check": "paragraph_starts", "paragraph": 2, "word": "then"},
        "a\n\nThen b",
        "a",
        "It has no paragraph 2.",
    ),
    ({"check": "case", "all": "small"}, "it's", "It's", "Not all of its letters are small."),
    ({"check": "case", "all": "capital"}, "OK 1", "Ok 1", "Not all of its letters are capitals."),
    (
        {"check": "language", "language": "de"},
        "Ich habe wirklich keine Ahnung davon.",
        "I really have no idea about that.",
        "It reads as English; German is asked for.",
    ),
    (
        {"check": "json"},
        "[1]",
        "[1",
        "It is not valid JSON: Expecting ',' delimiter: line 1 column 3 (char 2).",
    ),
    (
        {"check": "json", "schema": SCHEMA},
        '{"name": 1, "age": 0}',
        '{"name": "A", "age": -1}',
        "Its JSON does not meet the schema at $.age: -1 is less than the minimum of 0.",
    ),
    (
        {"check": "matches", "pattern": r"^\d+$"},
        "a\n12\nb",
        "a12",
        r"It has 0 matches of ^\d+$; at least 1 is asked for.",
    ),
    ({"check": "postscript"}, "Bye. P.S. Oh", "Bye.", 'It has no postscript that begins with "P.S.".'),
    ({"check": "title"}, "<<T>>", "T", "It has no <<title>> in double angular brackets."),
    ({"check": "quoted"}, '"a"', 'a"', "It is not in double quotation marks."),
    ({"check": "no_comma"}, "a", "a, b", "It has 1 comma; none is asked for."),
    ({"check": "repeats_prompt", "text": "Go."}, "Go. I go.", "I go.", "It does not begin by repeating the prompt."),
    (
        {"check": "two_answers"},
        "a ****** b",
        "a ****** ****** b",
        'A part between two "******" is empty.',
    ),
    ({"check": "one_of", "texts": ["yes", "no"]}, " no ", "No way", 'It is none of "yes", "no".'),
]


@pytest.mark.parametrize(("rule", "good", "bad", "sentence"), CASES)
def test_an_answer_meets_a_rule_or_the_reason_is_said(rule, good, bad, sentence):
    assert why(good, **rule) == ""
    assert why(bad, **rule) == sentence


def test_every_check_has_a_case_and_says_what_it_asks():
    assert {rule["check"] for rule, *_ in CASES} == set(CHECKS)
    assert all(check.summary.endswith(".") for check in CHECKS.values())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["12 + 7 = 19", "ok", '{"a": 1}'])
def test_what_is_in_no_language_passes(text):
    assert why(text, check="language", language="de") == ""


def test_the_prompt_is_repeated_where_no_text_is_given():
    assert why("Write a poem. Roses…", "Write a poem.", check="repeats_prompt") == ""
    assert why("Roses…", "Write a poem.", check="repeats_prompt") != ""


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        ("One", 1),
        ("Dr. Who met Mrs. B. Smith at 5 p.m. today. Did he? Yes!", 3),
        ('He said "Stop." Then he left.', 2),
        ("It costs 3.50 euros. See www.shop.com for more.", 2),
        ("1. First\n2. Second", 1),
        ("Wait... what? Well… Yes.", 3),
        ("We sell pens, ink, etc. We also repair them.", 2),
        ("你好。我是玛丽。", 2),
        ("xx,x. xx,x! xx/x. x{x}x?", 4),
    ],
)
def test_sentences_are_counted(text, n):
    assert why(text or " .", check="sentences", exactly=n or 1) == ""


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("[", "the rules are not valid JSON"),
        ([], "rules are a list of objects"),
        ({"words": 3}, 'an object of rules holds a list "rules"'),
        (["words"], 'rule 1 is not an object with the name of a "check"'),
        (
            [{"check": "no_comma"}, {"check": "wrods"}],
            r"rule 2 \(wrods\): there is no such check; did you mean words\?",
        ),
        ([{"check": "words"}], r"rule 1 \(words\): it needs at_least, at_most or exactly"),
        ([{"check": "words", "at_least": "3"}], 'at_least must be a whole number from 0 to 1,000,000, not "3"'),
        ([{"check": "words", "at_least": True}], "at_least must be a whole number"),
        ([{"check": "words", "at_least": 3, "at_most": 2}], "at_least is more than at_most"),
        ([{"check": "words", "at_least": 3, "exactly": 2}], "exactly can't be combined"),
        ([{"check": "words", "more_than": 3}], "it takes no 'more_than', only at_least, at_most and exactly"),
        ([{"check": "contains"}], "text is missing"),
        ([{"check": "lacks", "texts": []}], "texts must be a list of 1 to 100 texts"),
        ([{"check": "contains", "text": "a", "ignore_case": "yes"}], "ignore_case must be true or false"),
        ([{"check": "matches", "pattern": "(a"}], "pattern is not a valid regular expression: missing \\)"),
        (
            [{"check": "matches", "pattern": "a" * 1001}],
            "pattern must be a regular expression of 1 to 1,000 characters",
        ),
        ([{"check": "json", "schema": {"type": "objekt"}}], "schema is not a valid JSON schema"),
        ([{"check": "json", "schema": []}], "schema must be a JSON schema"),
        ([{"check": "case", "all": "big"}], 'all must be capital or small, not "big"'),
        ([{"check": "no_comma"}] * 101, "there are 101 rules, more than 100"),
    ],
)
def test_a_bad_rule_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(BadRules, match=sentence):
        read_rules(given)


def test_metadata_without_rules_holds_none_and_both_forms_add_up():
    assert rules_of({"topic": "rain"}) is None
    both = rules_of(
        {"rules": [{"check": "title"}], "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "key": 7}
    )
    assert [rule.name for rule in both.rules] == ["title", "punctuation:no_comma"]


@pytest.mark.slow
def test_a_strangers_expression_can_not_hang_the_worker():
    rules = read_rules([{"check": "matches", "pattern": "^(a+)+$"}])
    began = time.monotonic()
    with pytest.raises(TakesTooLong, match="rule matches could not be checked: it takes more than"):
        rules.check("a" * 50 + "b")
    assert time.monotonic() - began < 30  # of 2^50 steps
    assert rules.check("aaa").all_met  # another process answers the next one


def test_a_schema_is_not_fetched_from_elsewhere():
    rules = read_rules([{"check": "json", "schema": {"$ref": "http://127.0.0.1:9/schema.json"}}])
    with pytest.raises(BadRules, match=r"the schema refers to http://127\.0\.0\.1:9/schema\.json, which it"):
        rules.check("{}")


def test_scores_compare_answers():
    rules = read_rules([{"check": "no_comma"}, {"check": "title"}])
    shares = [rules.check(text).share for text in ("<<a>>", "a", "a, b", "b")]
    assert shares == [1.0, 0.5, 0.0, 0.5]
    assert compared(shares[0], shares[1]) == ("first", 1.0)
    assert compared(shares[2], shares[1]) == ("second", 0.0)
    assert compared(shares[1], shares[3]) == ("tie", 0.5)


# what can be measured of any text, in time that grows with its length and no faster
COUNTED = [
    {"check": name, "at_least": 0} | ({"marker": "Section"} if name == "sections" else {})
    for name in ("words", "sentences", "paragraphs", "bullets", "sections", "placeholders", "highlights")
]


@pytest.mark.parametrize("text", ["[", "<<", "*", "**a", "\n", " ", "a.", ". ", "\n*", "Section ", "***", '"', "[\n"])
def test_no_answer_takes_long_to_measure(text):
    rules = read_rules([*COUNTED, {"check": "title"}, {"check": "postscript"}, {"check": "divided", "into": 2}])
    long = (text * 400_000)[:400_000] + "a"
    began = time.process_time()
    rules.check(long)
    assert time.process_time() - began < 20  # minutes to hours, if it grew with the square


@given(st.text())
@settings(deadline=None)
def test_counts_are_within_their_own_bounds(text):
    """Whatever a text holds, exactly one number of each thing fits, and it is never more than the characters."""
    for rule in COUNTED:
        bounds = {**rule, "at_most": len(text) + 1}
        assert read_rules([bounds]).check(text).all_met == bool(text.strip())


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1, max_size=8), st.integers(0, 9))
@settings(deadline=None)
def test_at_least_and_at_most_split_the_numbers(words, n):
    text = " ".join(words)
    met = [
        read_rules([{"check": "contains", "text": "beta", bound: limit}]).check(text).all_met
        for bound, limit in (("at_least", n + 1), ("at_most", n), ("exactly", words.count("beta")))
    ]
    assert met == [words.count("beta") > n, words.count("beta") <= n, True]


@given(st.lists(st.sampled_from([{"check": "no_comma"}, {"check": "title"}, {"check": "quoted"}]), min_size=1))
@settings(deadline=None)
def test_the_share_is_that_of_the_rules_that_are_met(rules):
    found = read_rules(rules).check("<<a>>")
    assert found.n_met == sum(rule["check"] != "quoted" for rule in rules)
    assert found.all_met == (found.share == 1.0)
    assert 0.0 <= found.share <= 1.0


def test_the_page_of_the_manual_lists_every_check():
    page = (Path(__file__).parents[4] / "docs/rules.md").read_text()
    for check in CHECKS.values():
        values = [f"`{name}`" for name in check.values] + ["how many"] * check.counted
        assert f"| `{check.name}` | {', '.join(values)} | {check.summary} |" in page
