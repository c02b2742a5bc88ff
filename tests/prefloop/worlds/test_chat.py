"""The chat world: its prompts ask for what its rules check, and its truth is the share of the rules met."""

from __future__ import annotations

import re

import pytest

from prefloop.judging.rules import read_rules
from prefloop.judging.rules.scoring import RuleScorer
from prefloop.worlds.chat.prompts import CONSTRAINTS, PER_SUBJECT, SUBJECTS, prompts
from prefloop.worlds.chat.utility import NotOfThisWorld, rules_in, utility

# an answer that meets each constraint, and one that breaks every rule of it
MEETS = {
    "one-sentence": ("Bees fly home by the sun.", "They fly. They look. They land."),
    "two-sentences": ("Bees look at the sun. Then they fly home.", "They fly home."),
    "20-words": ("They fly home.", "word " * 21),
    "40-words": ("They fly home.", "word " * 41),
    "no-commas": ("They fly home and rest.", "They fly home, then rest."),
    "word-because": ("It works because of light.", "It works by light."),
    "word-example": ("A bee is an example.", "A bee is an insect."),
    "without-can": ("They fly.", "They can fly."),
    "without-it": ("They fly.", "They like it."),
    "lowercase": ("they fly.", "They fly."),
    "capitals": ("THEY FLY.", "They fly."),
    "starts-well": ("Well, they fly.", "They fly well."),
    "three-bullets": ("- one\n- two\n- three", "- one\n- two"),
    "two-bullets": ("- one\n- two", "- one\n- two\n- three"),
    "quoted": ('"They fly."', "They fly."),
    "ends": ("They fly. That is all.", "They fly."),
    "postscript": ("They fly.\n\nP.S. They also rest.", "They fly."),
    "json": ('{"answer": "They fly."}', '{"said": "They fly."}'),
    "one-sentence+no-commas": ("They fly home.", "They fly, and rest. They land."),
    "one-sentence+20-words": ("They fly home.", "They fly. " + "They rest, " * 12 + "They land."),
    "two-sentences+word-because": ("They fly. They rest because of the dark.", "They fly."),
    "40-words+lowercase": ("they fly home.", "They " * 41),
    "20-words+without-it": ("They fly.", "it " * 21),
    "three-bullets+40-words": ("- one\n- two\n- three", "word " * 41),
    "two-sentences+ends": ("They fly. That is all.", "They fly."),
    "no-commas+word-example": ("A bee is an example.", "Bees, wasps and flies."),
}


def test_every_constraint_can_be_met_and_broken():
    assert set(MEETS) == {one.name for one in CONSTRAINTS}
    for one in CONSTRAINTS:
        good, bad = MEETS[one.name]
        prompt = f"Explain how bees fly. {one.asks}"
        assert utility(prompt, good) == 1, (one.name, rules_in(prompt).check(good).sentence())
        assert utility(prompt, bad) == 0, one.name
        assert utility(prompt, "") == 0


def test_half_of_two_rules_is_worth_a_half():
    both = "Explain how bees fly. Answer in exactly one sentence. Do not use any commas."
    assert utility(both, "They fly, and rest.") == 0.5


@pytest.mark.parametrize("split", ["train", "eval"])
def test_prompts_are_different_and_carry_the_rules_that_the_truth_reads(split):
    found = prompts(split)
    assert len(found) == len(SUBJECTS[split]) * PER_SUBJECT == len({one.text for one in found})
    assert {one.metadata["constraint"] for one in found} == {one.name for one in CONSTRAINTS}
    assert {one.metadata["level"] for one in found} == {"easy", "middle", "hard"}
    judge = RuleScorer.of({"from_metadata": True})
    for one in found:
        assert rules_in(one.text) == read_rules(one.metadata["rules"]), one.text
        for answer in MEETS[one.metadata["constraint"]]:
            said, _ = judge.score(prompt=one.text, metadata=one.metadata, answer=answer)
            assert said == utility(one.text, answer)
    assert prompts(split, seed=1) != found


def test_no_held_out_subject_is_trained_on():
    assert not set(SUBJECTS["train"]) & set(SUBJECTS["eval"])
    assert not {one.text for one in prompts("train")} & {one.text for one in prompts("eval", seed=3)}


def test_every_prompt_is_sentences():
    for one in (*prompts("train"), *prompts("eval")):
        assert re.fullmatch(r"[A-Z][^.?]*[.?](?: [A-Z][^\n]*[.?\"])+", one.text), one.text
        assert "  " not in one.text


def test_the_truth_of_another_prompt_is_not_known():
    with pytest.raises(NotOfThisWorld, match=r"evaluation\.judge=NAME"):
        utility("Why is the sky blue?", "Because.")
