"""A judge made of rules scores by those for every prompt and those of the prompt's own metadata."""

import pytest

from prefloop.judging.rules import BadRules
from prefloop.judging.rules.scoring import NoRules, RuleScorer

SHARED = [{"check": "no_comma"}, {"check": "title"}]
OWN = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}


def test_the_share_of_all_rules_that_hold_is_the_score():
    scorer = RuleScorer.of({"rules": SHARED, "from_metadata": True})
    said = scorer.score(prompt="", metadata=OWN, answer="<<a>>, b")
    assert said[0] == 1 / 3
    assert said[1].startswith("1 of 3 rules met. no_comma: It has 1 comma; none is asked for. startend:quotation: ")
    assert scorer.score(prompt="", metadata={}, answer="<<a>>, b")[0] == 1 / 2
    assert RuleScorer.of({"rules": SHARED}).score(prompt="", metadata=OWN, answer="<<a>>")[0] == 1.0


def test_all_counts_one_or_nothing_and_loose_forgives():
    strict = RuleScorer.of({"from_metadata": True, "count": "all"})
    loose = RuleScorer.of({"from_metadata": True, "count": "all", "loose": True})
    answers = ['"a"', '*"a"*', "a"]
    assert [strict.score(prompt="", metadata=OWN, answer=answer)[0] for answer in answers] == [1.0, 0.0, 0.0]
    assert [loose.score(prompt="", metadata=OWN, answer=answer)[0] for answer in answers] == [1.0, 1.0, 0.0]


def test_a_prompt_without_rules_has_no_score():
    with pytest.raises(NoRules, match="no rules in its metadata"):
        RuleScorer.of({"from_metadata": True}).score(prompt="", metadata={"topic": "rain"}, answer="a")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "give rules, or take them from"),
        ({"rules": [{"check": "words"}]}, r"rule 1 \(words\)"),
        ({"rules": SHARED, "count": "most"}, "count must be share or all"),
        ({"rules": SHARED, "loose": 1}, "loose must be true or false"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(options, why):
    with pytest.raises(BadRules, match=why):
        RuleScorer.of(options)
