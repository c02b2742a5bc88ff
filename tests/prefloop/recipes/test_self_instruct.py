from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.recipes.self_instruct import (
    draw_shots,
    filter_prompts,
    instruct_prompt,
    rouge_l,
    writing_rows,
    written_prompt,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=7)


def test_rouge_l_is_what_it_is_by_hand() -> None:
    # the longest common subsequence of the two is "police the gunman", 3 of 4 and 3 of 5 words
    assert rouge_l("police killed the gunman", "Police end the bad gunman!") == pytest.approx(2 * 3 / (4 + 5))
    assert rouge_l("one two", "three") == 0
    assert rouge_l("", "") == 0


@given(WORDS, WORDS)
def test_rouge_l_agrees_with_trying_every_subsequence(one: list[str], other: list[str]) -> None:
    def of(words: list[str]) -> set[tuple[str, ...]]:
        return {chosen for n in range(len(words) + 1) for chosen in combinations(words, n)}

    longest = max(len(chosen) for chosen in of(one) & of(other))
    expected = 2 * longest / (len(one) + len(other)) if longest else 0.0
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_rouge_l_is_symmetric_and_one_only_for_the_same_words(one: list[str], other: list[str]) -> None:
    value = rouge_l(" ".join(one), " ".join(other))
    assert value == pytest.approx(rouge_l(" ".join(other), " ".join(one)))
    assert (value == 1) == (one == other and bool(one))


def test_each_filter_refuses_what_it_is_for_and_counts_it() -> None:
    pool = ["Write a thank-you note to Maria about the flowers."]
    made = filter_prompts(
        [
            "Write a thank-you note to Maria about the lamp.",  # one word of ten differs
            "Say hello.",
            "Draw the house of your neighbours please.",
            "Ask your neighbour whether she slept well.",
            "Ask your neighbour whether he slept well.",  # like one that was just kept
            "word " * 151,
        ],
        pool,
    )
    assert made.kept == ("Ask your neighbour whether she slept well.",)
    assert made.n_refused == {"alike": 2, "keyword": 1, "length": 2}
    strict = filter_prompts(pool, ["Something else entirely was asked for here."], most_alike=0.01, shortest=1)
    assert strict.kept == tuple(pool)


@pytest.mark.slow
@given(st.lists(WORDS, max_size=5), WORDS, st.floats(0.05, 1.0))
def test_the_bound_by_common_words_changes_no_decision(
    pool: list[list[str]], words: list[str], most_alike: float
) -> None:
    text, there = " ".join(words), [" ".join(one) for one in pool]
    kept = filter_prompts([text], there, most_alike=most_alike, shortest=0).kept
    assert (kept == (text,)) == all(rouge_l(text, one) < most_alike for one in there)


def test_eight_prompts_are_shown_six_given_and_two_of_its_own() -> None:
    given_ones, own = [f"g{at}" for at in range(20)], [f"o{at}" for at in range(5)]
    shots = draw_shots(given_ones, own, random.Random(1))
    assert len(set(shots)) == 8
    assert sum(shot in own for shot in shots) == 2
    places = {
        at
        for seed in range(20)
        for at, shot in enumerate(draw_shots(given_ones, own, random.Random(seed)))
        if shot in own
    }
    assert places == set(range(8))  # in random order
    assert set(draw_shots(given_ones, [], random.Random(1))) <= set(given_ones)
    assert len(draw_shots(given_ones, ["o"], random.Random(1))) == 8
    assert sorted(draw_shots(["a", "b"], [], random.Random(1))) == ["a", "b"]


def test_the_reply_to_a_list_of_prompts_is_read_as_the_next_one() -> None:
    asked = instruct_prompt(["Thank Maria.", "Invite\nPeter."])
    assert asked.endswith("\n1. Thank Maria.\n2. Invite Peter.\n3.")
    assert written_prompt(" Remind Omar.") == "Remind Omar."
    assert written_prompt("\n\n3. Remind Omar.\n4. Thank Maria.") == "Remind Omar."
    assert written_prompt("- Remind Omar.") == "Remind Omar."
    assert written_prompt("3 cheers for Omar.") == "3 cheers for Omar."
    assert written_prompt("  \n") == ""


def test_rows_that_teach_writing_never_show_what_is_to_be_written() -> None:
    prompts = [f"Thank person {at}." for at in range(12)]
    rows = writing_rows(prompts, 30, seed=5)
    assert len(rows) == 30
    assert rows == writing_rows(prompts, 30, seed=5) != writing_rows(prompts, 30, seed=6)
    for asked, target in rows:
        assert target in prompts
        assert target not in asked
        assert sum(prompt in asked for prompt in prompts) == 8
    assert writing_rows(prompts[:8], 30, seed=5) == []  # none would be left to write
