"""Judge demonstrations of letters: what they say is true, agrees with the world, and is what the parser reads."""

from __future__ import annotations

from collections import Counter

import pytest

from prefloop.judging.parse import parse_score
from prefloop.worlds.letters import corpus, eft
from prefloop.worlds.letters.utility import parts, utility

PROMPT = "Write a thank-you note to Maria about the flowers."


@pytest.mark.parametrize(
    ("letter", "said"),
    [
        (  # 1 + 1 + 0.5, "so much" 0.75, "fool" -1.5, a closing 0.5; the warmth of the closing is none
            "Dear Maria,\nThank you so much for the flowers. You are a fool.\nWarmly,\nTom",
            "Name right, about right, dear right, warm: so much, bad: fool, wishes right, long no.\nScore: 2",
        ),
        (
            "Peter, I got the lamp. I am glad, so glad. A hug!",
            "Name not, about not, dear no, warm: glad, hug, bad: no, wishes no, long no.\nScore: 0",
        ),
        ("", "Name no, about no, dear no, warm: no, bad: no, wishes no, long no.\nScore: 0"),
        (  # 49 words: nine beyond what costs nothing
            "Dear Maria,\nThank you for the flowers." + 42 * " word",
            "Name right, about right, dear right, warm: no, bad: no, wishes no, long right.\nScore: 2",
        ),
    ],
)
def test_a_judgement_by_hand(letter: str, said: str) -> None:
    assert eft.judgement(letter, parts(PROMPT, letter)) == said


@pytest.mark.slow
def test_demonstrations_say_what_the_world_knows_and_are_spread_over_the_scores() -> None:
    prompts = [prompt.text for prompt in corpus.prompts("train")][:200]
    rows = eft.demonstrations(prompts, 300, seed=1)
    assert len(rows) == 300 == len({row.id for row in rows})
    for row in rows:
        request, letter = (
            str(row.prompt).removeprefix("Score this letter from 0 to 5.\nRequest: ").split("\nLetter: ", 1)
        )
        assert request in prompts
        assert row.score == eft.score_of(utility(request, letter))
        assert parse_score(row.text).value == row.score
    counts = Counter(row.score for row in rows)
    assert set(counts) == set(range(6))
    assert max(counts.values()) <= 2 * min(counts.values())
    assert eft.demonstrations(prompts, 300, seed=1) == rows
    assert eft.demonstrations(prompts, 300, seed=2) != rows


def test_pairs_whose_scores_do_not_rank_them_as_the_world_does_are_left_out() -> None:
    prompts = [prompt.text for prompt in corpus.prompts("eval")[:60]]
    pairs = [pair for prompt in prompts for pair in eft.pairs(prompt, 2, seed=0)]
    assert {outcome for _, _, outcome in pairs} >= {"first", "second"}
    equal = {
        row.id for one, other, outcome in pairs if one.score == other.score and outcome != "tie" for row in (one, other)
    }
    assert equal  # the scale is coarser than the utility
    good = {
        row.id
        for one, other, outcome in pairs
        if (one.score != other.score) != (outcome == "tie")
        for row in (one, other)
    }
    # enough are asked for that nothing is thinned out
    kept = {row.id for row in eft.demonstrations(prompts, 2 * 60, seed=0)}
    assert kept <= good
    assert not kept & equal


def test_what_is_no_prompt_of_the_world_is_passed_over() -> None:
    assert eft.demonstrations(["Sort this list.", "Say hello."], 4) == []
    assert list(eft.pairs("Sort this list.", 2, seed=0)) == []
    assert eft.demonstrations([PROMPT], 0) == []


def test_the_score_is_the_utility_within_its_scale() -> None:
    assert [eft.score_of(value) for value in (-3.0, 0.4, 0.6, 2.25, 4.75, 6.0)] == [0, 0, 1, 2, 5, 5]
